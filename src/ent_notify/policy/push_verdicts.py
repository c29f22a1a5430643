"""What an answer of APNs, FCM or a Web Push service means: pure tables, one verdict for each answer.

Sources: Apple, "Handling notification responses from APNs"; Google, "FCM error codes" and the reference of
``google.firebase.fcm.v1.FcmError``; RFC 9113, 6.8 and 8.7 for what a lost stream tells; RFC 8030, 5 to 8, and RFC
8292, 4.2, for Web Push.

A *quarantine* is a ``DROP_TARGET`` whose ``quarantine`` is set: leave that device alone until it registers anew, but do
not call it gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from ent_notify.model.delivery import ACCEPTED, Verdict, VerdictKind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KIND = VerdictKind

FCM_QUOTA_WAIT = 60.0
"""Seconds that the whole channel waits after a 429 without Retry-After (Google: "at least one minute")."""

_APNS_REASONS: Mapping[str, VerdictKind] = {
    # The device.
    "TooManyRequests": _KIND.SLOW_TARGET,
    # The app or its credentials: nothing that we send would pass.
    "TopicDisallowed": _KIND.PAUSE_CHANNEL,
    "MissingTopic": _KIND.PAUSE_CHANNEL,
    "BadTopic": _KIND.PAUSE_CHANNEL,
    "BadCertificate": _KIND.PAUSE_CHANNEL,
    "BadCertificateEnvironment": _KIND.PAUSE_CHANNEL,
    "BadEnvironmentKeyIdInToken": _KIND.PAUSE_CHANNEL,
    "UnrelatedKeyIdInToken": _KIND.PAUSE_CHANNEL,
    "Forbidden": _KIND.PAUSE_CHANNEL,
    "InvalidProviderToken": _KIND.PAUSE_CHANNEL,
    "MissingProviderToken": _KIND.PAUSE_CHANNEL,
    "ExpiredProviderToken": _KIND.PAUSE_CHANNEL,  # after one refresh and one more try, which the channel makes
    "TooManyProviderTokenUpdates": _KIND.PAUSE_CHANNEL,
    # The message.
    "BadCollapseId": _KIND.BAD_MESSAGE,
    "BadExpirationDate": _KIND.BAD_MESSAGE,
    "BadMessageId": _KIND.BAD_MESSAGE,
    "BadPriority": _KIND.BAD_MESSAGE,
    "BadPath": _KIND.BAD_MESSAGE,
    "DuplicateHeaders": _KIND.BAD_MESSAGE,
    "InvalidPushType": _KIND.BAD_MESSAGE,
    "MethodNotAllowed": _KIND.BAD_MESSAGE,
    "MissingDeviceToken": _KIND.BAD_MESSAGE,
    "PayloadEmpty": _KIND.BAD_MESSAGE,
    "PayloadTooLarge": _KIND.BAD_MESSAGE,
    # Apple itself, just now.
    "IdleTimeout": _KIND.RETRY_AT,
    "InternalServerError": _KIND.RETRY_AT,
    "ServiceUnavailable": _KIND.RETRY_AT,
    "Shutdown": _KIND.RETRY_AT,
}

_APNS_QUARANTINE = frozenset({"BadDeviceToken", "DeviceTokenNotForTopic"})

_APNS_STATUSES: Mapping[int, VerdictKind] = {
    400: _KIND.BAD_MESSAGE,
    403: _KIND.PAUSE_CHANNEL,
    404: _KIND.BAD_MESSAGE,
    405: _KIND.BAD_MESSAGE,
    413: _KIND.BAD_MESSAGE,
    429: _KIND.SLOW_TARGET,
    500: _KIND.RETRY_AT,
    502: _KIND.RETRY_AT,
    503: _KIND.RETRY_AT,
}


def apns_verdict(
    status: int,
    reason: str = "",
    timestamp: int | None = None,
    registered_at: datetime | None = None,
    retry_after: float | None = None,
) -> Verdict:
    """The verdict of one APNs answer.

    ``reason`` is the body's (empty for an answer without one), ``timestamp`` its milliseconds since 1970 (on a 410:
    since when the token is no longer valid), ``registered_at`` when the device gave us the token.

    A 410 drops the device only if Apple's instant is later than our registration. If it is earlier, the app has been
    installed again since: try later. If either instant is not known, the device is quarantined.
    """
    if status == 200:
        return ACCEPTED
    word = f"apns.{reason if reason in _APNS_REASONS or reason in _APNS_QUARANTINE or status == 410 else status}"
    if status == 410:
        word = f"apns.{reason if reason in ('Unregistered', 'ExpiredToken') else 410}"
        return _gone(word, timestamp, registered_at)
    if reason in _APNS_QUARANTINE:
        return Verdict(_KIND.DROP_TARGET, word, quarantine=True)
    kind = _APNS_REASONS.get(reason) or _APNS_STATUSES.get(status, _KIND.UNKNOWN)
    return Verdict(kind, word, retry_after)


def _gone(word: str, timestamp: int | None, registered_at: datetime | None) -> Verdict:
    if timestamp is None or registered_at is None:
        return Verdict(_KIND.DROP_TARGET, word, quarantine=True)
    if _EPOCH + timedelta(milliseconds=timestamp) > registered_at:
        return Verdict(_KIND.DROP_TARGET, word)
    return Verdict(_KIND.RETRY_AT, f"{word}.stale")


def fcm_verdict(
    status: int | None,
    code: str = "",
    violated_fields: frozenset[str] = frozenset(),
    retry_after: float | None = None,
) -> Verdict:
    """The verdict of one FCM answer.

    ``status`` is the HTTP status (None: there was no answer), ``code`` the ``errorCode`` of the FcmError detail (empty
    if there is none), ``violated_fields`` the fields that a BadRequest detail names.
    """
    match status, code:
        case 200, _:
            return ACCEPTED
        case None, _:
            return Verdict(_KIND.UNKNOWN, "fcm.NoAnswer")
        case 404, "UNREGISTERED":
            return Verdict(_KIND.DROP_TARGET, "fcm.UNREGISTERED")
        case 404, _:
            return Verdict(_KIND.PAUSE_CHANNEL, "fcm.404")  # no such project, or no such path
        case 400, _ if violated_fields and violated_fields <= _FCM_TARGET_FIELDS:
            return Verdict(_KIND.DROP_TARGET, "fcm.INVALID_ARGUMENT.target")
        case 400, _:
            return Verdict(_KIND.BAD_MESSAGE, "fcm.INVALID_ARGUMENT")
        case 403, "SENDER_ID_MISMATCH":
            return Verdict(_KIND.DROP_TARGET, "fcm.SENDER_ID_MISMATCH", quarantine=True)
        case ((401 | 403), _):
            known = code in ("THIRD_PARTY_AUTH_ERROR", "APNS_AUTH_ERROR")
            return Verdict(_KIND.PAUSE_CHANNEL, f"fcm.{code if known else status}")
        case 429, _:
            return Verdict(_KIND.PAUSE_CHANNEL, "fcm.QUOTA_EXCEEDED", max(retry_after or 0.0, 0.0) or FCM_QUOTA_WAIT)
        case ((500 | 503), _):
            return Verdict(_KIND.RETRY_AT, f"fcm.{status}", retry_after)
        case 413, _:
            return Verdict(_KIND.BAD_MESSAGE, "fcm.413")
        case _:
            return Verdict(_KIND.UNKNOWN, f"fcm.{status}")


_FCM_TARGET_FIELDS = frozenset({"message.token", "message.fid"})


def webpush_verdict(status: int, retry_after: float | None = None, *, trusted: bool = False) -> Verdict:
    """The verdict of one push service's answer.

    ``trusted``: the service has taken another message under the same VAPID token. Then a 401 or 403 is about this one
    subscription, which was made for another key of ours, and a 400 about the message. If not, it is our key or our
    clock: the service's origin is paused. Redirections are never followed, so they end like a refusal.
    """
    word = f"webpush.{status}"
    match status:
        case 200 | 201 | 202 | 204:
            return ACCEPTED
        case 404 | 410:
            return Verdict(_KIND.DROP_TARGET, word)
        case 400 | 401 | 403 if not trusted:
            return Verdict(_KIND.PAUSE_CHANNEL, word, retry_after, pause_group=True)
        case 401 | 403:
            return Verdict(_KIND.DROP_TARGET, word, quarantine=True)
        case 429:
            return Verdict(_KIND.RETRY_AT, word, retry_after, pause_group=True)
        case _ if 500 <= status < 600:
            return Verdict(_KIND.RETRY_AT, word, retry_after, pause_group=True)
        case _ if 300 <= status < 400:
            return Verdict(_KIND.DROP_TARGET, word, quarantine=True)
        case _ if 400 <= status < 500:
            return Verdict(_KIND.BAD_MESSAGE, word)
        case _:
            return Verdict(_KIND.UNKNOWN, word, pause_group=True)
