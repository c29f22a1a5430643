"""What every act of moderation has in common, in the transaction of the act: cases, alerts, the audit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ent_notify.model.events import Event, ModerationAlert
from ent_notify.model.safety import CaseKind
from ent_notify.policy.safety import Limits
from ent_notify.store.database import Transaction

_IN_ONE_UNION = 4_000


async def schools_of(tx: Transaction, person: int, now: datetime) -> list[str]:
    """Every school of somebody (UAIs), their own and their children's."""
    return [row["uai"] for row in await tx.fetch("contacts.schools", person_id=person, now=now)]


async def open_case(
    tx: Transaction,
    kind: CaseKind,
    person: int,
    schools: Sequence[str],
    now: datetime,
    message: tuple[int, int] | None = None,
) -> tuple[int, bool]:
    """Open a case, or that of a message again; (case, whether it was not open)."""
    conversation, seq = message or (None, None)
    row = await tx.fetchrow(
        "safety.open_case",
        kind=int(kind),
        person_id=person,
        conversation_id=conversation,
        seq=seq,
        schools=list(schools),
        now=now,
    )
    if row is None:  # it is inserted, or was there
        raise AssertionError("opening a case answered nothing")
    return int(row["id"]), bool(row["fresh"])


async def alert(tx: Transaction, case: int, about: int, schools: Sequence[str], limits: Limits, now: datetime) -> None:
    """Tell the moderators of some schools that a case is open, but not whom it is about. Urgent."""
    rows = await tx.fetch(
        "safety.moderators",
        schools=list(schools),
        functions=[*limits.office, *limits.functions],
        project=list(limits.project),
        but=about,
        now=now,
    )
    who = [row["external_id"] for row in rows]
    await tell(tx, ModerationAlert(key=f"safety:case:{case}:{now.isoformat()}", case=case), who, now)


async def tell(tx: Transaction, event: Event, people: Sequence[str], now: datetime) -> None:
    """Publish an event to some people (external ids)."""
    if people:
        audience = {"union": [{"person": person} for person in people[:_IN_ONE_UNION]]}
        await tx.fetchval("safety.publish", event=event.to_json() | {"audience": audience}, now=now)


async def write_down(
    tx: Transaction,
    by: str,
    act: str,
    about: str,
    schools: Sequence[str],
    reason: str,
    now: datetime,
    case: int | None = None,
) -> None:
    """Write down who did what, when and why."""
    await tx.execute(
        "safety.write_down",
        done_by=by,
        act=str(act),
        about=about,
        case_id=case,
        schools=list(schools),
        reason=reason,
        now=now,
    )
