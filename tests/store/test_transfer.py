"""Many rows at once: streams and COPY, whole, left half-way, and failing in the middle."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from ent_notify._island import Island
from ent_notify.errors import StoreError
from ent_notify.store import Database, PoolLimits, open_database
from ent_notify.store.sql import Query

NUMBERS = Query("test.numbers", "", "select n, 'x' || n as name from generate_series(1, $1::int) n", ("most",))
FAILS_LATE = Query("test.fails_late", "", "select 1 / ($1::int - n) from generate_series(1, $1::int) n", ("most",))
COUNT = Query("test.count", "", "select count(*) from bulk", ())
BACKEND = Query("test.backend", "", "select pg_backend_pid()", ())
COLUMNS = ("id", "name")


@pytest.fixture
async def bulk(empty_dsn: str, island: Island) -> AsyncIterator[Database]:
    """A database with one empty table, and a single connection: what is not given back is missed at once."""
    limits = PoolLimits(largest=1, acquire_timeout=5)
    async with open_database(empty_dsn, island, limits=limits, check_schema=False) as database:
        await database.script("create schema ent_notify; create table ent_notify.bulk (id int primary key, name text)")
        yield database


# ---------------------------------------------------------------- streams


async def test_a_stream_gives_every_row_in_batches(bulk: Database) -> None:
    async with bulk.stream(NUMBERS, prefetch=100, most=250) as batches:
        sizes = [len(rows) async for rows in batches]
    assert sizes == [100, 100, 50]
    async with bulk.stream(NUMBERS, prefetch=100, most=200) as batches:
        assert [row["n"] async for rows in batches for row in rows] == list(range(1, 201))
    async with bulk.stream(NUMBERS, most=0) as batches:
        assert [rows async for rows in batches] == []


async def test_a_stream_left_half_way_gives_its_connection_back(bulk: Database) -> None:
    backend = await bulk.fetchval(BACKEND)
    async with bulk.stream(NUMBERS, prefetch=10, most=1_000_000) as batches:
        async for rows in batches:
            assert rows[0]["n"] == 1
            break
    assert await bulk.fetchval(BACKEND) == backend


async def test_a_stream_left_by_an_error_or_a_cancellation_gives_its_connection_back(bulk: Database) -> None:
    backend = await bulk.fetchval(BACKEND)
    with pytest.raises(LookupError):
        async with bulk.stream(NUMBERS, prefetch=10, most=1000) as batches:
            async for _ in batches:
                raise LookupError
    with trio.CancelScope() as scope:
        async with bulk.stream(NUMBERS, prefetch=10, most=1000) as batches:
            async for _ in batches:
                scope.cancel()
    assert scope.cancelled_caught
    assert await bulk.fetchval(BACKEND) == backend


async def test_a_stream_that_fails_in_the_middle_says_so(bulk: Database) -> None:
    seen = 0
    with pytest.raises(StoreError, match=r"test.fails_late: division by zero"):
        async with bulk.stream(FAILS_LATE, prefetch=10, most=25) as batches:
            async for rows in batches:
                seen += len(rows)
    assert seen == 20
    assert await bulk.fetchval(COUNT) == 0


# ---------------------------------------------------------------- COPY in


def people(most: int) -> Iterator[tuple[int, str]]:
    for number in range(most):
        yield number, f"élève {number}"


async def test_copy_in_takes_any_iterable_and_counts(bulk: Database) -> None:
    assert await bulk.copy_in("bulk", columns=COLUMNS, records=people(25_000)) == 25_000
    assert await bulk.fetchval(COUNT) == 25_000
    assert await bulk.copy_in("bulk", columns=COLUMNS, records=[]) == 0


async def test_copy_in_reads_its_records_on_the_callers_thread(bulk: Database) -> None:
    seen: set[str] = set()

    def records() -> Iterator[tuple[int, str]]:
        seen.add(threading.current_thread().name)
        yield 1, "a"

    await bulk.copy_in("bulk", columns=COLUMNS, records=records())
    assert seen == {threading.current_thread().name}


@pytest.mark.parametrize("at", [5, 15_000], ids=["in the first slice", "in the second"])
async def test_copy_in_failing_in_the_middle_writes_nothing(bulk: Database, at: int) -> None:
    def one_is_wrong() -> Iterator[tuple[object, object]]:
        for number in range(20_000):
            yield (number, 3.5) if number == at else (number, "x")

    def one_is_double() -> Iterator[tuple[int, str]]:
        yield from people(at)
        yield at - 1, "again"

    def the_source_breaks() -> Iterator[tuple[int, str]]:
        yield from people(at)
        raise LookupError("the export ends here")

    with pytest.raises(StoreError, match="copy into bulk"):
        await bulk.copy_in("bulk", columns=COLUMNS, records=one_is_wrong())
    with pytest.raises(StoreError, match="duplicate key") as caught:
        await bulk.copy_in("bulk", columns=COLUMNS, records=one_is_double())
    assert caught.value.sqlstate == "23505"
    with pytest.raises(LookupError, match="the export ends here"):
        await bulk.copy_in("bulk", columns=COLUMNS, records=the_source_breaks())
    assert await bulk.fetchval(COUNT) == 0


async def test_copy_in_inside_a_transaction_goes_with_it(bulk: Database) -> None:
    with pytest.raises(LookupError):
        async with bulk.transaction() as tx:
            assert await tx.copy_in("bulk", columns=COLUMNS, records=people(10)) == 10
            assert await tx.fetchval(COUNT) == 10
            raise LookupError
    assert await bulk.fetchval(COUNT) == 0


# ---------------------------------------------------------------- COPY out


async def test_copy_out_gives_all_the_bytes(bulk: Database) -> None:
    async with bulk.copy_out(NUMBERS, form="csv", most=100_000) as blocks:
        data = b"".join([block async for block in blocks])
    assert data == b"".join(b"%d,x%d\n" % (n, n) for n in range(1, 100_001))
    async with bulk.copy_out(NUMBERS, most=0) as blocks:
        assert [block async for block in blocks] == []


async def test_copy_out_does_not_run_ahead_of_its_reader(bulk: Database) -> None:
    async with bulk.copy_out(NUMBERS, most=3_000_000) as blocks:
        async for block in blocks:
            assert len(block) < 1_000_000
            break
    assert await bulk.fetchval(COUNT) == 0


async def test_copy_out_left_by_an_error_or_a_cancellation_gives_its_connection_back(bulk: Database) -> None:
    with pytest.raises(LookupError):
        async with bulk.copy_out(NUMBERS, most=1_000_000) as blocks:
            async for _ in blocks:
                raise LookupError
    with trio.CancelScope() as scope:
        async with bulk.copy_out(NUMBERS, most=1_000_000) as blocks:
            async for _ in blocks:
                scope.cancel()
    assert scope.cancelled_caught
    assert await bulk.fetchval(COUNT) == 0


async def test_copy_out_that_fails_in_the_middle_says_so(bulk: Database) -> None:
    with pytest.raises(StoreError, match=r"test.fails_late: division by zero"):
        async with bulk.copy_out(FAILS_LATE, most=500_000) as blocks:
            async for _ in blocks:
                pass
    assert await bulk.fetchval(COUNT) == 0
