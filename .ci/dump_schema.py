"""Write store/schema.sql: the schema that all migrations make, as pg_dump sees it. Run by `make schema`."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import trio

from ent_notify._island import open_island
from ent_notify.store import migrate, open_database
from ent_notify.store.cluster import DATABASE
from ent_notify.store.embedded import EmbeddedServer, parse_address
from ent_notify.store.migrate import FOLDER
from ent_notify.testing.postgres import dump_schema


async def apply(dsn: str) -> None:
    """Migrate the database at ``dsn``."""
    async with open_island() as island, open_database(dsn, island, check_schema=False) as database:
        await migrate(database, now=datetime(2026, 9, 1, tzinfo=UTC))


def main() -> None:
    """Migrate a throw-away database and dump it."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)  # the server may run as another user
        server = EmbeddedServer.join(parse_address(f"embedded://{quote(name)}/pg?fsync=off"))
        try:
            trio.run(apply, server.dsn())
            (FOLDER.parent / "schema.sql").write_text(dump_schema(server, DATABASE), encoding="utf-8")
        finally:
            server.leave()


if __name__ == "__main__":
    main()
