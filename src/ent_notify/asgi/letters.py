"""What one writes later and to whom: drafts, messages for a local hour, the address book, whom one has blocked."""

from __future__ import annotations

import base64
from contextlib import suppress
from datetime import date, time
from typing import Annotated, Literal

import orjson
from pydantic import Field

from ent_notify.asgi.conversations import CircleBody, Id, NewConversation, Posted
from ent_notify.asgi.problems import malformed
from ent_notify.asgi.router import Call, Route
from ent_notify.asgi.search import Day
from ent_notify.asgi.shapes import FROM_TEXT, TEXT, WHOLE, Instant, Shape
from ent_notify.errors import NotAllowed, NotFound
from ent_notify.model import conversations as model
from ent_notify.model.conversations import DraftState, LocalTime, Scope
from ent_notify.policy.messages import MAX_BODY

PAGE = 50
_FIRST = ("", 0)


class Hour(Shape):
    """A date and an hour, where somebody is."""

    on: Day
    at: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    zone: Annotated[str, Field(min_length=1, max_length=64), *TEXT]
    """An IANA name such as Europe/Paris."""


class DraftBody(Shape):
    """A draft: of a conversation to be opened (`new`), or of a message in one that there is."""

    conversation: Annotated[int, Field(ge=1, lt=10**18), WHOLE] | None = None
    body: Annotated[str, Field(max_length=MAX_BODY), *TEXT] = ""
    new: NewConversation | None = None
    sending: Hour | None = None
    """When it is sent by itself; left out, it stays a draft."""


class DraftAnswer(Shape):
    """A draft, or a message that waits for its hour."""

    draft: int
    state: Literal["draft", "scheduled", "sent", "refused"]
    updated_at: Instant
    conversation: int | None
    subject: str
    """Of the conversation that it opens."""
    body: str
    to: list[str]
    circles: list[CircleBody]
    due_at: Instant | None
    """When it will be sent, as the hour is read now."""
    refusal: str | None
    """Why it was not sent when its hour came."""


class DraftsPage(Shape):
    """Drafts, newest first."""

    drafts: list[DraftAnswer]
    next: int | None


class DraftsQuery(Shape):
    """Which page."""

    before: Annotated[int, Field(ge=1, lt=10**18), FROM_TEXT] | None = None
    """`next` of the page before."""


class Kept(Shape):
    """A draft's number."""

    draft: int


class ContactsQuery(Shape):
    """Whom one looks for."""

    q: Annotated[str, Field(max_length=100), *TEXT] = ""
    """The beginnings of words of a name, without accents."""
    after: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,1000}$")] | None = None
    """`next` of the page before."""


class ContactAnswer(Shape):
    """A person."""

    person: str
    name: str
    profile: str
    function: str | None


class GroupContact(Shape):
    """Those of a group, or their guardians; who they are is not told."""

    group: str
    name: str
    scope: Literal["members", "guardians"]


class ContactsPage(Shape):
    """A page of the address book; groups are on its first."""

    people: list[ContactAnswer]
    groups: list[GroupContact]
    next: str | None


class Blocking(Shape):
    """Somebody whose messages one does not want, or wants again."""

    person: Id
    blocked: bool


class BlockedAnswer(Shape):
    """Somebody who is blocked."""

    person: str
    name: str


class Blocked(Shape):
    """Whom the reader has blocked."""

    people: list[BlockedAnswer]


async def drafts(call: Call) -> DraftsPage:
    """The reader's drafts."""
    before = call.asked(DraftsQuery).before
    found = await call.engine.conversations.drafts(call.reader, 2**62 if before is None else before, PAGE)
    return DraftsPage(drafts=[_draft(each) for each in found], next=found[-1].id if len(found) == PAGE else None)


async def keep(call: Call) -> Kept:
    """Keep a new draft."""
    return await _keep(call, None)


async def change(call: Call) -> Kept:
    """Change one."""
    return await _keep(call, call.number("draft"))


async def forget(call: Call) -> Kept:
    """Throw one away."""
    await call.engine.conversations.forget_draft(call.reader, call.number("draft"))
    return Kept(draft=call.number("draft"))


async def send(call: Call) -> Posted:
    """Send one now."""
    conversation, seq = await call.engine.conversations.send_draft(call.reader, call.number("draft"))
    return Posted(conversation=conversation, seq=seq)


async def contacts(call: Call) -> ContactsPage:
    """The address book."""
    asked = call.asked(ContactsQuery)
    book = await call.engine.conversations.may_write(
        call.reader, asked.q, after=_FIRST if asked.after is None else _place(asked.after), most=PAGE
    )
    return ContactsPage(
        people=[
            ContactAnswer(person=each.id, name=each.name, profile=each.profile.name.lower(), function=each.function)
            for each in book.people
        ],
        groups=[
            GroupContact(
                group=each.id, name=each.name, scope="guardians" if each.scope is Scope.GUARDIANS else "members"
            )
            for each in book.groups
        ],
        next=None if book.next is None else base64.urlsafe_b64encode(orjson.dumps(book.next)).decode().rstrip("="),
    )


async def block(call: Call) -> Blocked:
    """Block somebody, or no longer."""
    said, talks = call.given(Blocking), call.engine.conversations
    if said.blocked:
        try:
            await talks.block(call.reader, said.person)
        except (NotFound, NotAllowed):
            # One answer for both, so that nobody learns by asking which ids there are.
            raise NotAllowed("this person cannot be blocked") from None
    else:
        with suppress(NotFound):  # nobody is not blocked
            await talks.unblock(call.reader, said.person)
    return await blocked(call)


async def blocked(call: Call) -> Blocked:
    """Whom the reader has blocked."""
    found = await call.engine.conversations.blocked(call.reader)
    return Blocked(people=[BlockedAnswer(person=person, name=name) for person, name in found])


async def _keep(call: Call, draft: int | None) -> Kept:
    said = call.given(DraftBody)
    number = await call.engine.conversations.keep_draft(
        call.reader,
        draft=draft,
        conversation=said.conversation,
        body=said.body,
        new=None if said.new is None else said.new.model(),
        sending=None if said.sending is None else _local(said.sending),
    )
    return Kept(draft=number)


def _local(hour: Hour) -> LocalTime:
    day: date = hour.on
    return LocalTime(day, time.fromisoformat(hour.at), hour.zone)


def _draft(draft: model.Draft) -> DraftAnswer:
    states: dict[DraftState, Literal["draft", "scheduled", "sent", "refused"]] = {
        DraftState.DRAFT: "draft",
        DraftState.SCHEDULED: "scheduled",
        DraftState.SENT: "sent",
        DraftState.REFUSED: "refused",
    }
    return DraftAnswer(
        draft=draft.id,
        state=states[draft.state],
        updated_at=draft.updated_at,
        conversation=draft.conversation,
        subject="" if draft.new is None else draft.new.subject,
        body=draft.body,
        to=[] if draft.new is None else list(draft.new.to),
        circles=[]
        if draft.new is None
        else [
            CircleBody(group=each.group, scope="guardians" if each.scope is Scope.GUARDIANS else "members")
            for each in draft.new.circles
        ],
        due_at=draft.due_at,
        refusal=draft.refusal,
    )


def _place(text: str) -> tuple[str, int]:
    """Where a page begins, as ``next`` said it. Raises Problem 422 for what was never said."""
    try:
        name, person = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError):
        name, person = None, None
    if not isinstance(name, str) or "\0" in name or type(person) is not int or not 0 <= person < 2**31:
        raise malformed("after: it is no place in the address book; give `next` of the page before.")
    return name, person


ROUTES = (
    Route(
        method="GET",
        path="/v1/drafts",
        handler=drafts,
        query=DraftsQuery,
        answer=DraftsPage,
        summary="One's drafts and messages that wait for their hour, newest first",
    ),
    Route(
        method="POST",
        path="/v1/drafts",
        handler=keep,
        body=DraftBody,
        answer=Kept,
        status=201,
        refuses=(404,),
        summary="Keep a draft, or a message to be sent at a local hour",
    ),
    Route(
        method="POST",
        path="/v1/drafts/{draft}",
        handler=change,
        body=DraftBody,
        answer=Kept,
        refuses=(404,),
        summary="Change a draft",
    ),
    Route(
        method="POST",
        path="/v1/drafts/{draft}/forget",
        handler=forget,
        answer=Kept,
        refuses=(404,),
        summary="Throw a draft away, or do not send a message after all",
    ),
    Route(
        method="POST",
        path="/v1/drafts/{draft}/send",
        handler=send,
        answer=Posted,
        refuses=(404,),
        summary="Send a draft now; a second time it is not sent again",
    ),
    Route(
        method="GET",
        path="/v1/contacts",
        handler=contacts,
        query=ContactsQuery,
        answer=ContactsPage,
        summary="The address book: to whom one may write",
    ),
    Route(method="GET", path="/v1/blocked", handler=blocked, answer=Blocked, summary="Whom one has blocked"),
    Route(
        method="POST",
        path="/v1/blocked",
        handler=block,
        body=Blocking,
        answer=Blocked,
        summary="Want no messages of somebody, or want them again",
    ),
)
