"""From a ``WakeUp`` to what a platform takes. A WakeUp is all there is to build from: no name, no text, no class."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from ent_notify.channels.push_limits import APNS, FCM, WEBPUSH
from ent_notify.model.delivery import Urgency, Verdict, VerdictKind, WakeUp

NO_TEXT = Verdict(VerdictKind.BAD_MESSAGE, "push.NoText")
"""The campaign has no sentence in that recipient's language."""


@dataclass(frozen=True, slots=True)
class ApnsPayload:
    """A body and the headers that all recipients of it share."""

    body: bytes
    headers: tuple[tuple[str, str], ...]


def apns_payload(wake_up: WakeUp) -> ApnsPayload | Verdict:
    """The APNs form of ``wake_up``, or BadMessage if it is beyond a limit of APNs.

    ``{"aps": {"alert": {"body"}, "sound", "thread-id"}, "n": notification}``, and ``"shown": 1`` if a page
    was given it: one thread for each category, a later alert with the same collapse id takes the earlier one's place.

    One that clears is ``{"aps": {"content-available": 1, "badge": unread}, "clear": [collapse id, ...]}``. Its push
    type is alert: a background push may have no badge, and this way an app that is not running gets its own, too.
    https://developer.apple.com/documentation/usernotifications/pushing-background-updates-to-your-app
    """
    if wake_up.clears:
        silent: dict[str, Any] = {"content-available": 1} | _badge(wake_up)
        return _apns(orjson.dumps({"aps": silent, "clear": wake_up.clears}), wake_up)
    aps = {"alert": {"body": wake_up.sentence}, "sound": "default", "thread-id": wake_up.category}
    return _apns(
        orjson.dumps({"aps": aps, "n": wake_up.notification} | ({"shown": 1} if wake_up.shown else {})), wake_up
    )


def _badge(wake_up: WakeUp) -> dict[str, Any]:
    return {} if wake_up.badge is None else {"badge": wake_up.badge}


def _apns(body: bytes, wake_up: WakeUp) -> ApnsPayload | Verdict:
    if len(body) > APNS.payload_bytes:
        return Verdict(VerdictKind.BAD_MESSAGE, "apns.PayloadTooLarge")
    if not _is_header_value(wake_up.collapse_id) or len(wake_up.collapse_id) > APNS.collapse_id_bytes:
        return Verdict(VerdictKind.BAD_MESSAGE, "apns.BadCollapseId")
    headers = [
        ("apns-push-type", "alert"),
        ("apns-priority", "5" if wake_up.urgency is Urgency.BULK else "10"),
        ("apns-collapse-id", wake_up.collapse_id),
    ]
    if wake_up.expires_at is not None:
        headers.append(("apns-expiration", str(int(wake_up.expires_at.timestamp()))))
    return ApnsPayload(body, tuple(headers))


@dataclass(frozen=True, slots=True)
class FcmPayload:
    """What all recipients of a message share. ``tag`` is what replaces in Android's drawer; ``ttl`` None is FCM's.
    ``body`` None: a data message, of which nothing is shown."""

    body: str | None
    data: Mapping[str, str]
    collapse_key: str
    tag: str
    channel_id: str
    priority: str
    ttl: timedelta | None


def fcm_payload(wake_up: WakeUp, now: datetime) -> FcmPayload | Verdict:
    """The FCM form of ``wake_up``, or BadMessage if it is beyond a limit of FCM. Its TTL counts from ``now``.

    One that clears is a data message: ``clear`` (collapse ids with a space between them) and ``badge``.
    """
    if wake_up.clears:
        data = {"clear": " ".join(wake_up.clears)} | {name: str(count) for name, count in _badge(wake_up).items()}
    else:
        data = {"n": wake_up.notification, "category": wake_up.category} | ({"shown": "1"} if wake_up.shown else {})
    if len(orjson.dumps([wake_up.sentence, data, wake_up.collapse_id])) > FCM.payload_bytes:
        return Verdict(VerdictKind.BAD_MESSAGE, "fcm.PayloadTooLarge")
    left = None if wake_up.expires_at is None else min(max(wake_up.expires_at - now, timedelta()), FCM.ttl)
    return FcmPayload(
        body=None if wake_up.clears else wake_up.sentence,
        data=data,
        collapse_key=wake_up.collapse_id,
        tag=wake_up.collapse_id,
        channel_id=wake_up.category,
        priority="normal" if wake_up.urgency is Urgency.BULK else "high",
        ttl=left,
    )


_URGENCIES = {Urgency.URGENT: "high", Urgency.NORMAL: "normal", Urgency.BULK: "low"}
"""RFC 8030, 5.3: a device that saves power asks its service to keep what is below a level."""
_BLOCK = 256
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}\Z")


@dataclass(frozen=True, slots=True)
class WebPushPayload:
    """What is encrypted for each browser, and the headers that all recipients of it share."""

    plaintext: bytes
    headers: tuple[tuple[str, str], ...]
    expires_at: datetime | None
    silent: bool = False

    def ttl(self, now: datetime) -> int:
        """Seconds for which the push service keeps it (RFC 8030, 5.2); 0: now or never."""
        longest = int(WEBPUSH.ttl.total_seconds())
        if self.expires_at is None:
            return longest
        return min(max(int((self.expires_at - now).total_seconds()), 0), longest)


def webpush_payload(wake_up: WakeUp) -> WebPushPayload | Verdict:
    """The Web Push form of ``wake_up``, or BadMessage if it is beyond a limit of Web Push.

    ``{"body", "n": notification, "category", "tag"}`` (and ``"shown": 1`` if a page was given it), with spaces up to a
    multiple of 256 bytes: the push service sees a length that says nothing. ``tag`` and the header Topic are the
    collapse id: a later message takes the place of an earlier one, at the push service and on the screen. One that
    clears is ``{"clear": [tag, ...], "badge": unread}``.
    """
    said: dict[str, Any] = {
        "body": wake_up.sentence,
        "n": wake_up.notification,
        "category": wake_up.category,
        "tag": wake_up.collapse_id,
    } | ({"shown": 1} if wake_up.shown else {})
    if wake_up.clears:
        said = {"clear": wake_up.clears} | _badge(wake_up)
    body = orjson.dumps(said)
    body = body.ljust(min(-(-len(body) // _BLOCK) * _BLOCK, WEBPUSH.plaintext_bytes))
    if len(body) > WEBPUSH.plaintext_bytes:
        return Verdict(VerdictKind.BAD_MESSAGE, "webpush.PayloadTooLarge")
    if not _TOPIC.match(wake_up.collapse_id):
        return Verdict(VerdictKind.BAD_MESSAGE, "webpush.BadTopic")
    headers = (("urgency", _URGENCIES[wake_up.urgency]), ("topic", wake_up.collapse_id))
    return WebPushPayload(body, headers, wake_up.expires_at, bool(wake_up.clears))


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """A Retry-After header (RFC 9110, 10.2.3) in seconds from ``now``; None if there is none or it says nothing."""
    if value is None:
        return None
    value = value.strip()
    if value.isdecimal():
        return float(value)
    try:
        until = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max((until - now).total_seconds(), 0.0)


def json_object(body: bytes) -> Mapping[str, Any]:
    """The JSON object in an answer's body; empty if there is none."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _is_header_value(text: str) -> bool:
    return text.isascii() and text.isprintable()
