"""The Database on a real server: statements, transactions, cancellation, conflicts, errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import asyncpg
import pytest
import trio
import trio.testing

from ent_notify._island import Island
from ent_notify._island.codecs import INFINITY, MINUS_INFINITY
from ent_notify.errors import (
    EntNotifyError,
    MalformedEvent,
    NotAllowed,
    NotFound,
    StoreBusy,
    StoreError,
    StoreUnreachable,
    StoreVersionError,
    UnknownAudience,
)
from ent_notify.store import Database, PoolLimits, Transaction, open_database
from ent_notify.store.database import shown
from ent_notify.store.embedded import EmbeddedServer
from ent_notify.store.sql import Query


def ask(sql: str, *parameters: str) -> Query:
    """A query of a test's own."""
    return Query("test.query", "", sql, parameters)


SLEEP = ask("select pg_sleep($1)", "seconds")
ADD = ask("insert into note (id, body) values ($1, $2)", "id", "body")
COUNT = ask("select count(*) from note")
BACKEND = ask("select pg_backend_pid()")
SLEEPERS = ask(
    "select count(*) from pg_stat_activity where datname = current_database() and query like '%pg_sleep%' "
    "and state = 'active' and pid <> pg_backend_pid()"
)


@pytest.fixture
async def notes(empty_dsn: str, island: Island) -> AsyncIterator[Database]:
    """A database with one small table, and two connections at most."""
    limits = PoolLimits(largest=2)
    async with open_database(empty_dsn, island, limits=limits, check_schema=False) as database:
        await database.script("create schema ent_notify; create table ent_notify.note (id int primary key, body jsonb)")
        yield database


class CountingClock:
    """A clock that lets no time pass, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.sleeps: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 9, 1, tzinfo=UTC)

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        await trio.lowlevel.checkpoint()


async def until_asleep(database: Database) -> None:
    """Wait until some connection of ``database`` runs pg_sleep."""
    while not await database.fetchval(SLEEPERS):
        await trio.lowlevel.checkpoint()


# ---------------------------------------------------------------- statements and values


async def test_rows_row_value_and_count(notes: Database) -> None:
    assert await notes.execute(ADD, id=1, body={"a": [1, "é"]}) == 1
    assert await notes.execute(ADD, id=2, body=None) == 1
    assert [tuple(row) for row in await notes.fetch(ask("select id, body from note order by id"))] == [
        (1, {"a": [1, "é"]}),
        (2, None),
    ]
    row = await notes.fetchrow(ask("select id, body from note where id = $1", "id"), id=1)
    assert row is not None
    assert (row["id"], row["body"]) == (1, {"a": [1, "é"]})
    assert await notes.fetchrow(ask("select id from note where id = $1", "id"), id=9) is None
    assert await notes.fetchval(COUNT) == 2
    assert await notes.execute(ask("update note set body = '{}'")) == 2


async def test_instants_are_aware_and_infinity_is_the_end_of_the_calendar(notes: Database) -> None:
    echo = ask("select $1::timestamptz", "at")
    instant = datetime(2026, 9, 1, 8, 30, 0, 123456, tzinfo=UTC)
    assert await notes.fetchval(echo, at=instant) == instant
    for aware, text in ((INFINITY, "infinity"), (MINUS_INFINITY, "-infinity")):
        assert await notes.fetchval(ask("select ($1::timestamptz)::text", "at"), at=aware) == text
        assert await notes.fetchval(ask(f"select '{text}'::timestamptz")) == aware
    with pytest.raises(StoreError, match="has no time zone"):
        await notes.fetchval(echo, at=datetime(2026, 9, 1))  # noqa: DTZ001 - the point of this line


async def test_the_two_passes_of_an_autumn_hour_stay_apart(notes: Database) -> None:
    first = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Paris"))
    second = first.replace(fold=1)
    echo = ask("select $1::timestamptz", "at")
    assert (await notes.fetchval(echo, at=second)) - (await notes.fetchval(echo, at=first)) == timedelta(hours=1)


async def test_a_session_lives_in_our_schema_and_in_utc(notes: Database) -> None:
    for name, value in (("search_path", "ent_notify"), ("TimeZone", "UTC"), ("application_name", "ent-notify")):
        assert await notes.fetchval(ask("select current_setting($1)", "name"), name=name) == value


async def test_transact_is_all_or_nothing(notes: Database) -> None:
    rows = await notes.transact([(ADD, {"id": 1, "body": 1}), (ask("select id from note"), {})])
    assert [[tuple(row) for row in batch] for batch in rows] == [[], [(1,)]]
    with pytest.raises(StoreError, match="duplicate key") as caught:
        await notes.transact([(ADD, {"id": 2, "body": 2}), (ADD, {"id": 1, "body": 3})])
    assert caught.value.sqlstate == "23505"
    assert isinstance(caught.value.__cause__, asyncpg.UniqueViolationError)
    assert await notes.fetchval(COUNT) == 1


# ---------------------------------------------------------------- transactions


async def test_a_block_commits_or_rolls_back(notes: Database) -> None:
    async with notes.transaction() as tx:
        await tx.execute(ADD, id=1, body=1)
        await tx.transact([(ADD, {"id": 2, "body": 2})])
        assert await tx.fetchval(COUNT) == 2
        assert await notes.fetchval(COUNT) == 0
    assert await notes.fetchval(COUNT) == 2
    with pytest.raises(LookupError):
        async with notes.transaction() as tx:
            await tx.execute(ADD, id=3, body=3)
            raise LookupError
    assert await notes.fetchval(COUNT) == 2


async def test_isolation_is_what_was_asked_for(notes: Database) -> None:
    async with notes.transaction(isolation="repeatable_read") as tx:
        assert await tx.fetchval(COUNT) == 0
        await notes.execute(ADD, id=1, body=1)
        assert await tx.fetchval(COUNT) == 0
        assert await tx.fetchval(ask("show transaction_isolation")) == "repeatable read"


async def test_a_cancelled_block_rolls_back_and_gives_its_connection_back(notes: Database) -> None:
    for number in range(5):  # more often than there are connections
        with trio.CancelScope() as scope:
            async with notes.transaction() as tx:
                await tx.execute(ADD, id=number, body=0)
                scope.cancel()
                await tx.fetchval(COUNT)
        assert scope.cancelled_caught
    assert await notes.fetchval(COUNT) == 0


async def test_a_query_cancelled_half_way_leaves_its_connection_usable(empty_dsn: str, island: Island) -> None:
    limits = PoolLimits(smallest=1, largest=1)
    async with (
        open_database(empty_dsn, island, limits=limits, check_schema=False) as one,
        open_database(empty_dsn, island, check_schema=False) as watcher,
    ):
        backend = await one.fetchval(BACKEND)
        for _ in range(3):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def sleep() -> None:
                        await one.fetchval(SLEEP, seconds=60)

                    nursery.start_soon(sleep)
                    await until_asleep(watcher)
                    scope.cancel()
            assert scope.cancelled_caught
            assert await one.fetchval(BACKEND) == backend
            assert await watcher.fetchval(SLEEPERS) == 0


async def test_a_query_cancelled_inside_a_transaction_rolls_it_back(notes: Database) -> None:
    async def work(scope: trio.CancelScope) -> None:
        with scope:
            async with notes.transaction() as tx:
                await tx.execute(ADD, id=1, body=1)
                await tx.fetchval(SLEEP, seconds=60)

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work, scope)
        await until_asleep(notes)
        scope.cancel()
    assert scope.cancelled_caught
    assert await notes.fetchval(COUNT) == 0


@pytest.mark.parametrize("way", ["statement", "transaction", "transact"])
async def test_a_statement_that_does_not_stop_when_cancelled_is_cut(empty_dsn: str, island: Island, way: str) -> None:
    limits = PoolLimits(smallest=1, largest=1, stop_timeout=0.1)
    stubborn = ask("select stubborn()")

    async def work(database: Database, scope: trio.CancelScope) -> None:
        with scope:
            if way == "statement":
                await database.fetchval(stubborn)
            elif way == "transact":
                await database.transact([(stubborn, {})])
            else:
                async with database.transaction() as tx:
                    await tx.fetchval(stubborn)

    async with (
        open_database(empty_dsn, island, limits=limits, check_schema=False) as one,
        open_database(empty_dsn, island, check_schema=False) as watcher,
    ):
        await one.script(
            """
            create schema ent_notify;
            create function ent_notify.stubborn() returns void language plpgsql as $$ begin
                loop
                    begin perform pg_sleep(60); exception when query_canceled then null; end;
                end loop;
            end $$
            """
        )
        backend = await one.fetchval(BACKEND)
        busy = ask("select count(*) from pg_stat_activity where pid = $1 and wait_event = 'PgSleep'", "pid")
        scope = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, one, scope)
            while not await watcher.fetchval(busy, pid=backend):
                await trio.lowlevel.checkpoint()
            scope.cancel()
        assert scope.cancelled_caught
        assert await one.fetchval(BACKEND) != backend
        await watcher.fetchval(ask("select pg_terminate_backend($1)", "pid"), pid=backend)


@pytest.mark.parametrize("way", ["transaction", "transact"])
async def test_commit_is_not_torn_by_a_cancellation(notes: Database, way: str) -> None:
    await notes.script(
        """
        create function ent_notify.slowly() returns trigger language plpgsql as
            $$ begin perform pg_sleep(0.2); return null; end $$;
        create constraint trigger slowly after insert on ent_notify.note
            deferrable initially deferred for each row execute function ent_notify.slowly();
        """
    )
    committing = ask(
        "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'commit%' "
        "and state = 'active'"
    )

    async def work(scope: trio.CancelScope) -> None:
        with scope:
            if way == "transact":
                await notes.transact([(ADD, {"id": 1, "body": 1})])
            else:
                async with notes.transaction() as tx:
                    await tx.execute(ADD, id=1, body=1)

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work, scope)
        while not await notes.fetchval(committing):
            await trio.lowlevel.checkpoint()
        scope.cancel()
    assert await notes.fetchval(COUNT) == 1


async def test_sixteen_callers_share_two_connections(notes: Database) -> None:
    seen: set[int] = set()

    async def caller(number: int) -> None:
        for turn in range(10):
            await notes.execute(ADD, id=number * 10 + turn, body=number)
            seen.add(await notes.fetchval(BACKEND))

    async with trio.open_nursery() as nursery:
        for number in range(16):
            nursery.start_soon(caller, number)
    assert await notes.fetchval(COUNT) == 160
    assert len(seen) <= 2


async def test_closing_leaves_no_connection(dsn: str, empty_dsn: str, island: Island) -> None:
    left = ask("select count(*) from pg_stat_activity where datname = $1", "name")
    name = dsn.partition("?")[0].rpartition("/")[2]
    async with open_database(empty_dsn, island, check_schema=False) as watcher:
        async with open_database(dsn, island, limits=PoolLimits(smallest=4)) as database:
            await database.fetchval(ask("select 1"))
            assert await watcher.fetchval(left, name=name) == 4
        for _ in range(200):  # a server process ends a moment after its client
            if not await watcher.fetchval(left, name=name):
                break
            await watcher.fetchval(SLEEP, seconds=0.01)
        assert await watcher.fetchval(left, name=name) == 0


# ---------------------------------------------------------------- conflicts and limits


async def test_a_full_pool_is_store_busy(empty_dsn: str, island: Island) -> None:
    limits = PoolLimits(smallest=1, largest=1, acquire_timeout=0.01)
    async with (
        open_database(empty_dsn, island, limits=limits, check_schema=False) as database,
        database.transaction(),
    ):
        with pytest.raises(StoreBusy, match=r"1 of 1 connections are in use.*raise the pool size"):
            await database.fetchval(BACKEND)


async def test_a_caller_cancelled_while_it_waits_for_a_connection_takes_none(notes: Database) -> None:
    async with notes.transaction(), notes.transaction():  # both connections
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(notes.fetchval, BACKEND)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
    assert await notes.fetchval(COUNT) == 0
    async with notes.transaction(), notes.transaction():
        pass


async def flaky(database: Database, failures: int, sqlstate: str) -> Query:
    """A statement that fails ``failures`` times with ``sqlstate``; a sequence remembers across rollbacks."""
    await database.script(
        f"""
        create sequence ent_notify.tries;
        create function ent_notify.flaky() returns bigint language plpgsql as $$ begin
            if nextval('ent_notify.tries') <= {failures} then
                raise exception 'lost' using errcode = '{sqlstate}';
            end if;
            return currval('ent_notify.tries');
        end $$;
        """
    )
    return ask("select flaky()")


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"], ids=["serialization", "deadlock"])
@pytest.mark.parametrize("way", ["statement", "transact", "unit"])
async def test_a_lost_conflict_is_tried_again(empty_dsn: str, island: Island, sqlstate: str, way: str) -> None:
    clock = CountingClock()
    async with open_database(empty_dsn, island, clock=clock, check_schema=False) as database:
        await database.script("create schema ent_notify")
        query = await flaky(database, 3, sqlstate)
        if way == "statement":
            assert await database.fetchval(query) == 4
        elif way == "transact":
            assert (await database.transact([(query, {})]))[0][0][0] == 4
        else:

            async def unit(tx: Transaction, more: int) -> int:
                value: int = await tx.fetchval(query)
                return value + more

            assert await database.atomically(unit, 100) == 104
    assert len(clock.sleeps) == 3
    assert all(0.005 * 2**n <= pause <= 0.01 * 2**n for n, pause in enumerate(clock.sleeps))


async def test_a_conflict_that_outlives_its_attempts_is_store_busy(empty_dsn: str, island: Island) -> None:
    clock = CountingClock()
    limits = PoolLimits(attempts=4)
    async with open_database(empty_dsn, island, limits=limits, clock=clock, check_schema=False) as database:
        await database.script("create schema ent_notify")
        query = await flaky(database, 99, "40001")
        with pytest.raises(StoreBusy, match="lost against other transactions 4 times"):
            await database.fetchval(query)
        assert await database.fetchval(ask("select last_value from tries")) == 4


async def test_an_open_block_is_not_tried_again_by_itself(notes: Database) -> None:
    query = await flaky(notes, 1, "40001")
    with pytest.raises(StoreBusy, match="lost") as caught:
        async with notes.transaction() as tx:
            await tx.fetchval(query)
    assert caught.value.sqlstate == "40001"


async def test_two_units_that_deadlock_both_end_well(notes: Database) -> None:
    await notes.transact([(ADD, {"id": 1, "body": 0}), (ADD, {"id": 2, "body": 0})])
    add_one = ask("update note set body = to_jsonb(body::int + 1) where id = $1", "id")
    both_hold = [trio.Event(), trio.Event()]

    async def unit(tx: Transaction, me: int) -> None:
        await tx.execute(ask("set local deadlock_timeout = '10ms'"))
        await tx.execute(add_one, id=1 + me)
        both_hold[me].set()
        await both_hold[1 - me].wait()
        await tx.execute(add_one, id=2 - me)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(notes.atomically, unit, 0)
        nursery.start_soon(notes.atomically, unit, 1)
    assert [row[0] for row in await notes.fetch(ask("select body from note order by id"))] == [2, 2]


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("sqlstate", "error"),
    [("EN001", UnknownAudience), ("EN002", MalformedEvent), ("EN003", NotFound), ("EN004", NotAllowed)],
)
async def test_our_functions_refusals_keep_their_words(
    notes: Database, sqlstate: str, error: type[EntNotifyError]
) -> None:
    await notes.script(
        f"""
        create function ent_notify.refuse() returns void language plpgsql as $$ begin
            raise exception 'no class 6A in 0541234A' using errcode = '{sqlstate}', hint = 'left out';
        end $$
        """
    )
    with pytest.raises(error) as caught:
        await notes.fetch(ask("select refuse()"))
    assert str(caught.value) == "no class 6A in 0541234A"


async def test_an_error_names_the_query_and_keeps_the_islands_traceback(notes: Database) -> None:
    with pytest.raises(StoreError, match=r"^test.query: relation \"nowhere\" does not exist$") as caught:
        await notes.fetch(ask("select * from nowhere"))
    cause = caught.value.__cause__
    assert isinstance(cause, asyncpg.UndefinedTableError)
    frames = [cause.__traceback__]
    while (last := frames[-1]) is not None and last.tb_next is not None:
        frames.append(last.tb_next)
    assert any(frame is not None and "postgres.py" in frame.tb_frame.f_code.co_filename for frame in frames)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:s3cret@127.0.0.1:1/db",
        "postgresql://u:s3cret@/db?host=/nowhere/at/all",
        "postgresql://h:port/db",
    ],
    ids=["nobody listens", "no socket", "no address at all"],
)
async def test_a_server_that_is_not_there(dsn: str, island: Island) -> None:
    with pytest.raises(StoreUnreachable) as caught:
        async with open_database(dsn, island):
            pass
    assert "s3cret" not in str(caught.value)
    assert shown(dsn) in str(caught.value)


async def test_a_database_that_is_not_there(postgres: EmbeddedServer, island: Island) -> None:
    with pytest.raises(StoreUnreachable, match=r'database "nowhere" does not exist'):
        async with open_database(postgres.dsn("nowhere"), island):
            pass


async def test_misuse_is_not_taken_for_a_lost_connection(notes: Database) -> None:
    for call in (ask("select $1::int", "id"), ask("select $1::timestamptz", "id")):
        with pytest.raises(StoreError) as caught:
            await notes.fetch(call, id="no such thing")
        assert type(caught.value) is StoreError


async def test_a_cut_connection_is_unreachable_then_replaced(notes: Database) -> None:
    with pytest.raises(StoreUnreachable, match=r"the connection to PostgreSQL at .* failed"):
        async with notes.transaction() as tx:
            mine = await tx.fetchval(BACKEND)
            await notes.fetchval(ask("select pg_terminate_backend($1)", "pid"), pid=mine)
            await tx.fetchval(BACKEND)
    for _ in range(4):
        assert await notes.fetchval(COUNT) == 0


async def test_a_server_older_than_16_is_refused(island: Island) -> None:
    def message(kind: bytes, body: bytes) -> bytes:
        return kind + (len(body) + 4).to_bytes(4, "big") + body

    async def old_server(stream: trio.SocketStream) -> None:
        length = int.from_bytes(await stream.receive_some(4), "big")
        assert b"search_path" in await stream.receive_some(length - 4)
        parameters = {"server_version": "15.9", "client_encoding": "UTF8", "TimeZone": "UTC", "in_hot_standby": "off"}
        await stream.send_all(message(b"R", bytes(4)))
        for name, value in parameters.items():
            await stream.send_all(message(b"S", f"{name}\0{value}\0".encode()))
        await stream.send_all(message(b"K", bytes(8)) + message(b"Z", b"I"))
        assert await stream.receive_some(5) == message(b"X", b"")  # the client says goodbye

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, old_server, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(StoreVersionError, match=r"is 15\.9: ent_notify needs 16 or newer"):
            async with open_database(f"postgresql://u@127.0.0.1:{port}/db?sslmode=disable", island):
                pass
        nursery.cancel_scope.cancel()


def test_a_shown_address_has_no_password() -> None:
    assert shown("postgresql://u:p%40ss@h1:1,h2:2/db?target_session_attrs=primary") == (
        "postgresql://u@h1:1,h2:2/db?target_session_attrs=primary"
    )
    assert shown("postgresql:///db") == "postgresql:///db"
    assert shown("postgresql://u:a/b@c@h/db?password=x&host=/run") == "postgresql://u@h/db?host=/run"
