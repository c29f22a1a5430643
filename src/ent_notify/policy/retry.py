"""When to try again, and what becomes of a delivery: pure functions from a verdict to an outcome."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from ent_notify.model.delivery import Verdict, VerdictKind

FIRST_DELAY = timedelta(seconds=30)
LONGEST_DELAY = timedelta(hours=1)
MOST_ATTEMPTS = 8
UNKNOWN_ATTEMPTS = 3
"""Tries of a delivery whose answers never came: each may have arrived, so they are fewer."""


class OutcomeState(IntEnum):
    """What is not plain success (stored as smallint)."""

    RETRY = 1
    SUPPRESSED = 2
    FAILED = 3


class MessageClass(IntEnum):
    """How an unknown outcome is resolved: an alert prefers a repeat (the same id replaces it), a digest none."""

    ALERT = 1
    DIGEST = 2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a delivery has become; plain success is the absence of one."""

    state: OutcomeState
    reason: str
    attempts: int
    retry_at: datetime | None = None


def backoff(attempt: int, fraction: float) -> timedelta:
    """Delay before the try after ``attempt`` (1 is the first): exponential from 30 s to 1 h, with equal jitter.

    ``fraction`` in [0, 1) is the caller's randomness; the delay lies in [half, whole) of the exponential one, so that
    it never falls to nothing and a thousand failures do not come back in one second.
    """
    whole = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(attempt - 1, 16))
    return whole / 2 + whole / 2 * fraction


def settle(
    verdict: Verdict,
    *,
    attempt: int,
    now: datetime,
    expires_at: datetime,
    fraction: float,
    message_class: MessageClass = MessageClass.ALERT,
) -> Outcome | None:
    """The outcome of one try; None is plain success.

    A retry that could only come after ``expires_at`` or beyond the bound of attempts is a failure with the verdict's
    own reason. A pause of the whole channel is nobody's attempt: it is bounded by ``expires_at`` alone.
    """
    if verdict.kind is VerdictKind.ACCEPTED:
        return None
    reason = verdict.reason or verdict.kind.value
    if verdict.kind in (VerdictKind.DROP_TARGET, VerdictKind.BAD_MESSAGE):
        return Outcome(OutcomeState.FAILED, reason, attempt)
    counted = attempt
    bound = MOST_ATTEMPTS
    if verdict.kind is VerdictKind.PAUSE_CHANNEL:
        counted = attempt - 1
    elif verdict.kind is VerdictKind.UNKNOWN:
        bound = 1 if message_class is MessageClass.DIGEST else UNKNOWN_ATTEMPTS
        reason = f"unknown:{reason}"
    delay = backoff(max(counted, 1), fraction)
    if verdict.retry_after is not None:
        delay = max(timedelta(seconds=verdict.retry_after), min(delay, timedelta(seconds=verdict.retry_after * 1.5)))
    retry_at = now + delay
    if counted >= bound or retry_at >= expires_at:
        return Outcome(OutcomeState.FAILED, reason, attempt)
    return Outcome(OutcomeState.RETRY, reason, counted, retry_at)
