"""A populated database of N people, made once per schema and size and kept in the cached server as a template."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import trio

from benchmarks.harness import say
from benchmarks.server import Server
from ent_notify._island import open_island
from ent_notify.model.events import BUILT_IN
from ent_notify.store import migrate, open_database
from ent_notify.store.migrate import FOLDER
from ent_notify.store.publishing import PostgresPublishing

SCRIPT = Path(__file__).parent / "sql" / "population.sql"
SEED = 20260901


def template(server: Server, people: int) -> str:
    """The name of a database of ``people`` people; made if this schema and size have none yet, else taken as it is."""
    text = "".join(path.read_text() for path in [*sorted(FOLDER.glob("*.sql")), SCRIPT])
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = f"people_{people}_{digest}"
    known = server.databases()
    if name in known:
        return name
    for stale in known:  # another schema's, of the same size
        if stale.startswith(f"people_{people}_"):
            server.drop(stale)
    say(f"  making a directory of {people:,} people (kept for later runs)")
    dsn = server.fresh_database("people_new")
    trio.run(_migrate, dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("select set_config('bench.people', %s, false), set_config('bench.seed', %s, false)",
                           [str(people), str(SEED)])  # fmt: skip
        connection.execute(SCRIPT.read_bytes())
        connection.execute("vacuum (freeze, analyze)")
        connection.execute("checkpoint")
    server.rename("people_new", name)
    return name


@contextmanager
def copied(server: Server, people: int, name: str) -> Iterator[str]:
    """A copy of the directory of ``people`` people in a new database ``name``, dropped at the end; its address."""
    with server.borrowed(name, template=template(server, people)) as dsn:
        yield dsn


async def _migrate(dsn: str) -> None:
    async with open_island() as island, open_database(dsn, island, check_schema=False) as database:
        await migrate(database, now=datetime.now(UTC))
        await PostgresPublishing(database).register_types(BUILT_IN)
