"""How a device is brought up to date: what a cursor still knows, what is told next, and the cursor that follows.

A cursor is good for its person on its cluster, for a time. While the reader's keys are the same, the entries up to
``high`` are too, but for what was taken back; so the feed after ``high`` tells everything. When the keys have changed
(a class, a child, a court's decision), nobody can say what the device holds wrongly: it is told its stretch again,
newest first, and what is not told in it is gone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ent_notify.model.sync import Change, Cursor, MovedConversation, Reset, SyncItem, SyncState


@dataclass(frozen=True, slots=True)
class SyncBounds:
    """``horizon``: how old a cursor may be. ``newest``: entries of a first sync, and of one that tells again.
    ``page``: entries of one page at most. ``conversations``: of a page; ``newest_conversations``: of a first sync.
    ``messages`` and ``message_bytes``: new messages of one conversation."""

    horizon: timedelta
    newest: int
    page: int
    conversations: int = 20
    newest_conversations: int = 50
    messages: int = 20
    message_bytes: int = 64_000


def stale(cursor: Cursor | None, state: SyncState, now: datetime, horizon: timedelta) -> Reset | None:
    """Why a device with this cursor starts again; None when the cursor is good."""
    if cursor is None:
        return Reset.FIRST
    if cursor.cluster != state.cluster or cursor.high > state.head:
        return Reset.OTHER_STORE
    if now.timestamp() - cursor.issued > horizon.total_seconds():
        return Reset.TOO_OLD
    return None


def begin(person: int, state: SyncState, now: datetime, newest: int) -> Cursor:
    """The cursor of a device that starts: nothing is told yet, and it is told the newest entries."""
    return Cursor(
        person, state.cluster, int(now.timestamp()), state.head, 0, state.keys, before=state.head + 1, left=newest
    )


def resume(cursor: Cursor, state: SyncState, newest: int) -> Cursor:
    """A good cursor as it goes on: with other keys than before, everything is told again from ``high`` down."""
    if cursor.keys == state.keys:
        return cursor
    return replace(cursor, keys=state.keys, before=cursor.high + 1, left=newest)


def walked(cursor: Cursor, found: Sequence[SyncItem], most: int) -> tuple[Cursor, list[SyncItem], tuple[int, int]]:
    """What is told of ``found`` (the newest entries before ``cursor.before``, looked for one more than ``most``), the
    stretch ``(low, high]`` that this tells in full, and the cursor after it."""
    told = list(found[:most])
    top = cursor.before - 1
    if len(found) <= most:  # down to the floor
        return replace(cursor, before=0, left=0), told, (cursor.floor, top)
    lowest = told[-1].seq
    left = cursor.left - len(told)
    if left <= 0:
        return replace(cursor, before=0, left=0, floor=lowest - 1), told, (lowest - 1, top)
    return replace(cursor, before=lowest, left=left), told, (lowest - 1, top)


def advanced(
    cursor: Cursor, changes: Sequence[Change], most: int, head: int
) -> tuple[Cursor, list[SyncItem], list[int], bool]:
    """The entries to put and those that are gone after ``changes`` (the first ``most`` places, in order), the cursor
    after them, and whether more may follow."""
    held = cursor.high
    places = {change.place for change in changes}
    more = len(places) >= most
    high = max(places, default=0) if more else max(places | {head, held})
    items: dict[int, SyncItem] = {}
    gone: dict[int, None] = {}
    for change in changes:
        seq = change.item.seq
        if change.shown and seq > cursor.floor and seq <= high:
            items[seq] = change.item
        elif not change.shown and cursor.floor < seq <= held:
            gone[seq] = None
    return replace(cursor, high=high), list(items.values()), list(gone), more


def moved(
    cursor: Cursor, told: Sequence[MovedConversation], most: int, oldest: int
) -> tuple[Cursor, list[MovedConversation], bool]:
    """The conversations of a page (of those looked for, one more than ``most``), the cursor after it, and whether more
    follow. ``oldest``: the oldest transaction unfinished when they were looked for."""
    target = cursor.moving or oldest
    if len(told) > most:
        page = list(told[:most])
        return replace(cursor, moving=target, conversation=page[-1].id), page, True
    return replace(cursor, moved=target, moving=0, conversation=0), list(told), False


def marks(watermark: int, above: Sequence[int]) -> bytes:
    """A digest (8 bytes) of read marks."""
    text = f"{watermark}:{','.join(map(str, sorted(above)))}"
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
