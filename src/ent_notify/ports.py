"""What the flows need from the shells, as protocols. Flows know these and nothing of PostgreSQL or providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from ent_notify.model.delivery import MailContent, Outgoing, Verdict, WakeUp


@runtime_checkable
class Clock(Protocol):
    """Time as a parameter."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        ...


class MailChannel(Protocol):
    """Sends mails. One verdict for each recipient, in order; ``ChannelDown`` when nothing can be sent at all."""

    async def send(self, contents: Mapping[str, MailContent], batch: Sequence[Outgoing]) -> list[Verdict]:
        """Send ``batch``; ``contents`` maps each recipient's language to the campaign's text in it."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


class PushChannel(Protocol):
    """Sends pushes through one provider for one app. Same contract as MailChannel."""

    async def send(self, contents: Mapping[str, WakeUp], batch: Sequence[Outgoing]) -> list[Verdict]:
        """Send ``batch``; never raises for one target's trouble, never leaves a send without a verdict."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...
