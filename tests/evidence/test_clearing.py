"""What is read anywhere is taken away from the phones and browsers that a push of it has reached, once and quietly."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.engine.conftest import RecordingChannel, Town, open_town

from ent_notify.flows.clearing import AGAIN, LET_PASS
from ent_notify.flows.outbox import collapse_id
from ent_notify.model.audience import Everyone, Person
from ent_notify.model.delivery import Outgoing, Urgency, Verdict, VerdictKind, WakeUp
from ent_notify.model.events import Announcement
from ent_notify.model.sync import Write, WriteKind
from ent_notify.policy.pause import PauseHours

AFTER = timedelta(seconds=5)


def note(key: str, person: int = 12, replaces: str | None = None) -> Announcement:
    """12 has an Android phone, 1 an iPhone, 11 one of each."""
    return Announcement(key=key, title="T", body="B", audience=Person(f"P{person}"), replaces=replaces)


async def work(town: Town, *, after: timedelta = timedelta(0)) -> None:
    """Let time pass, and the worker do what there is to do."""
    town.clock.advance(after)
    await town.engine.worker("w", pause=PauseHours(enabled=False)).run_until_idle()


async def publish(town: Town, *keys: str, person: int = 12) -> list[int]:
    """Publish and send; the places in the feed."""
    head = await town.engine.feed.feed_head()
    await town.engine.publish_many([note(key, person) for key in keys])
    await work(town)
    return list(range(head + 1, head + 1 + len(keys)))


async def read(town: Town, *seqs: int, person: int = 12) -> None:
    await town.engine.mark_read(await town.engine.reader(f"P{person}"), seqs)


def cleared(channel: RecordingChannel) -> list[tuple[str, set[str], int | None]]:
    """Each silent push: the device's address, the collapse ids, the badge."""
    contents = [content for content in channel.contents if isinstance(content, WakeUp) and content.clears]
    silent = [item for item in channel.sent if item.language.isdecimal()]
    return [(item.address, set(content.clears), content.badge) for item, content in zip(silent, contents, strict=True)]


def ids(*notifications: int) -> set[str]:
    return {collapse_id(each) for each in notifications}


async def test_what_is_read_is_cleared_from_the_phone_that_shows_it_with_the_count_of_the_rest(town: Town) -> None:
    first, second, _ = await publish(town, "a", "b", "c")
    await read(town, first)
    await work(town, after=AFTER / 2)
    assert cleared(town.fcm) == []
    await read(town, second)
    await work(town, after=AFTER / 2)
    assert cleared(town.fcm) == [("tok-12", ids(1, 2), 1)]
    (silent,) = [content for content in town.fcm.contents if isinstance(content, WakeUp) and content.clears]
    assert (silent.sentence, silent.urgency, silent.collapse_id) == ("", Urgency.BULK, collapse_id(2))


async def test_every_phone_of_theirs_is_told_and_nobody_elses(town: Town) -> None:
    await town.engine.publish(Announcement(key="all", title="T", body="B", audience=Everyone()))
    await work(town)
    await town.engine.mark_all_read(await town.engine.reader("P11"), 1)
    await work(town, after=AFTER)
    assert cleared(town.fcm) == [("tok-11a", ids(1), 0)]
    assert cleared(town.apns) == [("tok-11b", ids(1), 0)]


async def test_each_push_is_cleared_once_however_often_it_is_read(town: Town) -> None:
    (seq,) = await publish(town, "a")
    for _ in range(3):
        await read(town, seq)
        await work(town, after=AFTER)
    assert len(cleared(town.fcm)) == 1
    (later,) = await publish(town, "b")
    await read(town, later)
    await work(town, after=AFTER)
    assert [tags for _, tags, _ in cleared(town.fcm)] == [ids(1), ids(2)]


async def test_a_phone_that_never_got_the_push_is_left_alone(town: Town) -> None:
    town.fcm.answer = lambda _: Verdict(VerdictKind.BAD_MESSAGE, "fcm.INVALID_ARGUMENT")
    (refused,) = await publish(town, "a")
    town.fcm.answer = lambda _: Verdict(VerdictKind.ACCEPTED)
    await town.engine.publish(note("read before it was sent"))
    worker = town.engine.worker("w", pause=PauseHours(enabled=False))
    await worker.tick()
    await read(town, refused, refused + 1)
    await work(town)
    await work(town, after=AFTER)
    assert cleared(town.fcm) == []


async def test_a_push_that_may_have_arrived_is_cleared_too(town: Town) -> None:
    town.fcm.answer = lambda _: Verdict(VerdictKind.UNKNOWN, "fcm.Timeout")
    (seq,) = await publish(town, "a")
    while (due := await town.engine.next_due()) is not None:
        await work(town, after=due - town.clock.now())
    town.fcm.answer = lambda _: Verdict(VerdictKind.ACCEPTED)
    await read(town, seq)
    await work(town, after=AFTER)
    assert cleared(town.fcm) == [("tok-12", ids(1), 0)]


async def test_one_that_is_leaving_at_this_moment_is_looked_at_once_more(town: Town) -> None:
    """It was read while a worker had it in hand: what becomes of it is not known yet."""
    await town.engine.publish(note("a"))
    worker = town.engine.worker("slow", pause=PauseHours(enabled=False))
    await worker.tick()
    lane = next(lane for lane in await town.engine.lanes() if lane.provider == "fcm")
    horizon = timedelta(seconds=5)
    await worker.store.claim(lane.id, "slow", town.clock.now(), timedelta(seconds=60), horizon)
    await read(town, 1)
    await work(town, after=AFTER)
    assert cleared(town.fcm) == []
    # that worker has died: another has the chunk, finds it read, and sends nothing
    await work(town, after=timedelta(minutes=2))
    await work(town, after=AGAIN)
    explained = await town.engine.explain(1, "P12")
    assert [(d.state, d.reason) for d in explained.deliveries if d.channel == "push"] == [("suppressed", "read")]
    assert cleared(town.fcm) == []
    assert await town.engine.db.fetch("clearing.due", now=town.clock.now() + timedelta(days=1)) == []


async def test_what_was_read_offline_is_cleared_when_the_phone_tells_it(town: Town) -> None:
    (seq,) = await publish(town, "a", person=11)
    reader = await town.engine.reader("P11")
    await town.engine.phones.write(reader, [Write("w1", WriteKind.READ, seqs=(seq,))])
    await work(town, after=AFTER)
    assert [address for address, _, _ in cleared(town.fcm) + cleared(town.apns)] == ["tok-11a", "tok-11b"]


async def test_all_versions_of_an_event_have_one_place_on_the_screen(town: Town) -> None:
    await publish(town, "a")
    await town.engine.publish(note("b", replaces="a"))
    await work(town)
    await town.engine.mark_all_read(await town.engine.reader("P12"), await town.engine.feed.feed_head())
    await work(town, after=AFTER)
    assert cleared(town.fcm) == [("tok-12", ids(1), 0)]


async def test_it_waits_for_a_lane_that_rests_and_is_sent_when_it_may(town: Town) -> None:
    (seq,) = await publish(town, "a")
    lane = next(lane for lane in await town.engine.lanes() if lane.provider == "fcm")
    store = town.engine.worker().store
    await store.note_lane(lane.id, False, "fcm.UNAVAILABLE", town.clock.now(), timedelta(minutes=3))
    await read(town, seq)
    await work(town, after=AFTER)
    assert cleared(town.fcm) == []
    await work(town, after=timedelta(minutes=3))
    assert len(cleared(town.fcm)) == 1


async def test_it_is_sent_under_the_rate_of_its_lane(town: Town) -> None:
    seqs = {person: await publish(town, f"for {person}", person=person) for person in (11, 12, 21)}
    await town.engine.set_rate("push:fcm:fr.ent", 1.0)
    for person, (seq,) in seqs.items():
        await read(town, seq, person=person)
    began = town.clock.now() + AFTER
    await work(town, after=AFTER)
    assert len(cleared(town.fcm)) == 3
    assert town.clock.now() - began >= timedelta(seconds=2)


async def test_what_is_ready_goes_first_for_a_minute(town: Town) -> None:
    (seq,) = await publish(town, "a")
    await read(town, seq)
    town.clock.advance(AFTER)
    await town.engine.publish(note("b"))
    worker = town.engine.worker("w", pause=PauseHours(enabled=False))
    await worker.tick()
    assert worker.clearing is not None
    assert await worker.clearing.step() == 0
    town.clock.advance(LET_PASS)
    assert await worker.clearing.step() == 1


async def test_two_workers_clear_it_once_and_one_that_dies_over_it_loses_it_once(town: Town) -> None:
    (seq,) = await publish(town, "a")
    await read(town, seq)
    town.clock.advance(AFTER)

    class Dies(BaseException):
        pass

    def die(_: Outgoing) -> Verdict:
        raise Dies

    town.fcm.answer = die
    first, second = (town.engine.worker(name).clearing for name in ("first", "second"))
    assert first is not None
    assert second is not None
    with pytest.RaisesGroup(Dies, flatten_subgroups=True):
        await first.step()
    town.fcm.answer = lambda _: Verdict(VerdictKind.ACCEPTED)
    assert await second.step() == 0
    assert len(cleared(town.fcm)) == 1  # it may have left, or not
    (later,) = await publish(town, "b")
    await read(town, later)
    town.clock.advance(AFTER)
    assert [await each.step() for each in (first, second)] == [1, 0]


async def test_a_token_that_is_gone_is_dropped(town: Town) -> None:
    (seq,) = await publish(town, "a")
    town.fcm.answer = lambda _: Verdict(VerdictKind.DROP_TARGET, "fcm.UNREGISTERED")
    await read(town, seq)
    await work(town, after=AFTER)
    (later,) = await publish(town, "b")
    assert len(town.fcm.sent) == 2  # the push and what would have cleared it
    await read(town, later)
    await work(town, after=AFTER)
    assert len(town.fcm.sent) == 2


async def test_it_is_off_by_a_setting(town_dsn: str) -> None:
    async with open_town(town_dsn, evidence={"clear_after_seconds": 0}) as town:
        (seq,) = await publish(town, "a")
        await read(town, seq)
        await work(town, after=timedelta(hours=1))
        assert cleared(town.fcm) == []
        assert await town.engine.db.fetch("clearing.due", now=town.clock.now()) == []
