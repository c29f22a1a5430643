"""What a delivery is and what becomes of it: outgoing items, verdicts, the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum


class Channel(StrEnum):
    """Ways to a person."""

    WEB = "web"
    EMAIL = "email"
    PUSH = "push"


class Urgency(IntEnum):
    """Order in which chunks are taken; lower goes first (stored as smallint)."""

    URGENT = 0
    NORMAL = 1
    BULK = 2


class VerdictKind(StrEnum):
    """What a provider's answer means for one delivery (RELIABILITY.md holds the table for each provider)."""

    ACCEPTED = "accepted"
    RETRY_AT = "retry_at"
    UNKNOWN = "unknown"
    DROP_TARGET = "drop_target"
    BAD_MESSAGE = "bad_message"
    SLOW_TARGET = "slow_target"
    PAUSE_CHANNEL = "pause_channel"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One recipient's outcome.

    ``reason`` is a short stable word from a closed list (``apns.Unregistered``, ``smtp.5.1.1``), never text with
    personal data. ``retry_after`` is in seconds, as the provider asked, or None. ``quarantine`` marks a target that
    must not be tried again until it registers anew, without calling it gone. ``pause_group`` says that the
    trouble is that of this target's group (its mail domain, its browser's push service), which has to wait too: not of
    this delivery alone, and not of the whole channel.
    """

    kind: VerdictKind
    reason: str = ""
    retry_after: float | None = None
    quarantine: bool = False
    pause_group: bool = False


ACCEPTED = Verdict(VerdictKind.ACCEPTED)


def all_accepted(verdicts: Sequence[Verdict]) -> bool:
    """Whether every verdict is plain success: what nearly every window comes to, found out without looking at each."""
    return verdicts.count(ACCEPTED) == len(verdicts)


@dataclass(slots=True)
class Outgoing:
    """One delivery, ready to be sent. Nobody changes it.

    ``target`` is the person id (email) or the device id (push); ``address`` the mail address or the token. ``language``
    says which of the campaign's contents is theirs (a push's may end in SHOWN).
    ``dedup_id`` is a UUID derived from notification and target: it becomes the apns-id or the Message-ID, so a repeat
    replaces instead of doubling. ``personal`` fills the personal places of a mail (``name``, ``children``,
    ``unsubscribe_url``); push never sees it. ``notification`` says which one it is of, so that a late answer finds it.
    """

    target: int
    address: str
    language: str
    dedup_id: str
    registered_at: datetime | None = None
    personal: Mapping[str, str] = field(default_factory=dict)
    notification: int = 0


@dataclass(frozen=True, slots=True)
class MailContent:
    """A mail of one campaign in one language, with personal places in either part or in the subject.

    ``{name}`` is filled with that key of ``Outgoing.personal``; ``{?name}...{/name}`` stays only for a recipient who
    has a value for it; ``{{`` and ``}}`` are braces. ``unsubscribe_url`` also becomes the List-Unsubscribe header.
    """

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class WakeUp:
    """All that a push may carry: a neutral sentence, an opaque id, a category. There is no field for more.

    ``collapse_id`` is at most 32 characters (Web Push's Topic is the shortest of the three platforms). ``shown`` says
    that its reader had a page open to which it was given: an app may show it without a sound.

    ``clears`` makes it a silent one: nothing is shown, and what is shown under these collapse ids (at most
    MOST_CLEARED) is taken away, because it has been read elsewhere; ``badge`` is how many entries are unread.
    """

    sentence: str
    notification: str
    category: str
    collapse_id: str
    urgency: Urgency = Urgency.NORMAL
    expires_at: datetime | None = None
    shown: bool = False
    clears: tuple[str, ...] = ()
    badge: int | None = None


MOST_CLEARED = 50
"""Collapse ids of one silent push: with 32 characters each they fit into every platform's 4 KB."""

SHOWN = "+shown"
"""Ends the key of a push's content that is for those who had it on a page: ``fr+shown``."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """A campaign's account, in deliveries. ``planned`` is always the sum of all the rest.

    ``held``: a pause keeps it, the readers' or the campaign's own. ``state`` is ``running``, ``paused``, ``cancelled``,
    ``recalled`` or ``superseded``.
    """

    campaign: int
    event: str
    planned: int
    accepted: int
    held: int
    suppressed: Mapping[str, int]
    failed: Mapping[str, int]
    pending: int
    state: str = "running"

    @property
    def adds_up(self) -> bool:
        """Whether planned = accepted + held + suppressed + failed + pending."""
        return self.planned == (
            self.accepted + self.held + sum(self.suppressed.values()) + sum(self.failed.values()) + self.pending
        )
