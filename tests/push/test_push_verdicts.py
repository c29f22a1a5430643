"""The tables themselves, row by row. Each row is tried over the wire in test_apns_channel and test_fcm_channel."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ent_notify.model.delivery import ACCEPTED, Verdict, VerdictKind
from ent_notify.policy.push_verdicts import FCM_QUOTA_WAIT, apns_verdict, fcm_verdict
from ent_notify.testing.apns import STATUS_OF_REASON

REGISTERED = datetime(2026, 9, 1, 8, 0, tzinfo=UTC)


def milliseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


@pytest.mark.parametrize("reason", ["Unregistered", "ExpiredToken"])
@pytest.mark.parametrize(
    ("gone_after", "verdict"),
    [
        (timedelta(milliseconds=1), (VerdictKind.DROP_TARGET, False)),
        (timedelta(0), (VerdictKind.RETRY_AT, False)),
        (timedelta(days=-1), (VerdictKind.RETRY_AT, False)),
    ],
)
def test_a_410_drops_only_what_was_registered_before(
    reason: str, gone_after: timedelta, verdict: tuple[VerdictKind, bool]
) -> None:
    got = apns_verdict(410, reason, milliseconds(REGISTERED + gone_after), REGISTERED)
    assert (got.kind, got.quarantine) == verdict


@pytest.mark.parametrize(("timestamp", "registered_at"), [(None, REGISTERED), (1, None), (None, None)])
def test_a_410_that_cannot_be_dated_only_quarantines(timestamp: int | None, registered_at: datetime | None) -> None:
    assert apns_verdict(410, "Unregistered", timestamp, registered_at) == Verdict(
        VerdictKind.DROP_TARGET, "apns.Unregistered", quarantine=True
    )


def test_every_documented_reason_has_a_verdict_of_its_own() -> None:
    for reason, status in STATUS_OF_REASON.items():
        verdict = apns_verdict(status, reason, milliseconds(REGISTERED) + 1, REGISTERED)
        assert verdict.reason == f"apns.{reason}"
        assert verdict.kind not in (VerdictKind.ACCEPTED, VerdictKind.UNKNOWN)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, VerdictKind.BAD_MESSAGE),
        (403, VerdictKind.PAUSE_CHANNEL),
        (404, VerdictKind.BAD_MESSAGE),
        (405, VerdictKind.BAD_MESSAGE),
        (413, VerdictKind.BAD_MESSAGE),
        (429, VerdictKind.SLOW_TARGET),
        (500, VerdictKind.RETRY_AT),
        (503, VerdictKind.RETRY_AT),
        (302, VerdictKind.UNKNOWN),
        (418, VerdictKind.UNKNOWN),
    ],
)
def test_an_apns_answer_without_a_known_reason_goes_by_its_status(status: int, kind: VerdictKind) -> None:
    for reason in ("", "SomethingNewFromApple"):
        assert apns_verdict(status, reason) == Verdict(kind, f"apns.{status}")


@given(status=st.integers(100, 599), reason=st.text(max_size=40), timestamp=st.none() | st.integers(0, 2**42))
def test_whatever_apns_says_the_reason_is_of_a_closed_list(status: int, reason: str, timestamp: int | None) -> None:
    verdict = apns_verdict(status, reason, timestamp, REGISTERED)
    words = {f"apns.{word}" for word in [*STATUS_OF_REASON, *map(str, range(100, 600))]}
    assert verdict == ACCEPTED or verdict.reason.removesuffix(".stale") in words


K = VerdictKind


@pytest.mark.parametrize(
    ("status", "code", "fields", "verdict"),
    [
        (200, "", [], ACCEPTED),
        (404, "UNREGISTERED", [], Verdict(K.DROP_TARGET, "fcm.UNREGISTERED")),
        (404, "", [], Verdict(K.PAUSE_CHANNEL, "fcm.404")),
        (404, "NOT_FOUND", [], Verdict(K.PAUSE_CHANNEL, "fcm.404")),
        (400, "INVALID_ARGUMENT", ["message.token"], Verdict(K.DROP_TARGET, "fcm.INVALID_ARGUMENT.target")),
        (400, "INVALID_ARGUMENT", ["message.fid"], Verdict(K.DROP_TARGET, "fcm.INVALID_ARGUMENT.target")),
        (400, "INVALID_ARGUMENT", ["message.data"], Verdict(K.BAD_MESSAGE, "fcm.INVALID_ARGUMENT")),
        (400, "INVALID_ARGUMENT", ["message.token", "message.data"], Verdict(K.BAD_MESSAGE, "fcm.INVALID_ARGUMENT")),
        (400, "INVALID_ARGUMENT", [], Verdict(K.BAD_MESSAGE, "fcm.INVALID_ARGUMENT")),
        (403, "SENDER_ID_MISMATCH", [], Verdict(K.DROP_TARGET, "fcm.SENDER_ID_MISMATCH", quarantine=True)),
        (403, "", [], Verdict(K.PAUSE_CHANNEL, "fcm.403")),
        (401, "", [], Verdict(K.PAUSE_CHANNEL, "fcm.401")),
        (401, "THIRD_PARTY_AUTH_ERROR", [], Verdict(K.PAUSE_CHANNEL, "fcm.THIRD_PARTY_AUTH_ERROR")),
        (429, "QUOTA_EXCEEDED", [], Verdict(K.PAUSE_CHANNEL, "fcm.QUOTA_EXCEEDED", FCM_QUOTA_WAIT)),
        (500, "INTERNAL", [], Verdict(K.RETRY_AT, "fcm.500")),
        (503, "UNAVAILABLE", [], Verdict(K.RETRY_AT, "fcm.503")),
        (504, "", [], Verdict(K.UNKNOWN, "fcm.504")),
        (None, "", [], Verdict(K.UNKNOWN, "fcm.NoAnswer")),
    ],
)
def test_each_row_of_fcm(status: int | None, code: str, fields: list[str], verdict: Verdict) -> None:
    assert fcm_verdict(status, code, frozenset(fields)) == verdict


def test_fcm_is_obeyed_when_it_says_how_long_to_wait() -> None:
    assert fcm_verdict(429, "QUOTA_EXCEEDED", retry_after=120.0).retry_after == 120.0
    assert fcm_verdict(503, "UNAVAILABLE", retry_after=7.0).retry_after == 7.0
    assert fcm_verdict(503, "UNAVAILABLE").retry_after is None
