"""Fakes with a channel to each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ent_notify._island import Island
from ent_notify.channels.apns import ApnsChannel
from ent_notify.channels.fcm import FcmChannel
from ent_notify.ports import Clock
from ent_notify.testing.apns import open_fake_apns
from ent_notify.testing.fcm import open_fake_fcm

from .kit import ApnsPair, FcmPair, OpenApns, OpenFcm, fcm_options_for, options_for


@pytest.fixture
def open_apns(island: Island) -> OpenApns:
    """A fake APNs and a channel to it. ``fake`` are the fake's arguments, the rest are the channel's options."""

    @asynccontextmanager
    async def opened(
        *, fake: Mapping[str, Any] | None = None, clock: Clock | None = None, late: Any = None, **changes: Any
    ) -> AsyncIterator[ApnsPair]:
        async with open_fake_apns(**(fake or {})) as apns:
            channel = ApnsChannel(island, options_for(apns, **changes), clock=clock, late=late)
            try:
                yield apns, channel
            finally:
                await channel.aclose()

    return opened


@pytest.fixture
def open_fcm(island: Island) -> OpenFcm:
    """A fake FCM and a channel to it; arguments as for ``open_apns``."""

    @asynccontextmanager
    async def opened(
        *, fake: Mapping[str, Any] | None = None, clock: Clock | None = None, late: Any = None, **changes: Any
    ) -> AsyncIterator[FcmPair]:
        async with open_fake_fcm(**(fake or {})) as fcm:
            channel = FcmChannel(island, fcm_options_for(fcm, **changes), clock=clock, late=late)
            try:
                yield fcm, channel
            finally:
                await channel.aclose()

    return opened
