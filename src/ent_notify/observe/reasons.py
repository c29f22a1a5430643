"""The closed list of reasons that a metric may carry: the words that our policies and providers give a delivery.

Sources: Apple, "Handling notification responses from APNs"; Google, FCM's ``ErrorCode``; RFC 3463 for mail.
"""

from __future__ import annotations

import re

OTHER = "other"

_UNKNOWN = "unknown:"
_FAMILIES = frozenset({"apns", "dsn", "fcm", "mail", "push", "smtp", "webpush"})

_OURS = frozenset(
    {
        "",
        "address_dropped",
        "cancelled",
        "channel_error",
        "daily_cap",
        "device_dropped",
        "down",
        "drops.gone",
        "drops.quarantined",
        "erased",
        "expired",
        "in_pause",
        "left",
        "mail.address",
        "mail.dedup_id",
        "mail.personal",
        "mail.text",
        "mail.unsubscribe_url",
        "no_address",
        "no_longer_addressed",
        "not_sent",
        "on_screen",
        "opted_out",
        "paused",
        "push.NoText",
        "webpush.NoSilence",
        "read",
        "recalled",
        "seen",
        "smtp.lost",
        "smtp.relay",
        "smtp.unanswered",
        "unrendered",
        "superseded",
    }
)

_PUSH = frozenset(
    {
        # APNs
        "BadCertificate",
        "BadCertificateEnvironment",
        "BadCollapseId",
        "BadDeviceToken",
        "BadEnvironmentKeyIdInToken",
        "BadExpirationDate",
        "BadMessageId",
        "BadPath",
        "BadPriority",
        "BadTopic",
        "DeviceTokenNotForTopic",
        "DuplicateHeaders",
        "ExpiredProviderToken",
        "ExpiredToken",
        "Forbidden",
        "IdleTimeout",
        "InternalServerError",
        "InvalidProviderToken",
        "InvalidPushType",
        "MethodNotAllowed",
        "MissingDeviceToken",
        "MissingProviderToken",
        "MissingTopic",
        "PayloadEmpty",
        "PayloadTooLarge",
        "ServiceUnavailable",
        "Shutdown",
        "TooManyProviderTokenUpdates",
        "TooManyRequests",
        "TopicDisallowed",
        "UnrelatedKeyIdInToken",
        "Unregistered",
        # FCM
        "APNS_AUTH_ERROR",
        "INTERNAL",
        "INVALID_ARGUMENT",
        "QUOTA_EXCEEDED",
        "SENDER_ID_MISMATCH",
        "THIRD_PARTY_AUTH_ERROR",
        "UNAVAILABLE",
        "UNREGISTERED",
        "UNSPECIFIED_ERROR",
        # Web Push
        "BadKey",
        "BadSubscription",
        "HostNotAllowed",
        "OriginPaused",
        # a connection, any
        "ConnectionLost",
        "NoAnswer",
        "NoMessageId",
        "NotSent",
        "Raised",
        "Timeout",
        "Unreachable",
    }
)

_PUSH_REASON = re.compile(r"(apns|fcm|webpush)\.(?P<word>[A-Za-z_]+|[2-5][0-9]{2})(\.(stale|target))?")
_MAIL_REASON = re.compile(r"(dsn|smtp)\.(failed|[245][0-5][0-9]|[245]\.[0-7](\.([0-9]|[12][0-9]|30))?)")
"""A reply code, or a class, a subject and a detail of RFC 3463 (whose registry ends at 30)."""


def known_reason(reason: str) -> str:
    """``reason`` if it is in the list, else its provider's ``.other``, else ``other``.

    ``unknown:`` before a reason (the outcome was never learnt) is kept.
    """
    if reason.startswith(_UNKNOWN):
        return _UNKNOWN + _known(reason.removeprefix(_UNKNOWN))
    return _known(reason)


def _known(reason: str) -> str:
    if reason in _OURS or _MAIL_REASON.fullmatch(reason):
        return reason
    push = _PUSH_REASON.fullmatch(reason)
    if push and (push["word"].isdigit() or push["word"] in _PUSH):
        return reason
    family = reason.partition(".")[0]
    return f"{family}.{OTHER}" if family in _FAMILIES else OTHER
