"""What the push platforms allow, in one table, each figure with its source.

The rates per app are settings (``RateSettings``); what is here are the platforms' own bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

KIBIBYTE = 1_024


@dataclass(frozen=True, slots=True)
class ApnsLimits:
    """Apple Push Notification service.

    Sources: "Generating a remote notification" (payload), "Sending notification requests to APNs" (collapse id,
    storage, one stored notification per bundle id, streams), "Establishing a token-based connection to APNs"
    (provider tokens).
    """

    payload_bytes: int = 4 * KIBIBYTE
    collapse_id_bytes: int = 64
    stored_for: timedelta = timedelta(days=30)
    stored_per_bundle_id: int = 1
    streams_before_auth: int = 1
    provider_token_youngest_renewal: timedelta = timedelta(minutes=20)
    provider_token_life: timedelta = timedelta(minutes=60)


@dataclass(frozen=True, slots=True)
class FcmLimits:
    """Firebase Cloud Messaging, HTTP v1.

    Sources: "Throttling and quotas" (rates, the burst of collapsible messages), "About FCM messages" (payload,
    collapse keys), "Lifetime of a message" (TTL), the reference of ``messages:send`` (batches, in the Admin SDK),
    "Best practices when sending at scale" (ramp around the quarters of an hour).
    """

    payload_bytes: int = 4 * KIBIBYTE
    per_project_minute: int = 600_000
    per_device_minute: int = 240
    per_device_hour: int = 5_000
    collapsible_burst: int = 20
    collapsible_refill: timedelta = timedelta(minutes=3)
    ttl: timedelta = timedelta(days=28)
    batch: int = 500
    crowded_minutes: tuple[int, ...] = (0, 15, 30, 45)


@dataclass(frozen=True, slots=True)
class WebPushLimits:
    """Web Push. Sources: RFC 8030 (TTL, Topic), RFC 8291 (plaintext that fits 4,096 bytes), RFC 8292 (VAPID). The
    longest TTL is what FCM and Mozilla's service keep; others answer with what they chose."""

    plaintext_bytes: int = 3_993
    topic_characters: int = 32
    ttl_required: bool = True
    ttl: timedelta = timedelta(days=28)
    vapid_token_life: timedelta = timedelta(hours=24)


APNS = ApnsLimits()
FCM = FcmLimits()
WEBPUSH = WebPushLimits()
