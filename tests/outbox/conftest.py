"""A host's database: its own table beside our schema, a class to publish to, and a role that may do nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import psycopg
import pytest
import trio
from pydantic import SecretStr

from ent_notify.engine import Engine, open_engine
from ent_notify.settings import Settings, StoreSettings

NOW = datetime(2026, 9, 8, 8, 0, tzinfo=UTC)
ROLE = "host_application"

HOST = """
create table public.absence (id int primary key, pupil text not null);
set search_path = ent_notify;
insert into person (external_id, source, profile, created_at)
values ('p1', 'test', 1, '2026-09-01'), ('g1', 'test', 2, '2026-09-01');
insert into guardian_link (pupil_id, guardian_id, legal_level) values (1, 2, 1);
"""


class StillClock:
    """A clock that stands still; sleeping is a checkpoint."""

    def now(self) -> datetime:
        return NOW

    async def sleep(self, seconds: float) -> None:
        del seconds
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Engine]:
    async with open_engine(Settings(store=StoreSettings(dsn=SecretStr(dsn))), clock=StillClock()) as engine:
        yield engine


async def relayed(dsn: str) -> list[str]:
    """What a worker then finds: the types in the guardian's inbox, newest first."""
    async with opened(dsn) as engine:
        await engine.worker().run_until_idle()
        return [entry.type for entry in await engine.inbox(await engine.reader("g1"))]


@pytest.fixture
def host(dsn: str) -> str:
    """The address of the host's database, for any client."""

    async def register() -> None:
        async with opened(dsn):
            pass  # opening an engine makes the types known

    trio.run(register)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(HOST)
    return dsn


@pytest.fixture
def connection(host: str) -> Iterator[psycopg.Connection]:
    """A connection as Django has it: a transaction is open from the first statement on, until commit or rollback."""
    with psycopg.connect(host) as connection:
        yield connection


@pytest.fixture
def application(host: str) -> Iterator[str]:
    """A role with no right but the one that the guide gives it."""
    with psycopg.connect(host, autocommit=True) as admin:
        admin.execute(f"drop role if exists {ROLE}")
        admin.execute(f"create role {ROLE} login")
        admin.execute(f"grant usage on schema ent_notify to {ROLE}")
        admin.execute(f"grant execute on function ent_notify.publish to {ROLE}")
        admin.execute(f"grant select, insert on public.absence to {ROLE}")
        yield ROLE
        admin.execute(f"drop owned by {ROLE}")
        admin.execute(f"drop role {ROLE}")
