"""Acknowledgements in PostgreSQL: asked, given once and for a text, counted, reminded of, proven."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ent_notify.errors import MalformedMessage, NotAllowed, NotFound, StoreError
from ent_notify.model.acknowledgement import (
    Answerer,
    Ask,
    Asked,
    AskKind,
    Given,
    Matter,
    Proof,
    Quorum,
    ReadingChoice,
    Slot,
    Standing,
)
from ent_notify.model.events import AcknowledgementDue
from ent_notify.model.fanout import Published
from ent_notify.model.inbox import Reader
from ent_notify.policy.acknowledgement import check_ask, is_met, lines, next_reminder, version_of
from ent_notify.store.contacts import full_name
from ent_notify.store.database import Database, Record, Session, Transaction
from ent_notify.store.publishing import as_malformed

MOST_REMINDED = 1_000
"""People reminded by one notification, in one transaction."""
_REMINDER_LIFE = timedelta(days=7)


async def ask_within(
    session: Session, matter: Matter, ask: Ask, asked_by: int | None, now: datetime, *, guardians: bool
) -> None:
    """Keep a request, in a transaction of the caller's; once. Raises MalformedMessage."""
    check_ask(ask, now, guardians=guardians)
    await session.fetchval(
        "acknowledgement.ask",
        notification=matter.notification,
        conversation=matter.conversation,
        seq=matter.seq,
        kind=int(ask.kind),
        quorum=int(ask.quorum),
        asked_by=asked_by,
        deadline=ask.deadline,
        remind_every=ask.remind_every,
        remind_at=next_reminder(ask, now, now),
        now=now,
    )


class PostgresAcknowledgements:
    """Requests, what was given, reminders and proofs."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def announce(self, event: Mapping[str, Any], ask: Ask, asked_by: int | None, now: datetime) -> Published:
        """Publish an event that asks for acknowledgements: both, or nothing."""
        try:
            return await self._db.atomically(self._announce, event, ask, asked_by, now)
        except StoreError as error:
            raise as_malformed(error) from None

    async def _announce(
        self, tx: Transaction, event: Mapping[str, Any], ask: Ask, asked_by: int | None, now: datetime
    ) -> Published:
        answer = await tx.fetchval("acknowledgement.publish", event=event, now=now)
        published = Published(notification=answer["notification"], created=answer["created"])
        if published.created:
            guardians = await tx.fetchval("acknowledgement.notification_guardians", notification=published.notification)
            matter = Matter.published(published.notification)
            await ask_within(tx, matter, ask, asked_by, now, guardians=bool(guardians))
        return published

    # ------------------------------------------------------------ for who is asked

    async def asked(self, matter: Matter, reader: Reader, now: datetime) -> Asked:
        """What a reader is asked for. Raises NotFound for who is not asked, as if nothing were asked."""
        row = await self._request(matter)
        slots = (
            []
            if row is None
            else await self._db.fetch(
                "acknowledgement.slots", request=row["id"], person_id=reader.person, hash=row["hash"], now=now
            )
        )
        if row is None or not slots:
            raise _nothing(matter, reader)
        quorum = Quorum(row["quorum"])
        return Asked(
            kind=AskKind(row["kind"]),
            quorum=quorum,
            asked_at=row["asked_at"],
            deadline=row["deadline"],
            version=None if row["hash"] is None else row["hash"].hex(),
            changed=any(slot["earlier"] and slot["given_at"] is None for slot in slots),
            slots=tuple(
                Slot(slot["child"], slot["child_name"], slot["given_at"], is_met(quorum, slot["asked"], slot["given"]))
                for slot in slots
            ),
        )

    async def give(
        self, matter: Matter, reader: Reader, version: str | None, children: Sequence[str] | None, now: datetime
    ) -> datetime:
        """Acknowledge or sign; when it was first. Raises NotFound for who is not asked, NotAllowed when the text is not
        the one that was read, or was taken back."""
        row = await self._request(matter)
        if row is None:
            raise _nothing(matter, reader)
        ids = None
        if children is not None:
            found = await self._db.fetch("acknowledgement.children_of", children=list(children))
            ids = [each["id"] for each in found]
            if len(ids) != len(set(children)) or not ids:
                raise _nothing(matter, reader)
        given = await self._db.fetchrow(
            "acknowledgement.give",
            request=row["id"],
            person_id=reader.person,
            children=ids,
            seen=None if version is None else _digest(version),
            now=now,
        )
        if given is None or given["said"] == "stranger":
            raise _nothing(matter, reader)
        if given["said"] != "given":
            raise NotAllowed(
                {
                    "gone": f"{matter} was taken back or replaced, and cannot be acknowledged any more",
                    "changed": f"the text of {matter} has changed since it was read; read it again",
                    "unread": "a signature says which text was read; give its version",
                }[given["said"]]
            )
        at: datetime = given["first_at"]
        return at

    # ------------------------------------------------------------ for who asked

    async def standing(self, matter: Matter, asker: Reader | None, now: datetime) -> Standing:
        """How it stands. Raises NotFound for who did not ask (None: the host)."""
        return await self._standing(await self._of_asker(matter, asker), now)

    async def answerers(
        self, matter: Matter, asker: Reader | None, after: tuple[int, int], most: int, now: datetime
    ) -> tuple[list[Answerer], tuple[int, int] | None]:
        """Who is asked, by name, and where the next page begins. Raises NotFound, and NotAllowed where the school does
        not let senders see names."""
        row = await self._of_asker(matter, asker)
        _check_names(row, asker)
        rows = await self._db.fetch(
            "acknowledgement.answerers",
            request=row["id"],
            hash=row["hash"],
            after_child=after[0],
            after_person=after[1],
            most=most,
            now=now,
        )
        page = [
            Answerer(
                person=each["person"],
                name=full_name(each),
                child=each["child"],
                child_name=each["child_name"],
                given_at=each["given_at"],
                met=each["met"] or each["given_at"] is not None,
            )
            for each in rows
        ]
        return page, (rows[-1]["child_id"], rows[-1]["person_id"]) if len(rows) == most else None

    async def proof(self, matter: Matter, asker: Reader | None, now: datetime) -> Proof:
        """Everything that was given. Raises as ``answerers`` does."""
        row = await self._of_asker(matter, asker)
        _check_names(row, asker)
        rows = await self._db.fetch("acknowledgement.given", request=row["id"])
        given = tuple(
            Given(each["person"], full_name(each), each["child"], each["given_at"], each["version"]) for each in rows
        )
        texts = [each["text"] for each in await self._db.fetch("acknowledgement.texts", request=row["id"])]
        return Proof(
            matter=str(matter),
            kind=AskKind(row["kind"]),
            quorum=Quorum(row["quorum"]),
            asked_at=row["asked_at"],
            deadline=row["deadline"],
            version=None if row["hash"] is None else row["hash"].hex(),
            texts={version_of(text): text for text in texts if text is not None},
            standing=await self._standing(row, now),
            given=given,
            digest=version_of(lines(given)),
        )

    async def _standing(self, row: Record, now: datetime) -> Standing:
        asked = {"request": row["id"], "hash": row["hash"], "now": now}
        quorum = Quorum(row["quorum"])
        counts = {"asked": 0, "met": 0, "unreachable": 0}
        if quorum is Quorum.EACH:
            counts |= dict(await self._one("acknowledgement.each", asked))
        else:
            async with self._db.stream("acknowledgement.by_child", prefetch=1000, **asked) as batches:
                async for children in batches:
                    for child in children:
                        counts["asked"] += 1
                        counts["met"] += is_met(quorum, child["asked"], child["given"])
                        counts["unreachable"] += not child["asked"] and not child["given"]
        beside = await self._one("acknowledgement.beside", {"request": row["id"], "hash": row["hash"]})
        return Standing(**counts, outdated=beside["outdated"], late=beside["late"])

    async def _one(self, query: str, asked: dict[str, Any]) -> Record:
        row = await self._db.fetchrow(query, **asked)
        if row is None:  # an aggregate answers one row
            raise AssertionError(f"{query} answered nothing")
        return row

    async def _of_asker(self, matter: Matter, asker: Reader | None) -> Record:
        row = await self._request(matter)
        if row is None or (asker is not None and row["asked_by"] != asker.person):
            raise NotFound(f"nothing is asked for {matter} by {asker.id if asker else 'anybody'!r}")
        return row

    async def _request(self, matter: Matter) -> Record | None:
        return await self._db.fetchrow(
            "acknowledgement.request",
            conversation=matter.conversation,
            seq=matter.seq,
            notification=matter.notification,
        )

    # ------------------------------------------------------------ reminders

    async def remind(self, now: datetime) -> bool:
        """Send the next part of the reminder that is due first; whether there was one."""
        return await self._db.atomically(self._remind, now)

    async def _remind(self, tx: Transaction, now: datetime) -> bool:
        row = await tx.fetchrow("acknowledgement.due", now=now)
        if row is None:
            return False
        place = {"request": row["id"], "remind_at": None, "round": row["remind_round"], "after": row["remind_after"]}
        if not row["gone"] and (row["deadline"] is None or now < row["deadline"]):
            missing = await tx.fetch(
                "acknowledgement.missing", request=row["id"], after=row["remind_after"], most=MOST_REMINDED, now=now
            )
            if missing:
                event = _reminder(row, [each["external_id"] for each in missing], now)
                await tx.fetchval("acknowledgement.publish", event=event, now=now)
            if len(missing) == MOST_REMINDED:
                place |= {"remind_at": row["remind_at"], "after": missing[-1]["person_id"]}
            else:
                ask = Ask(deadline=row["deadline"], remind_every=row["remind_every"])
                following = next_reminder(ask, row["asked_at"], now)
                place |= {"remind_at": following, "round": row["remind_round"] + 1, "after": 0}
        await tx.execute("acknowledgement.reminded", **place)
        return True

    # ------------------------------------------------------------ who has read

    async def choice(self, school: str | None) -> ReadingChoice:
        """What the project, or a school, says."""
        row = await self._db.fetchrow("acknowledgement.choice", school=school)
        return ReadingChoice() if row is None else ReadingChoice(row["track"], row["names"])

    async def choose(self, choice: ReadingChoice, school: str | None, by: str, now: datetime) -> None:
        """Keep what the project, or a school, says. Raises NotFound for an unknown school."""
        kept = await self._db.execute(
            "acknowledgement.choose",
            school=school,
            track=choice.track,
            names=choice.names,
            changed_by=by,
            now=now,
        )
        if not kept:
            raise NotFound(f"there is no school {school!r}; give its UAI, such as 0541234A")


def _reminder(row: Record, people: Sequence[str], now: datetime) -> dict[str, Any]:
    event = AcknowledgementDue(
        key=f"acknowledge:{row['id']}:{row['remind_round']}:{row['remind_after']}",
        title=row["subject"] or row["title"] or "",
        signature=row["kind"] == AskKind.SIGNATURE,
        conversation=row["conversation_id"],
        deadline=row["deadline"],
        expires_at=min(row["deadline"] or datetime.max.replace(tzinfo=now.tzinfo), now + _REMINDER_LIFE),
    ).to_json()
    return event | {"audience": {"union": [{"person": person} for person in people]}}


def _check_names(row: Record, asker: Reader | None) -> None:
    if asker is not None and not row["names"]:
        raise NotAllowed("your school shows how many have acknowledged, and not who")


def _digest(version: str) -> bytes:
    try:
        digest = bytes.fromhex(version)
    except ValueError:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise MalformedMessage("a version is the 64 hexadecimal digits that were given with the text")
    return digest


def _nothing(matter: Matter, reader: Reader) -> NotFound:
    return NotFound(f"nothing is asked for {matter} of {reader.id!r}")
