"""The island's half of the store: an asyncpg pool, and the units of work that cross the bridge in one piece.

Nothing here knows a query: SQL text and ordered arguments come in, records go out. Errors are asyncpg's own; the
trio side (``ent_notify.store.database``) turns them into the house's.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal

import asyncpg
from asyncpg.transaction import Transaction

from ent_notify._island import codecs, tasks
from ent_notify._island.servers import Servers

Kind = Literal["fetch", "fetchrow", "fetchval", "execute"]
Isolation = Literal["read_committed", "repeatable_read", "serializable"]


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
    """A pool of connections to one database, with a limit and a time-out for getting one. Island side only."""

    def __init__(self, pool: asyncpg.Pool, acquire_timeout: float, stop_timeout: float) -> None:
        self._pool = pool
        self._acquire_timeout = acquire_timeout
        self._stop_timeout = stop_timeout

    @classmethod
    async def open(
        cls,
        dsn: str,
        *,
        smallest: int,
        largest: int,
        acquire_timeout: float,
        connect_timeout: float,
        stop_timeout: float,
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
            notice_silence(connection)
            await codecs.install(connection)

        pool = await asyncpg.create_pool(
            dsn,
            connect=Servers(dsn).connect,
            min_size=smallest,
            max_size=largest,
            timeout=connect_timeout,
            server_settings=session,
            init=welcome,
            reset=_no_reset,
        )
        return cls(pool, acquire_timeout, stop_timeout)

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
            await self.give_back(connection)

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
            with _honest(connection):
                await connection.execute(sql)
        finally:
            await self.give_back(connection)

    async def begin(self, isolation: Isolation = "read_committed") -> Lease:
        """Take a connection and open a transaction on it. The caller must end it by ``commit`` or ``rollback``."""
        connection = await self._acquire()
        transaction = connection.transaction(isolation=isolation)
        try:
            await transaction.start()
        except BaseException:
            await self.give_back(connection)
            raise
        return Lease(self, connection, transaction)

    async def give_back(self, connection: Any) -> None:
        """Return a connection to the pool; going on in the background if the caller is cancelled.

        A statement that was cancelled may take a while to stop, and PostgreSQL may even miss the request (it was
        between two messages then). After ``stop_timeout`` the connection is cut instead.
        """
        with suppress(TimeoutError):  # cut
            await self._pool.release(connection, timeout=self._stop_timeout)

    async def end(self, connection: Any, transaction: Transaction) -> None:
        """ROLLBACK within ``stop_timeout``, or cut the connection; and give it back."""
        try:
            lost = suppress(asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionLost, OSError)
            with lost, _honest(connection):
                try:
                    async with tasks.timeout(self._stop_timeout):
                        await transaction.rollback()
                except TimeoutError:
                    connection.terminate()
        finally:
            await self.give_back(connection)

    async def _acquire(self) -> Any:
        try:
            return await self._pool.acquire(timeout=self._acquire_timeout)
        except TimeoutError:
            in_use = self._pool.get_size() - self._pool.get_idle_size()
            raise NoConnection(in_use, self._pool.get_max_size()) from None


class Lease:
    """A connection inside an open transaction, held across several crossings."""

    def __init__(self, pool: Pool, connection: Any, transaction: Transaction) -> None:
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
            await self._pool.give_back(self.connection)

    async def rollback(self) -> None:
        """ROLLBACK, and give the connection back; one that is lost is replaced by the pool."""
        await self._pool.end(self.connection, self._transaction)


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


def notice_silence(connection: Any) -> None:
    """Let the kernel end a TCP connection whose other side has said nothing for about a minute.

    A server that loses its power says no goodbye, and COMMIT is waited for without a limit of our own. asyncpg sets no
    such option, and only its transport leads to the socket. See tcp(7); macOS has other names, and keeps its defaults.
    """
    wire = connection._transport.get_extra_info("socket")
    if wire is None or wire.family == socket.AF_UNIX:
        return
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)  # seconds of silence before the first question
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)  # milliseconds for unanswered data


async def _no_reset(_: Any) -> None:
    return
