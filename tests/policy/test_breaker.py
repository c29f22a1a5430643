"""The judgement of a window: an outage is the lane's trouble, a gone phone is not."""

from __future__ import annotations

import pytest

from ent_notify.model.delivery import ACCEPTED, Verdict, VerdictKind
from ent_notify.policy.breaker import Health, judge

RETRY = Verdict(VerdictKind.RETRY_AT, "fcm.503")
UNKNOWN = Verdict(VerdictKind.UNKNOWN, "apns.Timeout")
GONE = Verdict(VerdictKind.DROP_TARGET, "apns.Unregistered")
PAUSE = Verdict(VerdictKind.PAUSE_CHANNEL, "apns.BadTopic")


@pytest.mark.parametrize(
    ("window", "health"),
    [
        ([ACCEPTED] * 100, Health.GOOD),
        ([ACCEPTED] * 51 + [GONE] * 49, Health.GOOD),
        ([GONE] * 100, Health.UNKNOWN),
        ([ACCEPTED] * 50 + [RETRY] * 50, Health.BAD),
        ([UNKNOWN] * 10, Health.BAD),
        ([RETRY] * 9, Health.UNKNOWN),
        ([ACCEPTED] * 99 + [PAUSE], Health.BAD),
        ([ACCEPTED] * 9 + [RETRY], Health.GOOD),
        ([], Health.UNKNOWN),
    ],
)
def test_a_windows_health(window: list[Verdict], health: Health) -> None:
    assert judge(window) is health
