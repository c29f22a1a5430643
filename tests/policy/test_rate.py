"""GCRA: never above the limit in any window, whatever the interleaving of workers and stalls."""

from __future__ import annotations

import bisect
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from ent_notify.policy.rate import GROUP_SECONDS, HEADROOM, LATENESS_SECONDS, SLOT_SECONDS, Pace, Slot, reserve

START = datetime(2026, 9, 8, tzinfo=UTC)


def run_workers(rate: float, workers: list[list[tuple[int, float]]]) -> list[float]:
    """Simulate workers that reserve and send; each step is (wanted sends, stall in seconds before it)."""
    tat = START
    sends: list[tuple[float, int]] = []
    clocks = [START] * len(workers)
    steps = [list(plan) for plan in workers]
    while any(steps):
        # the worker whose clock is earliest acts next: reservations come in real order
        who = min((i for i in range(len(workers)) if steps[i]), key=lambda i: clocks[i])
        wanted, stall = steps[who].pop(0)
        slot, tat = reserve(tat, clocks[who], wanted, rate)
        now = max(clocks[who], slot.starts_at) + timedelta(seconds=stall)
        pace = Pace(slot)
        while (pace := pace.at(now)).left:
            size = pace.group(pace.left)
            now = max(now, pace.due_at(size))
            sends.append(((now - START).total_seconds(), size))
            pace = pace.after(size)
        clocks[who] = now
    return sorted(stamp for stamp, size in sends for _ in range(size))


@given(
    rate=st.sampled_from([1.0, 7.0, 50.0, 600.0]),
    workers=st.lists(
        st.lists(st.tuples(st.integers(1, 300), st.floats(0, 3)), min_size=1, max_size=5), min_size=1, max_size=4
    ),
    window=st.floats(1, 20),
)
@settings(max_examples=150, deadline=None)
def test_no_window_ever_holds_more_than_the_limit(
    rate: float, workers: list[list[tuple[int, float]]], window: float
) -> None:
    stamps = run_workers(rate, workers)
    group = max(1, int(rate * GROUP_SECONDS))
    for first, stamp in enumerate(stamps):
        inside = bisect.bisect_left(stamps, stamp + window) - first
        # the limit of the window; the group that straddles its edge and the lateness are what the headroom pays for
        assert inside <= rate * (window + LATENESS_SECONDS) + group + 1e-3


@given(
    rate=st.floats(0.1, 20_000),
    asks=st.lists(st.tuples(st.integers(1, 5_000), st.floats(0, 10)), min_size=1, max_size=30),
)
def test_slots_of_one_bucket_never_overlap(rate: float, asks: list[tuple[int, float]]) -> None:
    tat, now, last_end = START, START, START
    for wanted, pause in asks:
        now += timedelta(seconds=pause)
        slot, tat = reserve(tat, now, wanted, rate)
        assert slot.starts_at >= last_end
        assert slot.starts_at >= now
        assert 1 <= slot.sends <= max(1, rate * SLOT_SECONDS)
        assert slot.ends_at is not None
        last_end = slot.ends_at - timedelta(microseconds=1)  # instants are whole microseconds


def test_a_worker_that_keeps_up_uses_nearly_the_whole_limit() -> None:
    stamps = run_workers(100.0, [[(200, 0.0)] * 20])
    assert 0.98 <= len(stamps) / ((stamps[-1] + 1 / 100) * 100.0) <= 1.0


@given(rate=st.floats(1, 20_000), stall=st.floats(0, 3), sent=st.integers(0, 50))
def test_a_stalled_worker_forfeits_what_it_missed(rate: float, stall: float, sent: int) -> None:
    slot, _ = reserve(START, START, 1_000, rate)
    pace = Pace(slot, min(sent, slot.sends))
    now = pace.due_at(1) + timedelta(seconds=stall)
    later = pace.at(now)
    assert later.cell >= pace.cell
    if later.left:
        assert now <= later.due_at(later.group(later.left)) + timedelta(seconds=LATENESS_SECONDS + 1e-6)
    if stall > SLOT_SECONDS + LATENESS_SECONDS:
        assert later.left == 0


def test_the_headroom_pays_for_groups_and_lateness() -> None:
    assert GROUP_SECONDS + LATENESS_SECONDS <= 1 - HEADROOM


def test_no_limit_means_at_once() -> None:
    pace = Pace(Slot(START, 1000, None))
    assert pace.group(1000) == 1000
    assert pace.due_at(1000) == START
    assert pace.at(START + timedelta(days=1)) == pace
