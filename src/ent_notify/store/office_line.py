"""A pupil's line to the pupil-life office, in PostgreSQL: one conversation a pupil, always open, kept manned."""

from __future__ import annotations

from datetime import datetime

from ent_notify.errors import NotAllowed, NotFound
from ent_notify.model.conversations import LateJoiners, Replies, Shape
from ent_notify.model.inbox import Reader
from ent_notify.model.people import Profile
from ent_notify.policy.messages import MAX_SUBJECT
from ent_notify.policy.safety import Limits
from ent_notify.store.conversations import PostgresConversations
from ent_notify.store.database import Database, Transaction

SUBJECT = "Vie scolaire"


class PostgresOfficeLine:
    """Opens the line, and writes in it, past every rule, limit and freeze."""

    def __init__(self, db: Database, conversations: PostgresConversations, limits: Limits) -> None:
        self._db = db
        self._conversations = conversations
        self._limits = limits

    async def call(self, pupil: Reader, body: str, now: datetime) -> tuple[int, int]:
        """Write to the pupil-life office of one's school; (conversation, seq). Those who work there now take part, and
        where nobody does the direction. Raises NotAllowed for who is no pupil, NotFound where there is neither."""
        if Profile(pupil.profile) is not Profile.PUPIL:
            raise NotAllowed("the line to the pupil-life office is for pupils; write to the school as usual")
        return await self._db.atomically(self._call, pupil, body, now)

    async def _call(self, tx: Transaction, pupil: Reader, body: str, now: datetime) -> tuple[int, int]:
        rows = await tx.fetch(
            "safety.office",
            person_id=pupil.person,
            office=list(self._limits.office),
            direction=list(self._limits.functions),
            now=now,
        )
        staff = [row["id"] for row in rows]
        if not staff:
            raise NotFound(
                "nobody of the pupil-life office or the direction of your school is in the directory; the settings "
                "safety.office_functions and safety.direction_functions say who they are"
            )
        conversation = await tx.fetchval(
            "conversations.start",
            subject=f"{SUBJECT} – {pupil.name}"[:MAX_SUBJECT],
            author_id=pupil.person,
            now=now,
            shape=int(Shape.LINE),
            replies=int(Replies.ALL),
            late=int(LateJoiners.EVERYTHING),
            keyed=False,
            about_id=pupil.person,
            pair=[pupil.person],
            language=None,
        )
        if conversation is None:
            conversation = await tx.fetchval("conversations.of_pair", pair=[pupil.person])
        conversation = int(conversation)
        await tx.fetchrow("conversations.lock", conversation_id=conversation)
        everybody = [pupil.person, *staff]
        await tx.execute(
            "conversations.join",
            conversation_id=conversation,
            people=everybody,
            copies=[0] * len(everybody),
            now=now,
        )
        await tx.execute("safety.reopen_line", conversation_id=conversation, people=everybody)
        return conversation, await self._conversations.post_within(tx, conversation, pupil, body, now, checked=True)
