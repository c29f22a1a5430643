"""Drafts and messages to be sent later, in PostgreSQL."""

from __future__ import annotations

from datetime import datetime, timedelta

from ent_notify.errors import MalformedMessage, NotAllowed, NotFound, Suspended
from ent_notify.model.conversations import Draft, DraftState, LocalTime, NewConversation
from ent_notify.model.inbox import Reader
from ent_notify.policy.local_time import instant_of
from ent_notify.policy.messages import check_body
from ent_notify.policy.threads import check_new
from ent_notify.store.contacts import full_name
from ent_notify.store.conversations import PostgresConversations
from ent_notify.store.database import Database, Record, Transaction
from ent_notify.wire.drafts import draft_data, draft_from

NEWEST = 2**62


class PostgresDrafts:
    """Keeps drafts, and sends those whose hour has come: each once, in the transaction that writes the message."""

    def __init__(self, db: Database, conversations: PostgresConversations) -> None:
        self._db = db
        self._conversations = conversations

    async def keep(
        self,
        author: Reader,
        draft: int | None,
        conversation: int | None,
        body: str,
        new: NewConversation | None,
        sending: LocalTime | None,
        now: datetime,
    ) -> int:
        """Keep a new draft, or change one; its number. Raises NotFound for one that is not there, or was sent."""
        if conversation is not None and not await self._conversations.threads(author, now, one=conversation):
            raise NotFound(f"there is no conversation {conversation} for {author.id!r}")
        kept = await self._db.fetchval(
            "message_drafts.keep",
            draft=draft,
            author_id=author.person,
            conversation_id=conversation,
            content=draft_data(new, body),
            state=int(DraftState.DRAFT if sending is None else DraftState.SCHEDULED),
            send_on=None if sending is None else sending.on,
            send_time=None if sending is None else sending.at,
            send_zone=None if sending is None else sending.zone,
            due_at=None if sending is None else instant_of(sending),
            now=now,
        )
        if kept is None:
            raise NotFound(f"there is no draft {draft} of {author.id!r}")
        return int(kept)

    async def drafts(self, author: Reader, before: int, most: int, one: int | None = None) -> list[Draft]:
        """Somebody's drafts, newest first."""
        rows = await self._db.fetch(
            "message_drafts.drafts", author_id=author.person, before=before, most=most, draft=one
        )
        return [_draft(row) for row in rows]

    async def forget(self, author: Reader, draft: int) -> None:
        """Throw a draft away. Raises NotFound."""
        if not await self._db.execute("message_drafts.forget", author_id=author.person, draft=draft):
            raise NotFound(f"there is no draft {draft} of {author.id!r}")

    async def send(self, author: Reader, draft: int, now: datetime) -> tuple[int, int]:
        """Send a draft now, once; (conversation, seq), the same again when it was sent. Raises as posting does."""
        async with self._conversations.guard.striking(author, now):
            return await self._db.atomically(self._send, author, draft, now)

    async def send_next_due(self, now: datetime) -> bool:
        """Send the message whose hour came first, or note why it cannot be; whether there was one."""
        found, refused = await self._db.atomically(self._send_due, now)
        if refused is not None:
            await self._conversations.guard.strike(*refused, now)
        return found

    async def read_hours_anew(self, now: datetime, ahead: timedelta) -> int:
        """Read the local hours of the next days with the zones as they are known now; how many have moved."""
        moved = 0
        for row in await self._db.fetch("message_drafts.upcoming", until=now + ahead):
            due_at = instant_of(LocalTime(row["send_on"], row["send_time"], row["send_zone"]))
            if due_at != row["due_at"]:
                moved += await self._db.execute("message_drafts.put_off", draft=row["id"], due_at=due_at)
        return moved

    async def _send(self, tx: Transaction, author: Reader, draft: int, now: datetime) -> tuple[int, int]:
        row = await tx.fetchrow("message_drafts.draft", draft=draft, author_id=author.person)
        if row is None:
            raise NotFound(f"there is no draft {draft} of {author.id!r}")
        if row["state"] == DraftState.SENT:
            return row["sent_to"], row["sent_seq"]
        return await self._become(tx, row, author, now)

    async def _send_due(self, tx: Transaction, now: datetime) -> tuple[bool, tuple[Reader, NotAllowed] | None]:
        """Whether there was one, and who was refused how."""
        row = await tx.fetchrow("message_drafts.due", now=now)
        if row is None:
            return False, None
        due_at = instant_of(LocalTime(row["send_on"], row["send_time"], row["send_zone"]))
        if due_at > now:  # the zone's rules have changed since it was kept
            await tx.execute("message_drafts.put_off", draft=row["id"], due_at=due_at)
            return True, None
        try:
            await self._become(tx, row, _author(row), now)
        except Suspended:
            await tx.execute("message_drafts.held", draft=row["id"])
        except (NotFound, NotAllowed, MalformedMessage) as error:  # all raised before anything is written
            await tx.execute("message_drafts.refused", draft=row["id"], refusal=str(error), now=now)
            if isinstance(error, NotAllowed) and row["hidden_at"] is None:
                return True, (_author(row), error)
        return True, None

    async def _become(self, tx: Transaction, row: Record, author: Reader, now: datetime) -> tuple[int, int]:
        new, body = draft_from(row["content"])
        if new is not None:
            check_new(new)
            sent = await self._conversations.start_within(tx, author, new, now)
        elif row["conversation_id"] is None:
            raise MalformedMessage("the draft is to nobody yet; say in which conversation, or open one")
        else:
            check_body(body)
            conversation = row["conversation_id"]
            sent = conversation, await self._conversations.post_within(tx, conversation, author, body, now)
        await tx.execute("message_drafts.sent", draft=row["id"], conversation=sent[0], seq=sent[1], now=now)
        return sent


def _author(row: Record) -> Reader:
    if row["hidden_at"] is not None:
        raise NotAllowed("its author has left")
    return Reader(
        person=row["author_id"],
        id=row["external_id"],
        profile=row["profile"],
        name=full_name(row),
        language=row["language"],
        timezone=row["timezone"],
    )


def _draft(row: Record) -> Draft:
    new, body = draft_from(row["content"])
    sending = None if row["send_on"] is None else LocalTime(row["send_on"], row["send_time"], row["send_zone"])
    return Draft(
        id=row["id"],
        state=DraftState(row["state"]),
        updated_at=row["updated_at"],
        conversation=row["conversation_id"],
        body=body,
        new=new,
        sending=sending,
        due_at=row["due_at"],
        refusal=row["refusal"],
    )
