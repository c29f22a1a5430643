"""A stream over real sockets: who hears what, from where, and nothing twice."""

import random
from urllib.parse import quote

import orjson
import pytest
import trio
import trio.testing
from live_peers import EVERYBODY, Browser, House, open_house, to_person

from ent_notify.model.feed import Clause


async def test_a_notification_reaches_whom_it_addresses_and_says_nothing_personal() -> None:
    async with open_house() as house:
        house.feed.person(1, (1, 50))
        house.feed.person(2, (1, 51))
        pupil, other = await house.open(1), await house.open(2)
        item = house.feed.publish((Clause(included=((1, 50),)),))
        house.feed.publish(EVERYBODY)

        event = await pupil.next_event()
        assert event is not None
        assert (event.id, event.event) == (str(item.seq), "notification")
        assert orjson.loads(event.data) == {
            "seq": item.seq,
            "notification": item.notification,
            "type": "Announcement",
            "category": "announcement",
        }
        assert await pupil.ids(1) == [2]
        assert await other.ids(1) == [2]


async def test_the_response_head_suits_an_event_source() -> None:
    async with open_house(origins=["https://ent.example"]) as house:
        house.feed.person(1)
        browser = await house.get(f"/v1/stream?ticket={house.feed.ticket(1)}", headers=["origin: https://ent.example"])
        assert browser.status == 200
        assert browser.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert "no-store" in browser.headers["cache-control"]
        assert browser.headers["access-control-allow-origin"] == "https://ent.example"
        assert browser.headers["vary"] == "origin"


async def test_an_opening_gives_a_position_before_anything_has_happened() -> None:
    async with open_house() as house:
        house.feed.person(1)
        for _ in range(3):
            house.feed.publish(to_person(99))
        await trio.testing.wait_all_tasks_blocked()
        browser = await house.open(1)
        position = await browser.next_block()
        assert position is not None
        assert (position.id, position.data) == ("3", "")


@pytest.mark.parametrize("by_header", [True, False])
async def test_resume_replays_what_was_missed_then_goes_on_live(by_header: bool) -> None:
    async with open_house() as house:
        house.feed.person(1)
        for number in range(10):
            house.feed.publish(to_person(1) if number % 2 else to_person(2))
        browser = await house.open(1, last_event_id=4) if by_header else await house.open(1, after=4)
        assert await browser.ids(3) == [6, 8, 10]
        house.feed.publish(to_person(1))
        assert await browser.ids(1) == [11]


async def test_a_long_replay_comes_in_pages_and_in_order() -> None:
    async with open_house() as house:
        house.feed.person(1)
        for _ in range(701):
            house.feed.append(EVERYBODY)
        house.feed.hint()
        browser = await house.open(1, after=0)
        assert await browser.ids(701) == list(range(1, 702))
        house.feed.publish(EVERYBODY)
        assert await browser.ids(1) == [702]


async def test_what_is_published_while_a_reader_catches_up_comes_once_and_in_order() -> None:
    async with open_house() as house:
        house.feed.person(1)
        for _ in range(3):
            house.feed.publish(EVERYBODY)
        # The replay has read the database, but its answer is on its way: these two are in neither.
        house.feed.before_missed = trio.Event()
        async with trio.open_nursery() as nursery:
            browsers: list[Browser] = []

            async def join() -> None:
                browsers.append(await house.open(1, after=1))

            nursery.start_soon(join)
            await house.feed.missed_asked.wait()
            await trio.testing.wait_all_tasks_blocked()
            house.feed.publish(EVERYBODY)
            house.feed.publish(EVERYBODY)
            await trio.testing.wait_all_tasks_blocked()
            house.feed.before_missed.set()
        house.feed.publish(EVERYBODY)
        assert await browsers[0].ids(5) == [2, 3, 4, 5, 6]


async def test_the_replay_may_be_ahead_of_the_pump() -> None:
    async with open_house() as house:
        house.feed.person(1)
        house.feed.deaf = True
        house.feed.append(EVERYBODY)
        house.feed.append(EVERYBODY)
        browser = await house.open(1, after=0)
        assert await browser.ids(2) == [1, 2]
        house.feed.deaf = False
        house.feed.publish(EVERYBODY)  # the pump now brings 1, 2 and 3
        assert await browser.ids(1) == [3]
        house.feed.publish(EVERYBODY)
        assert await browser.ids(1) == [4]


@pytest.mark.parametrize("seed", range(5))
async def test_readers_that_come_and_go_at_random_miss_nothing_and_see_nothing_twice(seed: int) -> None:
    rng = random.Random(seed)
    last, readers = 300, 12
    async with open_house() as house:
        for person in range(1, readers + 1):
            house.feed.person(person, (1, person % 3))

        async def publish() -> None:
            for _ in range(last):
                audience = rng.choice(
                    [EVERYBODY, (Clause(((1, rng.randrange(3)),)),), to_person(rng.randint(1, readers))]
                )
                rng.choice([house.feed.append, house.feed.publish])(audience)
                for _ in range(rng.choice([0, 0, 1, 5, 30])):
                    await trio.lowlevel.checkpoint()
            house.feed.publish(EVERYBODY)

        async def read(person: int) -> None:
            seen: list[int] = []
            position = 0
            while position <= last:
                browser = await house.open(person, after=position)
                for _ in range(rng.randint(1, 60)):
                    block = await browser.next_block()
                    assert block is not None
                    if block.data:
                        seen.append(int(block.id))
                    position = int(block.id or position)
                    if position > last:
                        break
                await browser.stream.aclose()
            expected = house.feed.page(person, 0, 10_000)
            assert seen == [item.seq for item in expected]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish)
            for person in range(1, readers + 1):
                nursery.start_soon(read, person)


async def test_doubled_hints_change_nothing() -> None:
    async with open_house() as house:
        house.feed.person(1)
        browser = await house.open(1)
        for _ in range(5):
            house.feed.append(EVERYBODY)
            for _ in range(50):
                house.feed.hint()
            await trio.testing.wait_all_tasks_blocked()
        house.feed.publish(EVERYBODY)
        assert await browser.ids(6) == [1, 2, 3, 4, 5, 6]


async def test_without_any_hint_the_poll_brings_it(mock_clock: trio.testing.MockClock) -> None:
    async with open_house(poll_seconds=1.0) as house:
        house.feed.person(1)
        browser = await house.open(1)
        house.feed.deaf = True
        house.feed.publish(EVERYBODY)
        await trio.testing.wait_all_tasks_blocked()
        assert house.gateway.statistics().feed_seq == 0
        mock_clock.jump(1.0)
        assert await browser.ids(1) == [1]


async def test_a_lost_source_of_hints_is_opened_again(mock_clock: trio.testing.MockClock) -> None:
    async with open_house(poll_seconds=5.0) as house:
        house.feed.person(1)
        browser = await house.open(1)
        house.feed.lose_hints()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(5.0)
        await trio.testing.wait_all_tasks_blocked()
        house.feed.publish(EVERYBODY)
        assert await browser.ids(1) == [1]


async def test_the_feed_goes_on_where_it_was_when_the_database_comes_back(mock_clock: trio.testing.MockClock) -> None:
    async with open_house() as house:
        house.feed.person(1)
        browser = await house.open(1)
        house.feed.down = True
        house.feed.publish(EVERYBODY)
        await trio.testing.wait_all_tasks_blocked()
        assert (await house.get("/readyz")).status == 503
        assert (await house.get("/healthz")).status == 200
        refused = await house.get(f"/v1/stream?ticket={house.feed.ticket(1)}")
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        house.feed.down = False
        for _ in range(3):  # the pause after a failure, and the look that follows
            mock_clock.jump(1.0)
            await trio.testing.wait_all_tasks_blocked()
        assert await browser.ids(1) == [1]
        assert (await house.get("/readyz")).status == 200


async def test_who_missed_too_much_is_told_to_read_the_inbox_again() -> None:
    async with open_house(max_replay=10) as house:
        house.feed.person(1)
        for _ in range(11):
            house.feed.append(EVERYBODY)
        house.feed.hint()
        await trio.testing.wait_all_tasks_blocked()
        at_bound = await house.open(1, after=1)
        assert await at_bound.ids(10) == list(range(2, 12))
        above = await house.open(1, after=0)
        event = await above.next_event()
        assert event is not None
        assert (event.event, event.id) == ("reload", "11")
        house.feed.publish(EVERYBODY)
        assert await above.ids(1) == [12]


async def test_a_position_from_another_life_of_the_database_means_reload() -> None:
    async with open_house() as house:
        house.feed.person(1)
        house.feed.publish(EVERYBODY)
        await trio.testing.wait_all_tasks_blocked()
        browser = await house.open(1, after=900)
        event = await browser.next_event()
        assert event is not None
        assert (event.event, event.id) == ("reload", "1")
        house.feed.publish(EVERYBODY)
        assert await browser.ids(1) == [2]


@pytest.mark.parametrize("position", ["-1", "x", "1e3", "9" * 30, "٣"])
async def test_a_position_that_no_stream_has_sent_is_refused(position: str) -> None:
    async with open_house() as house:
        house.feed.person(1)
        browser = await house.get(f"/v1/stream?ticket={house.feed.ticket(1)}&after={quote(position)}")
        assert browser.status == 400


async def test_a_slow_reader_is_cut_at_the_bound_and_resumes_without_a_gap() -> None:
    async with open_house(max_pending_bytes=2_048) as house:
        house.feed.person(1)
        house.feed.person(2)
        slow = await house.open(1, receive_buffer=2_048)
        quick = await house.open(2)
        published = 0
        while house.metric("ent_notify_gateway_streams_closed_total", reason="slow") == 0:
            house.feed.publish(EVERYBODY)
            published += 1
            await quick.ids(1)  # the others are not held up
            pending = house.gateway.statistics().streams.pending_bytes
            assert pending <= 2_048
            # 96 KiB: twice the send buffer asked for, the reader's own buffer, and what may be pending.
            assert published * 100 < 256 * 1024, "the slow reader was never cut"
        assert house.gateway.statistics().streams.streams == 1
        seen = []
        while (event := await slow.next_event()) is not None:
            seen.append(int(event.id))
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) < published
        again = await house.open(1, last_event_id=seen[-1])
        assert await again.ids(published - len(seen)) == list(range(len(seen) + 1, published + 1))


async def test_a_reader_that_falls_behind_and_catches_up_gets_everything_in_order() -> None:
    async with open_house(max_pending_bytes=1_048_576) as house:
        house.feed.person(1)
        browser = await house.open(1, receive_buffer=2_048)
        published = 0
        while house.gateway.statistics().streams.pending_bytes < 20_000:
            house.feed.publish(EVERYBODY)
            published += 1
            await trio.testing.wait_all_tasks_blocked()
        assert house.gateway.statistics().streams.slow == 1
        assert await browser.ids(published) == list(range(1, published + 1))
        await trio.testing.wait_all_tasks_blocked()
        assert house.gateway.statistics().streams.slow == 0
        house.feed.publish(EVERYBODY)
        assert await browser.ids(1) == [published + 1]


async def test_a_reader_that_goes_away_is_forgotten() -> None:
    async with open_house() as house:
        house.feed.person(1, (1, 50))
        browser = await house.open(1)
        statistics = house.gateway.statistics().streams
        assert (statistics.streams, statistics.people, statistics.keys) == (1, 1, 3)
        await browser.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        statistics = house.gateway.statistics().streams
        assert (statistics.streams, statistics.people, statistics.keys, statistics.addresses) == (0, 0, 0, 0)
        assert house.metric("ent_notify_gateway_streams_closed_total", reason="peer") == 1
        assert house.metric("ent_notify_gateway_streams") == 0


async def test_who_joins_or_leaves_a_group_while_connected_is_routed_by_it_at_once() -> None:
    async with open_house() as house:
        house.feed.person(1)
        browser = await house.open(1)
        to_group = (Clause(included=((1, 50),)),)
        house.feed.publish(to_group)
        await trio.testing.wait_all_tasks_blocked()
        house.feed.person(1, (1, 50))
        house.feed.append(to_group)
        house.feed.change(1)
        assert await browser.ids(1) == [2]
        house.feed.person(1)
        house.feed.change(1)
        await trio.testing.wait_all_tasks_blocked()
        house.feed.publish(to_group)
        house.feed.publish(to_person(1))
        assert await browser.ids(1) == [4]


async def test_who_may_not_listen_any_more_is_cut() -> None:
    async with open_house() as house:
        house.feed.person(1)
        browser = await house.open(1)
        del house.feed.keys[1]
        house.feed.change(1)
        assert await browser.next_event() is None
        assert house.metric("ent_notify_gateway_streams_closed_total", reason="revoked") == 1
        refused = await house.get(f"/v1/stream?ticket={house.feed.ticket(1)}")
        assert refused.status == 403


async def pass_time(mock_clock: trio.testing.MockClock, seconds: int) -> None:
    """Let ``seconds`` pass, and what they bring happen."""
    for _ in range(seconds):
        mock_clock.jump(1)
        await trio.testing.wait_all_tasks_blocked()


async def test_heartbeats_keep_the_stream_and_its_position(mock_clock: trio.testing.MockClock) -> None:
    async with open_house(heartbeat_seconds=20) as house:
        house.feed.person(1)
        browser = await house.open(1)
        await browser.next_block()
        house.feed.publish(to_person(2))
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            await pass_time(mock_clock, 20)
            beat = await browser.next_block()
            assert beat is not None
            assert (beat.comment, beat.id, beat.data) == (True, "1", "")


async def test_a_heartbeat_never_moves_a_reader_back(mock_clock: trio.testing.MockClock) -> None:
    async with open_house(heartbeat_seconds=20, poll_seconds=1_000) as house:
        house.feed.person(1)
        house.feed.deaf = True
        house.feed.append(EVERYBODY)
        ahead = await house.open(1, after=0)
        assert await ahead.ids(1) == [1]
        assert house.gateway.statistics().feed_seq == 0
        await pass_time(mock_clock, 20)
        house.feed.deaf = False
        house.feed.publish(EVERYBODY)
        block = await ahead.next_block()
        assert block is not None
        assert (block.comment, block.id) == (False, "2")


async def drained(house: House, browser: Browser) -> int:
    """The wait that this reader is given before its stream ends."""
    retry = None
    while (block := await browser.next_block()) is not None:
        retry = block.retry if block.retry is not None else retry
    assert retry is not None
    return retry


async def test_draining_spreads_the_readers_and_ends_every_stream() -> None:
    async with open_house(retry_seconds=4) as house:
        for person in range(1, 11):
            house.feed.person(person)
        browsers = [await house.open(person) for person in range(1, 11)]
        idle = await house.get("/healthz")
        await idle.read_body()
        house.gateway.drain()
        waits = sorted([await drained(house, browser) for browser in browsers])
        assert waits == [4_000 + 400 * place for place in range(10)]
        assert await idle.stream.receive_some(10) == b""
        await trio.testing.wait_all_tasks_blocked()
        assert house.gateway.statistics().streams.streams == 0
        with pytest.raises(ConnectionRefusedError):
            await house.connect()


async def test_draining_waits_for_a_slow_reader_but_not_for_ever(mock_clock: trio.testing.MockClock) -> None:
    async with open_house(drain_seconds=30, max_pending_bytes=1_048_576) as house:
        house.feed.person(1)
        house.feed.person(2)
        patient, stuck = await house.open(1, receive_buffer=2_048), await house.open(2, receive_buffer=2_048)
        published = 0
        while house.gateway.statistics().streams.pending_bytes < 40_000:
            house.feed.publish(EVERYBODY)
            published += 1
            await trio.testing.wait_all_tasks_blocked()
        house.gateway.drain()
        assert await patient.ids(published) == list(range(1, published + 1))
        await drained(house, patient)
        assert house.gateway.statistics().streams.streams == 1
        mock_clock.jump(30)
        await trio.testing.wait_all_tasks_blocked()
        assert house.gateway.statistics().streams.streams == 0
        await stuck.stream.aclose()
