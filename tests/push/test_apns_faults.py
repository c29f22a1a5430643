"""What the wire does to a client: each fault ends in one verdict for each recipient, and nothing is held after it.

Deadlines are a second here, so that silence ends soon.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from ent_notify.channels.apns import ApnsChannel
from ent_notify.errors import ChannelDown
from ent_notify.model.delivery import ACCEPTED, Outgoing, Verdict, VerdictKind
from ent_notify.testing.apns import FakeApns
from ent_notify.testing.behaviours import (
    REFUSED_STREAM,
    Answer,
    Drop,
    EmptyData,
    GoAway,
    Limit,
    Reset,
    Silence,
    Slow,
    Starve,
)
from ent_notify.testing.scripting import Refuse, Shown

from .kit import WAKE_UPS, OpenApns, device, ios, kinds

K = VerdictKind
LOST = Verdict(K.UNKNOWN, "apns.ConnectionLost")
TIMEOUT = Verdict(K.UNKNOWN, "apns.Timeout")
NOT_SENT = Verdict(K.RETRY_AT, "apns.NotSent")


async def assert_clean(apns: FakeApns, channel: ApnsChannel) -> None:
    """The channel still works, holds nothing, and has kept to the protocol."""
    apns.always(None)
    apns.decide = None
    assert await channel.send(WAKE_UPS, ios(20, first=9_000)) == [ACCEPTED] * 20
    statistics = await channel.statistics()
    assert (statistics.open_streams, statistics.overdue, statistics.connections) == (0, 0, 1)
    assert apns.server.protocol_errors == []
    assert apns.server.refused == 0


async def test_thousands_of_error_answers_do_not_close_the_window(open_apns: OpenApns) -> None:
    async with open_apns() as (apns, channel):
        apns.always(Refuse("Unregistered"))
        for _ in range(4):
            verdicts = await channel.send(WAKE_UPS, ios(1_000))
            assert set(kinds(verdicts)) == {K.DROP_TARGET}
        assert apns.counts["Unregistered"] == 4_000
        assert apns.server.connections == 1
        await assert_clean(apns, channel)


async def test_a_reset_stream_is_unknown_and_harms_no_neighbour(open_apns: OpenApns) -> None:
    async with open_apns() as (apns, channel):
        apns.always(Reset(), device=device(5))
        verdicts = await channel.send(WAKE_UPS, ios(10))
        assert verdicts == [ACCEPTED] * 4 + [LOST] + [ACCEPTED] * 5
        await assert_clean(apns, channel)


async def test_a_refused_stream_was_not_processed_and_goes_again(open_apns: OpenApns) -> None:
    async with open_apns() as (apns, channel):
        apns.next(Reset(REFUSED_STREAM), Reset(REFUSED_STREAM), device=device(5))
        assert await channel.send(WAKE_UPS, ios(10)) == [ACCEPTED] * 10
        assert apns.counts == {"accepted": 10, "reset": 2}
        await assert_clean(apns, channel)


async def test_a_stream_that_is_always_refused_is_not_tried_for_ever(open_apns: OpenApns) -> None:
    async with open_apns() as (apns, channel):
        apns.always(Reset(REFUSED_STREAM), device=device(5))
        verdicts = await channel.send(WAKE_UPS, ios(10))
        assert verdicts == [ACCEPTED] * 4 + [NOT_SENT] + [ACCEPTED] * 5
        assert apns.counts["reset"] == 4
        await assert_clean(apns, channel)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Answer(500), Verdict(K.RETRY_AT, "apns.500")),
        (Answer(503), Verdict(K.RETRY_AT, "apns.503")),
        (Answer(400, b"<html>"), Verdict(K.BAD_MESSAGE, "apns.400")),
        (Answer(400, b'"text"'), Verdict(K.BAD_MESSAGE, "apns.400")),
        (Answer(400, b'{"reason": 7}'), Verdict(K.BAD_MESSAGE, "apns.400")),
        (Answer(410, b'{"reason": "Unregistered", "timestamp": "soon"}'), None),
        (EmptyData(Answer(200)), ACCEPTED),
        (EmptyData(Answer(500)), Verdict(K.RETRY_AT, "apns.500")),
        (EmptyData(Answer(429, b'{"reason": "TooManyRequests"}')), Verdict(K.SLOW_TARGET, "apns.TooManyRequests")),
    ],
)
async def test_answers_without_a_body_with_an_empty_frame_or_with_rubbish(
    open_apns: OpenApns, answer: Answer | EmptyData, verdict: Verdict | None
) -> None:
    async with open_apns() as (apns, channel):
        apns.always(answer, device=device(2))
        expected = verdict or Verdict(K.DROP_TARGET, "apns.Unregistered", quarantine=True)
        assert await channel.send(WAKE_UPS, ios(3)) == [ACCEPTED, expected, ACCEPTED]
        await assert_clean(apns, channel)


async def test_goaway_those_above_its_last_stream_go_again_those_below_get_their_answer(open_apns: OpenApns) -> None:
    """The ten before are answered after the GOAWAY: h2 would have called that an error."""
    async with open_apns() as (apns, channel):
        await channel.send(WAKE_UPS, ios(1, first=100))
        for number in range(1, 11):
            apns.next(Slow(0.05, Answer(200)), device=device(number))
        apns.next(GoAway(processed=False), device=device(11))
        verdicts = await channel.send(WAKE_UPS, ios(30))
        assert verdicts == [ACCEPTED] * 30
        assert apns.server.connections == 2
        got = [request.device for request in apns.requests]
        assert all(got.count(device(number)) == 1 for number in range(1, 11))  # none of them doubled
        await assert_clean(apns, channel)


async def test_goaway_without_an_answer_for_a_processed_stream_is_unknown(open_apns: OpenApns) -> None:
    async with open_apns() as (apns, channel):
        await channel.send(WAKE_UPS, ios(1, first=100))
        apns.next(GoAway(processed=True), device=device(3))
        verdicts = await channel.send(WAKE_UPS, ios(6))
        assert verdicts == [ACCEPTED, ACCEPTED, LOST, ACCEPTED, ACCEPTED, ACCEPTED]
        assert [request.device for request in apns.requests].count(device(3)) == 1
        await assert_clean(apns, channel)


async def test_a_server_that_says_goaway_to_everything_is_not_tried_for_ever(open_apns: OpenApns) -> None:
    async with open_apns() as (apns, channel):
        apns.always(GoAway(processed=False))
        assert await channel.send(WAKE_UPS, ios(3)) == [NOT_SENT] * 3
        assert apns.received <= 3 * 4
        await assert_clean(apns, channel)


async def test_a_lowered_stream_limit_is_kept_to_while_streams_are_open(open_apns: OpenApns) -> None:
    async with open_apns() as (apns, channel):
        await channel.send(WAKE_UPS, ios(1, first=100))
        apns.next(Limit(2, Slow(0.05, Answer(200))), device=device(1))
        apns.always(Slow(0.001, Answer(200)))
        assert await channel.send(WAKE_UPS, ios(60)) == [ACCEPTED] * 60
        assert apns.server.connections == 1
        await assert_clean(apns, channel)


async def test_a_limit_of_no_stream_at_all_sends_nothing_and_says_so(open_apns: OpenApns) -> None:
    async with open_apns(send_timeout=1.0) as (apns, channel):
        await channel.send(WAKE_UPS, ios(1, first=100))
        apns.next(Limit(0, Answer(200)), device=device(1))
        assert await channel.send(WAKE_UPS, ios(1)) == [ACCEPTED]
        assert await channel.send(WAKE_UPS, ios(3)) == [NOT_SENT] * 3
        assert apns.received == 2


async def test_one_stream_until_the_connection_has_shown_its_token(open_apns: OpenApns) -> None:
    async with open_apns(fake={"streams_before_auth": 1, "max_streams": 8}) as (apns, channel):
        apns.always(Slow(0.01, Answer(200)))
        assert await channel.send(WAKE_UPS, ios(50)) == [ACCEPTED] * 50
        await assert_clean(apns, channel)


async def test_a_window_that_the_server_closes_sends_nothing_more_until_it_opens(open_apns: OpenApns) -> None:
    """65,535 bytes of window are sixteen pushes of 4,000 bytes: what did not fit was surely not sent."""
    long = {"fr": replace(WAKE_UPS["fr"], sentence="x" * 3_900)}
    async with open_apns(send_timeout=1.0) as (apns, channel):
        apns.next(Starve(Answer(200)))
        assert await channel.send(long, ios(40)) == [ACCEPTED] * 16 + [NOT_SENT] * 24
        assert apns.received == 16
        await apns.server.feed()
        await assert_clean(apns, channel)


async def test_silence_is_unknown_after_the_deadline_and_takes_no_room_for_ever(open_apns: OpenApns) -> None:
    async with open_apns(send_timeout=1.0, late_window=0.1) as (apns, channel):
        apns.always(Silence(), device=device(2))
        assert await channel.send(WAKE_UPS, ios(3)) == [ACCEPTED, TIMEOUT, ACCEPTED]
        with trio.fail_after(5):
            while (await channel.statistics()).overdue:
                await trio.testing.wait_all_tasks_blocked(0.01)
        await assert_clean(apns, channel)


async def test_a_connection_that_falls_silent_is_replaced(open_apns: OpenApns) -> None:
    async with open_apns(send_timeout=1.0, late_window=0.1) as (apns, channel):
        await channel.send(WAKE_UPS, ios(1))
        apns.always(Silence())
        assert await channel.send(WAKE_UPS, ios(3)) == [TIMEOUT] * 3
        apns.always(None)
        assert await channel.send(WAKE_UPS, ios(3)) == [ACCEPTED] * 3
        assert apns.server.connections == 2


async def test_an_answer_after_the_deadline_is_still_taken(open_apns: OpenApns) -> None:
    told: list[tuple[Outgoing, Verdict]] = []
    heard = trio.Event()

    def late(item: Outgoing, verdict: Verdict) -> None:
        told.append((item, verdict))
        if len(told) == 2:
            heard.set()

    async with open_apns(send_timeout=1.0, late_window=30.0, late=late) as (apns, channel):
        apns.next(Slow(1.2, Answer(200)), device=device(1))
        apns.next(Slow(1.3, Answer(400, b'{"reason":"BadDeviceToken"}')), device=device(2))
        batch = ios(2)
        assert await channel.send(WAKE_UPS, batch) == [TIMEOUT, TIMEOUT]
        with trio.fail_after(5):
            await heard.wait()
        assert told == [
            (batch[0], ACCEPTED),
            (batch[1], Verdict(K.DROP_TARGET, "apns.BadDeviceToken", quarantine=True)),
        ]
        await assert_clean(apns, channel)


async def test_a_connection_dropped_after_data_makes_unknown_what_had_no_answer(open_apns: OpenApns) -> None:
    async with open_apns() as (apns, channel):
        await channel.send(WAKE_UPS, ios(1, first=100))
        apns.always(Silence())
        apns.next(Shown(Drop()), device=device(10))
        assert await channel.send(WAKE_UPS, ios(10)) == [LOST] * 10
        shown = len(apns.visible[device(10)])
        apns.always(None)
        assert await channel.send(WAKE_UPS, ios(10)) == [ACCEPTED] * 10  # the repeat, under the same ids
        assert shown == len(apns.visible[device(10)]) == 1
        await assert_clean(apns, channel)


async def test_a_cancelled_caller_waits_and_its_neighbours_are_not_harmed(open_apns: OpenApns) -> None:
    async with open_apns() as (apns, channel):
        await channel.send(WAKE_UPS, ios(1, first=100))
        apns.always(Slow(0.1, Answer(200)))
        results: dict[str, list[Verdict]] = {}
        scope = trio.CancelScope()

        async def cancelled() -> None:
            with scope:
                results["cancelled"] = await channel.send(WAKE_UPS, ios(5))

        async def neighbour() -> None:
            results["neighbour"] = await channel.send(WAKE_UPS, ios(50, first=200))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancelled)
            nursery.start_soon(neighbour)
            while apns.received < 56:
                await trio.testing.wait_all_tasks_blocked(0.005)
            scope.cancel()
        assert results == {"cancelled": [ACCEPTED] * 5, "neighbour": [ACCEPTED] * 50}
        await assert_clean(apns, channel)


async def test_everything_at_once_still_gives_each_its_one_verdict(open_apns: OpenApns) -> None:
    """Every device meets a fault of its own kind; what was shown once is shown once."""
    faults = [
        None,
        Reset(),
        Reset(REFUSED_STREAM),
        Shown(Reset()),
        Answer(500),
        EmptyData(Answer(503)),
        Refuse("Unregistered"),
        Slow(0.02, Answer(200)),
        Silence(),
        None,
    ]
    async with open_apns(send_timeout=1.0, late_window=0.1, connections=3) as (apns, channel):
        for number in range(1, 401):
            fault = faults[number % len(faults)]
            if fault is not None:
                apns.always(fault, device=device(number))
        for number in (57, 171):
            apns.next(GoAway(processed=False), device=device(number))
        apns.next(Drop(), device=device(301))
        verdicts = await channel.send(WAKE_UPS, ios(400))
        assert len(verdicts) == 400
        assert all(len(shown) == 1 for shown in apns.visible.values())
        for number, verdict in enumerate(verdicts, start=1):
            shown = device(number) in apns.visible
            if verdict == ACCEPTED:
                assert shown or number % 10 == 7
            elif shown:
                assert verdict.kind is K.UNKNOWN
        apns.always(None)
        with trio.fail_after(5):
            while (statistics := await channel.statistics()).overdue or statistics.open_streams:
                await trio.testing.wait_all_tasks_blocked(0.01)


async def test_a_server_that_hangs_up_at_once_is_the_channel_down(open_apns: OpenApns) -> None:
    async with open_apns() as (apns, channel):
        apns.always(Drop())
        assert await channel.send(WAKE_UPS, ios(1)) == [LOST]
        apns.server.hang_up = True
        with pytest.raises(ChannelDown):
            await channel.send(WAKE_UPS, ios(5))
