"""Pushes to send, a clock to hold, and options that lead to the fakes."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ent_notify.channels.apns import ApnsChannel
from ent_notify.channels.fcm import FcmChannel
from ent_notify.channels.push_options import ApnsOptions, FcmOptions
from ent_notify.model.delivery import Outgoing, Urgency, VerdictKind, WakeUp
from ent_notify.testing.apns import FakeApns
from ent_notify.testing.fcm import FakeFcm

REGISTERED = datetime(2026, 9, 1, 8, 0, tzinfo=UTC)

WAKE_UPS: Mapping[str, WakeUp] = {
    "fr": WakeUp(
        sentence="Une nouvelle information vous attend.",
        notification="n-4711",
        category="homework",
        collapse_id="c-4711",
        urgency=Urgency.NORMAL,
        expires_at=datetime(2026, 9, 8, 8, 0, tzinfo=UTC),
    ),
    "en": WakeUp("Something new awaits you.", "n-4711", "homework", "c-4711"),
}


class HandClock:
    """A clock that stands until it is moved."""

    def __init__(self, start: datetime) -> None:
        self.time = start

    def now(self) -> datetime:
        return self.time

    def advance(self, by: timedelta) -> None:
        self.time += by

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("no channel sleeps by the clock")


def device(number: int) -> str:
    """The APNs token of the ``number``-th phone."""
    return f"{number:064x}"


def ios(count: int, *, first: int = 1, registered_at: datetime | None = REGISTERED) -> list[Outgoing]:
    """``count`` deliveries to iPhones."""
    return [
        Outgoing(number, device(number), "fr", str(uuid.uuid5(uuid.NAMESPACE_URL, f"d{number}")), registered_at)
        for number in range(first, first + count)
    ]


def kinds(verdicts: Sequence[Any]) -> list[VerdictKind]:
    """The kinds of ``verdicts``."""
    return [verdict.kind for verdict in verdicts]


ApnsPair = tuple[FakeApns, ApnsChannel]
OpenApns = Callable[..., AbstractAsyncContextManager[ApnsPair]]


def options_for(apns: FakeApns, **changes: Any) -> ApnsOptions:
    """Options of a channel that talks to ``apns``."""
    settings: dict[str, Any] = {
        "topic": apns.topic,
        "team_id": apns.team_id,
        "key_id": apns.key_id,
        "key": apns.key,
        "host": apns.host,
        "port": apns.port,
        "ca": apns.ca,
        "connections": 1,
    }
    return ApnsOptions(**(settings | changes))


FcmPair = tuple[FakeFcm, FcmChannel]
OpenFcm = Callable[..., AbstractAsyncContextManager[FcmPair]]


def android_token(number: int) -> str:
    """The FCM token of the ``number``-th phone."""
    return f"cTr-{number:018d}:APA91b{number:040x}"


def android(count: int, *, first: int = 1) -> list[Outgoing]:
    """``count`` deliveries to Android phones."""
    return [replace(item, address=android_token(item.target)) for item in ios(count, first=first)]


def fcm_options_for(fcm: FakeFcm, **changes: Any) -> FcmOptions:
    """Options of a channel that talks to ``fcm``."""
    settings: dict[str, Any] = {
        "service_account": fcm.service_account,
        "base_url": fcm.base_url,
        "ca": fcm.ca,
        "connections": 1,
    }
    return FcmOptions(**(settings | changes))
