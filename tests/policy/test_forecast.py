"""Forecasts: the same as the bucket says when it is asked slot by slot, and never shorter for more work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ent_notify.policy.forecast import Batch, LaneLoad, finish, forecast, forecast_lane
from ent_notify.policy.rate import HEADROOM, SLOT_SECONDS, quarter_ramp, reserve

NOON = datetime(2026, 9, 8, 12, 0, tzinfo=UTC)
starts = st.floats(0, 7200).map(lambda s: NOON + timedelta(seconds=s))
rates = st.floats(0.5, 20_000)


def simulate(start: datetime, sends: int, per_second: float, ramped: bool) -> datetime:
    """The bucket, asked for one slot after another, each as soon as the last is through."""
    tat = start
    while sends:
        rate = per_second * HEADROOM * (quarter_ramp(tat) if ramped else 1)
        slot, tat = reserve(tat, tat, sends, rate)
        sends -= slot.sends
    return tat


def batches(most: int = 5) -> st.SearchStrategy[list[Batch]]:
    return st.lists(st.builds(Batch, starts, st.integers(0, 50_000)), max_size=most)


@given(starts, st.integers(1, 20_000), rates)
def test_a_lane_takes_as_long_as_its_bucket(start: datetime, sends: int, per_second: float) -> None:
    ends = finish(start, sends, per_second, ramped=False)
    slots = sends / (per_second * HEADROOM * SLOT_SECONDS) + 1
    # each slot is rounded to a microsecond
    assert abs((ends - simulate(start, sends, per_second, ramped=False)).total_seconds()) <= 1e-6 * (slots + 1)


@given(starts, st.integers(1, 200_000), st.floats(20, 20_000))
def test_a_ramped_lane_takes_as_long_as_its_bucket(start: datetime, sends: int, per_second: float) -> None:
    ends = finish(start, sends, per_second, ramped=True)
    # the bucket reads the ramp at the beginning of each slot: it lags by less than two at a step
    assert abs((ends - simulate(start, sends, per_second, ramped=True)).total_seconds()) <= 2 * SLOT_SECONDS


@pytest.mark.parametrize(
    ("start", "sends", "seconds"),
    [
        (0, 30 * 99, 60),  # half the rate for a minute
        (60, 45 * 99, 60),  # rising to the whole within the next
        (120, 720 * 99, 720),
        (840, 60 * 99, 120),  # over the full quarter
        (0, 825 * 99, 900),
        (0, 825 * 99 * 8, 7200),
        (450, 825 * 99 * 3, 2700),
    ],
)
def test_the_ramp_by_hand(start: int, sends: int, seconds: int) -> None:
    begin = NOON + timedelta(seconds=start)
    assert finish(begin, sends, 100, ramped=True) - begin == pytest.approx(
        timedelta(seconds=seconds), abs=timedelta(milliseconds=1)
    )


@given(starts, st.integers(0, 10_000_000), st.integers(0, 1_000_000), rates, st.booleans())
def test_more_sends_never_end_earlier(start: datetime, sends: int, more: int, rate: float, ramped: bool) -> None:
    assert finish(start, sends + more, rate, ramped) >= finish(start, sends, rate, ramped)


@given(starts, st.floats(0, 3600), st.integers(0, 1_000_000), rates)
def test_a_later_start_never_ends_earlier(start: datetime, later: float, sends: int, rate: float) -> None:
    ends = finish(start, sends, rate, ramped=True)
    assert finish(start + timedelta(seconds=later), sends, rate, ramped=True) >= ends - timedelta(microseconds=2)


@given(starts, batches(), batches(), st.builds(Batch, starts, st.integers(1, 50_000)), rates, st.booleans())
def test_a_longer_queue_or_audience_never_ends_earlier(
    free_at: datetime, queued: list[Batch], added: list[Batch], more: Batch, rate: float, ramped: bool
) -> None:
    added = [*added, Batch(NOON, 1)]
    slack = timedelta(microseconds=20)

    def ends(queue: list[Batch], own: list[Batch]) -> datetime:
        told = forecast_lane(LaneLoad("email", rate, ramped, free_at, queue, own)).ends_at
        assert told is not None
        return told

    base = ends(queued, added)
    assert ends([*queued, more], added) >= base - slack
    assert ends(queued, [*added, more]) >= base - slack


@given(batches(), st.integers(0, 100_000), rates)
def test_a_queue_is_worked_off_by_the_same_bucket(queued: list[Batch], sends: int, rate: float) -> None:
    """All ready at once: one bucket for the sum."""
    ready = [Batch(NOON, batch.sends) for batch in queued]
    lane = forecast_lane(LaneLoad("email", rate, False, NOON, ready, [Batch(NOON, sends)]))
    total = sum(batch.sends for batch in queued) + sends
    assert lane.sends == sends
    if sends:
        assert lane.ahead == total - sends
        assert lane.ends_at is not None
        assert abs(lane.ends_at - finish(NOON, total, rate, ramped=False)) <= timedelta(microseconds=10)
    else:
        assert (lane.starts_at, lane.ends_at) == (None, None)


def test_a_lane_without_a_limit_is_immediate_once_it_is_free() -> None:
    free = NOON + timedelta(minutes=5)
    load = LaneLoad("push:fcm:app", None, True, free, [Batch(NOON, 10)], [Batch(NOON, 5)], "fcm.429")
    told = forecast(NOON, 5, [load])
    assert (told.ends_at, told.takes, told.makes_deadline) == (free, timedelta(minutes=5), True)
    assert told.warnings == (
        "push:fcm:app rests until 2026-09-08 12:05:00 UTC (fcm.429), and may rest longer if it does not recover",
    )


def test_a_deadline_that_cannot_be_made_is_told_with_its_cause() -> None:
    deadline = NOON + timedelta(minutes=10)
    mail = LaneLoad("email", 10, False, NOON, [Batch(NOON, 4_950)], [Batch(NOON, 9_900)])
    push = LaneLoad("push:apns:app", 1_000, False, NOON, [], [Batch(NOON, 990)])
    told = forecast(NOON, 10_000, [mail, push], deadline, unplanned=2)
    assert not told.makes_deadline
    assert (told.deliveries, told.held) == (10_890, 0)
    assert told.ends_at == NOON + timedelta(seconds=1_500)
    assert told.warnings == (
        "email cannot make the deadline of 2026-09-08 12:10:00 UTC: its last of 9,900 leaves at "
        "2026-09-08 12:25:00 UTC, at 10 a second behind 4,950 others",
        "2 published campaigns are not planned yet, and not counted here",
    )
    held = LaneLoad("email", None, False, NOON, [], [Batch(NOON + timedelta(hours=1), 3)])
    (warning,) = forecast(NOON, 3, [held], deadline).warnings
    assert warning.endswith("and its first at 2026-09-08 13:00:00 UTC: publish it as urgent, or earlier")


def test_nothing_to_send_takes_no_time() -> None:
    told = forecast(NOON, 0, [LaneLoad("email", 10, False, NOON, [Batch(NOON, 100)], [])], NOON)
    assert (told.takes, told.deliveries, told.makes_deadline, told.warnings) == (timedelta(), 0, True, ())
