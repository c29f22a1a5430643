"""The directory in PostgreSQL: a run is staged by COPY into temporary tables, then merged by set-based statements.

One transaction holds the whole run, so that a failure leaves the directory as it was. Rows that say nothing new are
not touched: a second run of the same export writes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from ent_notify.model.directory import MergeCounts, Problem, Removals, StagedRows
from ent_notify.store.database import Database, Transaction

STAGING = {
    "schools": ("staged_school", ("n", "s", "uai", "join_id", "name", "timezone", "closed")),
    "groups": ("staged_group", ("n", "g", "external_id", "s", "kind", "name")),
    "people": (
        "staged_person",
        (
            "n",
            "external_id",
            "removed",
            "profile",
            "function",
            "given_name",
            "family_name",
            "language",
            "timezone",
            "email",
            "said",
            "kinds",
        ),
    ),
    "members": ("staged_member", ("n", "g")),
    "attendance": ("staged_attendance", ("n", "s")),
    "links": ("staged_link", ("n", "guardian", "legal_level", "kinship", "restricted")),
    "bad": ("staged_bad", ("external_id",)),
}
"""StagedRows' lists, and the table and columns that each goes to."""

MANY = 1_000
"""Changed rows after which the planner's statistics are taken anew."""

_FOLD = (
    "drop_repeated_members",
    "drop_repeated_attendance",
    "drop_repeated_links",
    "move_repeated_members",
    "move_repeated_attendance",
    "move_repeated_links",
    "fold_repeated_people",
    "drop_repeated_people",
)


class PostgresDirectory:
    """DirectoryStore on PostgreSQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def schools_by_join_id(self) -> dict[str, str]:
        """See DirectoryStore."""
        return {row["join_id"]: row["uai"] for row in await self._db.fetch("directory.join_ids")}

    @asynccontextmanager
    async def merging(self, source: str, now: datetime) -> AsyncIterator[PostgresMerge]:
        """See DirectoryStore."""
        async with self._db.transaction() as tx:
            await tx.fetchrow("directory.lock")
            await tx.execute("directory.create_staging")
            yield PostgresMerge(tx, source, now)


class PostgresMerge:
    """DirectoryMerge on PostgreSQL: one open transaction."""

    def __init__(self, tx: Transaction, source: str, now: datetime) -> None:
        self._tx = tx
        self._source = source
        self._now = now
        self._schools = 0
        self._groups = 0

    async def stage(self, rows: StagedRows) -> None:
        """See DirectoryMerge."""
        for field, (table, columns) in STAGING.items():
            if records := getattr(rows, field):
                await self._tx.copy_in(table, columns=columns, records=records, schema="pg_temp")

    async def examine(self, *, complete: bool) -> Removals:
        """See DirectoryMerge."""
        await self._do("analyze_staging")
        await self._do("free_join_ids")
        self._schools = await self._do("update_schools") + await self._do("insert_schools")
        await self._do("resolve_schools")
        await self._do("insert_school_groups")
        self._groups = await self._do("update_groups") + await self._do("insert_groups")
        await self._do("rename_school_groups")
        await self._do("resolve_groups")
        await self._do("report_groups_without_school")
        if await self._do("find_repeated"):
            for step in _FOLD:
                await self._do(step)
        await self._do("report_other_sources", source=self._source)
        await self._do("report_unknown_people")
        await self._do("report_unknown_schools")
        await self._do("keep_refused")
        await self._do("drop_refused")
        await self._do("report_unknown_groups")
        await self._do("report_unknown_guardians")
        await self._do("find_leaving", source=self._source, complete=complete)
        [row] = await self._tx.fetch("directory.removals", source=self._source)
        return Removals(row["removals"], row["present"])

    async def problems(self, most: int) -> tuple[int, list[Problem]]:
        """See DirectoryMerge."""
        rows = await self._tx.fetch("directory.problems", most=most)
        count: int = await self._tx.fetchval("directory.count_problems")
        return count, [Problem(row["n"], row["external_id"], row["reason"], row["imported"]) for row in rows]

    async def apply(self) -> MergeCounts:
        """See DirectoryMerge."""
        now = self._now
        returned = await self._do("note_returning")
        changed = await self._do("update_people") - returned
        await self._do("place_people")
        await self._do("place_guardians")
        added = await self._do("insert_people", source=self._source, now=now)
        present = await self._do("resolve_people")
        await self._do("want_memberships")
        await self._do("analyze_wanted")
        ended = await self._do("end_memberships", now=now)
        started = await self._do("restart_memberships", now=now) + await self._do("insert_memberships", now=now)
        await self._do("want_links")
        links_removed = await self._do("delete_links")
        links_changed = await self._do("update_links")
        links_added = await self._do("insert_links")
        hidden = await self._do("hide_leaving", now=now)
        ended += await self._do("end_leaving_memberships", now=now)
        self._schools += await self._do("close_schools", now=now)
        ended += await self._do("end_closed_memberships", now=now)
        if added + changed + returned + hidden + started + ended + links_added >= MANY:
            await self._do("analyze_directory")
        return MergeCounts(
            added=added,
            changed=changed,
            returned=returned,
            unchanged=present - added - changed - returned,
            hidden=hidden,
            schools=self._schools,
            groups=self._groups,
            memberships_started=started,
            memberships_ended=ended,
            links_added=links_added,
            links_changed=links_changed,
            links_removed=links_removed,
        )

    async def _do(self, name: str, **parameters: Any) -> int:
        return await self._tx.execute(f"directory.{name}", **parameters)
