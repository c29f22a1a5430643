"""LISTEN: hints arrive, are coalesced, and survive a lost connection and a server's restart."""

from __future__ import annotations

import pytest
import trio

from ent_notify._island import Island
from ent_notify.errors import StoreUnreachable
from ent_notify.store import Database, open_database
from ent_notify.store.sql import Query

NOTIFY = Query("test.notify", "", "select pg_notify($1, $2)", ("channel", "payload"))
CUT = Query(
    "test.cut",
    "",
    "select count(pg_terminate_backend(pid)) from pg_stat_activity "
    "where datname = current_database() and application_name = 'ent-notify listen'",
    (),
)
LISTENERS = Query(
    "test.listeners",
    "",
    "select count(*) from pg_stat_activity "
    "where datname = current_database() and application_name = 'ent-notify listen'",
    (),
)


async def test_payloads_arrive_and_are_coalesced(database: Database) -> None:
    async with database.listen("feed") as hints:
        await database.fetchval(NOTIFY, channel="feed", payload="a")
        assert await anext(hints) == "a"
        await database.transact(
            [(NOTIFY, {"channel": "feed", "payload": payload}) for payload in ("b", "c")]
            + [(NOTIFY, {"channel": "other", "payload": "not ours"})]
        )
        await database.fetchval(NOTIFY, channel="feed", payload="b")
        await database.fetchval(NOTIFY, channel="feed", payload="end")
        got: list[str] = []
        async for payload in hints:
            got.append(payload)
            if payload == "end":
                break
    assert set(got) == {"b", "c", "end"}


async def test_many_equal_hints_are_few(database: Database) -> None:
    async with database.listen("feed") as hints:
        for _ in range(50):
            await database.fetchval(NOTIFY, channel="feed", payload="again")
        await database.fetchval(NOTIFY, channel="feed", payload="end")
        got: list[str] = []
        async for payload in hints:
            got.append(payload)
            if payload == "end":
                break
    assert set(got) == {"again", "end"}
    assert len(got) < 51  # nobody read while they came, so most of the fifty were one


async def test_a_lost_connection_is_replaced_and_announced_by_an_empty_hint(database: Database) -> None:
    async with database.listen("feed") as hints:
        for _ in range(3):
            assert await database.fetchval(CUT) == 1
            assert await anext(hints) == ""
            await database.fetchval(NOTIFY, channel="feed", payload="still here")
            assert await anext(hints) == "still here"


async def test_leaving_closes_the_connection_even_when_cancelled(database: Database) -> None:
    with trio.CancelScope() as scope:
        async with database.listen("feed") as hints:
            assert await database.fetchval(LISTENERS) == 1
            scope.cancel()
            await anext(hints)
    assert scope.cancelled_caught
    while await database.fetchval(LISTENERS):  # the server notices a moment later
        await trio.lowlevel.checkpoint()


async def test_listening_to_nobody_says_so_at_once(empty_dsn: str, island: Island) -> None:
    async with open_database(empty_dsn, island, check_schema=False) as database:
        database.dsn = "postgresql://nobody@127.0.0.1:1/nowhere"
        with pytest.raises(StoreUnreachable, match="listen feed"):
            async with database.listen("feed"):
                pass
