"""The rate limiter's arithmetic: GCRA slots, and the pace of sends within one.

A bucket is one instant, the theoretical arrival time (``tat``) of the next send. Reserving ``n`` sends moves it by
``n / per_second`` and gives a slot; slots of one bucket never overlap, whoever holds them. Within a slot send ``i`` may
go at ``starts_at + i / per_second``, and never once the slot is over: a worker that was held up reserves again.

Source: ITU-T I.371 (generic cell rate algorithm) with no burst tolerance, since providers count in plain windows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

HEADROOM = 0.99
"""Share of a provider's limit that is used. Sends leave in small groups, and a group may straddle the edge of the
provider's window; one per cent pays for that, so that no window ever holds more than the limit."""

GROUP_SECONDS = 0.004
"""Sends that fall due within this time leave as one group."""

SLOT_SECONDS = 2.0
"""The longest slot reserved at once: what a killed worker can waste of the limit."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A permit for ``sends`` sends from ``starts_at`` on, at ``per_second`` (None: no limit)."""

    starts_at: datetime
    sends: int
    per_second: float | None

    @property
    def ends_at(self) -> datetime | None:
        """From then on nothing of this slot may be sent; None when there is no limit."""
        if self.per_second is None:
            return None
        return self.starts_at + timedelta(seconds=self.sends / self.per_second)


def reserve(tat: datetime, now: datetime, wanted: int, per_second: float) -> tuple[Slot, datetime]:
    """Take up to ``wanted`` sends from a bucket, no more than SLOT_SECONDS of them; answers the slot and the bucket's
    new ``tat``. The SQL function of the same name does the same under the bucket's row lock."""
    sends = max(1, min(wanted, int(per_second * SLOT_SECONDS)))
    start = max(tat, now)
    return Slot(start, sends, per_second), start + timedelta(seconds=sends / per_second)


@dataclass(frozen=True, slots=True)
class Pace:
    """Progress through one slot: how many sends have left, and when the last group did."""

    slot: Slot
    sent: int = 0
    last_at: datetime | None = None
    last_size: int = 0

    @property
    def left(self) -> int:
        """Sends that the slot still permits."""
        return self.slot.sends - self.sent

    def group(self, wanted: int) -> int:
        """Size of the next group of at most ``wanted`` sends."""
        wanted = min(wanted, self.left)
        if self.slot.per_second is None:
            return wanted
        return max(min(1, wanted), min(wanted, int(self.slot.per_second * GROUP_SECONDS)))

    def due_at(self, size: int) -> datetime:
        """When the next group may leave: not before its last send's own time, nor closer to the group before it than
        that group's worth of time, however late that one was."""
        rate = self.slot.per_second
        if rate is None:
            return self.slot.starts_at
        due = self.slot.starts_at + timedelta(seconds=(self.sent + size - 1) / rate)
        if self.last_at is not None:
            due = max(due, self.last_at + timedelta(seconds=size / rate))
        return due

    def is_over(self, at: datetime) -> bool:
        """Whether nothing may be sent from this slot at ``at`` any more."""
        ends_at = self.slot.ends_at
        return self.left <= 0 or (ends_at is not None and at >= ends_at)

    def after(self, size: int, at: datetime) -> Pace:
        """The pace once ``size`` sends have left at ``at``."""
        return replace(self, sent=self.sent + size, last_at=at, last_size=size)
