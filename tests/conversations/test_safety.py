"""Reports, moderation, quarantine, freezes, limits, and the line to the pupil-life office."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from datetime import date, time, timedelta

import pytest
import trio
from tests.engine.conftest import TUESDAY, Town, open_town

from ent_notify.errors import (
    ContactRefused,
    MalformedMessage,
    MalformedRules,
    NotAllowed,
    NotFound,
    Suspended,
    TooManyRecipients,
)
from ent_notify.model.conversations import DraftState, LocalTime, NewConversation, Shape
from ent_notify.model.safety import CaseKind, Decision, Level, ReportReason, Restraint, Tier
from ent_notify.policy.safety import ACADEMIES, RIGHTS, Act, area_of
from ent_notify.settings import SafetySettings
from ent_notify.store.sql import Query

from .conftest import OTHER, SCHOOL, bodies, who
from .safe_town import MINUTE, add_office, class_thread, direct, inbox_types, moderators, outcome_of, work

URGENT = Query("urgent", "", "select urgency from ent_notify.notification where type = 'MessagePosted' order by id", ())


@pytest.fixture
def safe_dsn(taught_dsn: str) -> str:
    return add_office(taught_dsn)


@pytest.fixture
async def town(safe_dsn: str) -> AsyncIterator[Town]:
    async with open_town(safe_dsn) as town:
        yield town


# ------------------------------------------------------------------ reports


async def test_a_report_keeps_evidence_tells_moderators_and_names_no_reporter(town: Town) -> None:
    talks, safety = town.engine.conversations, town.engine.safety
    lou, gil, ada = await who(town, "P21", "P11", "P1")
    office, direction, _ = await moderators(town)
    conversation = await direct(town, lou, "P11", "Méchant")
    await talks.edit(conversation, 1, lou, "Très méchant")
    await work(town)

    case = await safety.report(gil, conversation, 1, ReportReason.THREAT, "Il me menace")
    assert await safety.report(gil, conversation, 1, ReportReason.OTHER) == case
    await talks.recall(conversation, 1, lou)  # its author takes the text away: the evidence stays
    (line,) = await safety.queue(office)
    assert (line.person, line.name, line.kind) == ("P21", "Lou Exemple", CaseKind.MESSAGE)
    assert (line.conversation, line.seq, line.reports, line.reasons) == (conversation, 1, 1, (ReportReason.THREAT,))
    file = await safety.case(office, case)
    (kept,) = file.evidence
    assert (kept.body, kept.earlier, file.notes) == ("Très méchant", ("Méchant",), ["Il me menace"])
    assert "P11" not in repr((line, file))

    with pytest.raises(NotAllowed, match="direction"):
        await safety.reporters(office, case, "curious")
    (report,) = await safety.reporters(direction, case, "the parents ask")
    assert (report.reporter, report.reason) == ("P11", ReportReason.THREAT)
    assert ("P31", "reporters", "the parents ask") in {
        (each.by, each.act, each.reason) for each in await safety.audit(direction)
    }

    await work(town)
    assert await inbox_types(town, "P32") == await inbox_types(town, "P31") == ["ModerationAlert"]
    assert [sent.address for sent in town.fcm.sent].count("tok-32") == 1
    assert "ModerationAlert" not in await inbox_types(town, "P21")
    with pytest.raises(NotFound):
        await safety.report(ada, conversation, 1, ReportReason.OTHER)
    with pytest.raises(NotAllowed, match="recalled"):
        await safety.report(lou, conversation, 1, ReportReason.OTHER)


async def test_what_was_reported_is_not_deleted_until_its_case_is_dismissed(town: Town) -> None:
    safety = town.engine.safety
    lou, gil = await who(town, "P21", "P11")
    office, _, _ = await moderators(town)
    conversation = await direct(town, lou, "P11")
    case = await safety.report(gil, conversation, 1, ReportReason.OTHER)
    for purge in (f"message where conversation_id = {conversation}", f"conversation where id = {conversation}"):
        with pytest.raises(NotAllowed, match="was reported"):
            await town.engine.db.script(f"delete from ent_notify.{purge}")
    await safety.decide(office, case, Decision.DISMISS, "nothing in it")
    assert await safety.queue(office) == []
    assert [line.decision for line in await safety.queue(office, closed=True)] == ["dismiss"]
    await town.engine.db.script(f"delete from ent_notify.conversation where id = {conversation}")


async def test_what_moderators_decide_is_done_and_written_down_for_good(town: Town) -> None:
    talks, safety = town.engine.conversations, town.engine.safety
    lou, gil = await who(town, "P21", "P11")
    office, direction, _ = await moderators(town)
    conversation = await direct(town, lou, "P11", "Insulte")
    await work(town)
    shown = len(town.fcm.sent) + len(town.apns.sent)
    case = await safety.report(gil, conversation, 1, ReportReason.HATE)
    await safety.decide(office, case, Decision.REMOVE, "an insult")
    await safety.decide(office, case, Decision.WARN, "Merci de rester poli.")
    await safety.decide(office, case, Decision.RESTRICT, "a week", until=TUESDAY + timedelta(days=7))
    assert await bodies(town, conversation, gil) == [""]
    assert (await talks.thread(conversation, gil)).subject == "–"
    await work(town)
    assert "MessagePosted" not in await inbox_types(town, "P11")
    assert len(town.fcm.sent) + len(town.apns.sent) > shown  # what phones showed was replaced
    (warning,) = await town.engine.inbox(lou)
    assert (warning.type, warning.data) == ("ModerationWarning", {"note": "Merci de rester poli."})
    file = await safety.case(direction, case)
    assert [(each.by, each.act) for each in reversed(file.audit)] == [
        ("P32", "remove"), ("P32", "warn"), ("P32", "restrict")
    ]  # fmt: skip
    assert [each.body for each in file.evidence] == ["Insulte", "Insulte"]  # when reported, and when removed
    for change in ("update ent_notify.safety_audit set reason = ''", "truncate ent_notify.safety_audit"):
        with pytest.raises(NotAllowed, match="written down for good"):
            await town.engine.db.script(change)
    with pytest.raises(MalformedMessage, match="say why"):
        await safety.decide(office, case, Decision.DISMISS, " ")
    with pytest.raises(NotAllowed, match="say when"):
        await safety.decide(office, case, Decision.RESTRICT, "for ever")


async def test_rights_are_by_function_and_by_school(town: Town) -> None:
    safety = town.engine.safety
    lou, gil, max_ = await who(town, "P21", "P11", "P22")
    office, direction, operator = await moderators(town)
    assert (office.level, direction.level, operator.level) == (Level.OFFICE, Level.DIRECTION, Level.PROJECT)
    for reader in (lou, gil):
        with pytest.raises(NotAllowed, match="only the pupil-life office"):
            await safety.moderator(reader)
    for act in (
        safety.release(office, "P21", "why"),
        safety.recall_all(office, "P21", TUESDAY, "why"),
        safety.freeze(office, SCHOOL, Tier.STAFF, "why"),
        safety.unfreeze(office, SCHOOL, "why"),
    ):
        with pytest.raises(NotAllowed, match="direction"):
            await act
    with pytest.raises(NotAllowed, match="another school"):
        await safety.quarantine(direction, "P22", "why")  # teaches in the other school alone
    for area in (OTHER, "project", "academy:nancy-metz"):
        with pytest.raises(NotAllowed):
            await safety.freeze(direction, area, Tier.STAFF, "why")
    with pytest.raises(NotAllowed, match="themselves"):
        await safety.quarantine(direction, "P31", "why")
    conversation = await direct(town, max_, "P5")
    eva = await town.engine.reader("P5")
    elsewhere = await safety.report(eva, conversation, 1, ReportReason.OTHER)
    assert await safety.queue(direction) == []
    with pytest.raises(NotFound):
        await safety.case(direction, elsewhere)
    assert [case.id for case in await safety.queue(operator)] == [elsewhere]
    assert set(RIGHTS) == {*Decision, *Act}


# ------------------------------------------------------------------ quarantine


async def test_a_quarantine_holds_all_that_has_not_left_and_a_release_lets_it_go(safe_dsn: str) -> None:
    async with open_town(
        safe_dsn, TUESDAY + timedelta(hours=12)
    ) as town:  # in the evening: pushes wait for the morning
        talks, safety = town.engine.conversations, town.engine.safety
        lou, gil = await who(town, "P21", "P11")
        office, direction, _ = await moderators(town)
        conversation = await direct(town, lou, "P11")
        await work(town)  # it is in the inbox, and its pushes wait
        await talks.post(conversation, lou, "Deux")  # this one waits for the worker
        await talks.keep_draft(
            lou,
            conversation=conversation,
            body="Trois",
            sending=LocalTime(date(2026, 9, 8), time(22, 5), "Europe/Paris"),
        )
        assert await safety.quarantine(office, "P21", "strange messages")
        assert not await safety.quarantine(office, "P21", "again")
        for act in (
            talks.post(conversation, lou, "Quatre"),
            talks.edit(conversation, 1, lou, "Autre"),
            talks.recall(conversation, 1, lou),
            talks.open(lou, NewConversation(shape=Shape.DIRECT, body="B", to=("P12",))),
        ):
            with pytest.raises(Suspended, match="something unusual"):
                await act
        town.clock.advance(timedelta(hours=12))  # the pause is over, and the hour of the third has come
        await work(town)
        assert await inbox_types(town, "P11") == ["MessagePosted"]
        assert town.fcm.sent == town.apns.sent == town.mail.sent == []
        assert [draft.state for draft in await talks.drafts(lou)] == [DraftState.SCHEDULED]
        assert (await safety.standing(lou)).restraint is Restraint.QUARANTINED
        assert [each.person for each in await safety.restraints(direction)] == ["P21"]

        assert await safety.release(direction, "P21", "it was a mistake")
        assert not await safety.release(direction, "P21", "again")
        await work(town)
        assert await bodies(town, conversation, gil) == ["Un", "Deux", "Trois"]
        assert await inbox_types(town, "P11") == ["MessagePosted"] * 3
        assert len(town.fcm.sent) == len(town.apns.sent) == 3
        assert await talks.post(conversation, lou, "Quatre") == 4


async def test_who_is_restricted_writes_to_single_teachers_and_staff(town: Town) -> None:
    talks, safety = town.engine.conversations, town.engine.safety
    lou, ada, gil = await who(town, "P21", "P1", "P11")
    office, _, _ = await moderators(town)
    thread = await class_thread(town, lou)
    await safety.restrict(office, "P1", TUESDAY + timedelta(days=1), "a quarrel")
    with pytest.raises(Suspended, match="one teacher"):
        await talks.post(thread, ada, "Deux")
    with pytest.raises(Suspended):
        await direct(town, ada, "P11")
    to_lou = await direct(town, ada, "P21")
    assert await talks.post(to_lou, ada, "Encore") == 2
    assert (await safety.standing(ada)).until == TUESDAY + timedelta(days=1)
    await safety.quarantine(office, "P1", "worse")
    with pytest.raises(NotAllowed, match="quarantined, which is more"):
        await safety.restrict(office, "P1", TUESDAY + timedelta(days=1), "milder")
    await safety.release(safety.operator("operator"), "P1", "done")
    await safety.restrict(office, "P1", TUESDAY + timedelta(days=1), "a quarrel")
    town.clock.advance(timedelta(days=1))
    assert await talks.post(thread, ada, "Deux") == 2
    del gil


# ------------------------------------------------------------------ freezes


MAY_WRITE = {Tier.DIRECTION: {"P31"}, Tier.STAFF: {"P31", "P32", "P21"}, Tier.NOBODY: set[str]()}


@pytest.mark.parametrize(
    ("area", "tier"),
    [*((SCHOOL, tier) for tier in Tier), ("academy:nancy-metz", Tier.NOBODY), ("project", Tier.DIRECTION)],
)
async def test_a_freeze_is_by_tier_and_holds_what_was_not_announced(town: Town, area: str, tier: Tier) -> None:
    may = MAY_WRITE[tier]
    talks, safety = town.engine.conversations, town.engine.safety
    lou, gil, noa, rosa, max_ = await who(town, "P21", "P11", "P31", "P32", "P22")
    _, _, operator = await moderators(town)
    threads = {
        "P11": await direct(town, gil, "P21"), "P21": await direct(town, lou, "P12"),
        "P31": await direct(town, noa, "P12"), "P32": await direct(town, rosa, "P12"),
    }  # fmt: skip
    elsewhere = await direct(town, max_, "P5")
    assert await safety.freeze(operator, area, tier, "an attack")
    assert not await safety.freeze(operator, area, tier, "again")
    for reader in (lou, gil, noa, rosa):
        said = await outcome_of(talks.post, threads[reader.id], reader, "Deux")
        assert (reader.id, said) == (reader.id, "done" if reader.id in may else "Suspended")
        standing = await safety.standing(reader)
        assert standing.frozen == (None if reader.id in may else tier)
    frozen_too = area != SCHOOL and tier is not Tier.STAFF
    assert await outcome_of(talks.post, elsewhere, max_, "Deux") == ("Suspended" if frozen_too else "done")

    await work(town)
    announced = Counter(await inbox_types(town, "P12"))["MessagePosted"]
    assert announced == sum(2 for name in ("P21", "P31", "P32") if name in may)
    assert await inbox_types(town, "P21") == []  # Gil wrote before the freeze, and it is held

    assert await safety.unfreeze(operator, area, "over")
    assert not await safety.unfreeze(operator, area, "again")
    await work(town)
    assert await inbox_types(town, "P21") == ["MessagePosted"]
    assert await talks.post(threads["P11"], gil, "Deux") == 2


async def test_the_threads_of_a_frozen_school_are_frozen_for_others_too(town: Town) -> None:
    talks, safety = town.engine.conversations, town.engine.safety
    lou, max_ = await who(town, "P21", "P22")
    _, direction, _ = await moderators(town)
    thread = await class_thread(town, lou)
    await talks.add(thread, lou, ["P22"])
    await safety.freeze(direction, SCHOOL, Tier.NOBODY, "quiet")
    with pytest.raises(Suspended, match="only be read"):
        await talks.post(thread, max_, "Deux")
    with pytest.raises(Suspended):
        await talks.add(thread, lou, ["P31"])
    assert [(each.area, each.tier, each.by) for each in await safety.freezes()] == [
        ("school:0540001A", Tier.NOBODY, "P31")
    ]


async def test_a_freeze_waits_for_who_is_writing_and_nothing_is_written_after_it(safe_dsn: str) -> None:
    async with open_town(safe_dsn) as town, open_town(safe_dsn) as beside:
        safety = town.engine.safety
        lou, gil = await who(town, "P21", "P11")
        conversation = await direct(town, lou, "P11")
        frozen = trio.Event()
        late: list[str] = []

        async def write_on() -> None:
            for _ in range(100):
                over = frozen.is_set()
                said = await outcome_of(beside.engine.conversations.post, conversation, gil, "Encore")
                if over:
                    late.append(said)
                if said == "Suspended":
                    return

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(write_on)
            await safety.freeze(safety.operator("operator"), "project", Tier.NOBODY, "now")
            last = (await town.engine.conversations.thread(conversation, lou)).last_seq
            frozen.set()
        assert set(late) <= {"Suspended"}
        assert (await town.engine.conversations.thread(conversation, lou)).last_seq == last


def test_areas_are_named_as_people_name_them() -> None:
    assert area_of("0541234a").name == "school:0541234A"
    assert area_of("academy:Nancy-Metz").prefixes == ("054", "055", "057", "088")
    assert area_of("project").prefixes == ("",)
    departments = [each for prefixes in ACADEMIES.values() for each in prefixes]
    assert len(departments) == len(set(departments)) == 102  # 101 departments, and Saint-Pierre-et-Miquelon
    for text in ("academy:metz", "school:12", "everything", ""):
        with pytest.raises(MalformedRules):
            area_of(text)


# ------------------------------------------------------------------ how many people


async def test_one_message_goes_to_so_many_people_as_its_author_s_role_may_write_to(safe_dsn: str) -> None:
    async with open_town(safe_dsn, safety=SafetySettings(pupil_most=6, guardian_most=7)) as town:
        talks = town.engine.conversations
        lou, ada, gil = await who(town, "P21", "P1", "P11")
        thread = await class_thread(town, lou)  # four pupils, a teacher, three guardians
        with pytest.raises(TooManyRecipients, match="more than the 6 people"):
            await talks.post(thread, ada, "Deux")
        with pytest.raises(TooManyRecipients, match="more than the 7 people"):
            await talks.post(thread, gil, "Deux")
        assert await talks.post(thread, lou, "Deux") == 2


async def test_who_was_written_to_today_costs_nothing_and_an_allowance_fills_again(safe_dsn: str) -> None:
    async with open_town(safe_dsn, safety=SafetySettings(guardian_new=2, refill_hours=2)) as town:
        talks = town.engine.conversations
        (gil,) = await who(town, "P11")
        first = await direct(town, gil, "P21")
        await direct(town, gil, "P31")
        for _ in range(3):
            await talks.post(first, gil, "Encore")
        with pytest.raises(TooManyRecipients, match="2 in 2 hours"):
            await direct(town, gil, "P32")
        town.clock.advance(60 * MINUTE)
        await direct(town, gil, "P32")
        with pytest.raises(TooManyRecipients):
            await direct(town, gil, "P1")


async def test_the_limit_is_exact_however_many_write_at_once(safe_dsn: str) -> None:
    settings = SafetySettings(teacher_new=3)
    async with open_town(safe_dsn, safety=settings) as town, open_town(safe_dsn, safety=settings) as beside:
        (lou,) = await who(town, "P21")
        said: Counter[str] = Counter()

        async def open_one(house: Town, to: str) -> None:
            new = NewConversation(shape=Shape.DIRECT, body="Un", to=(to,))
            said[await outcome_of(house.engine.conversations.open, lou, new)] += 1

        async with trio.open_nursery() as nursery:
            for number, to in enumerate(("P1", "P2", "P3", "P4", "P11", "P12", "P13", "P31", "P32")):
                nursery.start_soon(open_one, (town, beside)[number % 2], to)
        assert said["done"] == 3
        assert said.keys() <= {"done", "TooManyRecipients", "Suspended"}


async def test_people_who_are_added_are_counted_and_looked_at(safe_dsn: str) -> None:
    async with open_town(safe_dsn, safety=SafetySettings(pupil_new=2)) as town:
        talks = town.engine.conversations
        lou, ada = await who(town, "P21", "P1")
        new = NewConversation(shape=Shape.GROUP, subject="S", body="Un", to=("P21", "P31"))
        conversation, _ = await talks.open(ada, new)
        with pytest.raises(TooManyRecipients):
            await talks.add(conversation, ada, ["P32"])
        town.clock.advance(60 * 12 * MINUTE)
        await talks.add(conversation, ada, ["P32"])
        assert await talks.post(conversation, ada, "Deux") == 2
        await town.engine.conversations.set_contact_rules(
            {"forbid": [{"from": "pupil", "to": "staff", "when": ["anywhere"]}]}, by="P31"
        )
        town.clock.advance(MINUTE)
        with pytest.raises(ContactRefused):
            await talks.post(conversation, ada, "Trois")
        del lou


# ------------------------------------------------------------------ the line to the pupil-life office


async def test_a_pupil_always_reaches_the_office_at_once(safe_dsn: str) -> None:
    async with open_town(safe_dsn, TUESDAY + timedelta(hours=13)) as town:  # at night
        talks, safety = town.engine.conversations, town.engine.safety
        ada, rosa, noa, gil, lou = await who(town, "P1", "P32", "P31", "P11", "P21")
        operator = safety.operator("operator")
        await talks.set_contact_rules({"forbid": [{"from": "pupil", "to": "staff", "when": ["anywhere"]}]}, by="P31")
        await safety.freeze(operator, "project", Tier.NOBODY, "an attack")
        await safety.quarantine(operator, "P1", "hijacked")
        line, seq = await safety.call_office(ada, "On me harcèle")
        assert seq == 1
        assert await safety.call_office(ada, "Aidez-moi") == (line, 2)
        await work(town)
        assert await inbox_types(town, "P32") == ["MessagePosted"] * 2
        assert [sent.address for sent in town.fcm.sent] == ["tok-32"] * 2  # it is night, and it is urgent
        assert [row["urgency"] for row in await town.engine.db.fetch(URGENT)] == [0, 0]
        assert await bodies(town, line, rosa) == ["On me harcèle", "Aidez-moi"]
        assert await talks.post(line, rosa, "J'arrive") == 3
        assert await talks.post(line, ada, "Merci") == 4
        for stranger in (noa, gil, lou):
            with pytest.raises(NotFound):
                await talks.messages(line, stranger)
        with pytest.raises(NotAllowed, match="for pupils"):
            await safety.call_office(gil, "Moi aussi")
        with pytest.raises(NotAllowed):
            await talks.add(line, ada, ["P2"])


async def test_the_office_s_line_follows_who_works_there(town: Town) -> None:
    talks, safety = town.engine.conversations, town.engine.safety
    ada, rosa, noa, eva = await who(town, "P1", "P32", "P31", "P5")
    line, _ = await safety.call_office(ada, "Un")
    await talks.close(line, ada)
    await town.engine.db.script("update ent_notify.person set function = 'ADF' where id = 32")
    assert await safety.call_office(ada, "Deux") == (line, 2)  # nobody is left there: the direction is
    assert await bodies(town, line, rosa) == ["Un"]
    assert await bodies(town, line, noa) == ["Un", "Deux"]
    with pytest.raises(NotFound, match="office_functions"):
        await safety.call_office(eva, "Personne ?")
    with pytest.raises(MalformedMessage, match="call_office"):
        await talks.open(ada, NewConversation(shape=Shape.LINE, body="Un", to=("P32",), about="P1"))
