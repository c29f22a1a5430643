"""What phones ask of PostgreSQL: what changed since a cursor, and writes that count once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ent_notify.errors import NotAllowed, NotFound
from ent_notify.model.inbox import Message, Reader
from ent_notify.model.sync import (
    CAPPED_AT,
    Change,
    Cursor,
    MovedConversation,
    Refused,
    SyncItem,
    SyncState,
    Write,
    WriteAnswer,
    WriteKind,
)
from ent_notify.policy.sync import SyncBounds
from ent_notify.store.conversations import PostgresConversations
from ent_notify.store.database import Database, Record, Transaction
from ent_notify.wire.forms import instant

_UNSIGNED = 2**64 - 1
_LARGEST_SEQ = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Look:
    """What a good cursor may lead to, in one crossing. ``conversations`` are one more than a page, if there are."""

    state: SyncState
    changes: tuple[Change, ...]
    conversations: tuple[MovedConversation, ...]
    unread: int


class PostgresSync:
    """Reads deltas and applies writes."""

    def __init__(self, db: Database, conversations: PostgresConversations) -> None:
        self._db = db
        self._conversations = conversations

    async def state(self, person: int, now: datetime) -> SyncState:
        """How things stand for a reader."""
        (row,) = await self._db.fetch("sync.state", person_id=person, now=now)
        return _state(row)

    async def look(self, cursor: Cursor, most: int, bounds: SyncBounds, now: datetime) -> Look:
        """What follows ``cursor``. The state is read before everything else: a change in between is told twice, or
        found by the next sync, and never lost."""
        person = cursor.person
        state, changes, conversations, unread = await self._db.transact(
            [
                ("sync.state", {"person_id": person, "now": now}),
                ("sync.forward", {"person_id": person, "now": now, "after": cursor.high, "most": most}),
                (
                    "sync.conversations",
                    {
                        "person_id": person,
                        "now": now,
                        "since": cursor.moved,
                        "after": cursor.conversation,
                        "most": bounds.conversations + 1,
                        "most_messages": bounds.messages,
                        "most_bytes": bounds.message_bytes,
                    },
                ),
                ("personal.unread", {"person_id": person, "now": now, "most": CAPPED_AT + 1}),
            ]
        )
        return Look(
            _state(state[0]),
            tuple(Change(row["place"], _item(row), row["shown"]) for row in changes),
            tuple(map(_conversation, conversations)),
            int(unread[0][0]),
        )

    async def back(self, cursor: Cursor, most: int, now: datetime) -> list[SyncItem]:
        """The newest ``most`` entries between a cursor's floor and where it has come to, newest first."""
        rows = await self._db.fetch(
            "sync.back", person_id=cursor.person, now=now, low=cursor.floor, before=cursor.before, most=most
        )
        return [_item(row) for row in rows]

    async def newest_conversations(self, person: int, most: int, now: datetime) -> int:
        """Since which transaction somebody's newest ``most`` conversations moved; 0 when there is none."""
        since: int | None = await self._db.fetchval("sync.newest_conversations", person_id=person, most=most, now=now)
        return since or 0

    async def write(self, reader: Reader, writes: Sequence[Write | Refused], now: datetime) -> list[WriteAnswer]:
        """Apply a batch in one transaction, each write once however often it comes; the answers, in its order.

        A write that cannot be applied is answered with its error, and leaves nothing; the others stand.
        """
        answers, refused = await self._db.atomically(self._write, reader, writes, now)
        for error in refused:
            await self._conversations.guard.strike(reader, error, now)
        return answers

    async def _write(
        self, tx: Transaction, reader: Reader, writes: Sequence[Write | Refused], now: datetime
    ) -> tuple[list[WriteAnswer], list[NotAllowed]]:
        """The answers, and what was refused."""
        refused: list[NotAllowed] = []
        posts = {each.client_id: each for each in writes if isinstance(each, Write) and each.kind is WriteKind.POST}
        answers = await self._answered(tx, reader, posts, now)
        unused: list[str] = []
        for each in writes:
            if isinstance(each, Refused):
                answers[each.client_id] = WriteAnswer(each.client_id, done=False, error=each.error)
            elif each.client_id not in answers:
                try:
                    result = await self._apply(tx, reader, each, now)
                except (NotFound, NotAllowed) as error:
                    answers[each.client_id] = WriteAnswer(each.client_id, done=False, error=str(error))
                    unused.append(each.client_id)
                    refused += [error] if isinstance(error, NotAllowed) else []
                    continue
                answers[each.client_id] = WriteAnswer(each.client_id, done=True, result=result)
                if each.kind is WriteKind.POST:
                    await tx.execute(
                        "sync.answer_write", person_id=reader.person, client_id=each.client_id, answer=dict(result)
                    )
        if unused:
            await tx.execute("sync.free_writes", person_id=reader.person, client_ids=unused)
        return [answers[each.client_id] for each in writes], refused

    async def _answered(
        self, tx: Transaction, reader: Reader, posts: Mapping[str, Write], now: datetime
    ) -> dict[str, WriteAnswer]:
        """Take the client ids of ``posts``; the answers of those that were applied before."""
        if not posts:
            return {}
        names = list(posts)
        taken = await tx.fetch(
            "sync.claim_writes",
            person_id=reader.person,
            client_ids=names,
            digests=[_digest(posts[name]) for name in names],
            now=now,
        )
        before = list(set(names) - {row["client_id"] for row in taken})
        if not before:
            return {}
        rows = await tx.fetch("sync.written", person_id=reader.person, client_ids=before)
        return {row["client_id"]: _repeated(posts[row["client_id"]], row) for row in rows}

    async def _apply(self, tx: Transaction, reader: Reader, write: Write, now: datetime) -> Mapping[str, Any]:
        """Do one write; what it made. Raises NotFound or NotAllowed before anything is written."""
        if write.kind is WriteKind.POST:
            seq = await self._conversations.post_within(tx, write.conversation, reader, write.body, now)
            return {"conversation": write.conversation, "seq": seq}
        if write.kind is WriteKind.READ:
            # only what is theirs to read: nobody's marks grow beyond their inbox
            rows = await tx.fetch("personal.own_entries", person_id=reader.person, now=now, seqs=list(write.seqs))
            if rows:
                await tx.execute("inbox.mark_read", person_id=reader.person, seqs=sorted(row["seq"] for row in rows))
        elif write.kind is WriteKind.READ_ALL:
            head = int(await tx.fetchval("inbox.feed_head"))
            if write.upto > head:
                raise NotFound(f"the feed ends at {head}, and what is yet to come cannot be read up to {write.upto}")
            await tx.execute("inbox.mark_all_read", person_id=reader.person, upto=write.upto)
        elif write.kind is WriteKind.ACKNOWLEDGE:
            at = await tx.fetchval(
                "personal.acknowledge", person_id=reader.person, notification=write.notification, now=now
            )
            if at is None:
                raise NotFound(f"there is no notification {write.notification} for {reader.id!r}")
            return {"acknowledged_at": instant(at)}
        else:
            read = await tx.fetchval(
                "conversations.mark",
                person_id=reader.person,
                conversation_id=write.conversation,
                seq=min(write.upto, _LARGEST_SEQ),
                now=now,
            )
            if read is None:
                raise NotFound(f"there is no conversation {write.conversation} for {reader.id!r}")
        return {}


def _repeated(write: Write, row: Record) -> WriteAnswer:
    if row["digest"] != _digest(write):
        return WriteAnswer(
            write.client_id,
            done=False,
            error=f"the client id {write.client_id!r} was used for another message; give this one an id of its own",
        )
    return WriteAnswer(write.client_id, done=True, result=row["answer"])


def _digest(write: Write) -> bytes:
    return hashlib.sha256(f"{write.kind.value}:{write.conversation}:{write.body}".encode()).digest()


def _state(row: Record) -> SyncState:
    return SyncState(
        head=row["head"],
        oldest=row["oldest"],
        cluster=row["cluster"] & _UNSIGNED,
        keys=bytes(row["keys"]),
        watermark=row["watermark"],
        above=tuple(row["above"]),
    )


def _item(row: Record) -> SyncItem:
    return SyncItem(
        seq=row["seq"],
        notification=row["notification"],
        type=row["type"],
        category=row["category"],
        urgency=row["urgency"],
        data=row["data"],
        published_at=row["published_at"],
        expires_at=row["expires_at"],
        children=tuple(row["children"] or ()),
    )


def _conversation(row: Record) -> MovedConversation:
    return MovedConversation(
        id=row["id"],
        subject=row["subject"],
        last_seq=row["last_seq"],
        read_seq=row["read_seq"],
        told_after=row["told_after"],
        messages=tuple(
            Message(
                seq=message["seq"],
                author=message["author"],
                author_name=message["author_name"],
                body=message["body"],
                posted_at=datetime.fromisoformat(message["posted_at"]),
            )
            for message in row["messages"]
        ),
    )
