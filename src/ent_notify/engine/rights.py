"""What people may ask for under the GDPR, and what must be kept: ``engine.data_rights`` and ``engine.holds``."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from datetime import datetime, timedelta
from typing import Any

import orjson

from ent_notify.engine.erasure_ledger import ErasureLedger
from ent_notify.engine.trail import Trail
from ent_notify.errors import NotAllowed, NotFound
from ent_notify.model.rights import CAPACITIES, Asked, Hold, Overdue, Right, RightsRequest
from ent_notify.policy.retention import ANSWER_WITHIN, HOLD_REVIEW
from ent_notify.ports import Clock
from ent_notify.settings import RetentionSettings
from ent_notify.store.erasures import PostgresErasures
from ent_notify.store.rights import NOT_EXPORTED, NOT_FOR_GUARDIANS, PARTS, PostgresHolds, PostgresRights

LINES_A_BLOCK = 200
"""Rows of an export that are handed on together."""
READ_ME = """Export of everything that is held about one person (GDPR 15 and 20).

Each .jsonl file is one part, a JSON object a line. What others wrote, and the secrets of devices, are left out: they
are not yours, or would open something. A guardian who asks for their child is not given the other guardian's data, nor
the child's own line to the pupil-life office, nor what the child keeps to itself. manifest.json says what was left out,
how many lines each file has, and the SHA-256 of its bytes.
"""


class DataRights:
    """Requests. Each is written down with who asks, in what capacity, how that was made sure of, and its deadline."""

    def __init__(
        self,
        store: PostgresRights,
        erasures: PostgresErasures,
        ledger: ErasureLedger,
        settings: RetentionSettings,
        trail: Trail,
        clock: Clock,
    ) -> None:
        self._store = store
        self._trail = trail
        self._ledger = ledger
        self._erasures = erasures
        self._settings = settings
        self._clock = clock

    async def export(self, person: str, asked: Asked) -> AsyncGenerator[tuple[str, bytes], None]:
        """Everything held about ``person``, as (file, block of its bytes), file after file; ``manifest.json`` last.

        It is read through cursors, and never held whole. Raises NotFound, and NotAllowed for who may not ask.
        """
        who, number = await self._receive(person, Right.EXPORT, asked)
        now = self._clock.now()
        guardian = asked.by if asked.capacity == "guardian" else None
        left_out = NOT_FOR_GUARDIANS if guardian is not None else ()
        manifest: dict[str, Any] = {
            "person": person,
            "asked_by": asked.capacity,
            "made_at": now.isoformat(),
            "left_out": dict.fromkeys(left_out, "not for a guardian") | dict(NOT_EXPORTED),
            "files": {},
        }
        yield "README.txt", READ_ME.encode()
        for part in PARTS:
            if part in left_out:
                continue
            digest, lines = hashlib.sha256(), 0
            async with aclosing(self._blocks(who, part, now, guardian)) as blocks:
                async for block, count in blocks:
                    digest.update(block)
                    lines += count
                    yield f"{part}.jsonl", block
            manifest["files"][f"{part}.jsonl"] = {"lines": lines, "sha256": digest.hexdigest()}
        yield "manifest.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2)
        await self._store.close(number, "done", "", self._clock.now())

    async def _blocks(
        self, who: int, part: str, now: datetime, guardian: str | None
    ) -> AsyncGenerator[tuple[bytes, int], None]:
        lines: list[bytes] = []
        async with aclosing(self._store.export(who, part, now, guardian)) as rows:
            async for row in rows:
                lines.append(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
                if len(lines) >= LINES_A_BLOCK:
                    yield b"".join(lines), len(lines)
                    lines = []
        if lines:
            yield b"".join(lines), len(lines)

    async def rectify(
        self,
        person: str,
        asked: Asked,
        *,
        given_name: str | None = None,
        family_name: str | None = None,
        language: str | None = None,
        email: str | None = None,
    ) -> None:
        """Correct what is given. The directory's next import says what it says: correct it there, too."""
        who, number = await self._receive(person, Right.RECTIFY, asked)
        given = {"given_name": given_name, "family_name": family_name, "language": language, "email": email}
        await self._store.rectify(who, {name: value for name, value in given.items() if value is not None})
        await self._store.close(number, "done", "", self._clock.now())

    async def object_to(self, person: str, asked: Asked, category: str) -> None:
        """Send nothing of a category by mail or push any more. Raises NotFound for an unknown category."""
        who, number = await self._receive(person, Right.OBJECT, asked)
        known = await self._store.object_to(who, category)
        await self._store.close(number, "done" if known else "refused", "", self._clock.now())
        if not known:
            raise NotFound(f"no event has the category {category!r}")

    async def restrict(self, person: str, asked: Asked) -> None:
        """Keep what there is, and send nothing."""
        who, number = await self._receive(person, Right.RESTRICT, asked)
        await self._store.restrict(who, self._clock.now())
        await self._store.close(number, "done", "", self._clock.now())

    async def erase(self, person: str, asked: Asked) -> RightsRequest:
        """Erase somebody, now; a worker looks for them once more some minutes later, for what was under way.

        The request answered is ``done``, or ``held`` when a hold keeps them: it is carried out once that is lifted.
        """
        who, number = await self._receive(person, Right.ERASE, asked)
        await self._erase(who, number)
        return await self.request(number)

    async def receive(self, person: str, kind: Right, asked: Asked) -> RightsRequest:
        """Write down what somebody asks for, for the officer to carry out by its deadline.

        Raises NotFound, and NotAllowed for who may not ask.
        """
        _, number = await self._receive(person, kind, asked)
        return await self.request(number)

    async def request(self, number: int) -> RightsRequest:
        """One request. Raises NotFound."""
        return (await self._known(number))[1]

    async def carry_out(self, number: int, by: str) -> RightsRequest:
        """Carry out a request that was received: to erase or to restrict. It may be held: see ``erase``.

        Raises NotFound, and NotAllowed for one that needs more than a word, or is closed.
        """
        _, request = await self._known(number)
        if request.kind not in (Right.ERASE, Right.RESTRICT) or request.person is None:
            raise NotAllowed(f"request {number} to {request.kind.value} needs its command: see `ent-notify requests`")
        asked = Asked(by, "officer", request.proof, number)
        if request.kind is Right.ERASE:
            return await self.erase(request.person, asked)
        await self.restrict(request.person, asked)
        return await self.request(number)

    async def refuse(self, number: int, by: str, reason: str) -> RightsRequest:
        """Refuse a request, with the reason that GDPR 12.4 asks for. Raises NotFound, NotAllowed when it is closed."""
        _, request = await self._known(number)
        if request.state not in ("open", "held"):
            raise NotAllowed(f"request {number} is {request.state}: only an open one can be refused")
        if not reason.strip():
            raise NotAllowed("a refusal needs its reason (GDPR 12.4)")
        await self._store.close(number, "refused", reason, self._clock.now())
        await self._trail.note(by, "officer", f"refuse {request.kind.value}", request.person or "")
        return await self.request(number)

    async def requests_of(self, person: int, external_id: str, most: int = 100) -> list[RightsRequest]:
        """What was asked about somebody (internal id), or by them as a guardian, newest first."""
        return await self._store.requests_of(person, external_id, most)

    async def overdue(self) -> Overdue:
        """What should have been done by now."""
        now = self._clock.now()
        return await self._store.overdue(now - timedelta(days=self._settings.leavers_alarm_days), now)

    async def requests(self, *, everything: bool = False, most: int = 100) -> list[RightsRequest]:
        """Requests, the nearest deadline first: those that are open, or everything."""
        return await self._store.requests(everything=everything, most=most)

    async def step(self) -> int:
        """Erase those whom a hold kept, and keeps no more; how many."""
        released = await self._store.released(self._clock.now(), 20)
        for number, who in released:
            await self._erase(who, number)
        return len(released)

    async def note(self, actor: str, capacity: str, action: str, subject: str = "", detail: str = "") -> None:
        """Add to the trail of who read, exported, moderated or overrode: see ``Trail.note``."""
        await self._trail.note(actor, capacity, action, subject, detail)

    async def trail(self, person: str, most: int = 100) -> list[dict[str, Any]]:
        """Who looked at somebody's data, newest first, by pseudonym."""
        return await self._trail.about(person, most)

    async def _erase(self, who: int, number: int) -> None:
        now = self._clock.now()
        try:
            await self._erasures.erase(who, self._settings.erased_messages, "asked", now)
        except NotAllowed as held:
            await self._store.close(number, "held", str(held), now)
            return
        await self._store.close(number, "done", "", now)
        with suppress(OSError):  # a worker copies it within a minute, and says so if it cannot
            await self._ledger.keep()

    async def _receive(self, person: str, kind: Right, asked: Asked) -> tuple[int, int]:
        if asked.capacity not in CAPACITIES:
            raise NotAllowed(f"capacity {asked.capacity!r}: who asks is one of {', '.join(CAPACITIES)}")
        if not asked.proof.strip():
            raise NotAllowed("say in a word how it was made sure who asks, such as 'session' or 'id card seen'")
        who = await self._erasures.person(person)
        if who is None:
            raise NotFound(f"there is no person {person!r}; give the id that the directory has for them")
        if asked.capacity == "self" and asked.by != person:
            raise NotAllowed(f"{asked.by!r} is not {person!r}: ask as guardian, or through the officer")
        if asked.capacity == "guardian" and not await self._store.guards(asked.by, who):
            raise NotAllowed(f"{asked.by!r} is no legal guardian of {person!r}")
        if asked.request is None:
            now = self._clock.now()
            number = await self._store.open(who, kind, asked, now, now + ANSWER_WITHIN)
        else:
            number = asked.request
            about, request = await self._known(number)
            if (about, request.kind) != (who, kind) or request.state not in ("open", "held"):
                raise NotAllowed(f"request {number} is no open one to {kind.value} for {person!r}")
        await self.note(asked.by, asked.capacity, kind.value, person)
        return who, number

    async def _known(self, number: int) -> tuple[int, RightsRequest]:
        found = await self._store.request(number)
        if found is None:
            raise NotFound(f"there is no request {number}: see `ent-notify requests --all`")
        return found


class Holds:
    """What must be kept though its time has come. Two people set one, and two lift it; one that is asked for holds
    for a week already, so that nothing goes while the second is looked for."""

    def __init__(self, store: PostgresHolds, erasures: PostgresErasures, trail: Trail, clock: Clock) -> None:
        self._store = store
        self._trail = trail
        self._erasures = erasures
        self._clock = clock

    async def ask(
        self,
        *,
        by: str,
        reason: str,
        reference: str = "",
        person: str | None = None,
        conversation: int | None = None,
        message: int | None = None,
        notification: int | None = None,
    ) -> int:
        """Ask for a hold of a person, of a conversation (or one message of it), or of a notification; its number."""
        if sum(each is not None for each in (person, conversation, notification)) != 1:
            raise NotAllowed("a hold is of one person, one conversation or one notification: give exactly one")
        if not reason.strip():
            raise NotAllowed("a hold needs a reason, such as the number of a requisition")
        who = None if person is None else await self._erasures.person(person)
        if person is not None and who is None:
            raise NotFound(f"there is no person {person!r}")
        what = {"person_id": who, "conversation_id": conversation, "seq": message, "notification_id": notification}
        now = self._clock.now()
        number = await self._store.place(what, reason, reference, by, now, now + HOLD_REVIEW)
        await self._trail.note(by, "officer", "ask hold", "", f"hold {number}")
        return number

    async def confirm(self, hold: int, by: str) -> None:
        """Confirm a hold. Raises NotAllowed for who asked for it, and when it does not wait for that."""
        now = self._clock.now()
        if not await self._store.confirm(hold, by, now, now + HOLD_REVIEW):
            raise NotAllowed(f"hold {hold} waits for the word of somebody else than {by!r}, or for none")
        await self._trail.note(by, "officer", "set hold", "", f"hold {hold}")

    async def ask_lift(self, hold: int, by: str) -> None:
        """Ask for the end of a hold. Raises NotAllowed when that is asked already, or it has ended."""
        if not await self._store.ask_lift(hold, by, self._clock.now()):
            raise NotAllowed(f"the end of hold {hold} is asked for already, or it has ended")
        await self._trail.note(by, "officer", "ask to lift hold", "", f"hold {hold}")

    async def lift(self, hold: int, by: str) -> None:
        """Lift a hold. Raises NotAllowed for who asked for its end, and when nobody did."""
        if not await self._store.lift(hold, by, self._clock.now()):
            raise NotAllowed(f"the end of hold {hold} is to be asked for by one person and confirmed by another")
        await self._trail.note(by, "officer", "lift hold", "", f"hold {hold}")

    async def review(self, hold: int, by: str) -> None:
        """Say that a hold is needed for another six months. Raises NotFound."""
        if not await self._store.review(hold, self._clock.now() + HOLD_REVIEW):
            raise NotFound(f"there is no hold {hold} that stands: see `ent-notify hold list`")
        await self._trail.note(by, "officer", "review hold", "", f"hold {hold}")

    async def standing(self) -> list[Hold]:
        """Holds that stand, those to be reviewed first."""
        return await self._store.standing(self._clock.now())

    async def overdue(self) -> list[Hold]:
        """Holds that nobody has looked at again in six months."""
        now = self._clock.now()
        return [hold for hold in await self.standing() if hold.review_at < now]
