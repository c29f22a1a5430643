"""Whoever has nothing to do with something is told the same of it as of nothing: by every route, and every call.

What is asked is derived from the route table and from the classes: whatever is added and not thought of here fails.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from ent_notify.asgi.router import Route
from ent_notify.asgi.routes import ROUTES
from ent_notify.engine.acknowledgements import Acknowledgements
from ent_notify.engine.conversations import Conversations
from ent_notify.errors import NotFound
from ent_notify.model.acknowledgement import Ask, Matter, Quorum
from ent_notify.model.audience import Person
from ent_notify.model.conversations import Circle, NewConversation, Scope, Shape
from ent_notify.model.events import Announcement
from ent_notify.model.inbox import Reader
from ent_notify.model.rights import Asked, Right

from .api_house import House
from .conftest import Open

STRANGER = "P22"
"""A teacher of the other school."""
NOTHING = 999_999
BODIES: dict[str, Any] = {
    "POST /v1/conversations/{conversation}/messages": {"body": "B"},
    "POST /v1/conversations/{conversation}/read": {"seq": 1},
    "POST /v1/conversations/{conversation}/keep": {"muted": True},
    "POST /v1/conversations/{conversation}/delete": {},
    "POST /v1/conversations/{conversation}/people": {"people": ["P22"]},
    "POST /v1/conversations/{conversation}/messages/{seq}/edit": {"body": "B"},
    "POST /v1/conversations/{conversation}/messages/{seq}/reply": {"body": "B"},
    "POST /v1/conversations/{conversation}/messages/{seq}/request": {},
    "POST /v1/notifications/{notification}/request": {},
    "POST /v1/drafts/{draft}": {"body": "B"},
    "POST /v1/officer/requests/{request}": {"act": "carry_out"},
}
"""What a route with something in its path takes."""
NAMED = [route for route in ROUTES if isinstance(route, Route) and "{" in route.path]


@dataclass(frozen=True)
class Theirs:
    """What a stranger may know the numbers of."""

    conversation: int
    draft: int
    notification: int
    request: int


async def theirs(house: House) -> Theirs:
    """Lou's conversation with the guardians of a class, a draft of hers, an announcement to a guardian."""
    engine = house.engine
    await engine.db.script(
        "insert into ent_notify.membership (group_id, person_id, valid_from) "
        "select id, 21, '2026-09-01' from ent_notify.people_group where external_id = '0540001A/class/6A'"
    )
    lou = await engine.reader("P21")
    circles = (Circle("0540001A/class/6A", Scope.GUARDIANS),)
    ask = Ask(quorum=Quorum.ONE_GUARDIAN, remind_every=timedelta(days=1))
    conversation, _ = await engine.conversations.open(
        lou, NewConversation(shape=Shape.CIRCLE, subject="S", body="B", circles=circles, ask=ask)
    )
    draft = await engine.conversations.keep_draft(lou, conversation=conversation, body="Plus tard")
    event = Announcement(key="a", audience=Person("P11"), title="T", body="B")
    notification = (await engine.acknowledgements.announce(event, Ask(), lou)).notification
    await engine.worker("relay").run_until_idle()
    request = await engine.data_rights.receive("P11", Right.ERASE, Asked("P11", "self", "session"))
    return Theirs(conversation, draft, notification, request.id)


async def test_every_route_tells_a_stranger_what_it_tells_of_nothing(open_house: Open) -> None:
    async with open_house(api={"writes_per_minute": 100_000, "reads_per_minute": 100_000}) as house:
        there = await theirs(house)
        for route in NAMED:
            label = f"{route.method} {route.path}"
            assert (route.body is not None) == (label in BODIES), f"say in BODIES what {label} takes"
            real = route.path.format(**there.__dict__, seq=1)
            none = route.path.format(conversation=NOTHING, draft=NOTHING, notification=NOTHING, request=NOTHING, seq=1)
            far = route.path.format(**there.__dict__, seq=10**17)
            answers = [
                await house.ask(route.method, path, BODIES.get(label), person=STRANGER) for path in (real, none, far)
            ]
            assert [answer.status for answer in answers] == [404] * 3, label
            assert len({answer.body for answer in answers}) == 1, label
        lou = await house.engine.reader("P21")
        assert (await house.engine.conversations.thread(there.conversation, lou)).last_seq == 1


async def test_what_bodies_name_is_not_told_either(house: House) -> None:
    there = await theirs(house)
    for number in (there.conversation, NOTHING):
        got = await house.ask("POST", "/v1/drafts", {"conversation": number, "body": "B"}, person=STRANGER)
        assert got.status == 404
    answers = [
        await house.ask("POST", "/v1/conversations", {"to": [who], "subject": "S", "body": "B"}, person=STRANGER)
        for who in ("P12", "nobody")
    ]
    blocks = [
        await house.ask("POST", "/v1/blocked", {"person": who, "blocked": True}, person="P11")
        for who in ("P21", "nobody")
    ]
    assert [answer.status for answer in (*answers, *blocks)] == [403] * 4
    assert answers[0].body == answers[1].body
    assert blocks[0].body == blocks[1].body


Act = Callable[[Any, Reader, int], Awaitable[Any]]
TALKS: dict[str, Act] = {
    "post": lambda talks, who, number: talks.post(number, who, "B"),
    "reply_to_sender": lambda talks, who, number: talks.reply_to_sender(number, 1, who, "B"),
    "add": lambda talks, who, number: talks.add(number, who, ["P22"]),
    "close": lambda talks, who, number: talks.close(number, who),
    "leave": lambda talks, who, number: talks.leave(number, who),
    "join": lambda talks, who, number: talks.join(number, who),
    "edit": lambda talks, who, number: talks.edit(number, 1, who, "B"),
    "recall": lambda talks, who, number: talks.recall(number, 1, who),
    "thread": lambda talks, who, number: talks.thread(number, who),
    "messages": lambda talks, who, number: talks.messages(number, who),
    "page": lambda talks, who, number: talks.page(number, who),
    "mark_read": lambda talks, who, number: talks.mark_read(who, number, 1),
    "members": lambda talks, who, number: talks.members(number, who),
    "history": lambda talks, who, number: talks.history(number, 1, who),
    "readers": lambda talks, who, number: talks.readers(number, 1, who),
    "keep": lambda talks, who, number: talks.keep(number, who, muted=True),
    "delete": lambda talks, who, number: talks.delete(number, who),
    "keep_draft": lambda talks, who, number: talks.keep_draft(who, conversation=number, body="B"),
    "forget_draft": lambda talks, who, number: talks.forget_draft(who, number),
    "send_draft": lambda talks, who, number: talks.send_draft(who, number),
}
NOTES: dict[str, Act] = {
    "asked": lambda notes, who, number: notes.asked(Matter.message(number, 1), who),
    "give": lambda notes, who, number: notes.give(Matter.message(number, 1), who),
    "standing": lambda notes, who, number: notes.standing(Matter.message(number, 1), who),
    "answerers": lambda notes, who, number: notes.answerers(Matter.message(number, 1), who),
    "proof": lambda notes, who, number: notes.proof(Matter.message(number, 1), who),
}
NOBODYS = {
    Conversations: {
        # one's own things, or a new one whose rules tests/policy/test_contact.py and test_shapes.py go through
        "open", "threads", "drafts", "joinable", "may_write", "block", "unblock", "blocked",
        # the host's own: no route leads there
        "correspondence", "contact_rules", "set_contact_rules",
    },
    Acknowledgements: {"announce", "reading_choice", "choose_reading"},
}  # fmt: skip
"""Calls that take nothing of somebody else's."""


@pytest.mark.parametrize(("kind", "acts"), [(Conversations, TALKS), (Acknowledgements, NOTES)])
async def test_every_call_tells_a_stranger_what_it_tells_of_nothing(
    house: House, kind: type, acts: dict[str, Act]
) -> None:
    public = {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}
    assert public == acts.keys() | NOBODYS[kind], "say here what a stranger is told by what is new"
    there = await theirs(house)
    target = house.engine.conversations if kind is Conversations else house.engine.acknowledgements
    stranger = await house.engine.reader(STRANGER)
    for name, act in acts.items():
        said = []
        for number in (there.draft if name.endswith("draft") and name != "keep_draft" else there.conversation, NOTHING):
            with pytest.raises(NotFound) as refused:
                await act(target, stranger, number)
            said.append(re.sub(r"\d+", "N", str(refused.value)))
        assert said[0] == said[1], name
