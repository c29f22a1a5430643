"""Safety in PostgreSQL: reports and cases, who may not write, freezes, and taking back all that somebody wrote.

Each act is one transaction with its line in the audit. Rights are decided before (``policy.safety``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ent_notify.errors import NotAllowed, NotFound
from ent_notify.model.events import ModerationWarning
from ent_notify.model.inbox import Reader
from ent_notify.model.safety import (
    Area,
    AuditLine,
    Case,
    CaseFile,
    CaseKind,
    Decision,
    Evidence,
    Freeze,
    RecallReader,
    RecallRun,
    Report,
    ReportReason,
    Restrained,
    Restraint,
    Standing,
    Tier,
)
from ent_notify.policy.safety import Act, Limits, frozen_tier
from ent_notify.store.contacts import full_name
from ent_notify.store.database import Database, Record, Transaction
from ent_notify.store.moderation import alert, open_case, schools_of, tell, write_down
from ent_notify.store.sending_guard import quarantine

NEWEST = 2**62
_MOST_EVIDENCE = 200
_MOST_LINES = 1_000

Schools = Sequence[str] | None
"""UAIs; None: all of them."""


class PostgresSafety:
    """The tables of safety. People are external ids; ``by`` is written down."""

    def __init__(self, db: Database, limits: Limits) -> None:
        self._db = db
        self._limits = limits

    # ------------------------------------------------------------ reports and cases

    async def report(
        self, reader: Reader, conversation: int, seq: int, reason: ReportReason, note: str, now: datetime
    ) -> int:
        """Report a message: its evidence is kept, its retention held, its moderators told; the case. Raises NotFound
        for what the reader does not see, NotAllowed for one's own message."""
        return await self._db.atomically(self._report, reader, conversation, seq, reason, note, now)

    async def _report(
        self,
        tx: Transaction,
        reader: Reader,
        conversation: int,
        seq: int,
        reason: ReportReason,
        note: str,
        now: datetime,
    ) -> int:
        place = {"conversation_id": conversation, "seq": seq}
        row = await tx.fetchrow("safety.message", **place, person_id=reader.person, now=now)
        if row is None:
            raise NotFound(f"there is no message {seq} in a conversation {conversation} for {reader.id!r}")
        if row["author_id"] == reader.person:
            raise NotAllowed("one's own message is recalled, not reported")
        schools = await schools_of(tx, row["author_id"], now) or await schools_of(tx, reader.person, now)
        case, fresh = await open_case(tx, CaseKind.MESSAGE, row["author_id"], schools, now, (conversation, seq))
        if fresh:
            await tx.fetchval("safety.take_evidence", **place, now=now)
            await tx.execute("safety.hold", **place, case_id=case, now=now)
            await alert(tx, case, row["author_id"], schools, self._limits, now)
        await tx.execute(
            "safety.report", case_id=case, reporter_id=reader.person, reason=reason.value, note=note, now=now
        )
        return case

    async def cases(
        self,
        reader: str,
        schools: Schools,
        *,
        closed: bool,
        before: int = NEWEST,
        most: int = 50,
        one: int | None = None,
    ) -> list[Case]:
        """The queue of some schools, newest first; nobody sees what is about themselves."""
        rows = await self._db.fetch(
            "safety.cases",
            reader=reader,
            schools=None if schools is None else list(schools),
            closed=closed,
            before=before,
            most=most,
            one=one,
        )
        return [_case(row) for row in rows]

    async def file(self, case: Case) -> CaseFile:
        """All that is known of a case but who reported."""
        evidence, notes = await self._db.transact(
            [
                ("safety.evidence", {"case_id": case.id, "most": _MOST_EVIDENCE}),
                ("safety.notes", {"case_id": case.id}),
            ]
        )
        return CaseFile(
            case,
            [
                Evidence(
                    conversation=row["conversation_id"],
                    seq=row["seq"],
                    subject=row["subject"],
                    body=row["body"],
                    earlier=tuple(each["body"] for each in row["earlier"] if each["body"] is not None),
                    posted_at=row["posted_at"],
                    taken_at=row["taken_at"],
                    attachments=tuple(f"{each['name']} sha256:{each['sha256']}" for each in row["attachments"]),
                )
                for row in evidence
            ],
            [row["note"] for row in notes],
            await self.audit(None, case=case.id),
        )

    async def reporters(self, case: Case, by: str, reason: str, now: datetime) -> list[Report]:
        """Who reported a message; that somebody asked is written down."""
        async with self._db.transaction() as tx:
            await write_down(tx, by, Act.REPORTERS, case.person, case.schools, reason, now, case.id)
            rows = await tx.fetch("safety.reporters", case_id=case.id)
        return [
            Report(row["external_id"], ReportReason(row["reason"]), row["note"], row["reported_at"]) for row in rows
        ]

    async def decide(
        self, case: Case, decision: Decision, by: str, reason: str, until: datetime | None, now: datetime
    ) -> None:
        """Do what a moderator decided, and close the case. Raises NotAllowed for what cannot be done to it."""
        await self._db.atomically(self._decide, case, decision, by, reason, until, now)

    async def _decide(
        self,
        tx: Transaction,
        case: Case,
        decision: Decision,
        by: str,
        reason: str,
        until: datetime | None,
        now: datetime,
    ) -> None:
        person = await self._person(tx, case.person)
        if decision is Decision.DISMISS:
            await tx.execute("safety.unhold", case_id=case.id)
        elif decision is Decision.REMOVE:
            if case.seq is None:
                raise NotAllowed(f"case {case.id} is about no one message; take back all of them, or quarantine")
            await tx.fetchval(
                "safety.withdraw",
                conversation_id=case.conversation,
                seq=case.seq,
                done_by=by,
                reason=reason,
                now=now,
            )
        elif decision is Decision.WARN:
            warning = ModerationWarning(key=f"safety:warning:{case.id}:{now.isoformat()}", note=reason)
            await tell(tx, warning, [case.person], now)
        elif decision is Decision.QUARANTINE:
            await quarantine(tx, person["id"], by, reason, now)
        else:
            await self._restrict(tx, person["id"], until, by, reason, now)
        await tx.execute("safety.close_case", case_id=case.id, decision=decision.value, now=now)
        await write_down(tx, by, decision, case.person, case.schools, reason, now, case.id)

    # ------------------------------------------------------------ who may not write

    async def schools(self, person: str, now: datetime) -> list[str]:
        """Every school of somebody. Raises NotFound."""
        async with self._db.transaction() as tx:
            return await schools_of(tx, (await self._person(tx, person))["id"], now)

    async def quarantine(self, person: str, by: str, reason: str, now: datetime) -> bool:
        """Let somebody write nothing; whether anything changed. Raises NotFound."""
        return await self._db.atomically(self._restrain, person, None, by, reason, now)

    async def restrict(self, person: str, until: datetime, by: str, reason: str, now: datetime) -> bool:
        """Let somebody write to single teachers and staff alone, until an instant. Raises NotFound, and NotAllowed
        for who is quarantined."""
        return await self._db.atomically(self._restrain, person, until, by, reason, now)

    async def _restrain(
        self, tx: Transaction, person: str, until: datetime | None, by: str, reason: str, now: datetime
    ) -> bool:
        known = await self._person(tx, person)
        if until is None:
            decision, changed = Decision.QUARANTINE, await quarantine(tx, known["id"], by, reason, now)
        else:
            decision, changed = Decision.RESTRICT, True
            await self._restrict(tx, known["id"], until, by, reason, now)
        if changed:
            await write_down(tx, by, decision, person, await schools_of(tx, known["id"], now), reason, now)
        return changed

    async def _restrict(
        self, tx: Transaction, person: int, until: datetime | None, by: str, reason: str, now: datetime
    ) -> None:
        if until is None or until <= now:
            raise NotAllowed("a restriction ends; say when, in `until`")
        await tx.fetchval("safety.lock", alone=True)
        if not await tx.execute(
            "safety.restrain",
            person_id=person,
            kind=int(Restraint.RESTRICTED),
            until=until,
            done_by=by,
            reason=reason,
            now=now,
        ):
            raise NotAllowed("the account is quarantined, which is more; release it first")

    async def release(self, person: str, by: str, reason: str, now: datetime, hold: datetime) -> bool:
        """Let somebody write again: what was held of theirs goes out; whether anything changed. ``hold``: the end of
        the readers' pause."""
        return await self._db.atomically(self._release, person, by, reason, now, hold)

    async def _release(self, tx: Transaction, person: str, by: str, reason: str, now: datetime, hold: datetime) -> bool:
        known = await self._person(tx, person)
        await tx.fetchval("safety.lock", alone=True)
        if not await tx.execute("safety.release", person_id=known["id"]):
            return False
        await tx.execute("safety.forget_alarm", person_id=known["id"])
        await tx.fetch("safety.resume_told", person_id=known["id"], done_by=by, reason=reason, now=now, hold=hold)
        await tx.execute("safety.let_go")
        await write_down(tx, by, Act.RELEASE, person, await schools_of(tx, known["id"], now), reason, now)
        return True

    async def restraints(self, schools: Schools, now: datetime, most: int) -> list[Restrained]:
        """Who may not write as they like, newest first."""
        rows = await self._db.fetch(
            "safety.restraints", schools=None if schools is None else list(schools), now=now, most=most
        )
        return [
            Restrained(
                row["external_id"], Restraint(row["kind"]), row["since"], row["until"], row["done_by"], row["reason"]
            )
            for row in rows
        ]

    async def standing(self, reader: Reader, now: datetime) -> Standing:
        """What somebody may do now, in a conversation of their own school."""
        row = await self._db.fetchrow("safety.restraint", person_id=reader.person, now=now)
        frozen = None
        if row is None:
            said = await self._db.fetchval(
                "safety.why", author_id=reader.person, conversation_id=None, sole=None, groups=[], now=now
            )
            frozen = frozen_tier(said)
        return Standing(
            restraint=None if row is None else Restraint(row["kind"]),
            until=None if row is None else row["until"],
            frozen=frozen,
        )

    # ------------------------------------------------------------ freezes

    async def freeze(self, area: Area, tier: Tier, by: str, reason: str, now: datetime) -> bool:
        """Let only some write in an area, from the moment that this returns; whether anything changed. Raises NotFound
        for an unknown school."""
        return await self._db.atomically(self._freeze, area, tier, by, reason, now)

    async def _freeze(self, tx: Transaction, area: Area, tier: Tier, by: str, reason: str, now: datetime) -> bool:
        if area.school is not None and not await tx.fetchval("safety.knows_school", school=area.school):
            raise NotFound(f"there is no school {area.school!r}; give its UAI, such as 0541234A")
        await tx.fetchval("safety.lock", alone=True)
        changed = await tx.execute(
            "safety.freeze",
            area=area.name,
            prefixes=list(area.prefixes),
            tier=int(tier),
            functions=list(self._limits.functions),
            done_by=by,
            reason=reason,
            now=now,
        )
        if changed:
            await tx.execute("safety.let_go")  # another tier may let more people write
            await self._note_area(tx, Act.FREEZE, area, f"{tier.name.lower()}: {reason}", by, now)
        return bool(changed)

    async def unfreeze(self, area: Area, by: str, reason: str, now: datetime) -> bool:
        """Let people write in an area again: what was held goes out; whether anything changed."""
        return await self._db.atomically(self._unfreeze, area, by, reason, now)

    async def _unfreeze(self, tx: Transaction, area: Area, by: str, reason: str, now: datetime) -> bool:
        await tx.fetchval("safety.lock", alone=True)
        if not await tx.execute("safety.unfreeze", area=area.name):
            return False
        await tx.execute("safety.let_go")
        await self._note_area(tx, Act.UNFREEZE, area, reason, by, now)
        return True

    async def freezes(self) -> list[Freeze]:
        """What is frozen, oldest first."""
        return [
            Freeze(row["area"], Tier(row["tier"]), row["since"], row["done_by"], row["reason"])
            for row in await self._db.fetch("safety.freezes")
        ]

    # ------------------------------------------------------------ taking back

    async def start_run(self, person: str, since: datetime, by: str, reason: str, now: datetime) -> int:
        """Begin to take back all that somebody wrote since an instant; what they scheduled since is not sent."""
        return await self._db.atomically(self._start_run, person, since, by, reason, now)

    async def _start_run(
        self, tx: Transaction, person: str, since: datetime, by: str, reason: str, now: datetime
    ) -> int:
        known = await self._person(tx, person)
        await tx.execute("safety.refuse_drafts", person_id=known["id"], since=since)
        run = int(
            await tx.fetchval(
                "safety.start_run", person_id=known["id"], since=since, done_by=by, reason=reason, now=now
            )
        )
        await write_down(tx, by, Act.RECALL_ALL, person, await schools_of(tx, known["id"], now), reason, now)
        return run

    async def go_on(self, run: int, most: int, now: datetime) -> bool:
        """Take the next ``most`` messages of a run back; whether there is more."""
        return bool(await self._db.fetchval("safety.go_on", run=run, most=most, now=now))

    async def run(self, run: int) -> RecallRun:
        """How a run stands. Raises NotFound."""
        row = await self._db.fetchrow("safety.run", run=run)
        if row is None:
            raise NotFound(f"there is no mass recall {run}")
        return RecallRun(row["id"], row["external_id"], row["since"], row["until"], row["recalled"], row["ended_at"])

    async def open_runs(self) -> list[int]:
        """Runs that have not ended."""
        return [row["id"] for row in await self._db.fetch("safety.open_runs")]

    async def run_readers(self, run: int, most: int, after: int) -> tuple[list[RecallReader], int | None]:
        """The next people who had read some of what a run took back, and where the next page begins."""
        rows = await self._db.fetch("safety.run_readers", run=run, most=most, after=after)
        last = rows[-1]["id"] if len(rows) == most else None
        return [RecallReader(row["external_id"], row["messages"]) for row in rows], last

    # ------------------------------------------------------------ the audit

    async def audit(
        self, schools: Schools, *, case: int | None = None, before: int = NEWEST, most: int = _MOST_LINES
    ) -> list[AuditLine]:
        """What was done, newest first."""
        rows = await self._db.fetch(
            "safety.audit",
            case_id=case,
            schools=None if schools is None else list(schools),
            before=before,
            most=most,
        )
        return [
            AuditLine(row["done_at"], row["done_by"], row["act"], row["about"], row["case_id"], row["reason"])
            for row in rows
        ]

    async def _note_area(self, tx: Transaction, act: Act, area: Area, reason: str, by: str, now: datetime) -> None:
        await write_down(tx, by, act, area.name, [] if area.school is None else [area.school], reason, now)

    async def _person(self, tx: Transaction, person: str) -> Record:
        row = await tx.fetchrow("safety.person", external_id=person)
        if row is None:
            raise NotFound(f"there is no person {person!r} in the directory")
        return row


def _case(row: Record) -> Case:
    return Case(
        id=row["id"],
        kind=CaseKind(row["kind"]),
        person=row["external_id"],
        name=full_name(row),
        conversation=row["conversation_id"],
        seq=row["seq"],
        schools=tuple(row["schools"]),
        opened_at=row["opened_at"],
        closed_at=row["closed_at"],
        decision=row["decision"],
        reports=row["reports"],
        reasons=tuple(map(ReportReason, sorted(row["reasons"]))),
    )
