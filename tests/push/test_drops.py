"""The guard against dropping good devices."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ent_notify.model.delivery import ACCEPTED, Verdict, VerdictKind
from ent_notify.policy.drops import DropBounds, WindowCounts, count, judge

GONE = Verdict(VerdictKind.DROP_TARGET, "apns.Unregistered")
BAD = Verdict(VerdictKind.DROP_TARGET, "apns.BadDeviceToken", quarantine=True)
UNKNOWN = Verdict(VerdictKind.UNKNOWN, "apns.Timeout")


def test_what_was_not_answered_counts_as_nothing() -> None:
    verdicts = [ACCEPTED, GONE, BAD, UNKNOWN, Verdict(VerdictKind.RETRY_AT)]
    assert count(verdicts) == WindowCounts(answers=4, gone=1, quarantined=1)
    assert count(verdicts) + count([GONE]) == WindowCounts(5, 2, 1)


@pytest.mark.parametrize(
    ("window", "reason"),
    [
        (WindowCounts(0, 0, 0), None),
        (WindowCounts(19, 0, 19), None),  # too few to say
        (WindowCounts(20, 0, 20), "drops.quarantined"),
        (WindowCounts(1_000, 0, 20), None),  # 2%: as ever
        (WindowCounts(1_000, 0, 34), "drops.quarantined"),
        (WindowCounts(1_000, 30, 3), None),
        (WindowCounts(1_000, 200, 0), None),
        (WindowCounts(1_000, 239, 0), "drops.gone"),
        (WindowCounts(30, 25, 0), "drops.gone"),
        (WindowCounts(1_000, 400, 400), "drops.quarantined"),
    ],
)
def test_a_jump_pauses_the_channel(window: WindowCounts, reason: str | None) -> None:
    verdict = judge(window)
    if reason is None:
        assert verdict is None
    else:
        assert verdict == Verdict(VerdictKind.PAUSE_CHANNEL, reason)


def test_a_healthy_app_is_never_paused_by_chance() -> None:
    """Ten thousand windows at half the bounds."""
    chance = random.Random(20260901)
    for _ in range(10_000):
        answers = chance.randrange(20, 400)
        bad = sum(chance.random() < 0.01 for _ in range(answers))
        assert judge(WindowCounts(answers, 0, bad)) is None


@given(answers=st.integers(20, 100_000), hits=st.integers(0, 100_000), more=st.integers(0, 1_000))
def test_more_of_the_same_never_makes_it_credible_again(answers: int, hits: int, more: int) -> None:
    hits = min(hits, answers)
    if judge(WindowCounts(answers, hits, 0)) is not None:
        assert judge(WindowCounts(answers + more, hits + more, 0)) is not None
    if judge(WindowCounts(answers, 0, hits)) is not None:
        assert judge(WindowCounts(answers + more, 0, hits + more)) is not None


def test_bounds_can_be_set() -> None:
    assert judge(WindowCounts(100, 60, 0), DropBounds(gone=0.9)) is None
    assert judge(WindowCounts(100, 0, 5), DropBounds(quarantined=0.0, least=5)) is not None
