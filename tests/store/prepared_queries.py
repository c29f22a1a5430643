"""Ask a server whether it understands every named query, without running any."""

from __future__ import annotations

from ent_notify.errors import StoreError
from ent_notify.store import Database
from ent_notify.store.sql import queries

PLAIN = ("select", "with", "insert", "update", "delete", "merge")
"""How statements begin that can be prepared; the others (create, analyze) take no parameters."""


async def misunderstood(database: Database) -> dict[str, str]:
    """What the server complains of, by query."""
    complaints: dict[str, str] = {}
    for area in sorted({name.partition(".")[0] for name in queries()}):
        mine = {name: found for name, found in queries().items() if name.startswith(f"{area}.")}
        async with database.transaction() as tx:
            for found in mine.values():
                if found.sql.startswith("create temp"):  # staging tables that the area's other queries work on
                    await tx.script(found.sql)
            for name, found in mine.items():
                if not found.sql.lstrip("( \n").lower().startswith(PLAIN):
                    continue
                await tx.script("savepoint before")
                try:
                    # PREPARE parses and resolves every table, column and function, and runs nothing.
                    await tx.script(f"prepare {name.replace('.', '_')} as {found.sql}")
                except StoreError as error:
                    complaints[name] = str(error)
                    await tx.script("rollback to before")
    return complaints
