"""Requests, holds, exports and the trail of who looked, in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Any

from ent_notify.model.rights import Asked, GlassMessage, Hold, Overdue, Right, RightsRequest
from ent_notify.store.database import Database, Record

EXPORTED: Mapping[str, tuple[str, ...]] = {
    "person": ("person", "sender_cells", "attachment_usage"),
    "memberships": ("membership",),
    "family": ("guardian_link", "same_human"),
    "devices": ("device",),
    "preferences": ("preference",),
    "inbox": ("notification", "reading", "homework_done"),
    "deliveries": ("outcome",),
    "acknowledgements": ("acknowledgement", "acknowledgement_given"),
    "conversations": ("participant",),
    "messages": ("message", "attachment", "lately_written"),
    "drafts": ("message_draft",),
    "blocks": ("contact_block",),
    "sessions": ("stream_session",),
    "restraints": ("restraint", "moderation_case", "held_campaign", "recall_run"),
    "reports": ("moderation_report",),
    "requests": ("rights_request",),
}
"""The parts of an export, each a query ``rights.export_...``, and the tables that it is of."""
NOT_EXPORTED: Mapping[str, str] = {
    "clearing": "work under way: what a phone still shows of what was read",
    "seen": "work under way: how far a page was looked at, for some minutes",
    "presence": "work under way: that a page is open now",
    "departure": "work under way: that a page was closed a moment ago",
    "stream_ticket": "a secret of sixty seconds",
    "client_write": "kept to be told to the phone again; what was written stands in its own part",
    "evidence": "kept for an open case, as it stood in the messages",
}
"""Tables with people's rows that are in no export, and why."""
NOT_FOR_GUARDIANS = ("drafts", "blocks", "reports", "restraints")
"""What a guardian is not given of their child's: what was not sent, whom the child avoids, whom it told of."""
PARTS = tuple(EXPORTED)


class PostgresRights:
    """What somebody asked for."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def open(self, person: int, kind: Right, asked: Asked, now: datetime, deadline: datetime) -> int:
        """Write a request down; its number."""
        number: int = await self._db.fetchval(
            "rights.open",
            person_id=person,
            kind=kind.value,
            actor=asked.by,
            capacity=asked.capacity,
            proof=asked.proof,
            now=now,
            deadline=deadline,
        )
        return number

    async def close(self, request: int, state: str, note: str, now: datetime) -> None:
        """Say how a request stands."""
        closed_at = None if state == "held" else now
        await self._db.execute("rights.close", request_id=request, state=state, note=note, closed_at=closed_at)

    async def requests(self, *, everything: bool, most: int) -> list[RightsRequest]:
        """Requests, nearest deadline first."""
        rows = await self._db.fetch("rights.requests", everything=everything, most=most)
        return [_request(row) for row in rows]

    async def request(self, number: int) -> tuple[int, RightsRequest] | None:
        """One request, with the internal id of whom it is about."""
        row = await self._db.fetchrow("rights.request", request_id=number)
        return None if row is None else (row["person_id"], _request(row))

    async def requests_of(self, person: int, external_id: str, most: int) -> list[RightsRequest]:
        """What was asked about somebody, or by them as a guardian."""
        rows = await self._db.fetch("rights.requests_of", person_id=person, actor=external_id, most=most)
        return [_request(row) for row in rows]

    async def overdue(self, leavers: datetime, now: datetime) -> Overdue:
        """What should have been done by ``now``; people who left before ``leavers`` should have been purged."""
        row = await self._db.fetchrow("rights.overdue", leavers=leavers, now=now)
        return Overdue(0, 0, 0) if row is None else Overdue(row["requests"], row["leavers"], row["holds"])

    async def salt(self) -> bytes:
        """What only this database has."""
        salt: bytes = await self._db.fetchval("rights.salt")
        return salt

    async def released(self, now: datetime, most: int) -> list[tuple[int, int]]:
        """(request, person) of erasures that a hold kept and keeps no more."""
        return [(row["id"], row["person_id"]) for row in await self._db.fetch("rights.held", now=now, most=most)]

    async def is_held(self, person: int, now: datetime) -> bool:
        """Whether a hold keeps somebody."""
        return bool(await self._db.fetchval("rights.is_held", person_id=person, now=now))

    async def guards(self, guardian: str, person: int) -> bool:
        """Whether ``guardian`` is a legal guardian of somebody, whom no court has restricted."""
        return bool(await self._db.fetchval("rights.guards", guardian=guardian, person_id=person))

    async def rectify(self, person: int, given: Mapping[str, str]) -> None:
        """Correct names, language or address."""
        asked = {name: given.get(name) for name in ("given_name", "family_name", "language", "email")}
        await self._db.execute("rights.rectify", person_id=person, **asked)

    async def object_to(self, person: int, category: str) -> bool:
        """Refuse a category; False when there is no such category."""
        if not await self._db.fetchval("rights.category_known", category=category):
            return False
        await self._db.execute("rights.object", person_id=person, category=category)
        return True

    async def restrict(self, person: int, now: datetime) -> None:
        """Refuse everything that is sent."""
        await self._db.execute("rights.restrict", person_id=person, now=now)

    async def export(
        self, person: int, part: str, now: datetime, guardian: str | None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The rows of one part of an export, through a cursor; ``guardian`` asks for it, if it is not the person."""
        asked: dict[str, Any] = {"person_id": person} | ({"now": now} if part == "inbox" else {})
        if part in ("family", "conversations", "messages"):
            asked["guardian"] = guardian
        async with self._db.stream(f"rights.export_{part}", **asked) as batches:
            async for rows in batches:
                for row in rows:
                    yield dict(row.items())

    async def note(
        self, actor: str, capacity: str, action: str, subject: str, detail: str, now: datetime, hold: int | None
    ) -> None:
        """Add to the trail; actor and subject are pseudonyms. What is done for a hold is not shown while it stands."""
        await self._db.execute(
            "rights.note", actor=actor, capacity=capacity, action=action, subject=subject, detail=detail, now=now,
            hold_id=hold,
        )  # fmt: skip

    async def trail(self, subject: str, most: int) -> list[Record]:
        """The trail about one subject (a pseudonym), newest first."""
        return await self._db.fetch("rights.trail", subject=subject, most=most)


class PostgresHolds:
    """What must be kept."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def place(self, what: Mapping[str, int | None], reason: str, reference: str, by: str,
                    now: datetime, review_at: datetime) -> int:  # fmt: skip
        """Ask for a hold; its number."""
        number: int = await self._db.fetchval(
            "rights.place_hold", **what, reason=reason, reference=reference, asked_by=by, now=now, review_at=review_at
        )
        return number

    async def confirm(self, hold: int, by: str, now: datetime, review_at: datetime) -> bool:
        """Confirm one that somebody else asked for."""
        return await self._db.fetchval("rights.set_hold", hold_id=hold, by=by, now=now, review_at=review_at) is not None

    async def ask_lift(self, hold: int, by: str, now: datetime) -> bool:
        """Ask for its end."""
        return await self._db.fetchval("rights.ask_lift", hold_id=hold, by=by, now=now) is not None

    async def lift(self, hold: int, by: str, now: datetime) -> bool:
        """End one whose end somebody else asked for."""
        return await self._db.fetchval("rights.lift", hold_id=hold, by=by, now=now) is not None

    async def review(self, hold: int, review_at: datetime) -> bool:
        """It is needed still."""
        return await self._db.fetchval("rights.review_hold", hold_id=hold, review_at=review_at) is not None

    async def standing(self, now: datetime) -> list[Hold]:
        """Holds that stand, those to be reviewed first."""
        return [
            Hold(
                row["id"],
                row["person"],
                row["conversation_id"],
                row["seq"],
                row["notification_id"],
                row["reason"],
                row["reference"],
                row["asked_by"],
                row["asked_at"],
                row["set_by"],
                row["review_at"],
                row["lift_asked_by"],
            )
            for row in await self._db.fetch("rights.holds", now=now)
        ]


def _request(row: Record) -> RightsRequest:
    return RightsRequest(
        row["id"],
        row["person"],
        Right(row["kind"]),
        row["actor"],
        row["capacity"],
        row["proof"],
        row["received_at"],
        row["deadline"],
        row["state"],
        row["note"],
        row["closed_at"],
    )


class PostgresGlass:
    """Who may read what they have no part in, for how long."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def ask(self, conversation: int, by: str, reason: str, now: datetime) -> int | None:
        """Ask; None when there is no such conversation."""
        number: int | None = await self._db.fetchval(
            "rights.ask_glass", conversation_id=conversation, by=by, reason=reason, now=now
        )
        return number

    async def open(self, number: int, by: str, now: datetime, until: datetime) -> bool:
        """Open what somebody else asked for."""
        return await self._db.fetchval("rights.open_glass", glass_id=number, by=by, now=now, until=until) is not None

    async def is_open(self, number: int, by: str, now: datetime) -> bool:
        """Whether it is open to one of its two people."""
        return bool(await self._db.fetchval("rights.glass_is_open", glass_id=number, by=by, now=now))

    async def people(self, number: int) -> list[str]:
        """Whose words are read."""
        return [row["person"] for row in await self._db.fetch("rights.glass_people", glass_id=number)]

    async def messages(self, number: int) -> list[GlassMessage]:
        """The conversation."""
        rows = await self._db.fetch("rights.glass_messages", glass_id=number)
        return [GlassMessage(r["seq"], r["author"], r["posted_at"], r["recalled_at"], r["body"]) for r in rows]
