"""The rules of Web Push that need no wire: subscriptions, verdicts, an origin's breaker."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ent_notify.channels.webpush_keys import check_point
from ent_notify.errors import MalformedDevice
from ent_notify.model.delivery import ACCEPTED, VerdictKind
from ent_notify.model.webpush import Subscription, read_subscription
from ent_notify.observe.reasons import known_reason
from ent_notify.policy.push_verdicts import webpush_verdict
from ent_notify.policy.webpush import FAILURES, LONGEST_PAUSE, MOST_ASKED, OriginHealth
from ent_notify.testing.webpush import subscribe

NOW = datetime(2026, 9, 8, 8, 0, tzinfo=UTC)
GOOD = subscribe("b1", "https://fcm.googleapis.com")
KEYS = json.loads(GOOD.token)


def test_a_subscription_is_read_as_browsers_write_it_and_is_one_token() -> None:
    as_browsers_do = {
        "endpoint": GOOD.endpoint,
        "expirationTime": None,
        "keys": {"p256dh": KEYS["p256dh"] + "=", "auth": KEYS["auth"] + "=="},
    }
    for given_form in (as_browsers_do, json.dumps(as_browsers_do), GOOD.token, KEYS):
        assert read_subscription(given_form) == GOOD
        assert read_subscription(given_form).token == GOOD.token
    assert len(GOOD.token.encode()) < 2_704
    check_point(GOOD)
    assert GOOD.endpoint not in repr(GOOD)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"endpoint": None}, "no endpoint"),
        ({"endpoint": "https://fcm.googleapis.com/" + "x" * 2_000}, "longer than 2000"),
        ({"p256dh": None}, "no p256dh"),
        ({"p256dh": "é"}, "p256dh is not base64url"),
        ({"p256dh": KEYS["auth"]}, "p256dh has 16 bytes and must have 65"),
        ({"p256dh": "A" * 87}, "no uncompressed point"),
        ({"auth": ""}, "no auth"),
        ({"auth": KEYS["p256dh"]}, "auth has 65 bytes and must have 16"),
        ({"auth": 7}, "no auth"),
    ],
)
def test_what_is_no_subscription_is_refused_in_words_that_quote_nothing(change: dict[str, Any], why: str) -> None:
    with pytest.raises(MalformedDevice, match=why) as caught:
        read_subscription(KEYS | change)
    assert KEYS["auth"] not in str(caught.value)


@pytest.mark.parametrize("text", ["", "token", "[1]", "null", '{"endpoint": 1}', "{" * 5_000, "\ud800"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(MalformedDevice):
        read_subscription(text)


def test_a_key_that_is_no_point_is_refused() -> None:
    with pytest.raises(MalformedDevice, match="no point of P-256"):
        check_point(Subscription(GOOD.endpoint, b"\x04" + b"\x01" * 64, GOOD.auth))


@given(status=st.integers(100, 999), asked=st.none() | st.floats(0, 1e6), trusted=st.booleans())
def test_every_status_has_a_verdict_of_a_closed_list(status: int, asked: float | None, trusted: bool) -> None:
    verdict = webpush_verdict(status, asked, trusted=trusted)
    assert verdict == ACCEPTED or verdict.reason == f"webpush.{status}"
    if 200 <= status < 600:
        assert known_reason(verdict.reason) == verdict.reason
    # what is the service's trouble, and only that, concerns its whole origin
    retried = verdict.kind in (VerdictKind.RETRY_AT, VerdictKind.PAUSE_CHANNEL, VerdictKind.UNKNOWN)
    assert verdict.pause_group is retried


@pytest.mark.parametrize(
    "reason", ["OriginPaused", "HostNotAllowed", "BadKey", "BadSubscription", "NotSent", "BadTopic"]
)
def test_our_own_words_are_in_the_list_that_metrics_know(reason: str) -> None:
    assert known_reason(f"webpush.{reason}") == f"webpush.{reason}"


def test_pauses_double_up_to_a_bound_and_one_good_message_ends_them() -> None:
    health, now = OriginHealth(), NOW
    for _ in range(FAILURES - 1):
        health.bad(now, "webpush.500")
    assert health.wait(now) == 0
    assert not health.on_trial
    waits = []
    for _ in range(10):
        health.bad(now, "webpush.500")
        waits.append(health.wait(now))
        now += timedelta(seconds=waits[-1])
        assert health.on_trial
    assert waits == [5, 10, 20, 40, 80, 160, 320, *[LONGEST_PAUSE] * 3]
    health.good(now)
    assert not health.on_trial
    assert health.reason == ""


def test_what_comes_in_during_a_pause_neither_ends_nor_lengthens_it() -> None:
    health = OriginHealth()
    health.bad(NOW, "webpush.429", asked=60.0)
    for _ in range(50):
        health.bad(NOW, "webpush.500", at_once=True)
        health.good(NOW)
    assert health.wait(NOW) == 60
    assert health.on_trial
    assert health.pauses == 1


@given(st.floats(0, 1e9), st.timedeltas(timedelta(days=-400), timedelta(days=400)))
def test_no_retry_after_and_no_clock_keeps_an_origin_away_for_longer_than_an_hour(
    asked: float, jump: timedelta
) -> None:
    health = OriginHealth()
    health.bad(NOW, "webpush.429", asked=asked)
    assert 0 <= health.wait(NOW + jump) <= MOST_ASKED
