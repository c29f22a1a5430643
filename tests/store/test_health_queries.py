"""What is counted of a database at work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ent_notify.store import Database

NOW = datetime(2026, 9, 8, 8, 0, tzinfo=UTC)


async def queues(database: Database) -> dict[str, tuple[int, float]]:
    """Waiting chunks and lag, by channel."""
    rows = await database.fetch("health.queues", now=NOW)
    return {row["channel"]: (row["waiting"], row["lag_seconds"]) for row in rows}


async def test_an_idle_database_has_nothing_waiting(database: Database) -> None:
    rows = {
        row["channel"]: (row["waiting"], row["lag_seconds"]) for row in await database.fetch("health.queues", now=NOW)
    }
    assert rows == {"web": (0, 0.0), "email": (0, 0.0)}
    assert await database.fetchval("health.unplanned") == 0
    assert await database.fetchval("health.schema_version") >= 2


async def test_ready_chunks_wait_and_the_oldest_says_for_how_long(database: Database) -> None:
    lane = "(select id from lane where name = 'email')"
    chunks = ", ".join(
        f"({campaign}, {lane}, -1, 1, 0, 1, {state}, '{(NOW - timedelta(seconds=age)).isoformat()}')"
        for campaign, state, age in ((1, 0, 30), (2, 0, 90), (3, 1, 500), (4, 2, 500), (5, 3, 500))
    )
    await database.script(
        "insert into chunk (campaign_id, lane_id, bucket, urgency, turn, size, state, due_at) values " + chunks
    )
    rows = {
        row["channel"]: (row["waiting"], row["lag_seconds"]) for row in await database.fetch("health.queues", now=NOW)
    }
    assert rows == {"web": (0, 0.0), "email": (2, 90.0)}
