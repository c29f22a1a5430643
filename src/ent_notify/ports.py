"""What the flows need from the shells, as protocols. Flows know these and nothing of PostgreSQL or providers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol, runtime_checkable

from ent_notify.model.delivery import MailContent, Outgoing, Verdict, WakeUp
from ent_notify.model.feed import FeedHint, FeedItem, Key


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


class FeedPort(Protocol):
    """What a live gateway needs of the engine. People are internal ids here and never reach a browser.

    Any method may raise ``StoreError``: the gateway then answers 503, or tries again a little later.
    """

    async def redeem_ticket(self, ticket: str, now: datetime) -> int | None:
        """The person who took this ticket; None if it is unknown, used or older than its life. Works once."""
        ...

    async def reader_keys(self, person: int, now: datetime) -> frozenset[Key]:
        """Every audience key that this person holds now, ``(0, 0)``, ``(0, profile)`` and ``(3, person)``
        included; empty when they may not listen any more (left, or revoked): the gateway then cuts them."""
        ...

    async def feed_after(self, seq: int, limit: int) -> list[FeedItem]:
        """The next items after ``seq``, ascending, at most ``limit``, with their clauses. Never skips an item that
        becomes visible later."""
        ...

    async def feed_head(self) -> int:
        """The highest sequence of the feed, 0 when it is empty."""
        ...

    async def missed(self, person: int, after_seq: int, limit: int) -> list[FeedItem]:
        """The next items after ``after_seq`` addressed to this person, ascending, at most ``limit``. Sees at least
        all that ``feed_after`` has ever returned in this process."""
        ...

    def hints(self) -> AbstractAsyncContextManager[AsyncIterator[FeedHint]]:
        """Hints for as long as the context is open; the iterator ends or raises when the source is lost."""
        ...
