"""Acknowledgements and signatures: who is asked, when it is met, who is reminded, what proves it."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from tests.engine.conftest import TUESDAY, Town, open_town

from ent_notify.errors import MalformedMessage, NotAllowed, NotFound
from ent_notify.model.acknowledgement import Ask, AskKind, Matter, Quorum, ReadingChoice, Standing
from ent_notify.model.audience import Group, GuardiansOf, Person, School
from ent_notify.model.conversations import Circle, DraftState, LocalTime, NewConversation, Scope, Shape
from ent_notify.model.events import Announcement
from ent_notify.model.inbox import Reader
from ent_notify.policy.acknowledgement import lines, version_of
from ent_notify.store.sql import Query

from .conftest import CLASS, SCHOOL, told, who

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
CHILDREN = {"P1": ["P11", "P12"], "P2": ["P13"], "P3": ["P12"], "P4": ["P12"]}
"""Of 6A, with those who may answer for them: not who is restricted (P14), nor a mere contact (P15)."""


def outing(ask: Ask) -> NewConversation:
    circles = (Circle(CLASS, Scope.GUARDIANS),)
    return NewConversation(shape=Shape.CIRCLE, subject="Sortie", body="Au musée", circles=circles, ask=ask)


async def asked_for(town: Town, quorum: Quorum, **more: object) -> tuple[Matter, Reader]:
    """Lou asks the guardians of 6A."""
    (lou,) = await who(town, "P21")
    ask = Ask(quorum=quorum, **more)  # type: ignore[arg-type]  # a test's own keywords
    return Matter.message(*await town.engine.conversations.open(lou, outing(ask))), lou


async def reminded(town: Town) -> dict[str, int]:
    """How many reminders each guardian finds, after the worker has worked."""
    await town.engine.worker().run_until_idle()
    found = {}
    for name in ("P11", "P12", "P13", "P14", "P15"):
        (reader,) = await who(town, name)
        count = sum(entry.type == "AcknowledgementDue" for entry in await town.engine.inbox(reader))
        if count:
            found[name] = count
    return found


# ------------------------------------------------------------------ quorum


async def test_one_guardian_of_each_child_is_enough(town: Town) -> None:
    notes = town.engine.acknowledgements
    matter, lou = await asked_for(town, Quorum.ONE_GUARDIAN)
    assert await notes.standing(matter, lou) == Standing(asked=4, met=0, unreachable=0, outdated=0, late=0)
    hal, gil, ida = await who(town, "P12", "P11", "P13")
    asked = await notes.asked(matter, hal)
    assert [(slot.child, slot.met) for slot in asked.slots] == [("P1", False), ("P3", False), ("P4", False)]
    await notes.give(matter, hal, children=["P1", "P4"])
    assert (await notes.standing(matter, lou)).met == 2
    (ada,) = (await notes.asked(matter, gil)).slots
    assert (ada.child, ada.met, ada.given_at) == ("P1", True, None)
    await notes.give(matter, hal)
    await notes.give(matter, ida)
    standing = await notes.standing(matter, lou)
    assert (standing.met, standing.missing) == (4, 0)


async def test_all_guardians_of_a_child_have_to_say_it(town: Town) -> None:
    notes = town.engine.acknowledgements
    matter, lou = await asked_for(town, Quorum.ALL_GUARDIANS)
    hal, gil, ida = await who(town, "P12", "P11", "P13")
    await notes.give(matter, hal)
    assert (await notes.standing(matter, lou)).met == 2  # Cleo and Dan; Ada has another guardian
    assert await notes.give(matter, gil) == town.clock.now()
    town.clock.advance(MINUTE)
    assert await notes.give(matter, gil) == town.clock.now() - MINUTE  # the first time counts
    await notes.give(matter, ida)
    assert (await notes.standing(matter, lou)).met == 4


async def test_each_person_answers_for_themselves(town: Town) -> None:
    notes, talks = town.engine.acknowledgements, town.engine.conversations
    lou, gil, noa, ida = await who(town, "P21", "P11", "P31", "P13")
    new = NewConversation(shape=Shape.GROUP, subject="S", body="B", to=("P11", "P31"), ask=Ask())
    matter = Matter.message(*await talks.open(lou, new))
    for reader in (gil, noa):
        assert [slot.child for slot in (await notes.asked(matter, reader)).slots] == [None]
        await notes.give(matter, reader)
    assert await notes.standing(matter, lou) == Standing(asked=2, met=2, unreachable=0, outdated=0, late=0)
    for stranger in (ida, lou):  # one does not ask oneself
        with pytest.raises(NotFound):
            await notes.give(matter, stranger)
    seq = await talks.post(matter.conversation or 0, gil, "Et moi ?", ask=Ask())
    await notes.give(Matter.message(matter.conversation or 0, seq), lou)


async def test_who_has_no_authority_is_not_asked_and_a_child_without_guardians_is_told(town: Town) -> None:
    notes = town.engine.acknowledgements
    matter, lou = await asked_for(town, Quorum.ONE_GUARDIAN)
    for name in ("P14", "P15", "P1", "P22"):
        (reader,) = await who(town, name)
        for act in (notes.asked, notes.give):
            with pytest.raises(NotFound):
                await act(matter, reader)
    await town.engine.db.script("update ent_notify.guardian_link set restricted = true where pupil_id = 2")
    assert await notes.standing(matter, lou) == Standing(asked=4, met=0, unreachable=1, outdated=0, late=0)
    (ida,) = await who(town, "P13")
    with pytest.raises(NotFound):  # a right that has ended since
        await notes.give(matter, ida)


async def test_a_guardian_signs_for_their_own_children_alone(town: Town) -> None:
    matter, _ = await asked_for(town, Quorum.ONE_GUARDIAN)
    gil, *_ = await who(town, "P11")
    for children in (["P2"], ["P1", "P2"], ["P5"], ["nobody"], []):  # P5 is theirs, in another school
        with pytest.raises(NotFound):
            await town.engine.acknowledgements.give(matter, gil, children=children)
    await town.engine.acknowledgements.give(matter, gil, children=["P1"])


async def test_a_request_that_cannot_be_is_refused_and_nothing_is_written(town: Town) -> None:
    talks = town.engine.conversations
    (lou,) = await who(town, "P21")
    one = Ask(quorum=Quorum.ONE_GUARDIAN)
    with pytest.raises(MalformedMessage, match="guardians"):
        await talks.open(lou, NewConversation(shape=Shape.DIRECT, body="B", to=("P11",), ask=one))
    with pytest.raises(MalformedMessage, match="deadline"):
        await talks.open(lou, outing(Ask(deadline=TUESDAY - DAY)))
    assert await talks.threads(lou) == []
    conversation, _ = await talks.open(lou, NewConversation(shape=Shape.DIRECT, body="B", to=("P11",)))
    with pytest.raises(MalformedMessage, match="guardians"):
        await talks.post(conversation, lou, "Signez", ask=one)
    assert (await talks.thread(conversation, lou)).last_seq == 1


# ------------------------------------------------------------------ texts


async def test_an_edit_after_a_signature_is_seen_and_asks_again(town: Town) -> None:
    notes, talks = town.engine.acknowledgements, town.engine.conversations
    matter, lou = await asked_for(town, Quorum.ALL_GUARDIANS, kind=AskKind.SIGNATURE)
    (ida,) = await who(town, "P13")
    with pytest.raises(NotAllowed, match="version"):
        await notes.give(matter, ida)
    first = (await notes.asked(matter, ida)).version
    assert first == hashlib.sha256("Sortie\n\nAu musée".encode()).hexdigest()
    await notes.give(matter, ida, version=first)
    await talks.edit(matter.conversation or 0, 1, lou, "Au zoo")
    assert await notes.standing(matter, lou) == Standing(asked=4, met=0, unreachable=0, outdated=1, late=0)
    asked = await notes.asked(matter, ida)
    assert (asked.changed, asked.slots[0].given_at) == (True, None)
    with pytest.raises(NotAllowed, match="has changed"):
        await notes.give(matter, ida, version=first)
    with pytest.raises(MalformedMessage):
        await notes.give(matter, ida, version="abc")
    await notes.give(matter, ida, version=asked.version)
    proof = await notes.proof(matter, lou)
    assert [(each.person, each.child, each.version) for each in proof.given] == [
        ("P13", "P2", first),
        ("P13", "P2", asked.version),
    ]
    assert proof.texts == {first: "Sortie\n\nAu musée", proof.version: "Sortie\n\nAu zoo"}
    assert proof.digest == version_of(lines(proof.given))


async def test_what_was_taken_back_is_not_acknowledged_and_who_had_stays_known(town: Town) -> None:
    notes, talks = town.engine.acknowledgements, town.engine.conversations
    matter, lou = await asked_for(town, Quorum.ONE_GUARDIAN, remind_every=DAY)
    hal, ida = await who(town, "P12", "P13")
    await notes.give(matter, hal)
    await talks.recall(matter.conversation or 0, 1, lou)
    with pytest.raises(NotAllowed, match="taken back"):
        await notes.give(matter, ida)
    proof = await notes.proof(matter, None)
    assert ({each.person for each in proof.given}, proof.version, proof.texts) == ({"P12"}, None, {})
    town.clock.advance(DAY)
    assert await reminded(town) == {}


# ------------------------------------------------------------------ reminders


async def test_only_those_missing_are_reminded_through_restarts_and_never_after_the_deadline(taught_dsn: str) -> None:
    async with open_town(taught_dsn) as town:
        more = {"deadline": TUESDAY + 2 * DAY + MINUTE, "remind_every": DAY}
        matter, _ = await asked_for(town, Quorum.ONE_GUARDIAN, **more)
        (gil,) = await who(town, "P11")
        await town.engine.acknowledgements.give(matter, gil)  # for Ada: Hal is still asked for Cleo and Dan
        town.clock.advance(DAY - MINUTE)
        assert await reminded(town) == {}
    async with open_town(taught_dsn, TUESDAY + DAY) as town:  # everything was restarted
        assert await reminded(town) == {"P12": 1, "P13": 1}
        assert await reminded(town) == {"P12": 1, "P13": 1}
        (hal,) = await who(town, "P12")
        await town.engine.acknowledgements.give(matter, hal)
        newest = (await town.engine.inbox(hal))[0]
        assert (newest.type, newest.data["title"], newest.data["signature"]) == ("AcknowledgementDue", "Sortie", False)
    async with open_town(taught_dsn, TUESDAY + 2 * DAY) as town:
        assert await reminded(town) == {"P12": 1, "P13": 2}
    async with open_town(taught_dsn, TUESDAY + 5 * DAY) as town:
        assert await reminded(town) == {"P12": 1, "P13": 2}
        (ida, lou) = await who(town, "P13", "P21")
        await town.engine.acknowledgements.give(matter, ida)
        standing = await town.engine.acknowledgements.standing(matter, lou)
        assert (standing.met, standing.late) == (4, 1)


async def test_a_reminder_whose_hour_passed_the_deadline_while_nobody_worked_is_not_sent(town: Town) -> None:
    await asked_for(town, Quorum.EACH, deadline=TUESDAY + 2 * DAY, remind_every=DAY)
    town.clock.advance(3 * DAY)
    assert await reminded(town) == {}


async def test_once_the_quorum_is_met_nobody_is_reminded(town: Town) -> None:
    matter, _ = await asked_for(town, Quorum.ONE_GUARDIAN, remind_every=DAY)
    for name in ("P12", "P13"):
        (reader,) = await who(town, name)
        await town.engine.acknowledgements.give(matter, reader)
    town.clock.advance(DAY)
    assert await reminded(town) == {}


# ------------------------------------------------------------------ names


async def test_a_school_may_show_numbers_alone(town: Town) -> None:
    notes = town.engine.acknowledgements
    matter, lou = await asked_for(town, Quorum.ALL_GUARDIANS)
    (hal, gil) = await who(town, "P12", "P11")
    await notes.give(matter, hal)
    page, after = await notes.answerers(matter, lou, most=2)
    assert [(each.person, each.child, each.met) for each in page] == [("P11", "P1", False), ("P12", "P1", True)]
    assert after is not None
    rest, end = await notes.answerers(matter, lou, after=after)
    assert ([each.person for each in rest], end) == (["P13", "P12", "P12"], None)
    await notes.choose_reading(ReadingChoice(names=False), by="P31", school=SCHOOL)
    for act in (notes.answerers, notes.proof):
        with pytest.raises(NotAllowed, match="not who"):
            await act(matter, lou)
    assert (await notes.standing(matter, lou)).met == 2
    assert [each.person for each in (await notes.proof(matter, None)).given] == ["P12"] * 3
    with pytest.raises(NotFound):
        await notes.standing(matter, gil)
    with pytest.raises(NotFound):
        await notes.answerers(matter, gil)
    with pytest.raises(NotFound):
        await notes.proof(matter, gil)
    with pytest.raises(NotFound, match="school"):
        await notes.choose_reading(ReadingChoice(), by="P31", school="nowhere")


async def test_who_has_read_is_shown_from_when_every_school_of_the_author_shows_it(town: Town) -> None:
    notes, talks = town.engine.acknowledgements, town.engine.conversations
    lou, gil, noa, max_ = await who(town, "P21", "P11", "P31", "P22")  # Lou teaches in both schools
    new = NewConversation(shape=Shape.GROUP, subject="S", body="Un", to=("P11", "P31"))
    conversation, _ = await talks.open(lou, new)
    await talks.mark_read(gil, conversation, 1)
    with pytest.raises(NotAllowed, match="does not show"):
        await talks.readers(conversation, 1, lou)
    town.clock.advance(MINUTE)
    await notes.choose_reading(ReadingChoice(track=True), by="P31", school=SCHOOL)
    assert (await talks.thread(conversation, gil)).tracked is False  # her other school says nothing
    await notes.choose_reading(ReadingChoice(track=True), by="host")
    assert (await talks.thread(conversation, gil)).tracked is True  # who reads sees that it is on
    await talks.mark_read(noa, conversation, 1)
    page, after = await talks.readers(conversation, 1, lou)
    assert (page[0].read_at, after) == (town.clock.now(), None)
    assert [each.person for each in page] == ["P31"]  # Gil read it when nobody was shown
    with pytest.raises(NotAllowed, match="author alone"):
        await talks.readers(conversation, 1, gil)
    with pytest.raises(NotFound):
        await talks.readers(conversation, 1, max_)
    await notes.choose_reading(ReadingChoice(track=False), by="P31", school=SCHOOL)
    assert (await talks.thread(conversation, gil)).tracked is False
    assert await notes.reading_choice(SCHOOL) == ReadingChoice(track=False)


# ------------------------------------------------------------------ announcements, drafts


async def test_an_announcement_asks_with_a_quorum_and_any_client_may_answer(town: Town) -> None:
    notes = town.engine.acknowledgements
    lou, hal, ida, noa = await who(town, "P21", "P12", "P13", "P31")
    text = Announcement(key="a", audience=GuardiansOf(Group(CLASS)) | Person("P31"), title="Règlement", body="À lire")
    published = await notes.announce(text, Ask(quorum=Quorum.ONE_GUARDIAN, remind_every=DAY), lou)
    again = await notes.announce(text, Ask(), lou)
    assert (published.created, again.created, again.notification) == (True, False, published.notification)
    await town.engine.worker().run_until_idle()
    matter = Matter.published(published.notification)
    await town.engine.personal.acknowledge(hal, published.notification)  # as any phone does
    await town.engine.personal.acknowledge(noa, published.notification)  # who is told of it, and not asked
    assert await notes.standing(matter, lou) == Standing(asked=4, met=3, unreachable=0, outdated=0, late=0)
    assert [slot.met for slot in (await notes.asked(matter, hal)).slots] == [True] * 3
    town.clock.advance(DAY)
    assert await reminded(town) == {"P13": 1}
    await notes.give(matter, ida)
    assert published.notification in await town.engine.personal.acknowledged(ida, [published.notification])
    assert (await notes.standing(matter, None)).missing == 0
    proof = await notes.proof(matter, lou)
    assert proof.version is not None and "Règlement" in proof.texts[proof.version]


async def test_an_announcement_to_a_school_without_somebody_asks_each_of_the_others(town: Town) -> None:
    notes = town.engine.acknowledgements
    audience = School(SCHOOL) - Person("P31")
    published = await notes.announce(Announcement(key="s", audience=audience, title="T", body="B"), Ask())
    await town.engine.worker().run_until_idle()
    matter = Matter.published(published.notification)
    asked = {each.person for each in (await notes.answerers(matter, None))[0]}
    for number in (*range(1, 6), *range(11, 16), 21, 22, 31):
        reader = await town.engine.reader(f"P{number}")
        try:
            await notes.give(matter, reader)
        except NotFound:
            assert reader.id not in asked
        else:
            assert reader.id in asked
    assert {"P1", "P11", "P21"} <= asked and not asked & {"P31", "P5", "P22", "P14"}
    standing = await notes.standing(matter, None)
    assert (standing.asked, standing.missing) == (len(asked), 0)
    with pytest.raises(NotFound):  # the host asked
        await notes.standing(matter, await town.engine.reader("P31"))


async def test_a_message_sent_later_asks_when_it_is_sent(town: Town) -> None:
    talks = town.engine.conversations
    (lou,) = await who(town, "P21")
    soon = LocalTime(TUESDAY.date(), (TUESDAY + timedelta(hours=3)).time(), "Europe/Paris")
    ask = Ask(AskKind.SIGNATURE, Quorum.ONE_GUARDIAN, TUESDAY + DAY, DAY)
    await talks.keep_draft(lou, new=outing(ask), sending=soon)
    town.clock.advance(timedelta(hours=1))
    await told(town)
    (thread,) = await talks.threads(lou)
    assert (await talks.messages(thread.id, lou))[0].asks is True
    (ida,) = await who(town, "P13")
    asked = await town.engine.acknowledgements.asked(Matter.message(thread.id, 1), ida)
    assert (asked.kind, asked.deadline) == (AskKind.SIGNATURE, TUESDAY + DAY)
    past = Ask(deadline=town.clock.now() + MINUTE)
    later = LocalTime(TUESDAY.date(), (TUESDAY + timedelta(hours=4)).time(), "Europe/Paris")
    await talks.keep_draft(lou, new=outing(past), sending=later)
    town.clock.advance(timedelta(hours=1))
    await told(town)
    assert [draft.state for draft in await talks.drafts(lou)] == [DraftState.REFUSED]


MODEL = Query(
    "model",
    "",
    """select a.person_id, a.child_id,
              a.child_id in (select o.child_id from ent_notify.asked_of_reader(r.id, a.person_id, $1) o) as same
       from ent_notify.acknowledgement_request r cross join lateral ent_notify.asked_of(r.id, $1) a""",
    ("now",),
)


async def test_who_is_asked_is_the_same_seen_from_the_request_and_from_the_reader(town: Town) -> None:
    (lou,) = await who(town, "P21")
    for quorum in Quorum:
        await town.engine.conversations.open(lou, outing(Ask(quorum=quorum)))
    new = NewConversation(shape=Shape.GROUP, subject="S", body="B", to=("P11", "P31"), ask=Ask())
    await town.engine.conversations.open(lou, new)
    rows = await town.engine.db.fetch(MODEL, now=town.clock.now())
    assert len(rows) == 3 + 5 + 5 + 2
    assert all(row["same"] for row in rows)
    pairs = {(f"P{row['child_id']}", f"P{row['person_id']}") for row in rows if row["child_id"]}
    assert pairs == {(child, guardian) for child, guardians in CHILDREN.items() for guardian in guardians}
