"""Half a year of a region of 200,000 people, and what a statement touches in it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio
from pydantic import SecretStr

from ent_notify._island import open_island
from ent_notify.engine import open_engine
from ent_notify.policy.pause import PauseHours
from ent_notify.settings import Settings, StoreSettings
from ent_notify.store import Database, open_database
from ent_notify.store.database import Transaction
from ent_notify.store.embedded import EmbeddedServer
from ent_notify.store.sql import Query, query

PEOPLE = 200_000
NOW = datetime(2026, 9, 8, 8, 0, tzinfo=UTC)
HERE = Path(__file__).parent
POPULATION = HERE.parents[1] / "benchmarks/sql/population.sql"

LARGE = frozenset(
    {
        "person",
        "membership",
        "guardian_link",
        "device",
        "preference",
        "notification",
        "audience",
        "chunk",
        "outcome",
        "reading",
    }
)
"""Tables that grow with people or with time: no question may read one of them from end to end."""


COUNTERS = """
select case when t.oid is null then s.relname else 'toast of ' || t.relname end as name,
       s.seq_scan as scans, s.seq_tup_read as read, coalesce(s.idx_scan, 0) as index_scans,
       coalesce(s.idx_tup_fetch, 0) as fetched
from pg_stat_xact_all_tables s
left join pg_class t on t.reltoastrelid = s.relid
where s.schemaname = 'ent_notify' or t.relnamespace = 'ent_notify'::regnamespace
"""


class StillClock:
    """A clock that stands still."""

    def now(self) -> datetime:
        return NOW

    async def sleep(self, seconds: float) -> None:
        del seconds
        await trio.lowlevel.checkpoint()


@pytest.fixture(scope="session")
def year(postgres: EmbeddedServer) -> Iterator[str]:
    """The address of the database. Tests leave it as it is."""
    name = "half_a_year"
    postgres.cluster.create_database(name)
    trio.run(_fill, postgres.dsn(name))
    yield postgres.dsn(name)
    postgres.cluster.drop_database(name)


async def _fill(dsn: str) -> None:
    settings = Settings(store=StoreSettings(dsn=SecretStr(dsn)))
    async with open_engine(settings, clock=StillClock(), apply_migrations=True) as engine:
        seeded = f"set bench.people = '{PEOPLE}'; set bench.seed = '20260901';"
        await engine.db.script(seeded + POPULATION.read_text(encoding="utf-8"))
        await engine.db.script("analyze")
        await engine.db.script((HERE / "year.sql").read_text(encoding="utf-8"))
        await engine.worker(pause=PauseHours(enabled=False)).tick()
        await engine.db.script((HERE / "settled.sql").read_text(encoding="utf-8"))
        await engine.db.script("analyze")


@dataclass(frozen=True, slots=True)
class Touched:
    """What a statement touched, functions that it calls included. ``rows`` are those fetched by index, by table."""

    scanned: dict[str, int]
    """Rows read by sequential scans, by table."""
    rows: dict[str, int]
    answer: list[Any]

    @property
    def tables(self) -> set[str]:
        return {*self.scanned, *self.rows}


class Rollback(Exception):
    """Ends a transaction whose work nobody wants."""


@dataclass(slots=True)
class Watch:
    """Runs named queries, each in a transaction that is rolled back."""

    database: Database
    generic: bool

    async def touched(self, name: str, **parameters: Any) -> Touched:
        """What running the query touches, as the server itself counts it."""
        async with self._transaction() as tx:
            before = await _counters(tx)
            answer = await tx.fetch(name, **parameters)
            after = await _counters(tx)
        scanned: dict[str, int] = {}
        rows: dict[str, int] = {}
        for table, now in after.items():
            scans, read, index_scans, fetched = (b - a for a, b in zip(before.get(table, (0,) * 4), now, strict=True))
            if scans:
                scanned[table] = read
            if index_scans:
                rows[table] = fetched
        return Touched(scanned, rows, [dict(row) for row in answer])

    async def plan(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        """Every node of the query's plan, as EXPLAIN (FORMAT JSON) tells it."""
        found = query(name)
        explain = Query(f"watch.{name}", "", f"explain (format json) {found.sql}", found.parameters)
        async with self._transaction() as tx:
            told = await tx.fetchval(explain, **parameters)
        plan = told if isinstance(told, list) else json.loads(told)
        return list(_nodes(plan[0]["Plan"]))

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Transaction]:
        mode = "force_generic_plan" if self.generic else "force_custom_plan"
        with suppress(Rollback):
            async with self.database.transaction() as tx:
                await tx.script(f"set local plan_cache_mode = {mode}")
                yield tx
                await self._undo()

    async def _undo(self) -> None:
        raise Rollback


async def _counters(tx: Transaction) -> dict[str, tuple[int, ...]]:
    """(sequential scans, rows of these, index scans, rows of these) so far, by table; what is TOAST by its table."""
    rows = await tx.fetch(Query("watch.counters", "", COUNTERS, ()))
    return {row["name"]: (row["scans"], row["read"], row["index_scans"], row["fetched"]) for row in rows}


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def sequential(nodes: list[dict[str, Any]]) -> set[str]:
    """The large tables that a plan reads from end to end."""
    return {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"} & LARGE


@pytest.fixture(params=["generic plan", "custom plan"])
async def watch(year: str, request: pytest.FixtureRequest) -> AsyncIterator[Watch]:
    """Both ways in which a prepared statement may be planned: once for all parameters, and for those given."""
    async with open_island() as island, open_database(year, island) as database:
        yield Watch(database, generic=request.param == "generic plan")
