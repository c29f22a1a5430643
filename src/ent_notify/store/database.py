"""The database as the house sees it: named queries in, records out, trio all around.

One call is one crossing of the bridge; ``transact`` takes several statements across at once. Single statements and
``transact`` are tried again when they lost against another transaction (nothing was written then); a block of
``transaction`` is not, ``atomically`` is.

Errors: StoreUnreachable, StoreBusy, and StoreError for the rest, with ``sqlstate``; what our own SQL functions refuse
is raised as UnknownAudience, MalformedEvent, NotFound or NotAllowed. The driver's error is the ``__cause__``.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, TypeVarTuple

import trio

from ent_notify._island import Island
from ent_notify._island.copying import CopyOut
from ent_notify._island.listen import Listener
from ent_notify._island.postgres import Isolation, Kind, Lease, Pool, Statement
from ent_notify.errors import EntNotifyError, StoreBusy
from ent_notify.ports import Clock
from ent_notify.store.embedded import EmbeddedServer
from ent_notify.store.faults import DRIVER_ERRORS, is_conflict, translate
from ent_notify.store.sql import Query, query

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")

Format = Literal["csv", "text", "binary"]

SCHEMA = "ent_notify"
COPY_SLICE = 10_000
"""Rows of a COPY that cross the bridge together."""
FIRST_RETRY_SECONDS = 0.01
SESSION = {
    "search_path": SCHEMA,
    "application_name": "ent-notify",
    "timezone": "UTC",
    "jit": "off",  # compiling costs more than our short statements do
    "client_connection_check_interval": "5s",  # what a cut connection was doing is stopped, and its locks are freed
}


class Record(Protocol):
    """A row: values by column name or position, in column order (the driver's record, which ships no types)."""

    def __getitem__(self, key: str | int) -> Any:
        """The value of one column. Raises KeyError or IndexError when there is none."""

    def __len__(self) -> int:
        """How many columns."""

    def __iter__(self) -> Iterator[Any]:
        """The values."""

    def get(self, key: str, default: Any = None) -> Any:
        """The value of one column, or ``default``."""

    def keys(self) -> Iterator[str]:
        """The column names."""

    def values(self) -> Iterator[Any]:
        """The values."""

    def items(self) -> Iterator[tuple[str, Any]]:
        """Names and values."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many connections one process keeps, and how long anything waits for one. Times in seconds."""

    smallest: int = 1
    largest: int = 10
    acquire_timeout: float = 10.0
    connect_timeout: float = 10.0
    stop_timeout: float = 10.0
    """How long a cancelled statement may take to stop before its connection is cut."""
    attempts: int = 6
    """How often a unit that lost against another transaction is tried, in all."""


class Session(ABC):
    """Statements by name (``area.query``), or as a Query. What Database and Transaction have in common."""

    _where: str

    async def fetch(self, name: str | Query, /, **parameters: Any) -> list[Record]:
        """Every row of the query ``name``."""
        rows: list[Record] = await self._one("fetch", name, parameters)
        return rows

    async def fetchrow(self, name: str | Query, /, **parameters: Any) -> Record | None:
        """The first row, or None."""
        row: Record | None = await self._one("fetchrow", name, parameters)
        return row

    async def fetchval(self, name: str | Query, /, **parameters: Any) -> Any:
        """The first column of the first row, or None."""
        return await self._one("fetchval", name, parameters)

    async def execute(self, name: str | Query, /, **parameters: Any) -> int:
        """Run the statement; how many rows it touched."""
        touched: int = await self._one("execute", name, parameters)
        return touched

    async def transact(self, statements: Iterable[tuple[str | Query, Mapping[str, Any]]]) -> list[list[Record]]:
        """Run several ``(name, parameters)`` in one crossing and one transaction; the rows of each, in order."""
        bound = [_statement("fetch", name, parameters) for name, parameters in statements]
        results: list[list[Record]] = await self._many(bound)
        return results

    @abstractmethod
    async def script(self, sql: str) -> None:
        """Run a text of statements without parameters, such as a migration's, all or nothing."""

    @abstractmethod
    async def _one(self, kind: Kind, name: str | Query, parameters: Mapping[str, Any]) -> Any: ...

    @abstractmethod
    async def _many(self, statements: Sequence[Statement]) -> Any: ...

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except DRIVER_ERRORS as error:
            translated = translate(error, doing, self._where)
            raise translated from error


class Transaction(Session):
    """An open transaction on one connection. For one task at a time."""

    def __init__(self, island: Island, lease: Lease, where: str) -> None:
        self._island = island
        self._lease = lease
        self._where = where

    async def script(self, sql: str) -> None:
        """Run a text of statements without parameters in the transaction."""
        with self._translated("script"):
            await self._island.run(self._lease.script, sql)

    async def copy_in(
        self, table: str, *, columns: Sequence[str], records: Iterable[Sequence[Any]], schema: str = SCHEMA
    ) -> int:
        """COPY ``records`` into ``table`` of our schema (``pg_temp``: a temporary table); how many there were.

        ``records`` may be a generator: it is read here, on the caller's thread, ten thousand rows at a time.
        """
        rows = iter(records)
        copied = 0
        while batch := list(islice(rows, COPY_SLICE)):
            with self._translated(f"copy into {table}"):
                await self._island.run(self._lease.copy_in, table, columns, batch, schema)
            copied += len(batch)
        return copied

    @asynccontextmanager
    async def stream(
        self, name: str | Query, /, *, prefetch: int = 1000, **parameters: Any
    ) -> AsyncIterator[AsyncIterator[list[Record]]]:
        """The rows of the query ``name`` in batches of ``prefetch``, through a server-side cursor."""
        statement = _statement("fetch", name, parameters)
        with self._translated(str(name)):
            cursor = await self._island.run(self._lease.open_cursor, statement)

        async def batches() -> AsyncGenerator[list[Record], None]:
            while True:
                with self._translated(str(name)):
                    rows = await self._island.run(self._lease.next_rows, cursor, prefetch)
                if rows:
                    yield rows
                if len(rows) < prefetch:
                    return

        async with aclosing(batches()) as generator:
            yield generator

    async def _one(self, kind: Kind, name: str | Query, parameters: Mapping[str, Any]) -> Any:
        statement = _statement(kind, name, parameters)
        with self._translated(str(name)):
            return await self._island.run(self._lease.run, statement)

    async def _many(self, statements: Sequence[Statement]) -> Any:
        with self._translated("transact"):
            return await self._island.run(self._lease.unit, statements)


class Database(Session):
    """One PostgreSQL database. Made by :func:`open_database`."""

    def __init__(
        self, island: Island, pool: Pool, dsn: str, limits: PoolLimits, clock: Clock, server: EmbeddedServer | None
    ) -> None:
        self.island = island
        self.dsn = dsn
        """A ``postgresql://`` address for other clients, also when the server is embedded. May hold a password."""
        self.server = server
        """The embedded server, or None."""
        self.limits = limits
        self._pool = pool
        self._clock = clock
        self._where = shown(dsn)

    @asynccontextmanager
    async def transaction(self, *, isolation: Isolation = "read_committed") -> AsyncIterator[Transaction]:
        """A transaction: committed at the end of the block, rolled back when it raises or is cancelled.

        COMMIT, once begun, is not cancelled: its outcome is known when the block is left without StoreUnreachable.
        """
        with self._translated("begin"):
            lease = await self.island.run(self._pool.begin, isolation)
        try:
            yield Transaction(self.island, lease, self._where)
        except BaseException:
            with trio.CancelScope(shield=True), self._translated("rollback"):
                await self.island.run_uncancelled(lease.rollback)
            raise
        with trio.CancelScope(shield=True), self._translated("commit"):
            await self.island.run_uncancelled(lease.commit)

    async def atomically(
        self,
        unit: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``unit(tx, ...)`` in a transaction, again when it lost against another one, and return its value.

        ``unit`` must leave nothing behind but what it wrote through ``tx``. Raises StoreBusy after the last attempt.
        """

        async def attempt() -> T:
            async with self.transaction() as tx:
                return await unit(tx, *args, **kwargs)

        return await self._retried(attempt, getattr(unit, "__name__", "unit"))

    async def script(self, sql: str) -> None:
        """Run a text of statements without parameters, all or nothing."""
        with self._translated("script"):
            await self.island.run(self._pool.script, sql)

    async def copy_in(self, table: str, *, columns: Sequence[str], records: Iterable[Sequence[Any]]) -> int:
        """COPY ``records`` into ``table`` of our schema, all or nothing; how many there were."""
        async with self.transaction() as tx:
            return await tx.copy_in(table, columns=columns, records=records)

    @asynccontextmanager
    async def stream(
        self, name: str | Query, /, *, prefetch: int = 1000, **parameters: Any
    ) -> AsyncIterator[AsyncIterator[list[Record]]]:
        """The rows of the query ``name`` in batches of ``prefetch``, as of one instant; it may be left half-way."""
        async with self.transaction() as tx, tx.stream(name, prefetch=prefetch, **parameters) as batches:
            yield batches

    @asynccontextmanager
    async def copy_out(
        self, name: str | Query, /, *, form: Format = "csv", **parameters: Any
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The rows of the query ``name`` as COPY writes them, in blocks of bytes; it may be left half-way."""
        statement = _statement("fetch", name, parameters)
        with self._translated(str(name)):
            lease = await self.island.run(self._pool.begin, "read_committed")
        copy: CopyOut | None = None
        try:
            copy = await self.island.run(CopyOut.open, lease, statement, form)
            async with aclosing(_blocks(self, copy, str(name))) as blocks:
                yield blocks
        finally:
            with trio.CancelScope(shield=True):
                if copy is not None:
                    await self.island.run_uncancelled(copy.aclose)
                await self.island.run_uncancelled(lease.rollback)

    @asynccontextmanager
    async def listen(self, channel: str) -> AsyncIterator[AsyncIterator[str]]:
        """Payloads notified on ``channel`` from now on, on a connection beside the pool.

        Those that come while the last one is worked on are coalesced, each distinct payload once. After a lost
        connection it reconnects by itself and yields the empty payload: hints may have been missed.
        """
        with self._translated(f"listen {channel}"):
            listener = await self.island.run(
                Listener.open,
                self.dsn,
                channel,
                self.limits.connect_timeout,
                {**SESSION, "application_name": "ent-notify listen"},
            )

        async def payloads() -> AsyncGenerator[str, None]:
            while True:
                for payload in await self.island.run(listener.next):
                    yield payload

        try:
            async with aclosing(payloads()) as generator:
                yield generator
        finally:
            with trio.CancelScope(shield=True):
                await self.island.run_uncancelled(listener.aclose)

    async def _one(self, kind: Kind, name: str | Query, parameters: Mapping[str, Any]) -> Any:
        statement = _statement(kind, name, parameters)
        return await self._retried(lambda: self._crossed(str(name), self._pool.one, statement), str(name))

    async def _many(self, statements: Sequence[Statement]) -> Any:
        return await self._retried(lambda: self._crossed("transact", self._pool.unit, statements), "transact")

    async def _crossed(self, doing: str, fn: Callable[[*Ts], Coroutine[Any, Any, T]], *args: *Ts) -> T:
        with self._translated(doing):
            return await self.island.run(fn, *args)

    async def _retried(self, attempt: Callable[[], Awaitable[T]], doing: str) -> T:
        pause = FIRST_RETRY_SECONDS
        for number in range(1, self.limits.attempts + 1):
            try:
                return await attempt()
            except EntNotifyError as error:
                if not is_conflict(error):
                    raise
                if number == self.limits.attempts:
                    raise StoreBusy(
                        f"{doing}: lost against other transactions {number} times in a row; try again"
                    ) from error
            await self._clock.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter, not a secret
            pause *= 2
        raise AssertionError("unreachable: the last attempt returns or raises")


async def _blocks(database: Database, copy: CopyOut, name: str) -> AsyncGenerator[bytes, None]:
    while True:
        with database._translated(name):
            block = await database.island.run(copy.next_block)
        if block is None:
            return
        if block:
            yield block


def _statement(kind: Kind, name: str | Query, parameters: Mapping[str, Any]) -> Statement:
    found = name if isinstance(name, Query) else query(name)
    return Statement(kind, found.sql, found.bind(parameters))


def shown(dsn: str) -> str:
    """``dsn`` as messages may show it: no password, and of the parameters only where the server is."""
    scheme, separator, rest = dsn.partition("://")
    place, _, query_text = rest.partition("?")
    credentials, at, hosts = place.rpartition("@")  # the last one: a password may hold any character, if unwisely
    harmless = ("host=", "port=", "target_session_attrs=", "sslmode=")
    kept = "&".join(part for part in query_text.split("&") if part.startswith(harmless))
    return f"{scheme}{separator}{credentials.partition(':')[0]}{at}{hosts}" + (f"?{kept}" if kept else "")
