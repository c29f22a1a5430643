"""Numbered migrations: ``migrations/NNNN_name.sql``, each applied once, in order, in a transaction of its own.

Released code runs on a newer schema, so that workers may be replaced one by one: expand, then migrate, then contract.
A migration that contracts says so in a line ``-- oldest-code: N``: code whose own newest migration is below N cannot
run on the schema from then on, and refuses to start.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ent_notify.errors import SchemaMismatch, StoreBusy, StoreError
from ent_notify.store.database import Database, Session, Transaction

FOLDER = Path(__file__).parent / "migrations"
LOCK_SECONDS = 10.0
"""How long a migration waits for a table: whoever comes after it for that table waits as long."""
_FILE = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.sql")
_OLDEST_CODE = re.compile(r"^-- oldest-code: (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    version: int
    name: str
    sql: str = field(repr=False)
    oldest_code: int
    """The lowest newest-migration of code that can still run once this is applied."""

    @property
    def checksum(self) -> str:
        """Of the text, so that a migration changed after it was applied is noticed."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def read_migrations(folder: Path = FOLDER) -> list[Migration]:
    """The migrations in ``folder``, in order. Raises StoreError for a gap, a double number or a wrong file name."""
    migrations: list[Migration] = []
    oldest_code = 1
    for path in sorted(folder.glob("*.sql")):
        named = _FILE.fullmatch(path.name)
        if named is None or int(named["version"]) != len(migrations) + 1:
            raise StoreError(f"migration {path.name} should be named {len(migrations) + 1:04}_name.sql")
        sql = path.read_text(encoding="utf-8")
        for declared in _OLDEST_CODE.findall(sql):
            oldest_code = max(oldest_code, int(declared))
        migrations.append(Migration(int(named["version"]), named["name"], sql, oldest_code))
    return migrations


async def migrate(database: Database, *, now: datetime, folder: Path = FOLDER) -> list[Migration]:
    """Apply what is missing; what was applied here, in order (nothing when the schema was up to date).

    Any number of processes may do this at once: one works, the others wait and find nothing left. Raises
    SchemaMismatch when the schema is newer than this release, or an applied migration was changed since, and StoreBusy
    when a table was not to be had: what was applied before stays.
    """
    migrations = read_migrations(folder)
    applied: list[Migration] = []
    while (done := await database.atomically(_apply_next, migrations, now)) is not None:
        applied.append(done)
    return applied


async def _apply_next(tx: Transaction, migrations: list[Migration], now: datetime) -> Migration | None:
    await tx.execute("schema.lock")
    if not await tx.fetchval("schema.has_history"):
        await tx.execute("schema.create_home")
        await tx.execute("schema.create_history")
    history = {row["version"]: row for row in await tx.fetch("schema.history")}
    _refuse_newer(max((row["oldest_code"] for row in history.values()), default=0), len(migrations))
    for migration in migrations:
        row = history.get(migration.version)
        if row is None:
            await tx.script(f"set local lock_timeout = {round(LOCK_SECONDS * 1000)}")
            try:
                await tx.script(migration.sql)
            except StoreBusy as error:
                raise StoreBusy(
                    f"migration {migration.version:04}_{migration.name} waited {LOCK_SECONDS:g} s for a table that a "
                    "long statement holds (a dump, a report), and gave up so that nobody else waits: nothing of it was "
                    "applied; run `ent-notify migrate` again when that has ended"
                ) from error
            await tx.execute(
                "schema.record",
                version=migration.version,
                name=migration.name,
                checksum=migration.checksum,
                oldest_code=migration.oldest_code,
                now=now,
            )
            return migration
        if row["checksum"] != migration.checksum:
            raise SchemaMismatch(
                f"migration {migration.version:04}_{migration.name} was applied here on {row['applied_at']:%Y-%m-%d} "
                "with another text: this database was made by another build; restore it, or make a new one"
            )
    return None


async def check(session: Session, folder: Path = FOLDER) -> None:
    """Raise SchemaMismatch unless this release can run on the schema that is there."""
    newest = len(read_migrations(folder))
    if not await session.fetchval("schema.has_history"):
        raise SchemaMismatch("this database has no ent_notify schema yet: run `ent-notify migrate`")
    history = await session.fetch("schema.history")
    present = max((row["version"] for row in history), default=0)
    if present < newest:
        raise SchemaMismatch(
            f"the schema is at version {present}, and this release needs {newest}: run `ent-notify migrate`"
        )
    _refuse_newer(max(row["oldest_code"] for row in history), newest)


def _refuse_newer(oldest_code: int, newest: int) -> None:
    if oldest_code > newest:
        raise SchemaMismatch(
            f"the schema was moved on for releases that know version {oldest_code}, and this one knows {newest}: "
            "upgrade the package (pip install --upgrade ent-notify)"
        )
