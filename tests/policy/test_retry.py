"""Retries: bounded in number and in time, jittered, and honest about what nobody knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ent_notify.model.delivery import ACCEPTED, Verdict, VerdictKind
from ent_notify.policy.retry import DEFAULT_BOUNDS, MessageClass, Outcome, OutcomeState, backoff, settle

NOW = datetime(2026, 9, 8, 8, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=7)
FRACTION = st.floats(0, 1, exclude_max=True)


@given(attempt=st.integers(1, 1000), fraction=FRACTION)
def test_a_delay_lies_between_half_and_the_whole_and_never_above_the_longest(attempt: int, fraction: float) -> None:
    delay = backoff(attempt, fraction)
    whole = min(DEFAULT_BOUNDS.longest_delay, DEFAULT_BOUNDS.first_delay * 2 ** min(attempt - 1, 10))
    assert whole / 2 <= delay <= whole


@given(
    kind=st.sampled_from(list(VerdictKind)),
    after=st.none() | st.integers(0, 100_000),
    fraction=FRACTION,
    message_class=st.sampled_from(list(MessageClass)),
)
def test_every_delivery_ends_in_a_bounded_number_of_tries(
    kind: VerdictKind, after: float | None, fraction: float, message_class: MessageClass
) -> None:
    if kind is VerdictKind.PAUSE_CHANNEL and after:
        after += 600  # a pause is bounded by the life of the event alone: keep the walk to its end short
    now, attempt, tries = NOW, 1, 0
    while True:
        tries += 1
        outcome = settle(
            Verdict(kind, "x", after),
            attempt=attempt,
            now=now,
            expires_at=LATER,
            fraction=fraction,
            message_class=message_class,
        )
        if outcome is None or outcome.state is OutcomeState.FAILED:
            break
        assert outcome.retry_at is not None
        assert now < outcome.retry_at < LATER
        if after is not None:
            assert outcome.retry_at >= now + timedelta(seconds=after)
        now, attempt = outcome.retry_at, outcome.attempts + 1
    if kind is VerdictKind.PAUSE_CHANNEL:
        assert now + timedelta(hours=1) >= LATER or after is not None
    else:
        assert tries <= DEFAULT_BOUNDS.most_attempts


def test_acceptance_leaves_no_trace() -> None:
    assert settle(ACCEPTED, attempt=1, now=NOW, expires_at=LATER, fraction=0.5) is None


@pytest.mark.parametrize("kind", [VerdictKind.DROP_TARGET, VerdictKind.BAD_MESSAGE])
def test_what_cannot_succeed_is_not_tried_again(kind: VerdictKind) -> None:
    outcome = settle(Verdict(kind, "apns.BadTopic"), attempt=1, now=NOW, expires_at=LATER, fraction=0)
    assert outcome == Outcome(OutcomeState.FAILED, "apns.BadTopic", 1)


def test_nothing_is_tried_after_it_expired() -> None:
    soon = NOW + timedelta(seconds=5)
    outcome = settle(Verdict(VerdictKind.RETRY_AT, "smtp.451"), attempt=1, now=NOW, expires_at=soon, fraction=0)
    assert outcome == Outcome(OutcomeState.FAILED, "smtp.451", 1)


def test_an_unknown_alert_is_repeated_and_an_unknown_digest_is_not() -> None:
    unknown = Verdict(VerdictKind.UNKNOWN, "smtp.dropped")
    alert = settle(unknown, attempt=1, now=NOW, expires_at=LATER, fraction=0)
    digest = settle(unknown, attempt=1, now=NOW, expires_at=LATER, fraction=0, message_class=MessageClass.DIGEST)
    assert alert is not None
    assert alert.state is OutcomeState.RETRY
    assert digest == Outcome(OutcomeState.FAILED, "unknown:smtp.dropped", 1)


def test_a_pause_of_the_channel_is_nobodys_attempt() -> None:
    outcome = settle(Verdict(VerdictKind.PAUSE_CHANNEL, "x", 60), attempt=3, now=NOW, expires_at=LATER, fraction=0)
    assert outcome is not None
    assert outcome.attempts == 2
