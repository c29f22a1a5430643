"""What an operator does to a campaign, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that was done to a campaign: ``pause``, ``resume``, ``cancel``, ``recall`` or ``supersede``."""

    action: str
    by: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Control:
    """How a campaign stands.

    ``state`` is ``running``, ``paused``, ``cancelled``, ``recalled`` or ``superseded``. ``in_hand`` is how many
    deliveries workers hold at this moment: of these, one window for each chunk held may still leave. ``changed`` says
    whether this call changed anything. ``replacement`` is the campaign that takes a recalled one back from screens,
    ``superseded_by`` the next version.
    """

    campaign: int
    state: str
    in_hand: int
    changed: bool = False
    recalled: bool = False
    replacement: int | None = None
    superseded_by: int | None = None
    actions: tuple[Action, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class ReadersPage:
    """People (the host's ids) who had read a notification. ``next`` is where the next page begins; None: there is none.

    A page may hold fewer people than were asked for, and still have a next one.
    """

    people: tuple[str, ...]
    next: int | None
