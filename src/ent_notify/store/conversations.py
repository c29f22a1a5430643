"""Conversations in PostgreSQL: one row a message, whoever reads it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ent_notify.errors import NotFound
from ent_notify.model.events import MessagePosted
from ent_notify.model.inbox import Conversation, Message, Reader
from ent_notify.store.database import Database, Transaction


class PostgresConversations:
    """Opens, continues and reads conversations; a message and its notification are one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def start(
        self, author: Reader, recipients: Sequence[Reader], subject: str, body: str, now: datetime
    ) -> tuple[int, int]:
        """Open a conversation with its first message; answers (conversation, seq)."""
        async with self._db.transaction() as tx:
            conversation = int(
                await tx.fetchval("conversations.start", subject=subject, author_id=author.person, now=now)
            )
            people = [author.person, *(r.person for r in recipients)]
            await tx.execute("conversations.join", conversation_id=conversation, people=people)
            return conversation, await self._post(tx, conversation, author, subject, body, now)

    async def post(self, conversation: int, author: Reader, body: str, now: datetime) -> int:
        """Add a message; answers its seq. Raises NotFound for a stranger, as if there were no conversation."""
        async with self._db.transaction() as tx:
            return await self.post_within(tx, conversation, author, body, now)

    async def post_within(self, tx: Transaction, conversation: int, author: Reader, body: str, now: datetime) -> int:
        """As ``post``, in a transaction of the caller's. NotFound is raised before anything is written."""
        head = await tx.fetchrow("conversations.head", conversation_id=conversation, person_id=author.person)
        if head is None:
            raise NotFound(f"there is no conversation {conversation} for {author.id!r}")
        return await self._post(tx, conversation, author, head["subject"], body, now)

    async def _post(
        self, tx: Transaction, conversation: int, author: Reader, subject: str, body: str, now: datetime
    ) -> int:
        seq = int(await tx.fetchval("conversations.next_seq", conversation_id=conversation, author_id=author.person))
        await tx.execute(
            "conversations.write", conversation_id=conversation, seq=seq, author_id=author.person, body=body, now=now
        )
        await tx.execute("conversations.mark", conversation_id=conversation, person_id=author.person, seq=seq)
        others = await tx.fetch("conversations.others", conversation_id=conversation, author_id=author.person)
        if others:
            event = MessagePosted(
                key=f"message:{conversation}:{seq}", conversation=conversation, subject=subject, sender=author.name
            ).to_json()
            event["audience"] = {"union": [{"person": row["external_id"]} for row in others]}
            await tx.fetchval("publishing.publish", event=event, now=now)
        return seq

    async def read(self, conversation: int, reader: Reader, after: int = 0, most: int = 100) -> Conversation:
        """A conversation for one participant. Raises NotFound for a stranger, as if there were none."""
        head = await self._db.fetchrow("conversations.head", conversation_id=conversation, person_id=reader.person)
        if head is None:
            raise NotFound(f"there is no conversation {conversation} for {reader.id!r}")
        rows = await self._db.fetch(
            "conversations.messages",
            conversation_id=conversation,
            person_id=reader.person,
            after=after,
            most=most,
        )
        return Conversation(
            id=conversation,
            subject=head["subject"],
            last_seq=head["last_seq"],
            read_seq=head["read_seq"],
            messages=tuple(
                Message(
                    seq=row["seq"],
                    author=row["author"] or "",
                    author_name=f"{row['given_name'] or ''} {row['family_name'] or ''}".strip(),
                    body=row["body"],
                    posted_at=row["posted_at"],
                )
                for row in rows
            ),
        )

    async def mark_read(self, conversation: int, reader: Reader, seq: int) -> None:
        """Somebody has read up to ``seq``."""
        await self._db.execute("conversations.mark", conversation_id=conversation, person_id=reader.person, seq=seq)
