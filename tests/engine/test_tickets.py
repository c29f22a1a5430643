"""A stream ticket in the database: stored as a hash, good once, and for a minute at most."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg

from ent_notify.engine import open_engine
from ent_notify.model.feed import Entry
from ent_notify.model.people import PersonRecord, Profile
from ent_notify.settings import settings_from

NOW = datetime(2026, 9, 8, 8, 0, tzinfo=UTC)


async def test_a_ticket_is_stored_hashed_and_good_once_within_its_minute(dsn: str) -> None:
    async with open_engine(settings_from({"store": {"dsn": dsn}})) as engine:
        await engine.sync([PersonRecord(id="p1", profile=Profile.PUPIL, given_name="Ada", family_name="Exemple")])
        reader = await engine.reader("p1")
        tickets = [await engine._streams.issue_ticket(reader.person, NOW, timedelta(seconds=60)) for _ in range(3)]
        with psycopg.connect(dsn) as connection:
            stored = connection.execute("select t::text from ent_notify.stream_ticket t").fetchall()
        assert len(stored) == 3
        assert not any(ticket in row[0] for ticket in tickets for row in stored)
        good, late, spent = tickets

        async def enter(ticket: str, seconds: int) -> int | None:
            [entrance] = await engine.feed.enter([Entry(ticket, None)], NOW + timedelta(seconds=seconds))
            return None if entrance is None else entrance.person

        assert await enter(late, 61) is None
        assert await enter(good, 59) == reader.person
        assert await enter(good, 59) is None
        assert await enter(spent + "x", 0) is None
