"""Requests under the GDPR, and holds: who asked for what, in what capacity, until when, and how it stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Right(StrEnum):
    """What somebody may ask for, with its article."""

    EXPORT = "export"
    """15 and 20: everything held about them."""
    RECTIFY = "rectify"
    """16."""
    ERASE = "erase"
    """17."""
    RESTRICT = "restrict"
    """18: kept, and not used."""
    OBJECT = "object"
    """21: nothing more of a category by mail or push."""


CAPACITIES = ("self", "guardian", "officer")
"""Who may ask: the person, a legal guardian of theirs, or the data protection officer for them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks. ``proof`` is a word for how it was made sure of ("session", "id card seen"), never a copy of it."""

    by: str
    capacity: str
    proof: str
    request: int | None = None
    """The request that this answers, when it was received before; None: it is received and answered at once."""


@dataclass(frozen=True, slots=True)
class RightsRequest:
    """A request: ``state`` is open, held (a hold forbids it for now), done or refused.

    ``person`` is None once they are erased; ``note`` says why it is held or was refused.
    """

    id: int
    person: str | None
    kind: Right
    by: str
    capacity: str
    proof: str
    received_at: datetime
    deadline: datetime
    state: str
    note: str
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Hold:
    """What must be kept though its time has come. Exactly one of person, conversation and notification is given;
    ``message`` is a place in the conversation. ``set_by`` None: asked for, and not confirmed."""

    id: int
    person: str | None
    conversation: int | None
    message: int | None
    notification: int | None
    reason: str
    reference: str
    asked_by: str
    asked_at: datetime
    set_by: str | None
    review_at: datetime
    lift_asked_by: str | None


@dataclass(frozen=True, slots=True)
class Overdue:
    """What should have been done by now. Each number above 0 is an alarm."""

    requests: int
    """Requests that nobody has answered by their deadline, and that no hold keeps waiting."""
    leavers: int
    """People who left longer ago than the alarm's figure, and are not purged."""
    holds: int
    """Holds that nobody has looked at again in six months."""


@dataclass(frozen=True, slots=True)
class GlassMessage:
    """A message that was read through break-glass. ``author`` None: erased."""

    seq: int
    author: str | None
    posted_at: datetime
    recalled_at: datetime | None
    body: str
