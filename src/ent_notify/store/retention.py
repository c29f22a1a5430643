"""Retention in PostgreSQL: what is due, a slice of it at a time, and the chain of receipts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from ent_notify.model.retention import PARTITION_PATIENCE, Kept, PlanLine, RetentionRun, Verified
from ent_notify.store.database import Database, Record, Transaction
from ent_notify.store.erasures import WAYS, erase

CHAIN_PAGE = 1000
LEAVERS_A_SLICE = 5
"""People purged in one transaction: each may have written thousands of messages."""


@dataclass(frozen=True, slots=True)
class Due:
    """One class with its figures: the project's cutoff, and those of schools with a figure of their own, by UAI."""

    kept: Kept
    cutoff: datetime
    schools: Mapping[str, datetime]
    reason: str


class PostgresRetention:
    """Plans and runs."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def plan(self, dues: Sequence[Due], now: datetime) -> list[PlanLine]:
        """What would go, by class and figure; a class with nothing due has one line of zero."""
        lines = []
        for due in dues:
            ids = await self._schools(due)
            uais = {id_: uai for uai, id_ in ids.items()}
            asked: dict[str, Any] = {"cutoff": due.cutoff}
            if due.kept in (Kept.DELIVERY, Kept.INBOX):
                asked |= _by_school(due, ids)
            if due.kept in (Kept.DELIVERY, Kept.INBOX, Kept.MESSAGES, Kept.LEAVERS):
                asked["now"] = now
            rows = await self._db.fetch(f"retention.plan_{due.kept.value}", **asked)
            found = [_line(due, row, uais) for row in rows]
            lines += found or [PlanLine(due.kept, None, due.cutoff, 0, 0, 0, None, None, due.reason)]
        return lines

    async def begin(
        self, night: date | None, now: datetime, plan: Sequence[Mapping[str, Any]], state: str
    ) -> int | None:
        """Write a run down; None when that night has one already."""
        run: int | None = await self._db.fetchval(
            "retention.begin_run", night=night, now=now, lines=list(plan), state=state
        )
        return run

    async def has_night(self, night: date) -> bool:
        """Whether a night has its run."""
        return bool(await self._db.fetchval("retention.night_done", night=night))

    async def confirm(self, run: int, by: str, *, go_on: bool) -> bool:
        """Answer a run that asks; False when it does not."""
        state = "running" if go_on else "refused"
        done = await self._db.fetchval("retention.confirm_run", run_id=run, confirmed_by=by, state=state)
        return done is not None

    async def runs(self, most: int) -> list[RetentionRun]:
        """The newest runs."""
        return [_run(row) for row in await self._db.fetch("retention.runs", most=most)]

    async def run(self, run: int) -> RetentionRun | None:
        """One run."""
        row = await self._db.fetchrow("retention.run", run_id=run)
        return None if row is None else _run(row)

    async def step(self, run: int | None, most: int, backups: timedelta, leavers: str, now: datetime) -> int | None:
        """Take the next slice of a run (any that is under way: None); how many rows it removed, None when there is no
        run for us. One transaction: killed, nothing of it happened."""
        return await self._db.atomically(self._step, run, most, backups, leavers, now)

    async def _step(
        self, tx: Transaction, run: int | None, most: int, backups: timedelta, leavers: str, now: datetime
    ) -> int | None:
        row = await tx.fetchrow("retention.take_run", run_id=run)
        if row is None:
            return None
        lines: list[dict[str, Any]] = row["lines"]
        line = row["line"]
        if line >= len(lines):
            await self._tidy(tx, row["planned_at"])
            await tx.execute("retention.advance_run", run_id=row["id"], line=line, removed={}, state="done", now=now)
            return 0
        removed = await self._slice(tx, lines[line], row["planned_at"], most, backups, leavers, now)
        rows = sum(removed.values())
        removed.pop("ended", None)
        if removed:
            cause = f"retention run {row['id']}"
            await tx.fetchval("retention.receipt", what=lines[line]["kept"], cause=cause, rows=removed, now=now)
        await tx.execute(
            "retention.advance_run",
            run_id=row["id"],
            line=line if rows else line + 1,
            removed=removed,
            state="running",
            now=now,
        )
        return rows

    async def _slice(
        self,
        tx: Transaction,
        line: Mapping[str, Any],
        planned_at: datetime,
        most: int,
        backups: timedelta,
        leavers: str,
        now: datetime,
    ) -> dict[str, int]:
        kept, cutoff = Kept(line["kept"]), datetime.fromisoformat(line["cutoff"])
        if kept is Kept.LEAVERS:
            people = [
                row["id"]
                for row in await tx.fetch("retention.leavers_due", cutoff=cutoff, now=now, most=LEAVERS_A_SLICE)
            ]
            counts: dict[str, int] = {}
            for person in people:
                for table, rows in (await erase(tx, person, WAYS[leavers], "left", now)).items():
                    counts[table] = counts.get(table, 0) + rows
            return counts
        asked: dict[str, Any] = {"cutoff": cutoff, "most": most}
        if kept in (Kept.DELIVERY, Kept.INBOX):
            cutoffs = [datetime.fromisoformat(each) for each in line["cutoffs"]]
            asked |= {"schools": line["schools"], "cutoffs": cutoffs, "now": now}
        elif kept is Kept.MESSAGES:
            asked["now"] = now
        elif kept is Kept.PROOFS:
            asked["backups"] = planned_at - backups
        removed: dict[str, int] = await tx.fetchval(f"retention.forget_{kept.value}", **asked)
        if kept is Kept.DELIVERY and not sum(removed.values()):
            removed = dict(await tx.fetchval("retention.drop_counted", most=4))
            if not sum(removed.values()):
                removed = await tx.fetchval("retention.forget_counted", before=cutoff - PARTITION_PATIENCE, most=most)
        return {table: rows for table, rows in removed.items() if rows}

    async def _tidy(self, tx: Transaction, planned_at: datetime) -> None:
        await tx.fetchval("retention.make_room", since=planned_at - timedelta(days=1))
        await tx.fetchval("retention.make_month", now=planned_at)

    async def overdue(self, cutoff: datetime, now: datetime) -> tuple[int, int]:
        """People who left before ``cutoff`` and are still there, and those of them whom a hold keeps beside them."""
        row = await self._db.fetchrow("retention.overdue_leavers", cutoff=cutoff, now=now)
        return (0, 0) if row is None else (row["late"], row["held"])

    async def verify(self) -> Verified:
        """Compute the chain of receipts anew, from its first to its last."""
        digest, seq = b"", 0
        while rows := await self._db.fetch("retention.receipts", after=seq, most=CHAIN_PAGE):
            for row in rows:
                expected = hashlib.sha256(digest + row["body"].encode()).digest()
                if row["seq"] != seq + 1 or row["digest"] != expected:
                    return Verified(seq, digest.hex(), seq + 1)
                digest, seq = expected, row["seq"]
        return Verified(seq, digest.hex())

    async def holds_receipt(self, digest: str) -> bool:
        """Whether the chain holds a receipt with this digest (hex)."""
        return bool(await self._db.fetchval("retention.holds_receipt", digest=digest))

    async def written(self, due: Due, now: datetime) -> dict[str, Any]:
        """A class and its figures as a run's record keeps them."""
        ids = await self._schools(due)
        by_school = _by_school(due, ids)
        return {
            "kept": due.kept.value,
            "cutoff": due.cutoff.isoformat(),
            "schools": by_school["schools"],
            "cutoffs": [each.isoformat() for each in by_school["cutoffs"]],
        }

    async def _schools(self, due: Due) -> dict[str, int]:
        if not due.schools:
            return {}
        rows = await self._db.fetch("retention.schools", uais=[uai.lower() for uai in due.schools])
        return {row["uai"]: row["id"] for row in rows}


def _by_school(due: Due, ids: Mapping[str, int]) -> dict[str, Any]:
    cutoffs = {uai.lower(): at for uai, at in due.schools.items()}
    return {"schools": list(ids.values()), "cutoffs": [cutoffs[uai.lower()] for uai in ids]}


def _line(due: Due, row: Record, uais: Mapping[int, str]) -> PlanLine:
    school = None if row["school_id"] is None else uais[row["school_id"]]
    cutoff = next((at for uai, at in due.schools.items() if school and uai.lower() == school.lower()), due.cutoff)
    return PlanLine(
        due.kept,
        school,
        cutoff,
        row["items"],
        row["held"],
        row["of"],
        row["oldest"],
        row["newest"],
        due.reason,
    )


def _run(row: Record) -> RetentionRun:
    return RetentionRun(row["id"], row["state"], row["planned_at"], row["removed"], row["done_at"])
