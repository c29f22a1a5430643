"""Browsers to send to, and a channel that leads to fake push services on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from ent_notify._island import Island
from ent_notify.channels.push_options import WebPushOptions
from ent_notify.channels.webpush import WebPushChannel
from ent_notify.channels.webpush_dial import Resolve, resolve
from ent_notify.model.delivery import Outgoing
from ent_notify.ports import Clock
from ent_notify.testing.webpush import FakeWebPush, open_fake_webpush

from .kit import ios


def browsers(service: FakeWebPush, count: int, *, first: int = 1) -> list[Outgoing]:
    """``count`` deliveries to browsers that have subscribed at ``service``, called b1, b2..."""
    return [replace(item, address=service.subscribe(f"b{item.target}").token) for item in ios(count, first=first)]


@asynccontextmanager
async def open_webpush(
    island: Island,
    *,
    services: int = 1,
    fake: Mapping[str, Any] | None = None,
    clock: Clock | None = None,
    late: Any = None,
    lookup: Resolve = resolve,
    **changes: Any,
) -> AsyncIterator[tuple[Any, ...]]:
    """``(channel, service, service...)``. ``fake`` are the fakes' arguments (they live by the channel's clock),
    ``changes`` the channel's options. One authority signs for one fake; the channel trusts that of each.
    """
    told: dict[str, Any] = {} if clock is None else {"now": clock.now}
    async with AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(open_fake_webpush(**told, **(fake or {}))) for _ in range(services)]
        settings: dict[str, Any] = {
            "subject": "mailto:ops@ent.example",
            "key": fakes[0].key,
            "ca": "\n".join(each.ca for each in fakes),
            "loopback": True,
            "connections": 1,
        }
        options = WebPushOptions(**(settings | changes))
        channel = WebPushChannel(island, options, clock=clock, late=late, lookup=lookup)
        try:
            yield (channel, *fakes)
        finally:
            await channel.aclose()
