"""Values of the fan-out: lanes, claims, targets, what was published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ent_notify.model.delivery import Urgency


@dataclass(frozen=True, slots=True)
class Published:
    """What publishing answered: the notification, and whether this call created it (False: same key before)."""

    notification: int
    created: bool


@dataclass(frozen=True, slots=True)
class Lane:
    """One way out with one rate: ``web``, ``email``, ``push:apns:APP``, ``push:fcm:APP``."""

    id: int
    name: str
    channel: str
    provider: str
    app: str
    per_second: float | None
    tat: datetime
    paused_until: datetime
    pause_reason: str | None
    failures: int
    has_ready: bool


@dataclass(frozen=True, slots=True)
class Unplanned:
    """A campaign that waits for its plan. ``large``: it may be for more than a thousand people. ``withdraws``: the
    campaign that it takes back from screens, or None."""

    campaign: int
    large: bool
    withdraws: int | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A leased chunk. ``fence`` must still be the chunk's own when a window of it is settled."""

    chunk: int
    campaign: int
    lane: int
    fence: int
    size: int
    cursor: int
    urgency: Urgency
    is_retry: bool


@dataclass(frozen=True, slots=True)
class Window:
    """The targets of a leased chunk at positions [first, last); of a retry, the next ``last - first`` that are due."""

    claim: Claim
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class NothingToClaim:
    """No chunk now; ``wait_until`` says when a rate or a pause allows one, or None when none is ready."""

    wait_until: datetime | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """What there is to do. ``ready``: lanes that have something to claim now, with the urgency of what comes first.
    ``due``: when the next waiting or leased chunk will have to be promoted, or None."""

    relay: bool
    plan: bool
    promote: bool
    ready: Mapping[int, int]
    due: datetime | None = None


ON_SCREEN = "on_screen"
"""Why a delivery waits: its reader looks at a page that was given the notification."""
IN_PAUSE = "in_pause"
"""Why a delivery waits: it came to be sent in its reader's pause."""


@dataclass(slots=True)
class Target:
    """One delivery of a window, as the database knows it at this moment. ``withheld`` says why not to send it.

    (Not frozen, like Outgoing: one of each is made for every send, and freezing would double what that costs.)

    ``shown``: it waited for eyes on a page, and none have said that they saw it there. ``until``: when it is looked at
    again, if it is withheld as IN_PAUSE.
    """

    target: int
    person: int
    attempt: int
    address: str | None
    language: str
    name: str
    children: tuple[str, ...]
    registered_at: datetime | None
    withheld: str | None
    shown: bool = False
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class CampaignContent:
    """What is rendered once for a campaign. ``root`` is the first version of its event: all versions are shown in one
    place, so that a later one replaces an earlier one on a phone."""

    notification: int
    type: str
    category: str
    urgency: int
    data: Mapping[str, Any]
    published_at: datetime
    expires_at: datetime
    root: int


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """One exception to be stored: a retry, a suppression or a failure."""

    target: int
    person: int
    state: int
    reason: str
    attempts: int
    retry_at: datetime | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of one window. ``cursor`` is the chunk's new one; ``release`` gives the lease back."""

    cursor: int
    accepted: int = 0
    retried_ok: tuple[int, ...] = ()
    outcomes: tuple[OutcomeRow, ...] = ()
    release: bool = False


@dataclass(frozen=True, slots=True)
class ChannelLedger:
    """One channel's part of a campaign's account, in deliveries."""

    channel: str
    provider: str
    planned: int
    accepted: int
    held: int
    pending: int
    suppressed: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DroppedTarget:
    """A provider's word that a device or an address is gone: a proposal, and reversible."""

    target: int
    address: str
    reason: str
