"""Conversations: open one, write in it, read it page by page, say how far one has read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ent_notify.asgi.acknowledgements import AskBody
from ent_notify.asgi.problems import Problem
from ent_notify.asgi.router import Call, Route
from ent_notify.asgi.shapes import FROM_TEXT, PROSE, TEXT, WHOLE, Instant, Shape
from ent_notify.errors import NotAllowed, NotFound, Suspended, TooManyRecipients
from ent_notify.model import conversations as model
from ent_notify.policy.messages import MAX_BODY, MAX_SUBJECT

MAX_PEOPLE = 50
PAGE = 100
"""Messages on a page: as the engine reads them."""
_PLACE = Field(ge=0, lt=2**31)


Id = Annotated[str, Field(min_length=1, max_length=200), *TEXT]
People = Annotated[list[Id], Field(max_length=MAX_PEOPLE)]


class CircleBody(Shape):
    """A whole group, or the guardians of its members."""

    group: Id
    scope: Literal["members", "guardians"] = "members"


class NewConversation(Shape):
    """A conversation with its first message. People and groups are ids of the directory."""

    shape: Literal["direct", "group", "circle", "announcement", "staff", "child"] = "group"
    to: People = Field(default_factory=list)
    """Whom it is to. Everybody is named once, here or as a copy."""
    copy_to: People = Field(default_factory=list)
    blind: People = Field(default_factory=list)
    """Who gets the first message alone, unseen."""
    circles: Annotated[list[CircleBody], Field(max_length=20)] = Field(default_factory=list)
    subject: Annotated[str, Field(max_length=MAX_SUBJECT), *TEXT] = ""
    """May be left out of a direct one alone."""
    body: Annotated[str, Field(min_length=1, max_length=MAX_BODY), *PROSE]
    about: Id | None = None
    """The pupil of a staff or child conversation."""
    replies: Literal["nobody", "sender", "all"] = "all"
    late: Literal["from_joining", "everything"] = "from_joining"
    """What somebody sees who comes later."""
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$", max_length=35)] | None = None
    ask: AskBody | None = None
    """Asks for acknowledgements or signatures of the first message."""

    def model(self) -> model.NewConversation:
        """As the engine takes it."""
        return model.NewConversation(
            shape=model.Shape[self.shape.upper()],
            body=self.body,
            subject=self.subject,
            to=tuple(dict.fromkeys(self.to)),
            copy=tuple(dict.fromkeys(self.copy_to)),
            blind=tuple(dict.fromkeys(self.blind)),
            circles=tuple(model.Circle(each.group, model.Scope[each.scope.upper()]) for each in self.circles),
            about=self.about,
            replies=model.Replies[self.replies.upper()],
            late=model.LateJoiners[self.late.upper()],
            language=self.language,
            ask=None if self.ask is None else self.ask.ask(),
        )


class NewMessage(Shape):
    """A message."""

    body: Annotated[str, Field(min_length=1, max_length=MAX_BODY), *PROSE]
    answers: Annotated[int, Field(ge=1, lt=2**31), WHOLE] | None = None
    """The place of the message that it answers."""
    ask: AskBody | None = None
    """Asks for acknowledgements or signatures of it."""


class Posted(Shape):
    """Where a message stands."""

    conversation: int
    seq: int
    """Its place: 1 for the first, without gaps."""


class PageQuery(Shape):
    """Which page."""

    after: Annotated[int, _PLACE, FROM_TEXT] = 0
    """`next` of the page before; left out, from the beginning."""


class MessageAnswer(Shape):
    """One message."""

    seq: int
    author: str
    """Its author's name."""
    mine: bool
    body: str
    """Empty: it was recalled."""
    posted_at: Instant
    answers: int | None
    """The place of the message that it answers."""
    edited_at: Instant | None
    recalled_at: Instant | None
    asks: bool
    """Whether acknowledgements of it are asked for."""


class ConversationPage(Shape):
    """Messages of a conversation, oldest first."""

    conversation: int
    subject: str
    last_seq: int
    read_seq: int
    """How far the reader has read."""
    active: bool
    """Whether the reader takes part (still)."""
    closed: bool
    tracked: bool
    """Whether authors see who has read what they wrote."""
    messages: list[MessageAnswer]
    next: int | None
    """`after` of the next page; null when this is the last."""


class ReadTo(Shape):
    """How far one has read."""

    seq: Annotated[int, _PLACE, WHOLE]


class HasRead(Shape):
    """How far one has read now: never back, and no further than there is."""

    read_seq: int


async def start(call: Call) -> Posted:
    """Open a conversation."""
    try:
        conversation, seq = await call.engine.conversations.open(call.reader, call.given(NewConversation).model())
    except (Suspended, TooManyRecipients):
        raise  # these are about who writes, and say nothing of whom they write to
    except (NotFound, NotAllowed):
        # One answer for both, so that nobody learns by asking which ids there are.
        raise Problem(403, "Not allowed", "You may not open a conversation with one of these people.") from None
    return Posted(conversation=conversation, seq=seq)


async def post(call: Call) -> Posted:
    """Write in a conversation."""
    conversation = call.number("conversation")
    new = call.given(NewMessage)
    ask = None if new.ask is None else new.ask.ask()
    seq = await call.engine.conversations.post(conversation, call.reader, new.body, answers=new.answers, ask=ask)
    return Posted(conversation=conversation, seq=seq)


async def read(call: Call) -> ConversationPage:
    """A page of a conversation."""
    number, talks = call.number("conversation"), call.engine.conversations
    messages = await talks.messages(number, call.reader, call.asked(PageQuery).after, PAGE)
    thread = await talks.thread(number, call.reader)
    last = messages[-1].seq if messages else thread.last_seq
    return ConversationPage(
        conversation=thread.id,
        subject=thread.subject,
        last_seq=thread.last_seq,
        read_seq=thread.read_seq,
        active=thread.active,
        closed=thread.closed,
        tracked=thread.tracked,
        messages=[
            MessageAnswer(
                seq=message.seq,
                author=message.author_name,
                mine=message.author == call.reader.id,
                body=message.body,
                posted_at=message.posted_at,
                answers=message.answers,
                edited_at=message.edited_at,
                recalled_at=message.recalled_at,
                asks=message.asks,
            )
            for message in messages
        ],
        next=last if len(messages) == PAGE and last < thread.last_seq else None,
    )


async def mark(call: Call) -> HasRead:
    """Say how far one has read."""
    seq = await call.engine.conversations.mark_read(call.reader, call.number("conversation"), call.given(ReadTo).seq)
    return HasRead(read_seq=seq)


ROUTES = (
    Route(
        method="POST",
        path="/v1/conversations",
        handler=start,
        body=NewConversation,
        answer=Posted,
        status=201,
        summary="Open a conversation with its first message",
    ),
    Route(
        method="GET",
        path="/v1/conversations/{conversation}",
        handler=read,
        query=PageQuery,
        answer=ConversationPage,
        refuses=(404,),
        summary="Messages of a conversation, oldest first",
    ),
    Route(
        method="POST",
        path="/v1/conversations/{conversation}/messages",
        handler=post,
        body=NewMessage,
        answer=Posted,
        status=201,
        refuses=(404,),
        summary="Write in a conversation",
    ),
    Route(
        method="POST",
        path="/v1/conversations/{conversation}/read",
        handler=mark,
        body=ReadTo,
        answer=HasRead,
        refuses=(404,),
        summary="Say how far one has read",
    ),
)
