"""Phones and browsers that come back after they were offline: ``engine.phones``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ent_notify.errors import MalformedEvent
from ent_notify.model.inbox import Reader
from ent_notify.model.sync import (
    Cursor,
    Delta,
    MovedConversation,
    ReadState,
    Refused,
    Reset,
    SyncItem,
    Write,
    WriteAnswer,
    WriteKind,
)
from ent_notify.policy.sync import SyncBounds, advanced, begin, marks, moved, resume, stale, walked
from ent_notify.ports import Clock
from ent_notify.settings import SyncSettings
from ent_notify.store.sync import PostgresSync
from ent_notify.wire.cursor import read_cursor, write_cursor
from ent_notify.words import Words


@dataclass(slots=True)
class _Told:
    """A page as it is put together."""

    reset: Reset | None
    items: list[SyncItem] = field(default_factory=list)
    range: tuple[int, int] | None = None
    gone: list[int] = field(default_factory=list)
    read: ReadState | None = None
    unread: int | None = None
    conversations: list[MovedConversation] = field(default_factory=list)


_READS = frozenset({WriteKind.READ, WriteKind.READ_ALL})


class Phones:
    """Deltas and writes for devices. Nothing is kept for a device: its cursor says how far it has come."""

    def __init__(
        self,
        store: PostgresSync,
        words: Words,
        clock: Clock,
        settings: SyncSettings,
        on_read: Callable[[int], Awaitable[None]],
    ) -> None:
        self._store = store
        self._on_read = on_read
        self._words = words
        self._clock = clock
        self._bounds = SyncBounds(timedelta(days=settings.horizon_days), settings.newest, settings.page)

    async def changes(self, reader: Reader, cursor: str | None = None, most: int | None = None) -> Delta:
        """What has changed for ``reader`` since ``cursor``; without one, the newest entries and conversations.

        At most ``most`` entries (the setting ``sync.page`` when left out, and never more). While ``more`` is true, ask
        again with the new cursor. A cursor that is too old, or of another database, is answered with ``reset`` and a
        first sync. Raises MalformedSync for a text that is no cursor of this reader's.
        """
        now = self._clock.now()
        page = max(1, min(most or self._bounds.page, self._bounds.page))
        known, reset = None, None
        if cursor is not None:
            known = read_cursor(cursor, reader.person)
            reset = Reset.OTHER_FORM if known is None else None
        look = await self._store.look(known, page, self._bounds, now) if known and not known.before else None
        state = look.state if look else await self._store.state(reader.person, now)
        reset = reset or stale(known, state, now, self._bounds.horizon)
        if known is None or reset is not None:
            at = begin(reader.person, state, now, self._bounds.newest)
            since = await self._store.newest_conversations(reader.person, self._bounds.newest_conversations, now)
            at = replace(at, moved=since)
        else:
            at = replace(resume(known, state, self._bounds.newest), issued=int(now.timestamp()))

        told = _Told(reset)
        if (read := marks(state.watermark, state.above)) != at.read:
            at = replace(at, read=read)
            told.read = ReadState(state.watermark, tuple(seq for seq in sorted(state.above) if seq > at.floor))
        if at.before:
            most_now = min(page, at.left)
            found = await self._store.back(at, most_now + 1, now)
            at, told.items, told.range = walked(at, found, most_now)
            page -= len(told.items)
            if at.before or not page:
                return self._delta(reader, told, at, now, more=True)
            look = None
        if look is None or reset is not None:
            look = await self._store.look(at, page, self._bounds, now)
        at, fresh, told.gone, more_entries = advanced(at, look.changes, page, look.state.head)
        told.items += fresh
        at, told.conversations, more_conversations = moved(
            at, look.conversations, self._bounds.conversations, look.state.oldest
        )
        more = more_entries or more_conversations
        told.unread = None if more else look.unread
        return self._delta(reader, told, at, now, more=more)

    async def write(self, reader: Reader, writes: Sequence[Write | Refused]) -> list[WriteAnswer]:
        """Apply what a device wrote: in one transaction, in its order, each write once however often it is sent.

        A wrong write is answered with its error and not applied; the others are. The same message under the same
        client id answers the same again, as long as ``sync.writes_days``; read marks may be repeated for ever.
        """
        answers = await self._store.write(reader, writes, self._clock.now())
        if any(isinstance(each, Write) and each.kind in _READS for each in writes):
            await self._on_read(reader.person)
        return answers

    def _delta(self, reader: Reader, told: _Told, at: Cursor, now: datetime, *, more: bool) -> Delta:
        return Delta(
            cursor=write_cursor(at),
            more=more,
            now=now,
            items=tuple(replace(item, headline=self._headline(item, reader)) for item in told.items),
            gone=tuple(told.gone),
            range=told.range,
            floor=at.floor,
            reset=told.reset,
            read=told.read,
            unread=told.unread,
            conversations=tuple(told.conversations),
        )

    def _headline(self, item: SyncItem, reader: Reader) -> str:
        try:
            return self._words.headline(item.type, item.data, reader.language, reader.timezone)
        except MalformedEvent:  # its type has changed since: one old entry must not hold up all that follow
            return self._words.headline("", {}, reader.language, reader.timezone)
