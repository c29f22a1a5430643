"""What the worker does for conversations: sends what was written for later, and announces what was posted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ent_notify.errors import MalformedMessage
from ent_notify.ports import Clock, FanoutObserver

_BATCH = 200
"""Messages announced in one transaction."""
_READ_HOURS_EVERY = timedelta(hours=1)
_READ_HOURS_AHEAD = timedelta(days=3)


class AnnouncingStore(Protocol):
    """Messages that wait to be announced."""

    async def waiting(self, now: datetime) -> tuple[bool, bool, bool]:
        """Whether messages wait to be announced, whether the hour of one to be sent has come, and whether somebody is
        to be reminded of what they have not acknowledged."""

    async def announce(self, now: datetime, most: int) -> tuple[list[tuple[int, int]], list[str], bool]:
        """Announce the next messages; which, why some could not be, and whether there may be more."""


class DraftStore(Protocol):
    """Messages that wait for their hour."""

    async def send_next_due(self, now: datetime) -> bool:
        """Send the message whose hour came first; whether there was one."""

    async def read_hours_anew(self, now: datetime, ahead: timedelta) -> int:
        """Read the local hours of the next days again; how many have moved."""


class ReminderStore(Protocol):
    """Requests for acknowledgements whose reminders are due."""

    async def remind(self, now: datetime) -> bool:
        """Send the next part of the reminder that is due first; whether there was one."""


async def _nothing(places: Sequence[tuple[int, int]]) -> None:
    """Whoever does not listen."""


@dataclass(slots=True)
class Correspondence:
    """One step does all that there is to do. Any number of workers may: each message is taken by one. ``posted`` hears
    of messages once they are announced."""

    announcing: AnnouncingStore
    drafts: DraftStore
    reminders: ReminderStore
    clock: Clock
    observer: FanoutObserver
    posted: Callable[[Sequence[tuple[int, int]]], Awaitable[None]] = _nothing
    _read_hours_at: datetime | None = None

    async def step(self) -> int:
        """Send what is due, then announce what was posted; how many messages. A worker that starts reads local hours
        anew first: its machine may know other rules for a zone than the one that kept them."""
        now = self.clock.now()
        if self._read_hours_at is None or abs(now - self._read_hours_at) > _READ_HOURS_EVERY:
            self._read_hours_at = now
            await self.drafts.read_hours_anew(now, _READ_HOURS_AHEAD)
        announce, send, remind = await self.announcing.waiting(now)
        moved = 0
        while remind and await self.reminders.remind(now):
            moved += 1
        while send and await self.drafts.send_next_due(now):
            moved += 1
        while announce or moved:
            places, refused, more = await self.announcing.announce(now, _BATCH)
            for why in refused:
                self.observer.text_failed("MessagePosted", MalformedMessage(why))
            await self.posted(places)
            moved += len(places)
            if not more:
                break
        return moved
