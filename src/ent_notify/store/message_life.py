"""What happens to a message after it was written, in PostgreSQL: edited, recalled, read, put away by one reader."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from ent_notify.errors import NotAllowed, NotFound
from ent_notify.model.conversations import Earlier, ReadBy, Recalled
from ent_notify.model.inbox import Reader
from ent_notify.store.contacts import full_name
from ent_notify.store.database import Database, Record, Transaction
from ent_notify.store.sending_guard import PostgresGuard


class PostgresMessageLife:
    """Edits, recalls, and what somebody keeps of a conversation. Every call may be repeated."""

    def __init__(self, db: Database, guard: PostgresGuard) -> None:
        self._db = db
        self._guard = guard

    async def edit(
        self, conversation: int, seq: int, author: Reader, body: str, window: timedelta, now: datetime
    ) -> None:
        """Give a message another text: whoever may not write now may not do that either. Raises NotFound, and
        NotAllowed after ``window`` or for a recalled one."""
        async with self._db.transaction() as tx:
            row = await self._message(tx, conversation, seq, author, now)
            if row["author_id"] != author.person:
                raise NotAllowed("a message is changed by its author alone")
            await self._guard.check(tx, author.person, conversation, now)
            if row["recalled_at"] is not None:
                raise NotAllowed(f"message {seq} was recalled, and cannot be changed any more")
            if now - row["posted_at"] > window:
                raise NotAllowed(
                    f"message {seq} was posted more than {window.total_seconds() / 60:.0f} minutes ago, and cannot be "
                    "changed any more; write another one"
                )
            if row["body"] != body:
                await tx.execute(
                    "message_life.edit",
                    conversation_id=conversation,
                    seq=seq,
                    person_id=author.person,
                    body=body,
                    now=now,
                )

    async def recall(self, conversation: int, seq: int, author: Reader, now: datetime) -> Recalled:
        """Take a message's text away for all. What was shown of its notification is replaced; what was not sent never
        is. Raises NotFound, NotAllowed for who did not write it, or is quarantined: what they wrote is looked into."""
        async with self._db.transaction() as tx:
            row = await self._message(tx, conversation, seq, author, now)
            if row["author_id"] != author.person:
                raise NotAllowed("a message is recalled by its author alone")
            await self._guard.check_not_quarantined(tx, author.person, now)
            asked = {"conversation_id": conversation, "seq": seq}
            if row["recalled_at"] is None:
                await tx.fetch("message_life.recall", **asked, person_id=author.person, now=now)
            notification = await tx.fetchval("message_life.notification", **asked)
            if notification is not None and row["recalled_at"] is None:
                await tx.fetchval("message_life.relay")
                await tx.fetchval(
                    "message_life.recall_notification", notification=notification, done_by=author.id, now=now
                )
            readers = await tx.fetch("message_life.readers", **asked)
        return Recalled(tuple(each["external_id"] for each in readers), notification)

    async def readers(
        self, conversation: int, seq: int, author: Reader, after: int, most: int, now: datetime
    ) -> tuple[list[ReadBy], int | None]:
        """Who has read a message, for its author where the school shows it. Raises NotFound, NotAllowed."""
        row = await self._seen(conversation, seq, author, now)
        if row is None:
            raise _no_message(conversation, seq, author)
        if row["author_id"] != author.person:
            raise NotAllowed("who has read a message is shown to its author alone")
        if not row["tracked"]:
            raise NotAllowed("your school does not show who has read a message")
        rows = await self._db.fetch(
            "message_life.read_by", conversation_id=conversation, seq=seq, after=after, most=most
        )
        page = [ReadBy(each["external_id"], full_name(each), each["read_at"]) for each in rows]
        return page, rows[-1]["id"] if len(rows) == most else None

    async def history(
        self, conversation: int, seq: int, reader: Reader, moderators: Sequence[str], now: datetime
    ) -> list[Earlier]:
        """What a message was before each edit, oldest first. Raises NotFound, NotAllowed."""
        row = await self._seen(conversation, seq, reader, now)
        if row is None or row["author_id"] != reader.person:
            moderates = await self._db.fetchval(
                "message_life.moderates",
                conversation_id=conversation,
                person_id=reader.person,
                functions=list(moderators),
                now=now,
            )
            if not moderates:
                if row is None:
                    raise _no_message(conversation, seq, reader)
                raise NotAllowed("what a message was before is shown to its author and to moderators alone")
        rows = await self._db.fetch("message_life.history", conversation_id=conversation, seq=seq)
        return [Earlier(each["body"], each["changed_by"], each["changed_at"]) for each in rows]

    async def _seen(self, conversation: int, seq: int, reader: Reader, now: datetime) -> Record | None:
        return await self._db.fetchrow(
            "message_life.seen", conversation_id=conversation, seq=seq, person_id=reader.person, now=now
        )

    async def keep(
        self,
        conversation: int,
        reader: Reader,
        now: datetime,
        *,
        archived: bool | None = None,
        favourite: bool | None = None,
        muted: bool | None = None,
        labels: Sequence[str] | None = None,
    ) -> None:
        """Change what is given of what somebody keeps of a conversation. Raises NotFound for a stranger."""
        kept = await self._db.execute(
            "message_life.keep",
            conversation_id=conversation,
            person_id=reader.person,
            now=now,
            archived=archived,
            favourite=favourite,
            muted=muted,
            labels=None if labels is None else list(labels),
        )
        _was_there(kept, conversation, reader)

    async def delete(self, conversation: int, reader: Reader, seq: int | None, now: datetime) -> None:
        """Put one message, or all there is of a conversation, out of one reader's sight. Raises NotFound."""
        asked = {"conversation_id": conversation, "person_id": reader.person, "now": now}
        if seq is None:
            gone = await self._db.execute("message_life.clear", **asked)
        else:
            gone = await self._db.execute("message_life.hide", **asked, seq=seq)
        _was_there(gone, conversation, reader)

    async def _message(self, tx: Transaction, conversation: int, seq: int, reader: Reader, now: datetime) -> Record:
        row = await tx.fetchrow(
            "message_life.message", conversation_id=conversation, seq=seq, person_id=reader.person, now=now
        )
        if row is None:
            raise _no_message(conversation, seq, reader)
        return row


def _no_message(conversation: int, seq: int, reader: Reader) -> NotFound:
    return NotFound(f"there is no message {seq} in a conversation {conversation} for {reader.id!r}")


def _was_there(rows: int, conversation: int, reader: Reader) -> None:
    if not rows:
        raise NotFound(f"there is no conversation {conversation} for {reader.id!r}")
