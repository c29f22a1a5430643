"""When a lane is ill: the judgement of one window of sends. The breaker's state is shared, in the lane's row."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from ent_notify.model.delivery import Verdict, VerdictKind

LEAST = 10
"""Verdicts below which a window of mere retries proves nothing."""
_ILL = frozenset({VerdictKind.RETRY_AT, VerdictKind.UNKNOWN})


class Health(Enum):
    """What a window says of its lane."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


def judge(verdicts: Sequence[Verdict]) -> Health:
    """Bad: the provider told the whole lane to pause, or half of ten sends or more failed on its side or got no
    answer. Good: most were accepted. A target's own trouble (gone, slow, bad message) says nothing."""
    if any(verdict.kind is VerdictKind.PAUSE_CHANNEL for verdict in verdicts):
        return Health.BAD
    ill = sum(verdict.kind in _ILL for verdict in verdicts)
    if len(verdicts) >= LEAST and ill * 2 >= len(verdicts):
        return Health.BAD
    accepted = sum(verdict.kind is VerdictKind.ACCEPTED for verdict in verdicts)
    return Health.GOOD if accepted * 2 > len(verdicts) else Health.UNKNOWN
