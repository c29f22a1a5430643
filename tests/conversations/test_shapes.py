"""Shapes of conversations: who takes part, who sees what, who may answer."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.engine.conftest import Town

from ent_notify.errors import MalformedMessage, NotAllowed, NotFound
from ent_notify.model.conversations import (
    Circle,
    Copy,
    LateJoiners,
    NewConversation,
    Replies,
    Scope,
    Shape,
)
from ent_notify.store.sql import Query

from .conftest import CLASS, SCHOOL, bodies, who

COUNT_PARTICIPANTS = Query("participants", "", "select count(*) from ent_notify.participant", ())
NOW = "2026-09-08 08:00+00"
MINUTE = timedelta(minutes=1)
JOINS = """
insert into ent_notify.membership (group_id, person_id, valid_from)
select id, 5, '{at}' from ent_notify.people_group where external_id = '0540001A/class/6A'
"""


def direct(to: str, body: str = "Bonjour") -> NewConversation:
    return NewConversation(shape=Shape.DIRECT, body=body, to=(to,))


async def test_two_people_find_the_same_direct_conversation_whoever_writes(town: Town) -> None:
    talks = town.engine.conversations
    lou, gil = await who(town, "P21", "P11")
    first = await talks.open(lou, direct("P11", "Bonjour"))
    assert await talks.open(gil, direct("P21", "Merci")) == (first[0], 2)
    assert await bodies(town, first[0], lou) == ["Bonjour", "Merci"]
    with pytest.raises(NotAllowed):
        await talks.add(first[0], lou, ["P12"])


async def test_unread_is_what_was_written_since(town: Town) -> None:
    talks = town.engine.conversations
    lou, gil = await who(town, "P21", "P11")
    conversation, _ = await talks.open(lou, direct("P11"))
    await talks.post(conversation, lou, "Encore")
    assert (await talks.thread(conversation, gil)).unread == 2
    assert (await talks.thread(conversation, lou)).unread == 0
    assert await talks.mark_read(gil, conversation, 1) == 1
    assert (await talks.thread(conversation, gil)).unread == 1
    assert await talks.mark_read(gil, conversation, 99) == 2
    assert await talks.mark_read(gil, conversation, 1) == 2
    assert (await talks.recall(conversation, 1, lou)).readers == ("P11",)


async def test_copies_are_seen_and_blind_copies_are_not(town: Town) -> None:
    talks = town.engine.conversations
    lou, gil, hal, noa = await who(town, "P21", "P11", "P12", "P31")
    conversation, _ = await talks.open(
        lou,
        NewConversation(
            shape=Shape.GROUP, subject="Sortie", body="Bonjour", to=("P11",), copy=("P12",), blind=("P31",)
        ),
    )
    seen = {m.person: m.copy for m in (await talks.members(conversation, gil)).people}
    assert seen == {"P21": Copy.TO, "P11": Copy.TO, "P12": Copy.COPY}
    assert "P31" in {m.person for m in (await talks.members(conversation, lou)).people}
    assert "P31" in {m.person for m in (await talks.members(conversation, noa)).people}
    await talks.post(conversation, gil, "Oui")
    assert await bodies(town, conversation, hal) == ["Bonjour", "Oui"]
    assert await bodies(town, conversation, noa) == ["Bonjour"]  # a blind copy is of one message
    with pytest.raises(NotAllowed):
        await talks.post(conversation, noa, "Tiens")
    # but they may answer who wrote
    answered, _ = await talks.reply_to_sender(conversation, 1, noa, "Vu")
    assert await bodies(town, answered, lou) == ["Vu"]
    with pytest.raises(NotFound):
        await talks.messages(answered, gil)


async def test_a_class_takes_part_without_a_row_for_each_and_follows_the_group(town: Town) -> None:
    talks = town.engine.conversations
    lou, ada, gil, jo, eva = await who(town, "P21", "P1", "P11", "P14", "P5")
    new = NewConversation(
        shape=Shape.CIRCLE, subject="Sortie", body="Bonjour",
        circles=(Circle(CLASS), Circle(CLASS, Scope.GUARDIANS)),
    )  # fmt: skip
    conversation, _ = await talks.open(lou, new)
    rows = await town.engine.db.fetchval(COUNT_PARTICIPANTS)
    assert rows == 1  # the author
    for reader in (ada, gil):
        assert await bodies(town, conversation, reader) == ["Bonjour"]
        assert [thread.id for thread in await talks.threads(reader)] == [conversation]
    for reader in (jo, eva):  # restricted by a court; of another school
        with pytest.raises(NotFound):
            await talks.messages(conversation, reader)
        assert await talks.threads(reader) == []
    members = await talks.members(conversation, gil)
    assert [m.person for m in members.people] == ["P21"]
    assert members.groups == ((CLASS, Scope.MEMBERS), (CLASS, Scope.GUARDIANS))
    assert await talks.post(conversation, gil, "Merci") == 2
    with pytest.raises(NotFound):
        await talks.leave(conversation, ada)
    await town.engine.db.script(f"update ent_notify.membership set valid_until = '{NOW}' where person_id = 1")
    with pytest.raises(NotFound):
        await talks.messages(conversation, ada)
    with pytest.raises(NotFound):
        await talks.post(conversation, ada, "Encore là ?")


@pytest.mark.parametrize(
    ("late", "seen"), [(LateJoiners.FROM_JOINING, ["Deux"]), (LateJoiners.EVERYTHING, ["Un", "Deux"])]
)
async def test_what_a_late_joiner_sees_is_a_stated_setting(town: Town, late: LateJoiners, seen: list[str]) -> None:
    talks = town.engine.conversations
    lou, eva = await who(town, "P21", "P5")
    new = NewConversation(shape=Shape.CIRCLE, subject="S", body="Un", circles=(Circle(CLASS),), late=late)
    conversation, _ = await talks.open(lou, new)
    town.clock.advance(MINUTE)
    await town.engine.db.script(JOINS.format(at=town.clock.now()))
    town.clock.advance(MINUTE)
    await talks.post(conversation, lou, "Deux")
    assert await bodies(town, conversation, eva) == seen
    assert (await talks.thread(conversation, eva)).unread == len(seen)


async def test_who_was_added_late_and_who_left_see_their_part(town: Town) -> None:
    talks = town.engine.conversations
    lou, gil, hal = await who(town, "P21", "P11", "P12")
    conversation, _ = await talks.open(lou, NewConversation(shape=Shape.GROUP, subject="S", body="Un", to=("P11",)))
    with pytest.raises(NotFound):
        await talks.messages(conversation, hal)
    with pytest.raises(NotAllowed):
        await talks.add(conversation, gil, ["P12"])  # who opened it may
    await talks.add(conversation, lou, ["P12"])
    await talks.post(conversation, lou, "Deux")
    await talks.leave(conversation, gil)
    await talks.post(conversation, lou, "Trois")
    assert await bodies(town, conversation, hal) == ["Deux", "Trois"]
    assert await bodies(town, conversation, gil) == ["Un", "Deux"]
    assert (await talks.thread(conversation, gil)).active is False
    assert (await talks.thread(conversation, gil)).unread == 2
    with pytest.raises(NotAllowed, match="no part"):
        await talks.post(conversation, gil, "Je reviens")
    await talks.add(conversation, lou, ["P11"])
    await talks.post(conversation, gil, "Quatre")
    assert await bodies(town, conversation, gil) == ["Quatre"]


async def test_nobody_answers_an_announcement_but_its_author_alone(town: Town) -> None:
    talks = town.engine.conversations
    lou, ada, bo = await who(town, "P21", "P1", "P2")
    new = NewConversation(shape=Shape.ANNOUNCEMENT, subject="S", body="Réunion", circles=(Circle(CLASS),))
    conversation, _ = await talks.open(lou, new)
    with pytest.raises(NotAllowed, match="nobody may answer"):
        await talks.post(conversation, ada, "Moi !")
    await talks.post(conversation, lou, "Rappel")
    answer, _ = await talks.reply_to_sender(conversation, 1, ada, "Je serai là")
    assert answer != conversation
    assert await bodies(town, answer, lou) == ["Je serai là"]
    assert await bodies(town, conversation, bo) == ["Réunion", "Rappel"]
    assert (await talks.thread(answer, lou)).subject == "S"


async def test_answers_may_go_to_the_sender_alone_and_peers_are_reached_as_the_school_allows(town: Town) -> None:
    talks = town.engine.conversations
    lou, ada, bo = await who(town, "P21", "P1", "P2")
    alone = NewConversation(
        shape=Shape.CIRCLE, subject="S", body="Un", circles=(Circle(CLASS),), replies=Replies.SENDER
    )
    conversation, _ = await talks.open(lou, alone)
    with pytest.raises(NotAllowed):
        await talks.post(conversation, ada, "À tous")
    among, _ = await talks.open(lou, NewConversation(shape=Shape.GROUP, subject="S", body="Un", to=("P1", "P2", "P3")))
    await talks.post(among, ada, "À tous")  # a teacher opened it for that
    assert await bodies(town, among, bo) == ["Un", "À tous"]
    with pytest.raises(NotAllowed):
        await talks.open(ada, direct("P2"))
    forbidden = {"forbid": [{"from": "pupil", "to": "pupil", "when": ["same_thread"]}]}
    await talks.set_contact_rules(forbidden, by="P31", school=SCHOOL)
    town.clock.advance(MINUTE)
    assert await talks.contact_rules(SCHOOL) == forbidden
    with pytest.raises(NotAllowed):
        await talks.post(among, bo, "Et moi ?")
    await talks.post(among, lou, "Je clos")


async def test_closing_ends_writing_for_all(town: Town) -> None:
    talks = town.engine.conversations
    lou, gil = await who(town, "P21", "P11")
    conversation, _ = await talks.open(lou, NewConversation(shape=Shape.GROUP, subject="S", body="Un", to=("P11",)))
    with pytest.raises(NotAllowed):
        await talks.close(conversation, gil)
    await talks.close(conversation, lou)
    for reader in (lou, gil):
        with pytest.raises(NotAllowed, match="closed"):
            await talks.post(conversation, reader, "Encore")
        assert (await talks.thread(conversation, reader)).closed
    assert await bodies(town, conversation, gil) == ["Un"]


async def test_a_staff_conversation_about_a_pupil_is_of_staff_alone(town: Town) -> None:
    talks = town.engine.conversations
    lou, noa, ada, gil, max_ = await who(town, "P21", "P31", "P1", "P11", "P22")
    new = NewConversation(
        shape=Shape.STAFF,
        subject="Ada",
        body="Un mot",
        to=("P31",),
        circles=(Circle(f"{SCHOOL}/teachers"),),
        about="P1",
    )
    conversation, _ = await talks.open(lou, new)
    assert await bodies(town, conversation, noa) == ["Un mot"]
    for stranger in (ada, gil, max_):
        with pytest.raises(NotFound):
            await talks.messages(conversation, stranger)
    family = NewConversation(shape=Shape.STAFF, subject="Ada", body="Un mot", to=("P11",), about="P1")
    with pytest.raises(NotAllowed, match="only teachers and staff"):
        await talks.open(lou, family)
    with pytest.raises(NotAllowed):  # not of the pupil's school
        await talks.open(max_, NewConversation(shape=Shape.STAFF, subject="Ada", body="?", to=("P21",), about="P1"))


async def test_guardians_may_join_a_conversation_about_their_child_and_no_others_do(town: Town) -> None:
    talks = town.engine.conversations
    lou, gil, hal, jo, ida = await who(town, "P21", "P11", "P12", "P14", "P13")
    new = NewConversation(shape=Shape.CHILD, subject="Ada", body="Un", about="P1", late=LateJoiners.EVERYTHING)
    conversation, _ = await talks.open(lou, new)
    assert await talks.joinable(gil) == [(conversation, "Ada", "Ada")]
    for stranger in (jo, ida):  # guardians of another child
        assert await talks.joinable(stranger) == []
        with pytest.raises(NotFound):
            await talks.join(conversation, stranger)
    with pytest.raises(NotFound):
        await talks.messages(conversation, gil)
    for guardian in (gil, hal):
        await talks.join(conversation, guardian)
        await talks.join(conversation, guardian)
    assert await talks.joinable(gil) == []
    assert await talks.post(conversation, gil, "Merci") == 2
    assert await bodies(town, conversation, hal) == ["Un", "Merci"]
    await town.engine.db.script("update ent_notify.guardian_link set restricted = true where guardian_id = 12")
    with pytest.raises(NotFound):  # a court's decision ends it at once
        await talks.messages(conversation, hal)
    with pytest.raises(NotFound):
        await talks.post(conversation, hal, "?")


BAD = {
    "one person": NewConversation(shape=Shape.DIRECT, body="B", to=("P11", "P12")),
    "takes no groups": NewConversation(shape=Shape.GROUP, subject="S", body="B", circles=(Circle(CLASS),)),
    "name one": NewConversation(shape=Shape.CIRCLE, subject="S", body="B"),
    "to somebody": NewConversation(shape=Shape.GROUP, subject="S", body="B"),
    "about a pupil": NewConversation(shape=Shape.CHILD, subject="S", body="B"),
    "twice": NewConversation(shape=Shape.GROUP, subject="S", body="B", to=("P11",), blind=("P11",)),
    "the language": NewConversation(shape=Shape.GROUP, subject="S", body="B", to=("P11",), language="français"),
    "the subject": NewConversation(shape=Shape.GROUP, body="B", to=("P11",)),
    "the message": NewConversation(shape=Shape.DIRECT, body=" ", to=("P11",)),
}


@pytest.mark.parametrize("told", BAD)
async def test_what_cannot_be_a_conversation_is_refused(town: Town, told: str) -> None:
    (lou,) = await who(town, "P21")
    with pytest.raises(MalformedMessage, match=told):
        await town.engine.conversations.open(lou, BAD[told])


async def test_pages_go_on_without_gaps_and_subject_and_language_are_kept(town: Town) -> None:
    talks = town.engine.conversations
    (lou, gil) = await who(town, "P21", "P11")
    new = NewConversation(shape=Shape.GROUP, subject="Sortie", body="1", to=("P11",), language="pt-BR")
    conversation, _ = await talks.open(lou, new)
    for number in range(2, 8):
        await talks.post(conversation, lou, str(number), answers=1)
    pages, after = [], 0
    while page := await talks.messages(conversation, gil, after, most=3):
        pages.append([message.seq for message in page])
        after = page[-1].seq
    assert pages == [[1, 2, 3], [4, 5, 6], [7]]
    thread = await talks.thread(conversation, gil)
    assert (thread.subject, thread.language, thread.last_seq) == ("Sortie", "pt-BR", 7)


async def test_threads_are_paged_newest_first(town: Town) -> None:
    talks = town.engine.conversations
    (lou, gil) = await who(town, "P21", "P11")
    numbers = []
    for body in "abcde":
        new = NewConversation(shape=Shape.GROUP, subject="S", body=body, to=("P11",))
        numbers.append((await talks.open(lou, new))[0])
        town.clock.advance(MINUTE)
    await talks.post(numbers[0], lou, "de nouveau")
    first = await talks.threads(gil, most=3)
    assert [thread.id for thread in first] == [numbers[0], numbers[4], numbers[3]]
    rest = await talks.threads(gil, most=3, before=(first[-1].last_at, first[-1].id))
    assert [thread.id for thread in rest] == [numbers[2], numbers[1]]
