"""Safety of conversations as a host and an operator have it: ``engine.safety``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from ent_notify.errors import MalformedMessage, NotAllowed, NotFound
from ent_notify.flows.safety import BATCH, Recalling
from ent_notify.model.inbox import Reader
from ent_notify.model.people import Profile
from ent_notify.model.safety import (
    Area,
    AuditLine,
    Case,
    CaseFile,
    Decision,
    Freeze,
    Level,
    Moderator,
    RecallReader,
    RecallRun,
    Report,
    ReportReason,
    Restrained,
    Standing,
    Tier,
)
from ent_notify.policy.messages import check_body
from ent_notify.policy.pause import PauseHours, held_until
from ent_notify.policy.safety import Act, Allowance, Limits, area_of, check_area, check_right
from ent_notify.ports import Clock
from ent_notify.settings import SafetySettings
from ent_notify.store.contacts import PostgresContacts
from ent_notify.store.database import Database
from ent_notify.store.fanout import AT_ONCE
from ent_notify.store.office_line import PostgresOfficeLine
from ent_notify.store.safety import NEWEST, PostgresSafety

LARGEST_PAGE = 200
LONGEST_NOTE = 1_000
"""Characters of what a reporter or a moderator writes beside."""


class Safety:
    """Reports, moderation, freezes, mass recalls, and a pupil's line to the pupil-life office.

    Whoever calls has made sure who somebody is: ``engine.reader``. A moderator's rights come from their function and
    hold in their own schools; ``policy.safety.RIGHTS`` lists them. What is frozen or quarantined holds once the call
    has returned: nothing is written after that, in any process, and nothing that was written before is announced. All
    that a moderator does is written down for good, with ``reason``.
    """

    def __init__(
        self,
        db: Database,
        store: PostgresSafety,
        line: PostgresOfficeLine,
        limits: Limits,
        clock: Clock,
        zone: str,
        pause_hours: Callable[[], PauseHours],
    ) -> None:
        self._store = store
        self._line = line
        self._contacts = PostgresContacts(db)
        self._limits = limits
        self._clock = clock
        self._zone = zone
        self._pause_hours = pause_hours

    def recalling(self) -> Recalling:
        """What a worker does for safety."""
        return Recalling(self._store, self._clock)

    # ------------------------------------------------------------ for everybody

    async def call_office(self, pupil: Reader, body: str) -> tuple[int, int]:
        """A pupil writes to the pupil-life office of their school; (conversation, seq). It is always possible,
        whatever rules, limits, quarantine or freeze there are, and those who work there are told at once, urgently.
        Raises NotAllowed for who is no pupil."""
        check_body(body)
        return await self._line.call(pupil, body, self._clock.now())

    async def report(self, reader: Reader, conversation: int, seq: int, reason: ReportReason, note: str = "") -> int:
        """Report a message that one sees; the case. What it is now is kept as evidence, no retention takes it away, and
        moderators are told. Its author is not; who reported it is shown to nobody below the direction. Reporting
        again changes nothing. Raises NotFound, NotAllowed for one's own."""
        _check_text(note, "a note")
        return await self._store.report(reader, conversation, seq, reason, note, self._clock.now())

    async def standing(self, reader: Reader) -> Standing:
        """Whether somebody may write now, for a page to say so before they try."""
        return await self._store.standing(reader, self._clock.now())

    # ------------------------------------------------------------ who moderates

    async def moderator(self, reader: Reader) -> Moderator:
        """What somebody may moderate, by their function. Raises NotAllowed for who moderates nothing."""
        function = await self._contacts.function(reader.person)
        level = self._limits.level(reader.id, Profile(reader.profile), function)
        if level is None:
            raise NotAllowed("only the pupil-life office, the direction and the project moderate")
        return Moderator(reader.id, level, frozenset(await self._contacts.schools(reader.person, self._clock.now())))

    @staticmethod
    def operator(by: str) -> Moderator:
        """Whoever runs the platform, with the project's rights; ``by`` is written down."""
        return Moderator(by, Level.PROJECT)

    # ------------------------------------------------------------ the queue

    async def queue(
        self, moderator: Moderator, *, closed: bool = False, before: int = NEWEST, most: int = 50
    ) -> list[Case]:
        """Cases of a moderator's schools, newest first; ``before``: the last one of the page before. With ``closed``
        those that are decided, too. A case about oneself is not among them."""
        check_right(moderator, Act.SEE, moderator.schools)
        return await self._store.cases(
            moderator.by, _schools(moderator), closed=closed, before=before, most=min(most, LARGEST_PAGE)
        )

    async def case(self, moderator: Moderator, case: int) -> CaseFile:
        """A case with its evidence, what reporters wrote and what was done. Raises NotFound for another school's."""
        return await self._store.file(await self._case(moderator, Act.SEE, case))

    async def reporters(self, moderator: Moderator, case: int, reason: str) -> list[Report]:
        """Who reported a message: for the direction, and asking is written down."""
        _check_reason(reason)
        found = await self._case(moderator, Act.REPORTERS, case)
        return await self._store.reporters(found, moderator.by, reason, self._clock.now())

    async def decide(
        self, moderator: Moderator, case: int, decision: Decision, reason: str, *, until: datetime | None = None
    ) -> None:
        """Decide a case, and close it; a second decision may follow (remove, then quarantine). ``until``: of a
        restriction. A warning tells the author ``reason``."""
        _check_reason(reason)
        found = await self._case(moderator, decision, case)
        await self._store.decide(found, decision, moderator.by, reason, until, self._clock.now())

    # ------------------------------------------------------------ one sender

    async def quarantine(self, moderator: Moderator, person: str, reason: str) -> bool:
        """Let somebody write nothing until ``release``, and nothing of theirs be announced or pushed; whether anything
        changed. What they have scheduled waits; trying to write, they are told to see their school."""
        _check_reason(reason)
        await self._check_person(moderator, Decision.QUARANTINE, person)
        return await self._store.quarantine(person, moderator.by, reason, self._clock.now())

    async def restrict(self, moderator: Moderator, person: str, until: datetime, reason: str) -> bool:
        """Let somebody write to single teachers and staff alone, until an instant."""
        _check_reason(reason)
        await self._check_person(moderator, Decision.RESTRICT, person)
        return await self._store.restrict(person, until, moderator.by, reason, self._clock.now())

    async def release(self, moderator: Moderator, person: str, reason: str) -> bool:
        """End a quarantine or a restriction: what was held and not taken back goes out; whether anything changed."""
        _check_reason(reason)
        await self._check_person(moderator, Act.RELEASE, person)
        now = self._clock.now()
        hold = held_until(now, self._zone, self._pause_hours()) or AT_ONCE
        return await self._store.release(person, moderator.by, reason, now, hold)

    async def restraints(self, moderator: Moderator, most: int = 100) -> list[Restrained]:
        """Who may not write as they like, newest first."""
        check_right(moderator, Act.SEE, moderator.schools)
        return await self._store.restraints(_schools(moderator), self._clock.now(), min(most, LARGEST_PAGE))

    async def recall_all(
        self, moderator: Moderator, person: str, since: datetime, reason: str, *, batch: int = BATCH
    ) -> RecallRun:
        """Take back all that somebody wrote since an instant: texts, subjects of what they began, and what phones show
        of it. In batches, each a transaction; whoever is cut off in between leaves the rest to a worker. What they
        scheduled since is not sent. It does not stop them from writing: quarantine first."""
        _check_reason(reason)
        await self._check_person(moderator, Act.RECALL_ALL, person)
        run = await self._store.start_run(person, since, moderator.by, reason, self._clock.now())
        while await self._store.go_on(run, batch, self._clock.now()):
            pass
        return await self._store.run(run)

    async def recall_run(self, moderator: Moderator, run: int) -> RecallRun:
        """How a mass recall stands."""
        found = await self._store.run(run)
        await self._check_person(moderator, Act.RECALL_ALL, found.person)
        return found

    async def recall_readers(
        self, moderator: Moderator, run: int, most: int = 100, after: int = 0
    ) -> tuple[Sequence[RecallReader], int | None]:
        """Who had read some of what was taken back, page by page; ``after`` is the second part of the last answer."""
        await self.recall_run(moderator, run)
        return await self._store.run_readers(run, min(most, LARGEST_PAGE), after)

    # ------------------------------------------------------------ freezes

    async def freeze(self, moderator: Moderator, area: str, tier: Tier, reason: str) -> bool:
        """Let only ``tier`` write in ``project``, ``academy:NAME`` or ``school:UAI``; whether anything changed. A
        school's freeze is for all who belong to it, themselves or by a child, wherever they write, and for every
        thread of its groups. What was written and not announced is held until ``unfreeze``. Raises MalformedRules,
        NotAllowed, NotFound."""
        _check_reason(reason)
        return await self._store.freeze(
            self._area(moderator, Act.FREEZE, area), tier, moderator.by, reason, self._clock.now()
        )

    async def unfreeze(self, moderator: Moderator, area: str, reason: str) -> bool:
        """Let people write again, and let go what was held; whether anything changed."""
        _check_reason(reason)
        return await self._store.unfreeze(
            self._area(moderator, Act.UNFREEZE, area), moderator.by, reason, self._clock.now()
        )

    async def freezes(self) -> list[Freeze]:
        """What is frozen, oldest first."""
        return await self._store.freezes()

    async def audit(self, moderator: Moderator, *, before: int = NEWEST, most: int = 100) -> list[AuditLine]:
        """What was done, by whom and why, newest first: in a direction's schools, or for the project all of it."""
        check_right(moderator, Act.AUDIT, moderator.schools)
        return await self._store.audit(_schools(moderator), before=before, most=min(most, LARGEST_PAGE))

    # ------------------------------------------------------------ rights

    async def _case(self, moderator: Moderator, act: Act | Decision, case: int) -> Case:
        for found in await self._store.cases(moderator.by, _schools(moderator), closed=True, one=case, most=1):
            check_right(moderator, act, found.schools)
            return found
        raise NotFound(f"there is no case {case} in the queue of {moderator.by!r}")

    async def _check_person(self, moderator: Moderator, act: Act | Decision, person: str) -> None:
        if person == moderator.by:
            raise NotAllowed("nobody moderates themselves; ask another moderator")
        check_right(moderator, act, await self._store.schools(person, self._clock.now()))

    @staticmethod
    def _area(moderator: Moderator, act: Act, text: str) -> Area:
        area = area_of(text)
        check_area(moderator, act, area)
        return area


def limits_of(settings: SafetySettings) -> Limits:
    """The settings as the policy takes them."""
    return Limits(
        by_profile={
            Profile.PUPIL: Allowance(settings.pupil_most, settings.pupil_new),
            Profile.GUARDIAN: Allowance(settings.guardian_most, settings.guardian_new),
            Profile.TEACHER: Allowance(settings.teacher_most, settings.teacher_new),
            Profile.STAFF: Allowance(settings.staff_most, settings.staff_new),
        },
        direction=Allowance(settings.direction_most, settings.direction_new),
        functions=settings.direction_functions,
        office=settings.office_functions,
        project=settings.project_moderators,
        refill=timedelta(hours=settings.refill_hours),
        strikes=settings.strikes,
    )


def _schools(moderator: Moderator) -> list[str] | None:
    return None if moderator.level is Level.PROJECT else sorted(moderator.schools)


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise MalformedMessage("say why: the reason is written down")
    _check_text(reason, "a reason")


def _check_text(text: str, what: str) -> None:
    if len(text) > LONGEST_NOTE or "\0" in text:
        raise MalformedMessage(f"{what} is a text of at most {LONGEST_NOTE} characters")
