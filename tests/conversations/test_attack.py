"""March 2024: a hijacked pupil account writes to thousands. The school here is as open as rules can make it, and the
limits, which are the defaults, stop the account alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import time, timedelta

import pytest
import trio
from tests.engine.conftest import TUESDAY, Town, open_town

from ent_notify.errors import NotAllowed, Suspended
from ent_notify.model.conversations import DraftState, LocalTime, NewConversation, Shape
from ent_notify.model.inbox import Reader
from ent_notify.model.safety import CaseKind
from ent_notify.settings import SafetySettings
from ent_notify.store.sql import Query

from .conftest import who
from .safe_town import MINUTE, add_office, inbox_types, moderators, outcome_of, work

PUPILS = 3_000
THOUSANDS = f"""
set search_path = ent_notify;
insert into person (id, external_id, source, profile, given_name, family_name, created_at) overriding system value
select n, 'P' || n, 'test', 1, 'Élève', n::text, '2026-09-01' from generate_series(1001, {1000 + PUPILS}) n;
insert into membership (group_id, person_id, valid_from)
select g.id, n, '2026-09-01' from people_group g, generate_series(1001, {1000 + PUPILS}) n
where g.external_id = '0540001A/pupils';
insert into device (person_id, provider, app, token, registered_at)
select n, 'apns', 'fr.ent', 'tok-' || n, '2026-09-01' from generate_series(1001, {1000 + PUPILS}) n;
"""
OPEN = {
    "allow": [
        {"from": "pupil", "to": profile, "when": ["same_school"]}
        for profile in ("pupil", "guardian", "teacher", "staff")
    ],
    "groups": ["pupil", "teacher", "staff"],
}
THREAT = "Une menace"
REACHED = Query(
    "reached", "",
    "select distinct p.person_id from ent_notify.message m join ent_notify.participant p using (conversation_id) "
    "where m.author_id = 1 and p.person_id <> 1", (),
)  # fmt: skip
SHOWN = Query(
    "shown", "",
    "select count(*) as texts from ent_notify.message m join ent_notify.conversation c on c.id = m.conversation_id "
    "where m.body || c.subject like '%menace%'", (),
)  # fmt: skip
TOLD = Query(
    "told", "",
    "select count(*) filter (where data::text like '%menace%') as menacing, "
    "count(*) filter (where type = 'MessagePosted') as posted, "
    "count(*) filter (where type = 'Withdrawn' and withdraws is null) as withdrawn from ent_notify.notification", (),
)  # fmt: skip


@pytest.fixture
def attacked_dsn(taught_dsn: str) -> str:
    return add_office(taught_dsn, THOUSANDS)


@pytest.fixture
async def town(attacked_dsn: str) -> AsyncIterator[Town]:
    async with open_town(attacked_dsn) as town:
        yield town


async def attack(town: Town, ada: Reader, first: int, step: int, size: int) -> None:
    """Write to everybody, ``size`` people at a time, until nothing goes any more."""
    for start in range(first, 1001 + PUPILS, step):
        to = tuple(f"P{n}" for n in range(start, min(start + size, 1001 + PUPILS)))
        new = NewConversation(shape=Shape.GROUP, subject=f"{THREAT} {start}", body=THREAT, to=to)
        if await outcome_of(town.engine.conversations.open, ada, new) == "Suspended":
            return


async def test_a_hijacked_account_reaches_few_stops_by_itself_and_all_is_taken_back(town: Town) -> None:
    talks, safety = town.engine.conversations, town.engine.safety
    ada, victim, lou = await who(town, "P1", "P1001", "P21")
    _, direction, _ = await moderators(town)
    await talks.set_contact_rules(OPEN, by="P31", school="0540001A")
    town.clock.advance(MINUTE)
    honest, _ = await talks.open(ada, NewConversation(shape=Shape.DIRECT, body="Bonjour", to=("P21",)))
    town.clock.advance(MINUTE)
    began = town.clock.now()
    later = LocalTime(TUESDAY.date(), time(13, 0), "Europe/Paris")
    new = NewConversation(shape=Shape.DIRECT, body=THREAT, to=("P22",))
    await talks.keep_draft(ada, new=new, sending=later)

    # Five browsers at once. The worker announces part of it meanwhile.
    await attack(town, ada, 1001, PUPILS, 25)
    await work(town)
    async with trio.open_nursery() as nursery:
        for browser in range(5):
            nursery.start_soon(attack, town, ada, 1026 + browser * 25, 125, 25)

    limit = SafetySettings().pupil_new
    reached = {row["person_id"] for row in await town.engine.db.fetch(REACHED)}
    assert 0 < len(reached) <= limit == 150

    # The rules have quarantined the account, and told those who moderate.
    assert [each.person for each in await safety.restraints(direction)] == ["P1"]
    (case,) = await safety.queue(direction)
    assert (case.kind, case.person) == (CaseKind.SENDER, "P1")
    for act in (talks.post(honest, ada, THREAT), talks.edit(honest, 1, ada, THREAT), talks.send_draft(ada, 1)):
        with pytest.raises(Suspended):
            await act
    before = len(town.apns.sent)
    await work(town)
    assert await inbox_types(town, "P32") == ["ModerationAlert"]
    assert len(town.apns.sent) == before  # nothing more of it was announced

    # One call takes all of it back, in batches, and says who had read it.
    await talks.mark_read(victim, honest + 1, 1)
    run = await safety.recall_all(direction, "P1", began, "a hijacked account", batch=2)
    assert (run.recalled, run.ended_at) == (len(reached - {21}) // 25, town.clock.now())
    readers, more = await safety.recall_readers(direction, run.id)
    assert ([(each.person, each.messages) for each in readers], more) == ([("P1001", 1)], None)
    await work(town)
    (texts,) = await town.engine.db.fetch(SHOWN)
    (told,) = await town.engine.db.fetch(TOLD)
    assert (texts["texts"], told["menacing"], told["withdrawn"]) == (0, 0, 1)
    assert await inbox_types(town, "P1001") == ["Withdrawn"]
    assert len(town.apns.sent) == before + 25  # each push that was shown was replaced
    assert [m.body for m in await talks.messages(honest, lou)] == ["Bonjour"]  # what was honest stays
    assert [draft.state for draft in await talks.drafts(ada)] == [DraftState.REFUSED]
    assert len((await safety.case(direction, case.id)).evidence) == run.recalled

    # The pupil gets the account back: nothing of the attack comes with it.
    await safety.release(direction, "P1", "the password was changed")
    town.clock.advance(timedelta(hours=4))
    await work(town)
    (texts,) = await town.engine.db.fetch(SHOWN)
    assert texts["texts"] == 0
    assert await talks.post(honest, ada, "Merci") == 2


async def test_under_the_default_rules_it_reaches_no_pupil_and_is_stopped_as_well(town: Town) -> None:
    talks = town.engine.conversations
    (ada,) = await who(town, "P1")
    said = []
    for number in range(40):
        new = NewConversation(shape=Shape.DIRECT, body=THREAT, to=(f"P{1001 + number}",))
        said.append(await outcome_of(talks.open, ada, new))
    assert said == ["ContactRefused"] * 26 + ["Suspended"] * 14
    assert await town.engine.db.fetch(REACHED) == []


async def test_a_recall_that_was_cut_off_is_gone_on_with_by_a_worker(town: Town) -> None:
    talks, safety = town.engine.conversations, town.engine.safety
    lou, gil = await who(town, "P21", "P11")
    _, direction, _ = await moderators(town)
    conversation, _ = await talks.open(lou, NewConversation(shape=Shape.DIRECT, body=THREAT, to=("P11",)))
    for _ in range(6):
        await talks.post(conversation, lou, THREAT)
    store = safety._store  # the process ends after the first batch
    run = await store.start_run("P21", TUESDAY, "P31", "cut off", town.clock.now())
    assert await store.go_on(run, 3, town.clock.now())
    assert [m.body for m in await talks.messages(conversation, gil)] == [THREAT] * 4 + [""] * 3  # the newest first
    await work(town)
    assert [m.body for m in await talks.messages(conversation, gil)] == [""] * 7
    found = await safety.recall_run(direction, run)
    assert (found.recalled, found.ended_at) == (7, town.clock.now())
    with pytest.raises(NotAllowed):
        await safety.recall_run(await safety.moderator(await town.engine.reader("P32")), run)
