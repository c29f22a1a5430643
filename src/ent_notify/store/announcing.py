"""Messages announced: taken, looked at again, and published, in one transaction: each exactly once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ent_notify.model.conversations import Shape
from ent_notify.model.events import MessagePosted
from ent_notify.model.people import Profile
from ent_notify.policy.announcing import Addressee, audience_of
from ent_notify.policy.contact import Party, Relation
from ent_notify.store.contacts import PostgresContacts, facts_of, full_name, group_facts, thread_relations
from ent_notify.store.database import Database, Record, Transaction

Place = tuple[int, int]
"""(conversation, seq)."""


class PostgresAnnouncing:
    """Turns messages into notifications."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._contacts = PostgresContacts(db)

    async def waiting(self, now: datetime) -> tuple[bool, bool, bool]:
        """Whether messages wait to be announced, and whether the hour of one to be sent, or of a reminder, has come."""
        row = await self._db.fetchrow("announcing.waiting", now=now)
        return (False, False, False) if row is None else (row["announce"], row["send"], row["remind"])

    async def announce(self, now: datetime, most: int) -> tuple[list[Place], list[str], bool]:
        """Announce the next messages, and hold those whose author may not write now; which were announced, why some
        could not be (they are not tried again), and whether ``most`` were looked at."""
        return await self._db.atomically(self._announce, now, most)

    async def _announce(self, tx: Transaction, now: datetime, most: int) -> tuple[list[Place], list[str], bool]:
        await tx.fetch("announcing.lock")
        looked = await tx.fetch("announcing.take", most=most, now=now)
        taken = [row for row in looked if not row["held"]]
        if not taken:
            return [], [], len(looked) == most
        posted = await tx.fetch(
            "announcing.posted",
            conversations=[row["conversation_id"] for row in taken],
            seqs=[row["seq"] for row in taken],
        )
        events = await self._events(tx, posted, now)
        answers = await tx.fetch("announcing.publish", events=events, now=now) if events else []
        places = [(row["conversation_id"], row["seq"]) for row in taken]
        return places, [row["refused"] for row in answers if row["refused"] is not None], len(looked) == most

    async def _events(self, tx: Transaction, posted: Sequence[Record], now: datetime) -> list[dict[str, Any]]:
        asked = _arrays(posted)
        people = _by_place(await tx.fetch("announcing.recipients", **asked, now=now))
        keyed = _arrays([row for row in posted if row["keyed"]])
        keys, silent = (
            (
                _by_place(await tx.fetch("announcing.keys", **keyed, now=now)),
                _by_place(await tx.fetch("announcing.silent", **keyed)),
            )
            if keyed["seqs"]
            else ({}, {})
        )
        schools = {uai for rows in people.values() for row in rows for uai in row["schools"]}
        schools |= {row["uai"] for rows in keys.values() for row in rows if row["uai"]}
        rules = await self._contacts.rules(schools, tx)
        events = []
        for row in posted:
            place = (row["conversation_id"], row["seq"])
            audience = audience_of(
                row["external_id"],
                _named(row, people.get(place, [])),
                _groups(row, keys.get(place, [])),
                [each["external_id"] for each in silent.get(place, [])],
                rules,
            )
            if audience is not None:
                event = MessagePosted(
                    key=f"message:{place[0]}:{place[1]}",
                    conversation=place[0],
                    subject=row["subject"],
                    sender=full_name(row),
                ).to_json()
                urgency = {"urgency": "urgent"} if row["shape"] == Shape.LINE else {}
                events.append(event | {"audience": audience} | urgency)
        return events


def _party(row: Record) -> Party:
    return Party(Profile(row["profile"]), row["function"])


def _named(posted: Record, rows: Sequence[Record]) -> list[Addressee]:
    thread = thread_relations(posted, posted["author_id"])
    if posted["shape"] == Shape.LINE:
        return [Addressee({"person": row["external_id"]}, None) for row in rows]
    return [
        Addressee(
            {"person": row["external_id"]},
            facts_of(row, _party(posted), *thread, *([Relation.REPLY] if row["wrote"] else [])),
        )
        for row in rows
    ]


def _groups(posted: Record, rows: Sequence[Record]) -> list[Addressee]:
    thread = thread_relations(posted, posted["author_id"])
    found = []
    for row in rows:
        if row["pupil_id"] is not None:
            found.append(Addressee({"guardians_of": {"person": row["pupil_id"]}}, None))
        elif row["uai"] is not None:
            group = {"group": row["group_id"]}
            (facts,) = group_facts([row], _party(posted), thread)
            found.append(Addressee({"guardians_of": group} if row["scope"] == 2 else group, facts))
    return found


def _arrays(posted: Sequence[Record]) -> dict[str, list[Any]]:
    return {
        "conversations": [row["conversation_id"] for row in posted],
        "seqs": [row["seq"] for row in posted],
        "authors": [row["author_id"] for row in posted],
    }


def _by_place(rows: Sequence[Record]) -> dict[Place, list[Record]]:
    found: dict[Place, list[Record]] = defaultdict(list)
    for row in rows:
        found[row["conversation_id"], row["seq"]].append(row)
    return found
