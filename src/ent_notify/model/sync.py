"""What a phone that was offline is told, and what it wrote meanwhile. Frozen values; their forms on the wire are in
``ent_notify.wire``.

A phone holds a stretch of its inbox, ``(floor, high]`` in places of the feed, and is brought up to date by deltas.
Applying a delta twice, or one that tells again what is known, changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from ent_notify.model.inbox import Message

CAPPED_AT = 99
"""An unread count beyond it is told as "more than that": a count stops early, and no badge shows more."""


@dataclass(frozen=True, slots=True)
class SyncState:
    """How things stand for one reader at one instant: what a cursor is compared with."""

    head: int
    """The last place in the feed."""
    oldest: int
    """The oldest transaction that was not finished."""
    cluster: int
    """Which database cluster this is: places and transactions of another one mean nothing here."""
    keys: bytes
    """A digest (8 bytes) of the reader's keys, with since when and until when."""
    watermark: int
    above: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far one device has come. Everything that is remembered of it: the database keeps no row for a device."""

    person: int
    cluster: int
    issued: int
    """Seconds since 1970."""
    high: int
    """The device is up to date up to this place of the feed, but for what ``before`` says."""
    floor: int
    """It holds nothing at this place or below."""
    keys: bytes
    """The digest of the keys under which it was told."""
    before: int = 0
    """It is being told everything again, newest first, and has come down to here; 0: it is not."""
    left: int = 0
    """How many entries it may still be told in that way."""
    read: bytes = b"\0" * 8
    """A digest (8 bytes) of the read marks that it knows."""
    moved: int = 0
    """It knows what transactions before this one did to conversations."""
    moving: int = 0
    """What ``moved`` becomes when all pages of conversations are told; 0: none is under way."""
    conversation: int = 0
    """Conversations up to this id are told already."""


class Reset(Enum):
    """Why a device starts again."""

    FIRST = "first"
    TOO_OLD = "too_old"
    OTHER_FORM = "other_form"
    OTHER_STORE = "other_store"

    @property
    def remedy(self) -> str:
        """What happened and what to do, for the engineer who reads it."""
        return _REMEDIES[self]


_REMEDIES = {
    Reset.FIRST: "this is the first sync: keep what is here, and go on with the cursor",
    Reset.TOO_OLD: "the cursor is older than what is kept of changes (sync.horizon_days): drop everything that is held "
    "but writes that were not sent, keep what is here, and go on with the cursor",
    Reset.OTHER_FORM: "the cursor is of another release: drop everything that is held but writes that were not sent, "
    "keep what is here, and go on with the cursor",
    Reset.OTHER_STORE: "the cursor is of another database, or of this one before a backup was restored: drop "
    "everything that is held but writes that were not sent, keep what is here, and go on with the cursor",
}


@dataclass(frozen=True, slots=True)
class SyncItem:
    """An entry as the inbox shows it now; it replaces one of the same ``seq``.

    A recalled one has the type ``Withdrawn`` and no data. After ``expires_at`` it is history: nothing tells so, the
    device knows. ``headline``: its line in the reader's language.
    """

    seq: int
    notification: int
    type: str
    category: str
    urgency: int
    data: Mapping[str, Any]
    published_at: datetime
    expires_at: datetime
    children: tuple[str, ...]
    headline: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to an entry at a place in the feed: it stands in the inbox now, or it does not (any more)."""

    place: int
    item: SyncItem
    shown: bool


@dataclass(frozen=True, slots=True)
class ReadState:
    """Everything read: what is at ``upto`` or before, and the places ``seqs`` after it."""

    upto: int
    seqs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MovedConversation:
    """A conversation as it is now. Every message after the seq ``told_after`` is in ``messages``, oldest first.

    A device that holds none up to there has a hole, and reads the conversation's page when somebody looks.
    """

    id: int
    subject: str
    last_seq: int
    read_seq: int
    told_after: int
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Delta:
    """One page. In this order: ``reset`` (drop everything), ``floor`` (drop entries there and below), ``range`` (of
    the entries held at ``low < seq <= high``, those not in ``items`` are gone), ``gone``, ``items``."""

    cursor: str
    more: bool
    """Ask again at once, with the cursor."""
    now: datetime
    items: tuple[SyncItem, ...] = ()
    gone: tuple[int, ...] = ()
    """Entries that are gone: replaced by a newer version, or not for this person any more."""
    range: tuple[int, int] | None = None
    floor: int = 0
    reset: Reset | None = None
    read: ReadState | None = None
    """All read marks at once, when they have changed; it replaces those held."""
    unread: int | None = None
    """How many entries are not read, CAPPED_AT + 1 standing for more; None on a page that is not the last."""
    conversations: tuple[MovedConversation, ...] = ()


class WriteKind(Enum):
    """What a device may write."""

    READ = "read"
    """Entries ``seqs`` were read."""
    READ_ALL = "read_all"
    """Everything up to the place ``upto`` was read."""
    READ_CONVERSATION = "read_conversation"
    """A conversation was read up to its message ``upto``."""
    ACKNOWLEDGE = "acknowledge"
    """Its person took note of a ``notification``."""
    POST = "post"
    """A message ``body`` to a conversation."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a device. ``client_id`` (1 to 64 characters, the device's own) makes a repeat the same write."""

    client_id: str
    kind: WriteKind
    seqs: tuple[int, ...] = ()
    upto: int = 0
    notification: int = 0
    conversation: int = 0
    body: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """A write that cannot be one: what is wrong with it is in ``error``."""

    client_id: str
    error: str


@dataclass(frozen=True, slots=True)
class WriteAnswer:
    """What became of a write: ``done``, with what it made, or refused for the reason ``error``, and not applied."""

    client_id: str
    done: bool
    result: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
