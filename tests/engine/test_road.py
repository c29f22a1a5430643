"""The road: publish, relay, plan, deliver, read, account."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from ent_notify.errors import ChannelDown, MalformedEvent, NotFound, UnknownAudience
from ent_notify.model.audience import Everyone, Group, GuardiansOf, Person, School
from ent_notify.model.delivery import Outgoing, Verdict, VerdictKind
from ent_notify.model.events import AbsenceRecorded, Announcement, HomeworkAssigned
from ent_notify.model.people import Profile

from .conftest import TUESDAY, Answer, Town

CLASS = "0540001A/class/6A"


def homework(key: str = "hw-1", **changes: Any) -> HomeworkAssigned:
    fields: dict[str, Any] = {
        "group": CLASS,
        "subject": "Maths",
        "title": "Exercice 4",
        "due": date(2026, 9, 10),
    } | changes
    return HomeworkAssigned(key=key, **fields)


async def test_an_event_reaches_its_class_and_guardians_on_every_channel(town: Town) -> None:
    published = await town.engine.publish(homework())
    await town.engine.worker().run_until_idle()

    assert published.created
    assert sorted(item.target for item in town.mail.sent) == [2, 4, 11, 12]  # 14 is restricted, 15 a mere contact
    assert sorted(item.address for item in town.apns.sent) == ["tok-1", "tok-11b"]
    assert sorted(item.address for item in town.fcm.sent) == ["tok-11a", "tok-12"]
    ledger = await town.engine.ledger(published.notification)
    # web: pupils 1-4 and guardians 11, 12, 13
    assert (ledger.planned, ledger.accepted, ledger.pending) == (7 + 4 + 4, 7 + 4 + 4, 0)
    assert ledger.adds_up


async def test_each_reader_finds_the_entry_and_the_children_it_is_about(town: Town) -> None:
    await town.engine.publish(homework())
    await town.engine.worker().run_until_idle()

    async def inbox(person: str) -> list[tuple[str, tuple[str, ...]]]:
        reader = await town.engine.reader(person)
        return [(entry.type, entry.children) for entry in await town.engine.inbox(reader)]

    assert await inbox("P1") == [("HomeworkAssigned", ())]
    assert await inbox("P11") == [("HomeworkAssigned", ("Ada",))]
    assert await inbox("P12") == [("HomeworkAssigned", ("Ada", "Cleo", "Dan"))]
    assert await inbox("P14") == []
    assert await inbox("P15") == []
    assert await inbox("P21") == []
    mail_to_12 = next(item for item in town.mail.sent if item.target == 12)
    assert mail_to_12.personal["children"] == "Ada, Cleo, Dan"


async def test_the_same_key_publishes_once(town: Town) -> None:
    first = await town.engine.publish(homework())
    second = await town.engine.publish(homework())
    await town.engine.worker().run_until_idle()
    assert (first.created, second.created) == (True, False)
    assert first.notification == second.notification
    assert len(town.mail.sent) == 4


async def test_a_rolled_back_transaction_publishes_nothing(town: Town) -> None:
    class Oops(Exception):
        pass

    with pytest.raises(Oops):
        async with town.engine.db.transaction() as tx:
            await tx.fetchval("publishing.publish", event=homework().to_json(), now=TUESDAY)
            raise Oops
    await town.engine.worker().run_until_idle()
    assert await town.engine.ledgers() == []
    assert (await town.engine.publish(homework())).created


async def test_minus_takes_people_out_everywhere(town: Town) -> None:
    audience = School("0540001A") - (Person("P12") | GuardiansOf(Person("P2")))
    published = await town.engine.publish(Announcement(key="a", title="T", body="B", audience=audience))
    await town.engine.worker().run_until_idle()
    ledger = await town.engine.ledger(published.notification)
    # school A: pupils 1-4, guardians 11 (12 and 13 taken out), teacher 21, staff 31
    readers = []
    for person in ("P1", "P2", "P3", "P4", "P5", "P11", "P12", "P13", "P21", "P22", "P31"):
        if await town.engine.inbox(await town.engine.reader(person)):
            readers.append(person)
    assert readers == ["P1", "P2", "P3", "P4", "P11", "P21", "P31"]
    assert sorted(item.target for item in town.mail.sent) == [2, 4, 11, 21, 31]
    assert ledger.adds_up


async def test_everyone_means_those_who_are_here(town: Town) -> None:
    published = await town.engine.publish(Announcement(key="a", title="T", body="B", audience=Everyone()))
    await town.engine.worker().run_until_idle()
    parts = {part.channel + part.provider: part for part in (await town.engine.ledgers())[0][1]}
    assert parts["web"].planned == 13  # everybody but pupil 6, who has left
    assert parts["email"].planned == 9
    assert parts["pushfcm"].planned == 3
    assert (await town.engine.ledger(published.notification)).accepted == 13 + 9 + 2 + 3


async def test_profiles_of_a_school(town: Town) -> None:
    audience = School("0540002B", Profile.GUARDIAN) | School("0540002B", Profile.TEACHER)
    await town.engine.publish(Announcement(key="a", title="T", body="B", audience=audience))
    await town.engine.worker().run_until_idle()
    assert sorted(item.target for item in town.mail.sent) == [11, 21, 22]


@pytest.mark.parametrize(
    ("event", "error", "named"),
    [
        ({"type": "Nope", "key": "k"}, MalformedEvent, "Nope"),
        ({"type": "HomeworkAssigned", "key": ""}, MalformedEvent, "key"),
        (homework(title="x" * 20_001).to_json(), MalformedEvent, "at most 20000 characters, not one of 20001"),
        ({"type": "HomeworkAssigned", "key": "k", "data": {"group": CLASS}}, MalformedEvent, "lacks its field"),
        (homework().to_json() | {"colour": "red"}, MalformedEvent, "colour"),
        (homework(group="0540001A/class/9Z").to_json(), UnknownAudience, "9Z"),
        (homework().to_json() | {"audience": {"school": "0999999Z"}}, UnknownAudience, "0999999Z"),
        (homework().to_json() | {"audience": {"person": "nobody"}}, UnknownAudience, "nobody"),
        (homework().to_json() | {"audience": {"groups": "x"}}, MalformedEvent, "groups"),
        (homework().to_json() | {"audience": []}, MalformedEvent, "audience"),
        (homework().to_json() | {"audience": {"union": []}}, MalformedEvent, "union"),
        (
            homework().to_json()
            | {"audience": {"minus": [{"group": CLASS}, {"minus": [{"group": CLASS}, {"group": CLASS}]}]}},
            MalformedEvent,
            "minus",
        ),
        (
            homework().to_json() | {"audience": {"guardians_of": {"guardians_of": {"group": CLASS}}}},
            MalformedEvent,
            "guard",
        ),
        (homework().to_json() | {"audience": {"guardians_of": {"everyone": True}}}, MalformedEvent, "profile"),
        (homework().to_json() | {"expires_at": "tomorrow"}, MalformedEvent, "tomorrow"),
        (homework().to_json() | {"urgency": "very"}, MalformedEvent, "very"),
        ({"type": "Announcement", "key": "k", "data": {"title": "T", "body": "B"}}, MalformedEvent, "audience"),
        ({**homework().to_json(), "data": homework().to_json()["data"] | {"due": "2026-02-30"}}, MalformedEvent, "due"),
    ],
)
async def test_a_wrong_event_is_refused_by_name_and_nothing_is_written(
    town: Town, event: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        await town.engine.publish(event)
    await town.engine.worker().run_until_idle()
    assert await town.engine.ledgers() == []


async def test_what_changed_since_the_plan_is_suppressed_with_its_reason(town: Town) -> None:
    published = await town.engine.publish(homework())
    await town.engine.worker().tick()
    reader = await town.engine.reader("P11")
    await town.engine.mark_all_read(reader, 1)
    await town.engine.db.script(
        "update ent_notify.person set hidden_at = '2026-09-08' where external_id = 'P2';"
        "delete from ent_notify.guardian_link where guardian_id = 12;"
        "insert into ent_notify.preference values (4, 'homework', 'email', false)"
    )
    await town.engine.worker().run_until_idle()
    ledger = await town.engine.ledger(published.notification)
    assert ledger.suppressed == {"left": 1, "no_longer_addressed": 2, "opted_out": 1, "read": 3}
    assert town.mail.sent == []
    assert ledger.adds_up
    assert ledger.pending == 0


async def test_a_pause_holds_and_loses_nothing(town: Town) -> None:
    town.clock.advance(timedelta(hours=11))  # 21:00 in Paris
    held = await town.engine.publish(homework())
    urgent = await town.engine.publish(AbsenceRecorded(key="abs", pupil="P1", starts_at=TUESDAY))
    await town.engine.worker().run_until_idle()
    ledger = await town.engine.ledger(held.notification)
    assert (ledger.held, ledger.accepted, ledger.pending) == (8, 7, 0)  # the web inbox is not held
    assert (await town.engine.ledger(urgent.notification)).held == 0
    explanation = await town.engine.explain(held.notification, "P11")
    assert {d.state for d in explanation.deliveries if d.channel != "web"} == {"held"}

    town.clock.advance(timedelta(hours=10))  # 07:00
    await town.engine.worker().run_until_idle()
    ledger = await town.engine.ledger(held.notification)
    assert (ledger.held, ledger.accepted, ledger.pending) == (0, 15, 0)


async def test_retries_come_back_and_end(town: Town) -> None:
    town.mail.answer = lambda _: Verdict(VerdictKind.RETRY_AT, "smtp.451")
    published = await town.engine.publish(homework())
    await town.engine.worker().run_until_idle()
    ledger = await town.engine.ledger(published.notification)
    assert (ledger.accepted, ledger.pending) == (11, 4)
    for _ in range(30):  # two days: none of it in a night
        town.clock.advance(timedelta(hours=2))
        await town.engine.worker().run_until_idle()
    ledger = await town.engine.ledger(published.notification)
    assert (ledger.pending, ledger.held) == (0, 0)
    assert ledger.failed == {"smtp.451": 4}
    sent = [item for item in town.mail.sent if item.notification == published.notification]
    assert len(sent) == 4 * 8  # eight tries each, no more
    assert len({item.dedup_id for item in sent}) == 4  # and every try under the same id


async def test_a_retry_that_succeeds_is_plain_success(town: Town) -> None:
    town.fcm.answer = lambda _: Verdict(VerdictKind.RETRY_AT, "fcm.503", retry_after=10)
    published = await town.engine.publish(homework())
    await town.engine.worker().run_until_idle()
    town.fcm.answer = lambda _: Verdict(VerdictKind.ACCEPTED)
    town.clock.advance(timedelta(minutes=1))
    await town.engine.worker().run_until_idle()
    ledger = await town.engine.ledger(published.notification)
    assert (ledger.accepted, ledger.pending, ledger.failed) == (15, 0, {})


async def test_a_dropped_device_is_not_tried_again(town: Town) -> None:
    town.apns.answer = lambda item: Verdict(VerdictKind.DROP_TARGET, "apns.Unregistered")
    first = await town.engine.publish(homework("one"))
    await town.engine.worker().run_until_idle()
    assert (await town.engine.ledger(first.notification)).failed == {"apns.Unregistered": 2}
    await town.engine.publish(homework("two"))
    await town.engine.worker().run_until_idle()
    assert len(town.apns.sent) == 2


async def test_explain_says_why_on_each_channel(town: Town) -> None:
    town.mail.answer = lambda item: (
        Verdict(VerdictKind.BAD_MESSAGE, "smtp.552") if item.target == 11 else Verdict(VerdictKind.ACCEPTED)
    )
    published = await town.engine.publish(homework())
    await town.engine.worker().run_until_idle()

    async def states(person: str) -> list[tuple[str, str, str | None]]:
        explanation = await town.engine.explain(published.notification, person)
        return [(d.channel + d.provider, d.state, d.reason) for d in explanation.deliveries]

    assert await states("P11") == [
        ("web", "accepted", None),
        ("email", "failed", "smtp.552"),
        ("pushapns", "accepted", None),
        ("pushfcm", "accepted", None),
    ]
    assert await states("P13") == [
        ("web", "accepted", None),
        ("email", "not_planned", "no_address"),
        ("push", "not_planned", "no_device"),
    ]
    assert await states("P21") == [
        ("web", "not_planned", "not_addressed"),
        ("email", "not_planned", "not_addressed"),
        ("push", "not_planned", "not_addressed"),
    ]
    with pytest.raises(NotFound):
        await town.engine.explain(published.notification, "nobody")


async def test_read_marks_survive_in_any_order(town: Town) -> None:
    for number in range(5):
        await town.engine.publish(homework(f"hw-{number}"))
    await town.engine.worker().run_until_idle()
    reader = await town.engine.reader("P1")
    await town.engine.mark_read(reader, [4])
    await town.engine.mark_read(reader, [2, 4])
    await town.engine.mark_all_read(reader, 3)
    read = {entry.seq: entry.is_read for entry in await town.engine.inbox(reader)}
    assert read == {5: False, 4: True, 3: True, 2: True, 1: True}
    page = await town.engine.inbox(reader, before=4, most=2)
    assert [entry.seq for entry in page] == [3, 2]


async def test_a_message_is_a_row_and_a_notification_to_the_others(town: Town) -> None:
    conversation, seq = await town.engine.start_conversation("P21", ["P11"], "Sortie", "Bonjour")
    assert seq == 1
    assert await town.engine.post(conversation, "P11", "Merci") == 2
    await town.engine.worker().run_until_idle()
    parent = await town.engine.reader("P11")
    seen = await town.engine.conversation(conversation, parent)
    assert [(m.seq, m.author, m.body) for m in seen.messages] == [(1, "P21", "Bonjour"), (2, "P11", "Merci")]
    assert [e.type for e in await town.engine.inbox(parent)] == ["MessagePosted"]  # not of one's own post
    with pytest.raises(NotFound):
        await town.engine.post(conversation, "P12", "I am a stranger")
    with pytest.raises(NotFound):
        await town.engine.conversation(conversation, await town.engine.reader("P12"))


async def test_group_sent_to_twice_is_read_once(town: Town) -> None:
    audience = Group(CLASS) | Group(CLASS) | Person("P1") | GuardiansOf(Group(CLASS)) | GuardiansOf(Person("P1"))
    published = await town.engine.publish(Announcement(key="a", title="T", body="B", audience=audience))
    await town.engine.worker().run_until_idle()
    assert len(await town.engine.inbox(await town.engine.reader("P1"))) == 1
    assert len(town.mail.sent) == len({item.target for item in town.mail.sent})
    assert (await town.engine.ledger(published.notification)).accepted == 15


async def test_a_limited_lane_sends_at_its_pace_and_loses_nothing(town: Town) -> None:
    await town.engine.set_rate("email", 0.5)
    await town.engine.set_rate("push:fcm:fr.ent", 2)
    began = town.clock.now()
    published = await town.engine.publish(Announcement(key="a", title="T", body="B", audience=Everyone()))
    await town.engine.worker().run_until_idle()
    assert (await town.engine.ledger(published.notification)).pending == 0
    assert len(town.mail.sent) == 9
    # nine mails at one in two seconds: the last may not leave before sixteen seconds have gone by
    assert town.clock.now() - began >= timedelta(seconds=16)


async def test_a_provider_that_is_down_loses_nothing(town: Town) -> None:
    town.fcm.answer = down("fcm")
    published = await town.engine.publish(homework())
    await town.engine.worker().run_until_idle()
    lane = next(lane for lane in await town.engine.lanes() if lane.provider == "fcm")
    assert lane.paused_until > town.clock.now()
    assert lane.pause_reason == "unreachable"
    assert (await town.engine.ledger(published.notification)).pending == 2
    town.fcm.answer = lambda _: Verdict(VerdictKind.ACCEPTED)
    town.clock.advance(timedelta(minutes=5))
    await town.engine.worker().run_until_idle()
    assert (await town.engine.ledger(published.notification)).accepted == 15


def down(channel: str) -> Answer:
    def answer(_: Outgoing) -> Verdict:
        raise ChannelDown(channel, "unreachable", 120)

    return answer
