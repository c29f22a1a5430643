"""What stands before every message: whether its author may write now, and how many people they write to.

Who may write to whom is decided elsewhere (``policy.contact``). Every method is called in the transaction that writes,
but ``strike``, which has one of its own: what was refused leaves nothing else behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from ent_notify.errors import NotAllowed
from ent_notify.model.inbox import Reader
from ent_notify.model.safety import CaseKind, Decision, Restraint
from ent_notify.policy.contact import Party
from ent_notify.policy.safety import Limits, strikes_of, suspended, too_many
from ent_notify.store.database import Database, Session, Transaction
from ent_notify.store.moderation import alert, open_case, schools_of, write_down

BY = "ent_notify"
"""Who quarantines a sender whom the limits have stopped."""
_WHY = "many messages to people to whom the account may not write, or to too many"
_PERSON = 3

Addressed = tuple[int, int]
"""(scope, ref), as in an audience: 1 members of a group, 2 their guardians, 3 a person (internal ids)."""


class PostgresGuard:
    """Lets a message pass, or says why not."""

    def __init__(self, db: Database, limits: Limits) -> None:
        self._db = db
        self.limits = limits

    async def check(
        self,
        tx: Session,
        author: int,
        conversation: int | None,
        now: datetime,
        sole: int | None = None,
        groups: Sequence[int] = (),
    ) -> None:
        """Raises Suspended unless ``author`` may write now, in a conversation or a new one: ``sole`` is whom a direct
        one is to, ``groups`` are those that it is to. What is answered stays so until the transaction ends."""
        await tx.fetchval("safety.lock", alone=False)
        said = await tx.fetchval(
            "safety.why", author_id=author, conversation_id=conversation, sole=sole, groups=list(groups), now=now
        )
        if said is not None:
            raise suspended(said)

    async def check_not_quarantined(self, tx: Session, author: int, now: datetime) -> None:
        """Raises Suspended for who is quarantined."""
        row = await tx.fetchrow("safety.restraint", person_id=author, now=now)
        if row is not None and row["kind"] == Restraint.QUARANTINED:
            raise suspended("quarantined")

    async def take(self, tx: Session, author: int, party: Party, addressed: Sequence[Addressed], now: datetime) -> None:
        """Count who a message goes to. Raises TooManyRecipients, and then nothing was counted."""
        if not addressed:
            return
        allowance = self.limits.of(party.profile, party.function)
        said = await tx.fetchval(
            "safety.take_recipients",
            author_id=author,
            scopes=[scope for scope, _ in addressed],
            refs=[ref for _, ref in addressed],
            most=allowance.most,
            burst=allowance.burst,
            refill=self.limits.refill,
            now=now,
        )
        if said != "taken":
            raise too_many(said, allowance, self.limits.refill)

    @asynccontextmanager
    async def striking(self, author: Reader, now: datetime) -> AsyncIterator[None]:
        """Strike ``author`` for what is refused within, which has been rolled back by then."""
        try:
            yield
        except NotAllowed as error:
            await self.strike(author, error, now)
            raise

    async def strike(self, author: Reader, error: NotAllowed, now: datetime) -> bool:
        """Note what was refused; whether the account was quarantined by it, and its moderators were told."""
        strikes = strikes_of(error)
        if not strikes or not await self._db.fetchval(
            "safety.strike", author_id=author.person, strikes=strikes, most=self.limits.strikes, now=now
        ):
            return False
        return await self._db.atomically(self._stop, author, now)

    async def _stop(self, tx: Transaction, author: Reader, now: datetime) -> bool:
        if not await quarantine(tx, author.person, BY, _WHY, now):
            return False
        schools = await schools_of(tx, author.person, now)
        case, _ = await open_case(tx, CaseKind.SENDER, author.person, schools, now)
        await write_down(tx, BY, Decision.QUARANTINE, author.id, schools, _WHY, now, case)
        await alert(tx, case, author.person, schools, self.limits, now)
        return True


async def quarantine(tx: Transaction, person: int, by: str, reason: str, now: datetime) -> bool:
    """Let somebody write nothing, and nothing of theirs be told; whether anything changed."""
    await tx.fetchval("safety.lock", alone=True)
    changed = await tx.execute(
        "safety.restrain",
        person_id=person,
        kind=int(Restraint.QUARANTINED),
        until=None,
        done_by=by,
        reason=reason,
        now=now,
    )
    if changed:
        await tx.fetchval("safety.hold_told", person_id=person, done_by=by, reason="quarantine", now=now)
    return bool(changed)


def people(ids: Sequence[int]) -> list[Addressed]:
    """People as they are counted."""
    return [(_PERSON, each) for each in ids]
