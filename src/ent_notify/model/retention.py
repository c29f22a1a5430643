"""What is kept for how long, what a run of retention would remove, and what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum


class Kept(StrEnum):
    """A class of data: what is kept for one figure, and removed together."""

    DELIVERY = "delivery"
    """To whom each mail and push went, and what became of it. The account in numbers stays with the notification."""
    INBOX = "inbox"
    """Notifications with their audience, read marks of a recall and acknowledgements."""
    MESSAGES = "messages"
    """Messages of conversations, and conversations that have none left."""
    DRAFTS = "drafts"
    """What somebody began to write, counted from their last touch."""
    LEAVERS = "leavers"
    """People who have left, with everything that is theirs alone."""
    AUDIT = "audit"
    """Who read, exported, moderated or overrode."""
    PROOFS = "proofs"
    """Requests that were answered and holds that were lifted."""


@dataclass(frozen=True, slots=True)
class Law:
    """Why a figure is what it is: the rule in words, where it stands, and since when."""

    text: str
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class PlanLine:
    """What one class would lose under one figure: items older than ``cutoff``, of which ``held`` stay for now.

    ``school`` is the UAI of a school with a figure of its own, None for everybody else. ``of`` is how many items of
    the class there are in all.
    """

    kept: Kept
    school: str | None
    cutoff: datetime
    items: int
    held: int
    of: int
    oldest: datetime | None
    newest: datetime | None
    reason: str

    @property
    def share(self) -> float:
        """The part of the class that would go, from 0 to 1."""
        return self.items / self.of if self.of else 0.0


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """Exactly what a run at ``now`` would remove."""

    now: datetime
    lines: tuple[PlanLine, ...]
    excessive: tuple[PlanLine, ...] = ()
    """Lines above the set share: a run stops there, and asks."""

    @property
    def items(self) -> int:
        """How many items would go."""
        return sum(line.items for line in self.lines)


@dataclass(frozen=True, slots=True)
class RetentionRun:
    """A run: ``state`` is running, asks (confirm it, or refuse), done or refused; rows removed so far, by table."""

    id: int
    state: str
    planned_at: datetime
    removed: Mapping[str, int] = field(default_factory=dict)
    done_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """What checking the chain of receipts found: how many are whole, the last digest in hex, and the first that is
    wrong, if one is."""

    receipts: int
    head: str
    broken_at: int | None = None


PARTITION_PATIENCE = timedelta(days=3)
"""How long counted exceptions wait for their partition to be dropped before they are deleted row by row."""
