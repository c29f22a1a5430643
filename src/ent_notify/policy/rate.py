"""The rate limiter's arithmetic: GCRA slots, and the pace of sends within one.

A bucket is one instant, the theoretical arrival time (``tat``) of the next send. Reserving ``n`` sends moves it by
``n / per_second`` and gives a slot; slots of one bucket never overlap, whoever holds them. Within a slot send ``i`` may
go at ``starts_at + i / per_second``; what is missed is forfeited, so that a worker that was held up (a pause of the
process, a slow provider) never sends in somebody else's time: it reserves again.

Source: ITU-T I.371 (generic cell rate algorithm) with no burst tolerance, since providers count in plain windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

HEADROOM = 0.99
"""Share of a provider's limit that is used. A group may straddle the edge of the provider's window, and a send may be
a little late: GROUP_SECONDS and LATENESS_SECONDS together are under one per cent of a second, so that no window of a
second or more ever holds more than the limit."""

GROUP_SECONDS = 0.004
"""Sends that fall due within this time leave as one group."""

LATENESS_SECONDS = 0.005
"""How late a send may leave without losing its place."""

SLOT_SECONDS = 0.25
"""The longest slot reserved at once: what a killed worker can waste of the limit."""


def quarter_ramp(at: datetime) -> float:
    """Share of the limit to use at ``at``: half of it from a minute before a full quarter of an hour to a minute after,
    then rising to the whole within a minute more. The SQL function of the same name does the same.

    Source: Firebase's guide to sending at scale asks to avoid :00, :15, :30 and :45, and to ramp up over a minute.
    """
    second = at.timestamp() % 900
    if second < 60 or second >= 840:
        return 0.5
    return min(1.0, 0.5 + (second - 60) / 120)


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
    """Progress through one slot, in cells of ``1 / per_second``: each send has a cell of its own, and one that is
    missed is forfeited. ``cell`` is the next one."""

    slot: Slot
    cell: int = 0

    @property
    def left(self) -> int:
        """Sends that the slot still permits."""
        return self.slot.sends - self.cell

    def at(self, now: datetime) -> Pace:
        """The same pace at ``now``: the cells that are past by more than LATENESS_SECONDS are given up."""
        rate = self.slot.per_second
        if rate is None:
            return self
        elapsed = (now - self.slot.starts_at).total_seconds() - LATENESS_SECONDS
        late = math.ceil(elapsed * rate - (self.cell + self._nominal_group - 1))
        return self if late <= 0 else replace(self, cell=min(self.cell + late, self.slot.sends))

    def group(self, wanted: int) -> int:
        """Size of the next group of at most ``wanted`` sends."""
        wanted = min(wanted, self.left)
        return wanted if self.slot.per_second is None else min(wanted, self._nominal_group)

    def due_at(self, size: int) -> datetime:
        """When the next group of ``size`` may leave: with the cell of its last send."""
        rate = self.slot.per_second
        if rate is None:
            return self.slot.starts_at
        return self.slot.starts_at + timedelta(seconds=(self.cell + size - 1) / rate)

    def after(self, size: int) -> Pace:
        """The pace once ``size`` sends have left."""
        return replace(self, cell=self.cell + size)

    @property
    def _nominal_group(self) -> int:
        return max(1, int((self.slot.per_second or 0) * GROUP_SECONDS))
