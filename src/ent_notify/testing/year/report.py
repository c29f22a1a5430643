"""What a year came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from ent_notify.testing.year.oracle import Broken


@dataclass(frozen=True, slots=True)
class DayDone:
    """A day that is over: for whoever watches."""

    day: date
    number: int
    of: int
    acts: int
    sends: int


@dataclass(slots=True)
class YearReport:
    """The year's account. ``broken_on`` is the day on which an invariant did not hold; None: all held."""

    people: int
    days: int
    seed: int
    first: date
    digest: str = ""
    """SHA-256 of all that happened and all that was sent, day by day: the same seed makes the same."""
    digests: list[str] = field(default_factory=list)
    """The same at the end of each day."""
    days_done: int = 0
    acts: int = 0
    sends: int = 0
    notifications: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    """How often what happened."""
    seconds: float = 0.0
    broken_on: date | None = None
    broken: tuple[Broken, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every invariant held, on every day."""
        return not self.broken
