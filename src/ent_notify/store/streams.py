"""Who may listen, in PostgreSQL: tickets, stream sessions, rights and their changes, what was missed.

Everything that comes in storms takes many readers in one statement.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from ent_notify.model.delivery import Urgency
from ent_notify.model.feed import Entrance, Entry, FeedItem, Key, Rights, RightsChanges
from ent_notify.model.inbox import StreamSession
from ent_notify.store.database import Database

TICKET_LIFE = timedelta(seconds=60)
_SECRET_BYTES = 32


class PostgresStreams:
    """The part of FeedPort that is about readers."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def issue_ticket(self, person: int, now: datetime, life: timedelta = TICKET_LIFE) -> str:
        """A single-use ticket that opens one stream within ``life``; only its digest is stored."""
        ticket = secrets.token_urlsafe(_SECRET_BYTES)
        await self._db.execute("streams.issue_ticket", digest=_digest(ticket), person_id=person, expires_at=now + life)
        return ticket

    async def enter(self, entries: Sequence[Entry], now: datetime, life: timedelta) -> list[Entrance | None]:
        """See FeedPort. New sessions last for ``life``."""
        fresh = [secrets.token_urlsafe(_SECRET_BYTES) for _ in entries]
        rows = await self._db.fetch(
            "streams.enter",
            tickets=[_maybe_digest(entry.ticket) for entry in entries],
            sessions=[_maybe_digest(entry.session) for entry in entries],
            fresh=[_digest(secret) for secret in fresh],
            now=now,
            life=life,
        )
        answers: list[Entrance | None] = [None] * len(entries)
        for row in rows:
            place = row["place"] - 1
            answers[place] = Entrance(row["person_id"], row["session_id"], fresh[place] if row["is_new"] else None)
        return answers

    async def sessions(self, person: int, now: datetime) -> list[StreamSession]:
        """Somebody's sessions that go on, newest first."""
        rows = await self._db.fetch("streams.sessions", person_id=person, now=now)
        return [StreamSession(row["id"], row["opened_at"], row["expires_at"]) for row in rows]

    async def revoke(self, person: int, session: int | None) -> int:
        """End a session, or every session and ticket of a person; how many sessions ended."""
        return int(await self._db.fetchval("streams.revoke", person_id=person, session_id=session))

    async def rights(self, people: Sequence[int], now: datetime) -> Mapping[int, Rights]:
        """See FeedPort."""
        asked = list(people)
        held, open_sessions = await self._db.transact(
            [("streams.keys", {"people": asked, "now": now}), ("streams.live_sessions", {"people": asked, "now": now})]
        )
        keys: defaultdict[int, set[Key]] = defaultdict(set)
        for row in held:
            keys[row["person_id"]].add((row["scope"], row["ref"]))
        sessions: defaultdict[int, set[int]] = defaultdict(set)
        for row in open_sessions:
            sessions[row["person_id"]].add(row["id"])
        return {person: Rights(frozenset(keys[person]), frozenset(sessions[person])) for person in list(keys)}

    async def rights_head(self) -> int:
        """See FeedPort."""
        return int(await self._db.fetchval("streams.rights_head"))

    async def rights_changes(self, after: int) -> RightsChanges:
        """See FeedPort."""
        rows = await self._db.fetch("streams.rights_changes", after=after)
        head: int = rows[0]["head"]
        changes = [row["people"] for row in rows if row["seq"] is not None]
        if len(changes) != head - after or any(people is None for people in changes):
            # Forgotten already, too many to read, another life of the database, or a change to everybody.
            return RightsChanges(head, None)
        return RightsChanges(head, frozenset(person for people in changes for person in people))

    async def missed(self, asked: Sequence[tuple[int, int]], limit: int, now: datetime) -> list[list[FeedItem]]:
        """See FeedPort."""
        rows = await self._db.fetch(
            "streams.missed",
            people=[person for person, _ in asked],
            after=[after for _, after in asked],
            most=limit,
            now=now,
        )
        pages: list[list[FeedItem]] = [[] for _ in asked]
        for row in rows:
            pages[row["place"] - 1].append(
                FeedItem(
                    row["seq"],
                    row["notification"],
                    row["type"],
                    row["category"],
                    Urgency(row["urgency"]),
                    row["published_at"],
                )
            )
        return pages


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _maybe_digest(secret: str | None) -> bytes | None:
    return None if secret is None else _digest(secret)
