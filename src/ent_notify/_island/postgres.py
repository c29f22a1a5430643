"""The island's half of the store: an asyncpg pool, and the units of work that cross the bridge in one piece.

Nothing here knows a query: SQL text and ordered arguments come in, records go out. Errors are asyncpg's own; the
trio side (``ent_notify.store.database``) turns them into the house's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import asyncpg
from asyncpg.transaction import Transaction

from ent_notify._island import codecs, tasks

Kind = Literal["fetch", "fetchrow", "fetchval", "execute"]
Isolation = Literal["read_committed", "repeatable_read", "serializable"]

COPY_BLOCK_BYTES = 256 * 1024
"""COPY output crosses the bridge in blocks of at least this size."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, ready for the wire: SQL with ``$n``, the arguments in that order, and what is wanted back."""

    kind: Kind
    sql: str
    args: Sequence[Any] = ()


class NoConnection(Exception):
    """No connection came free in time. ``in_use`` of ``limit`` are busy."""

    def __init__(self, in_use: int, limit: int) -> None:
        self.in_use = in_use
        self.limit = limit
        super().__init__(f"{in_use} of {limit} connections are in use")


class ConnectionLost(Exception):
    """The connection is gone: closed by the server, the network, or the pool after either."""


class BadRecord(Exception):
    """A value of a COPY is not of its column's type."""


class ServerTooOld(Exception):
    """The server's major version is below what the pool was opened for; ``version`` is as the server writes it."""

    def __init__(self, version: str) -> None:
        self.version = version
        super().__init__(version)


class Pool:
    """A pool of connections to one server, with a limit and a time-out for getting one. Island side only."""

    def __init__(self, pool: asyncpg.Pool, acquire_timeout: float) -> None:
        self._pool = pool
        self._acquire_timeout = acquire_timeout

    @classmethod
    async def open(
        cls,
        dsn: str,
        *,
        smallest: int,
        largest: int,
        acquire_timeout: float,
        connect_timeout: float,
        oldest_major: int,
        session: dict[str, str],
    ) -> Pool:
        """Connect ``smallest`` connections; never more than ``largest``. Times in seconds.

        Raises ServerTooOld below PostgreSQL ``oldest_major``, and what the driver raises when it cannot connect.
        ``session`` are server settings of every connection. asyncpg's reset between two uses is left out: it is a round
        trip for each query, and no statement of the house leaves session state behind (an open transaction is still
        rolled back).
        """

        async def welcome(connection: Any) -> None:
            if connection.get_server_version().major < oldest_major:
                raise ServerTooOld(connection.get_settings().server_version)
            await codecs.install(connection)

        pool = await asyncpg.create_pool(
            dsn,
            min_size=smallest,
            max_size=largest,
            timeout=connect_timeout,
            server_settings=session,
            init=welcome,
            reset=_no_reset,
        )
        return cls(pool, acquire_timeout)

    async def close(self) -> None:
        """Close every connection; those still in use after five seconds are cut."""
        try:
            async with tasks.timeout(5):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def one(self, statement: Statement) -> Any:
        """Run one statement in a transaction of its own."""
        connection = await self._acquire()
        try:
            return await _run(connection, statement)
        finally:
            await self._pool.release(connection)  # shields itself: it goes on if we are cancelled here

    async def unit(self, statements: Sequence[Statement]) -> list[Any]:
        """Run all ``statements`` in one transaction; their results in order. All of them, or none."""
        lease = await self.begin()
        try:
            results = [await _run(lease.connection, statement) for statement in statements]
        except BaseException:
            await tasks.uncancelled(lease.rollback())
            raise
        await tasks.uncancelled(lease.commit())
        return results

    async def script(self, sql: str) -> None:
        """Run a text of several statements without arguments, as one implicit transaction."""
        connection = await self._acquire()
        try:
            await connection.execute(sql)
        finally:
            await tasks.uncancelled(self._pool.release(connection))

    async def begin(self, isolation: Isolation = "read_committed") -> Lease:
        """Take a connection and open a transaction on it. The caller must end it by ``commit`` or ``rollback``."""
        connection = await self._acquire()
        transaction = connection.transaction(isolation=isolation)
        try:
            await transaction.start()
        except BaseException:
            await tasks.uncancelled(self._pool.release(connection))
            raise
        return Lease(self._pool, connection, transaction)

    async def _acquire(self) -> Any:
        try:
            return await self._pool.acquire(timeout=self._acquire_timeout)
        except TimeoutError:
            in_use = self._pool.get_size() - self._pool.get_idle_size()
            raise NoConnection(in_use, self._pool.get_max_size()) from None


class Lease:
    """A connection inside an open transaction, held across several crossings."""

    def __init__(self, pool: asyncpg.Pool, connection: Any, transaction: Transaction) -> None:
        self.connection = connection
        self._pool = pool
        self._transaction = transaction

    async def run(self, statement: Statement) -> Any:
        """Run one statement in the transaction."""
        return await _run(self.connection, statement)

    async def unit(self, statements: Sequence[Statement]) -> list[Any]:
        """Run all ``statements`` in the transaction; their results in order."""
        return [await _run(self.connection, statement) for statement in statements]

    async def script(self, sql: str) -> None:
        """Run a text of several statements without arguments in the transaction."""
        with _honest(self.connection):
            await self.connection.execute(sql)

    async def copy_in(self, table: str, columns: Sequence[str], records: Sequence[Sequence[Any]], schema: str) -> None:
        """COPY ``records`` into ``table``."""
        with _honest(self.connection):
            try:
                await self.connection.copy_records_to_table(table, schema_name=schema, columns=columns, records=records)
            except (TypeError, ValueError, OverflowError, AttributeError) as error:  # from a codec, as it comes
                raise BadRecord(f"a value is not of its column's type: {error}") from error

    async def open_cursor(self, statement: Statement) -> Any:
        """A server-side cursor over ``statement``; read it by :meth:`next_rows`."""
        with _honest(self.connection):
            return await self.connection.cursor(statement.sql, *statement.args)

    async def next_rows(self, cursor: Any, limit: int) -> list[asyncpg.Record]:
        """The next ``limit`` rows of ``cursor``; empty at its end."""
        with _honest(self.connection):
            rows: list[asyncpg.Record] = await cursor.fetch(limit)
        return rows

    async def commit(self) -> None:
        """COMMIT, and give the connection back. Run it uncancelled: a torn COMMIT has an unknown outcome."""
        try:
            with _honest(self.connection):
                await self._transaction.commit()
        finally:
            await self._pool.release(self.connection)

    async def rollback(self) -> None:
        """ROLLBACK, and give the connection back; one that is lost is replaced by the pool."""
        try:
            lost = suppress(asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionLost, OSError)
            with lost, _honest(self.connection):
                await self._transaction.rollback()
        finally:
            await self._pool.release(self.connection)


class CopyOut:
    """A COPY of a query's rows on its way out: blocks of bytes, at most two in hand."""

    def __init__(self, lease: Lease, statement: Statement, format_: Literal["csv", "text", "binary"]) -> None:
        self._blocks: tasks.Queue[bytes | None] = tasks.Queue()
        self._room = tasks.Semaphore(2)
        self._gathered = bytearray()
        self._task = tasks.spawn(self._copy(lease, statement, format_), name="ent-notify copy out")

    @classmethod
    async def open(cls, lease: Lease, statement: Statement, format_: Literal["csv", "text", "binary"]) -> CopyOut:
        """Begin the COPY."""
        return cls(lease, statement, format_)

    async def next_block(self) -> bytes | None:
        """The next block; None at the end. Raises what the COPY raised."""
        block = await self._blocks.get()
        if block is None:
            await self._task
        self._room.release()
        return block

    async def aclose(self) -> None:
        """Stop the COPY if it still runs; the transaction can then only be rolled back."""
        self._task.cancel()
        with suppress(Exception, tasks.CancelledError):
            await self._task

    async def _copy(self, lease: Lease, statement: Statement, format_: str) -> None:
        try:
            await lease.connection.copy_from_query(statement.sql, *statement.args, output=self._gather, format=format_)
            self._blocks.put_nowait(bytes(self._gathered))
        finally:
            self._blocks.put_nowait(None)

    async def _gather(self, data: bytes) -> None:
        self._gathered += data
        if len(self._gathered) >= COPY_BLOCK_BYTES:
            await self._room.acquire()
            block, self._gathered = bytes(self._gathered), bytearray()
            self._blocks.put_nowait(block)


async def _run(connection: Any, statement: Statement) -> Any:
    with _honest(connection):
        run: Callable[..., Any] = getattr(connection, statement.kind)
        result = await run(statement.sql, *statement.args)
    return rows_touched(result) if statement.kind == "execute" else result


@contextmanager
def _honest(connection: Any) -> Iterator[None]:
    """The driver has one error for its misuse and for a lost connection; tell the second by its own name.

    When the server's farewell has been read but not yet the end of the stream, the driver takes the next statement for
    an error of its own: that connection is lost too, and must not go back to the pool.
    """
    try:
        yield
    except asyncpg.InternalClientError as error:
        with suppress(asyncpg.InterfaceError):
            connection.terminate()
        raise ConnectionLost(str(error)) from error
    except asyncpg.InterfaceError as error:
        try:
            lost = connection.is_closed()
        except asyncpg.InterfaceError:  # the pool has taken it back already, since it was lost
            lost = True
        if lost:
            raise ConnectionLost(str(error)) from error
        raise


def rows_touched(status: str) -> int:
    """The count in a command tag: ``UPDATE 3`` is 3, ``CREATE TABLE`` is 0."""
    count = status.rpartition(" ")[2]
    return int(count) if count.isdecimal() else 0


async def _no_reset(_: Any) -> None:
    return
