"""The PostgreSQL 18 that every side of a benchmark uses: the product's embedded server, with the house's settings.

Durability is what a production server has: fsync, synchronous commit, full page writes, logged tables. What the house
sets beyond PostgreSQL's defaults (memory, WAL room) holds for everybody on it.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from benchmarks.harness import CACHE
from ent_notify.store.embedded import EmbeddedServer, parse_address

REPORTED = ("shared_buffers", "work_mem", "max_wal_size", "checkpoint_timeout")
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


@dataclass(frozen=True, slots=True)
class Server:
    """A running server with what the runners need of it."""

    embedded: EmbeddedServer

    def dsn(self, database: str = "postgres") -> str:
        """A URI that libpq, asyncpg and node-postgres all read."""
        return self.embedded.dsn(database)

    def fresh_database(self, name: str, *, template: str = "template0") -> str:
        """Drop and create the database ``name``, and return its address."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
            connection.execute(
                sql.SQL("create database {} template {} strategy file_copy").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        return self.dsn(name)

    @contextlib.contextmanager
    def borrowed(self, name: str, *, template: str = "template0") -> Iterator[str]:
        """A fresh database that is dropped at the end. WAL is counted by the server: what one side leaves behind, such
        as dead rows for autovacuum, must not be written on another's account."""
        try:
            yield self.fresh_database(name, template=template)
        finally:
            self.drop(name)

    def rename(self, old: str, new: str) -> None:
        """Give the database ``old`` another name."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("alter database {} rename to {}").format(sql.Identifier(old), sql.Identifier(new))
            )

    def databases(self) -> set[str]:
        """Names of all databases."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            return {row[0] for row in connection.execute("select datname from pg_database")}

    def drop(self, name: str) -> None:
        """Drop the database ``name``."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def settings(self) -> dict[str, str]:
        """Version, durability and memory, for the results file. Raises if the durability is not the promised one."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            shown = {name: _shown(connection, name) for name in (*REPORTED, *DURABLE)}
            version = _shown(connection, "server_version")
        wrong = {name: shown[name] for name, value in DURABLE.items() if shown[name] != value}
        if wrong:
            raise RuntimeError(f"this server is not durable ({wrong}): no figure of it counts")
        return {"postgresql": version, **shown, "tables": "logged"}


@contextlib.contextmanager
def running(name: str = "postgres18") -> Iterator[Server]:
    """Start the embedded server on the cached folder ``name`` (made if new); stop it at the end."""
    folder = CACHE / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    embedded = EmbeddedServer.join(parse_address(f"embedded://{quote(str(folder))}"))
    try:
        yield Server(embedded)
    finally:
        embedded.leave()


def wal_position(connection: psycopg.Connection[Any]) -> int:
    """Bytes of WAL ever inserted by this server: take it before and after, and subtract."""
    row = connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
    assert row is not None
    return int(row[0])


def pgbench_count(server: Server, database: str, script: str, *, clients: int, each: int) -> None:
    """Run ``script`` ``each`` times in each of ``clients`` clients of the server's own pgbench, statements prepared."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        options = ["-n", "-M", "prepared", "-c", clients, "-j", min(clients, 2), "-t", each, "-f", file.name]
        run = subprocess.run(
            [server.embedded.bin_path / "pgbench", *map(str, options), server.dsn(database)],
            capture_output=True,
            text=True,
        )
    if run.returncode:
        raise RuntimeError(f"pgbench failed: {run.stderr.strip()}")


def _shown(connection: psycopg.Connection[Any], name: str) -> str:
    row = connection.execute(sql.SQL("show {}").format(sql.Identifier(name))).fetchone()
    assert row is not None
    return str(row[0])
