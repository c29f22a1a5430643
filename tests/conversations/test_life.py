"""The life of a message: drafts, sending later, edits, recalls, what each reader keeps."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.conftest import TUESDAY, Town, open_town

from ent_notify.errors import MalformedMessage, NotAllowed, NotFound
from ent_notify.model.conversations import Circle, DraftState, LocalTime, NewConversation, Replies, Scope, Shape
from ent_notify.model.inbox import Reader
from ent_notify.policy.local_time import instant_of
from ent_notify.wire.drafts import draft_data, draft_from

from .conftest import CLASS, bodies, told, who

MINUTE = timedelta(minutes=1)


async def pair(town: Town) -> tuple[int, Reader, Reader]:
    """A direct conversation of Lou and Gil, with one message."""
    lou, gil = await who(town, "P21", "P11")
    new = NewConversation(shape=Shape.DIRECT, body="Un", to=("P11",))
    return (await town.engine.conversations.open(lou, new))[0], lou, gil


# ------------------------------------------------------------------ drafts and sending later


async def test_a_draft_is_kept_changed_sent_once_and_seen_by_its_author_alone(town: Town) -> None:
    talks = town.engine.conversations
    conversation, lou, gil = await pair(town)
    draft = await talks.keep_draft(lou, conversation=conversation, body="Brou")
    assert await talks.keep_draft(lou, draft=draft, conversation=conversation, body="Brouillon") == draft
    (kept,) = await talks.drafts(lou)
    assert (kept.body, kept.state, await talks.drafts(gil)) == ("Brouillon", DraftState.DRAFT, [])
    for act in (talks.send_draft, talks.forget_draft):
        with pytest.raises(NotFound):
            await act(gil, draft)
    assert await talks.send_draft(lou, draft) == (conversation, 2)
    assert await talks.send_draft(lou, draft) == (conversation, 2)
    assert await bodies(town, conversation, gil) == ["Un", "Brouillon"]
    assert await talks.drafts(lou) == []
    with pytest.raises(NotFound):
        await talks.keep_draft(lou, draft=draft, conversation=conversation, body="Trop tard")


async def test_a_draft_may_be_to_nobody_yet_and_thrown_away(town: Town) -> None:
    talks = town.engine.conversations
    (lou,) = await who(town, "P21")
    draft = await talks.keep_draft(lou, body="À qui ?")
    with pytest.raises(MalformedMessage, match="to nobody yet"):
        await talks.send_draft(lou, draft)
    await talks.forget_draft(lou, draft)
    assert await talks.drafts(lou) == []
    with pytest.raises(NotFound):
        await talks.keep_draft(lou, conversation=99, body="Ailleurs")


async def test_a_message_is_sent_at_its_local_hour_by_whichever_worker_runs_then(taught_dsn: str) -> None:
    at_eleven = LocalTime(TUESDAY.date(), time(11, 0), "Europe/Paris")  # it is ten in Paris
    async with open_town(taught_dsn) as town:
        conversation, lou, _ = await pair(town)
        talks = town.engine.conversations
        await talks.keep_draft(lou, conversation=conversation, body="Onze heures", sending=at_eleven)
        new = NewConversation(
            shape=Shape.CIRCLE, subject="Classe", body="Toute la classe", circles=(Circle(CLASS, Scope.GUARDIANS),)
        )
        await talks.keep_draft(lou, new=new, sending=at_eleven)
        await town.engine.worker().run_until_idle()
        assert [draft.state for draft in await talks.drafts(lou)] == [DraftState.SCHEDULED] * 2
    async with open_town(taught_dsn, TUESDAY + 59 * MINUTE) as town:  # everything was restarted
        assert "P13" not in await told(town)
        town.clock.advance(MINUTE)
        again = await told(town)
        assert again["P13"] == [conversation + 1]
        assert await told(town) == again
        lou, gil = await who(town, "P21", "P11")
        assert await bodies(town, conversation, gil) == ["Un", "Onze heures"]
        assert await town.engine.conversations.drafts(lou) == []


async def test_whether_it_may_be_sent_is_looked_at_again_when_its_hour_comes(town: Town) -> None:
    talks = town.engine.conversations
    (lou,) = await who(town, "P21")
    soon = LocalTime(TUESDAY.date(), time(10, 30), "Europe/Paris")
    new = NewConversation(shape=Shape.DIRECT, body="Bonjour", to=("P11",))
    await talks.keep_draft(lou, new=new, sending=soon)
    closed = {"allow": [{"from": "teacher", "to": "guardian", "when": []}]}
    await talks.set_contact_rules(closed, by="P31")
    town.clock.advance(31 * MINUTE)
    assert await told(town) == {}
    (kept,) = await talks.drafts(lou)
    assert kept.state is DraftState.REFUSED
    assert "may not open a conversation" in (kept.refusal or "")


async def test_a_zone_whose_rules_have_changed_moves_the_instant_and_not_the_hour(town: Town) -> None:
    talks = town.engine.conversations
    conversation, lou, gil = await pair(town)
    soon = LocalTime(TUESDAY.date(), time(10, 30), "Europe/Paris")
    draft = await talks.keep_draft(lou, conversation=conversation, body="Dix heures trente", sending=soon)
    for kept_as in (TUESDAY - MINUTE, TUESDAY + timedelta(hours=2)):  # as other rules would have had it
        await town.engine.db.script(f"update ent_notify.message_draft set due_at = '{kept_as}' where id = {draft}")
        await town.engine.worker().run_until_idle()
        (kept,) = await talks.drafts(lou)
        assert kept.due_at == TUESDAY + 30 * MINUTE
    town.clock.advance(30 * MINUTE)
    await town.engine.worker().run_until_idle()
    assert await bodies(town, conversation, gil) == ["Un", "Dix heures trente"]


@pytest.mark.parametrize(
    ("on", "at", "instant"),
    [
        (date(2026, 3, 29), time(2, 30), datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),  # does not exist: 03:30
        (date(2026, 10, 25), time(2, 30), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),  # twice: the first
        (date(2026, 9, 8), time(10, 0), TUESDAY),
    ],
)
def test_local_hours_on_the_days_when_clocks_change(on: date, at: time, instant: datetime) -> None:
    assert instant_of(LocalTime(on, at, "Europe/Paris")) == instant


def test_a_zone_or_an_hour_that_is_none_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="Europe/Pari"):
        instant_of(LocalTime(date(2026, 9, 8), time(10), "Europe/Pari"))
    with pytest.raises(MalformedMessage, match="offset"):
        instant_of(LocalTime(date(2026, 9, 8), time(10, tzinfo=UTC), "Europe/Paris"))


news = st.builds(
    NewConversation,
    shape=st.sampled_from(Shape),
    body=st.text(),
    subject=st.text(),
    to=st.lists(st.text()).map(tuple),
    circles=st.lists(st.builds(Circle, st.text(), st.sampled_from(Scope))).map(tuple),
    about=st.none() | st.text(),
    replies=st.sampled_from(Replies),
    replying=st.none() | st.tuples(st.integers(), st.integers()),
)


@given(news)
def test_a_draft_is_read_back_as_it_was_written(new: NewConversation) -> None:
    assert draft_from(draft_data(new, "")) == (new, new.body)


# ------------------------------------------------------------------ edits and recalls


async def test_an_edit_within_the_window_keeps_what_was_before_for_moderators(town: Town) -> None:
    talks = town.engine.conversations
    conversation, lou, gil = await pair(town)
    with pytest.raises(NotAllowed):
        await talks.edit(conversation, 1, gil, "Pas à moi")
    town.clock.advance(15 * MINUTE)
    await talks.edit(conversation, 1, lou, "Corrigé")
    await talks.edit(conversation, 1, lou, "Corrigé")
    (seen,) = await talks.messages(conversation, gil)
    assert (seen.body, seen.edited_at) == ("Corrigé", town.clock.now())
    (before,) = await talks.history(conversation, 1, lou)
    assert (before.body, before.changed_by) == ("Un", "P21")
    town.clock.advance(MINUTE)
    with pytest.raises(NotAllowed, match="15 minutes"):
        await talks.edit(conversation, 1, lou, "Trop tard")
    with pytest.raises(NotFound):
        await talks.edit(conversation, 2, lou, "Rien")


async def test_a_recall_takes_the_text_from_all_and_replaces_what_phones_show(town: Town) -> None:
    talks = town.engine.conversations
    conversation, lou, gil = await pair(town)
    await talks.edit(conversation, 1, lou, "Secret")
    assert await told(town) == {"P11": [conversation]}
    shown = len(town.fcm.sent) + len(town.apns.sent)
    assert shown == 2
    await talks.mark_read(gil, conversation, 1)
    with pytest.raises(NotAllowed):
        await talks.recall(conversation, 1, gil)
    recalled = await talks.recall(conversation, 1, lou)
    assert recalled.readers == ("P11",)
    assert await talks.recall(conversation, 1, lou) == recalled
    await town.engine.worker().run_until_idle()
    assert len(town.fcm.sent) + len(town.apns.sent) == 2 * shown  # each was replaced
    (seen,) = await talks.messages(conversation, gil)
    assert (seen.body, seen.recalled_at) == ("", town.clock.now())
    (entry,) = await town.engine.inbox(gil)
    assert (entry.type, entry.data) == ("Withdrawn", {})
    assert [before.body for before in await talks.history(conversation, 1, lou)] == [None]
    with pytest.raises(NotAllowed):
        await talks.edit(conversation, 1, lou, "De retour")
    assert await talks.post(conversation, gil, "Dommage") == 2


async def test_who_reads_on_after_a_recall_had_not_read_it(town: Town) -> None:
    talks = town.engine.conversations
    conversation, lou, gil = await pair(town)
    assert (await talks.recall(conversation, 1, lou)).readers == ()
    await talks.mark_read(gil, conversation, 1)
    assert (await talks.recall(conversation, 1, lou)).readers == ()
    assert await told(town) == {}  # what was not announced never is


# ------------------------------------------------------------------ what each reader keeps


async def test_what_one_deletes_is_gone_for_oneself_alone(town: Town) -> None:
    talks = town.engine.conversations
    conversation, lou, gil = await pair(town)
    await talks.post(conversation, lou, "Deux")
    await talks.delete(conversation, gil, 1)
    await talks.delete(conversation, gil, 1)
    assert await bodies(town, conversation, gil) == ["Deux"]
    assert (await talks.thread(conversation, gil)).unread == 1
    await talks.delete(conversation, gil)
    assert await talks.threads(gil) == []
    assert await bodies(town, conversation, lou) == ["Un", "Deux"]
    await talks.post(conversation, lou, "Trois")  # it comes back with what is new
    assert [thread.unread for thread in await talks.threads(gil)] == [1]
    assert await bodies(town, conversation, gil) == ["Trois"]


async def test_archive_favourites_labels_and_mute_are_one_s_own(town: Town) -> None:
    talks = town.engine.conversations
    conversation, lou, gil = await pair(town)
    await talks.keep(conversation, gil, archived=True, favourite=True, labels=["Ada", "Ada", "à lire"])
    assert await talks.threads(gil) == []
    (kept,) = await talks.threads(gil, archived=True, favourite=True, label="Ada")
    assert (kept.labels, kept.archived, kept.favourite, kept.muted) == (("Ada", "à lire"), True, True, False)
    assert await talks.threads(gil, archived=None, label="Autre") == []
    await talks.keep(conversation, gil, archived=False)
    assert [thread.favourite for thread in await talks.threads(gil)] == [True]
    assert [thread.favourite for thread in await talks.threads(lou)] == [False]
    with pytest.raises(MalformedMessage, match="a label"):
        await talks.keep(conversation, gil, labels=[""])
    with pytest.raises(MalformedMessage, match="at most 20"):
        await talks.keep(conversation, gil, labels=[str(n) for n in range(21)])


async def test_who_is_blocked_cannot_go_on_and_is_not_told_why(town: Town) -> None:
    talks = town.engine.conversations
    lou, gil, hal = await who(town, "P21", "P11", "P12")
    await talks.set_contact_rules({"allow": [{"from": "guardian", "to": "guardian", "when": ["same_class"]}]}, by="P31")
    town.clock.advance(MINUTE)
    conversation, _ = await talks.open(gil, NewConversation(shape=Shape.DIRECT, body="Bonjour", to=("P12",)))
    await talks.block(hal, "P11")
    assert await talks.blocked(hal) == [("P11", "Gil Exemple")]
    with pytest.raises(NotAllowed) as blocked:
        await talks.post(conversation, gil, "Encore")
    with pytest.raises(NotAllowed) as again:
        await talks.open(gil, NewConversation(shape=Shape.GROUP, subject="S", body="Encore", to=("P12",)))
    assert str(blocked.value) == str(again.value)
    await talks.unblock(hal, "P11")
    assert await talks.post(conversation, gil, "Merci") == 2
    with pytest.raises(NotAllowed, match="cannot be blocked"):
        await talks.block(gil, lou.id)
