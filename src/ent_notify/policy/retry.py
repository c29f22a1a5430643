"""When to try again, and what becomes of a delivery: pure functions from a verdict to an outcome."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from ent_notify.model.delivery import Verdict, VerdictKind


@dataclass(frozen=True, slots=True)
class RetryBounds:
    """How often and how soon. ``unknown_attempts`` bounds a delivery whose answers never came: each try may have
    arrived, so they are fewer."""

    first_delay: timedelta = timedelta(seconds=30)
    longest_delay: timedelta = timedelta(hours=1)
    most_attempts: int = 8
    unknown_attempts: int = 3


DEFAULT_BOUNDS = RetryBounds()
SHORTEST_WAIT = 1.0
"""Seconds that even the most eager provider is given (Retry-After counts in whole seconds: RFC 9110, 10.2.3)."""


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


def backoff(attempt: int, fraction: float, bounds: RetryBounds = DEFAULT_BOUNDS) -> timedelta:
    """Delay before the try after ``attempt`` (1 is the first): exponential, 30 s to 1 h by default, equal jitter.

    ``fraction`` in [0, 1) is the caller's randomness; the delay lies in [half, whole) of the exponential one, so that
    it never falls to nothing and a thousand failures do not come back in one second.
    """
    whole = min(bounds.longest_delay, bounds.first_delay * (1 << min(attempt - 1, 16)))
    return whole / 2 + whole / 2 * fraction


def settle(
    verdict: Verdict,
    *,
    attempt: int,
    now: datetime,
    expires_at: datetime,
    fraction: float,
    message_class: MessageClass = MessageClass.ALERT,
    bounds: RetryBounds = DEFAULT_BOUNDS,
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
    most = bounds.most_attempts
    if verdict.kind is VerdictKind.PAUSE_CHANNEL:
        counted = attempt - 1
    elif verdict.kind is VerdictKind.UNKNOWN:
        most = 1 if message_class is MessageClass.DIGEST else bounds.unknown_attempts
        reason = f"unknown:{reason}"
    if verdict.retry_after:
        # the provider's own word, and half as much again at most, so that not everybody comes back at once
        delay = timedelta(seconds=max(verdict.retry_after, SHORTEST_WAIT) * (1 + fraction / 2))
    else:
        delay = backoff(max(counted, 1), fraction, bounds)
    retry_at = now + delay
    if counted >= most or retry_at >= expires_at:
        return Outcome(OutcomeState.FAILED, reason, attempt)
    return Outcome(OutcomeState.RETRY, reason, counted, retry_at)
