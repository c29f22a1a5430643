"""What phones write: once, however often it is sent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import trio
from tests.engine.conftest import Town, open_town

from ent_notify.errors import MalformedSync
from ent_notify.model.upkeep import Chore
from ent_notify.wire.forms import JSON, MSGPACK
from ent_notify.wire.sync import read_writes

from .device import send
from .test_deltas import publish, reader


def post(conversation: int, client_id: str = "c1", body: str = "Merci") -> dict[str, Any]:
    return {"client_id": client_id, "kind": "post", "conversation": conversation, "body": body}


async def bodies(town: Town, conversation: int) -> list[str]:
    read = await town.engine.conversation(conversation, await reader(town))
    return [message.body for message in read.messages]


@pytest.mark.parametrize("form", [JSON, MSGPACK])
async def test_a_batch_sent_again_is_the_same_batch_with_the_same_answers(town: Town, form: str) -> None:
    gil = await reader(town)
    number, _ = await town.engine.start_conversation("P21", ["P11"], "Sortie", "Bonjour")
    await publish(town, "one")
    await publish(town, "two")
    writes = [
        post(number),
        {"client_id": "c2", "kind": "read", "seqs": [2]},
        post(number, "c3", "Encore"),
        {"client_id": "c4", "kind": "read_all", "upto": 1},
        {"client_id": "c5", "kind": "read_conversation", "conversation": number, "upto": 1},
    ]
    first = await send(town.engine, gil, writes, form)
    assert [answer["done"] for answer in first] == [True] * 5
    assert [answer["result"] for answer in first] == [
        {"conversation": number, "seq": 2}, {}, {"conversation": number, "seq": 3}, {}, {}
    ]  # fmt: skip
    town.clock.advance(timedelta(days=29))
    assert await send(town.engine, gil, writes, form) == first
    assert await send(town.engine, gil, writes[2:], form) == first[2:]
    assert await bodies(town, number) == ["Bonjour", "Merci", "Encore"]
    assert [entry.is_read for entry in await town.engine.inbox(gil)] == [False, True, True]  # newest first


async def test_two_retries_at_once_write_once(town: Town, town_dsn: str) -> None:
    number, _ = await town.engine.start_conversation("P21", ["P11"], "Sortie", "Bonjour")
    answers: list[Any] = []

    async def retry(elsewhere: Town) -> None:
        batch = [post(number), post(number, "c2", "Encore")]
        answers.append(await send(elsewhere.engine, await reader(elsewhere), batch))

    async with open_town(town_dsn) as other, trio.open_nursery() as nursery:
        for each in (town, other, town, other):
            nursery.start_soon(retry, each)
    assert len(answers) == 4
    assert all(answer == answers[0] for answer in answers)
    assert await bodies(town, number) == ["Bonjour", "Merci", "Encore"]


async def test_client_ids_are_a_persons_own(town: Town) -> None:
    number, _ = await town.engine.start_conversation("P21", ["P11"], "Sortie", "Bonjour")
    for person in ("P11", "P21"):
        assert (await send(town.engine, await reader(town, person), [post(number)]))[0]["done"]
    assert await bodies(town, number) == ["Bonjour", "Merci", "Merci"]


async def test_a_client_id_for_another_message_is_refused(town: Town) -> None:
    number, _ = await town.engine.start_conversation("P21", ["P11"], "Sortie", "Bonjour")
    gil = await reader(town)
    await send(town.engine, gil, [post(number)])
    (answer,) = await send(town.engine, gil, [post(number, body="Autre chose")])
    assert not answer["done"]
    assert "'c1' was used for another message" in answer["error"]
    assert await bodies(town, number) == ["Bonjour", "Merci"]


async def test_bad_writes_are_answered_one_by_one_and_good_ones_applied(town: Town) -> None:
    gil, hal = await reader(town), await reader(town, "P12")
    number, _ = await town.engine.start_conversation("P21", ["P11"], "Sortie", "Bonjour")
    theirs, _ = await town.engine.start_conversation("P21", ["P12"], "Autre", "Bonjour")
    writes = [
        post(theirs, "stranger"), post(10_000, "nowhere"), post(number, "empty", ""), post(number, "good"),
        {"client_id": "kind", "kind": "unread"}, {"client_id": "fields", "kind": "read", "seqs": [1], "upto": 2},
        {"client_id": "lacks", "kind": "read_all"}, {"client_id": "numbers", "kind": "read", "seqs": ["1"]},
        post(number, "nul", "a\0b"), post(number, "truth") | {"conversation": True},
    ]  # fmt: skip
    answers = {answer["client_id"]: answer for answer in await send(town.engine, gil, writes)}
    assert [name for name, answer in answers.items() if answer["done"]] == ["good"]
    errors = {name: answer["error"] for name, answer in answers.items() if not answer["done"]}
    assert errors["stranger"] == errors["nowhere"].replace("10000", str(theirs))  # the same for both
    assert errors["empty"] == '"body" is a text of 1 to 20000 characters, and not blank'
    assert errors["kind"].startswith('"kind" is one of read, read_all, read_conversation, acknowledge, post')
    assert "has no field 'upto'; it has seqs" in errors["fields"]
    assert "lacks its field 'upto'" in errors["lacks"]
    assert await bodies(town, number) == ["Bonjour", "Merci"]

    # what was not applied has used up no id: it may be put right
    assert (await send(town.engine, hal, [post(theirs, "stranger")]))[0]["done"]
    assert (await send(town.engine, gil, [post(number, "nowhere", "Encore")]))[0]["done"]


async def test_marks_stay_within_the_readers_own_inbox(town: Town) -> None:
    gil = await reader(town)
    await publish(town, "one")
    await publish(town, "not theirs", {"group": "0540001A/class/6A"})
    await publish(town, "three")
    await send(town.engine, gil, [{"client_id": "a", "kind": "read", "seqs": [2, 3, 2_000_000]}])
    assert await marks(town) == (0, [3])
    for upto, done in ((4, False), (3, True)):
        (answer,) = await send(town.engine, gil, [{"client_id": "b", "kind": "read_all", "upto": upto}])
        assert answer["done"] is done
    assert await marks(town) == (3, [])


async def marks(town: Town) -> tuple[int, list[int]]:
    row = await town.engine.db.fetchrow("sync.state", person_id=11, now=town.clock.now())
    assert row is not None
    return row["watermark"], row["above"]


async def test_taking_note_is_written_once_and_keeps_its_first_instant(town: Town) -> None:
    gil = await reader(town)
    number, other = await publish(town, "one"), await publish(town, "not theirs", {"person": "P12"})
    write = {"client_id": "a", "kind": "acknowledge", "notification": number}
    first = await send(town.engine, gil, [write, write | {"client_id": "b", "notification": other}])
    assert [answer["done"] for answer in first] == [True, False]
    town.clock.advance(timedelta(hours=1))
    assert (await send(town.engine, gil, [write]))[0] == first[0]
    assert first[0]["result"] == {"acknowledged_at": "2026-09-08T08:02:00.000000Z"}


async def test_ids_are_kept_as_long_as_is_said_and_then_forgotten(town: Town) -> None:
    gil = await reader(town)
    number, _ = await town.engine.start_conversation("P21", ["P11"], "Sortie", "Bonjour")
    await send(town.engine, gil, [post(number)])
    town.clock.advance(timedelta(days=29))
    assert (await town.engine.upkeep.sweep(town.clock.now()))[Chore.CLIENT_WRITES] == 0
    town.clock.advance(timedelta(days=2))
    assert (await town.engine.upkeep.sweep(town.clock.now()))[Chore.CLIENT_WRITES] == 1
    await send(town.engine, gil, [post(number)])
    assert await bodies(town, number) == ["Bonjour", "Merci", "Merci"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "a batch of writes is an object"),
        ({"writes": {}}, "a batch of writes is an object"),
        ({"writes": [{}] * 101}, "at most 100 writes, not 101; send it as several"),
        ({"writes": [{"kind": "read"}]}, 'each write has a "client_id"'),
        ({"writes": [{"client_id": "x" * 65}]}, 'each write has a "client_id"'),
        ({"writes": [{"client_id": "a"}, {"client_id": "a"}]}, "stands in the batch twice"),
    ],
)
def test_what_is_no_batch_is_refused_whole(body: Any, said: str) -> None:
    with pytest.raises(MalformedSync, match=said):
        read_writes(body)
