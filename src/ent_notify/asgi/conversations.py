"""Conversations: open one, write in it, read it page by page, say how far one has read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ent_notify.asgi.problems import Problem
from ent_notify.asgi.router import Call, Route
from ent_notify.asgi.shapes import FROM_TEXT, PROSE, TEXT, WHOLE, Instant, Shape
from ent_notify.errors import NotAllowed, NotFound
from ent_notify.policy.messages import MAX_BODY, MAX_SUBJECT

MAX_PEOPLE = 50
PAGE = 100
"""Messages on a page: as the engine reads them."""
_PLACE = Field(ge=0, lt=2**31)


class NewConversation(Shape):
    """A conversation with its first message."""

    to: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=200), *TEXT]], Field(min_length=1, max_length=MAX_PEOPLE)
    ]
    """Ids of whom it is with."""
    subject: Annotated[str, Field(min_length=1, max_length=MAX_SUBJECT), *PROSE]
    body: Annotated[str, Field(min_length=1, max_length=MAX_BODY), *PROSE]


class NewMessage(Shape):
    """A message."""

    body: Annotated[str, Field(min_length=1, max_length=MAX_BODY), *PROSE]


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
    posted_at: Instant


class ConversationPage(Shape):
    """Messages of a conversation, oldest first."""

    conversation: int
    subject: str
    last_seq: int
    read_seq: int
    """How far the reader has read."""
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
    new = call.given(NewConversation)
    try:
        conversation, seq = await call.engine.start_conversation(
            call.reader.id, list(dict.fromkeys(new.to)), new.subject, new.body
        )
    except (NotFound, NotAllowed):
        # One answer for both, so that nobody learns by asking which ids there are.
        raise Problem(403, "Not allowed", "You may not open a conversation with one of these people.") from None
    return Posted(conversation=conversation, seq=seq)


async def post(call: Call) -> Posted:
    """Write in a conversation."""
    conversation = call.number("conversation")
    seq = await call.engine.post(conversation, call.reader.id, call.given(NewMessage).body)
    return Posted(conversation=conversation, seq=seq)


async def read(call: Call) -> ConversationPage:
    """A page of a conversation."""
    found = await call.engine.conversation(call.number("conversation"), call.reader, call.asked(PageQuery).after)
    last = found.messages[-1].seq if found.messages else found.last_seq
    return ConversationPage(
        conversation=found.id,
        subject=found.subject,
        last_seq=found.last_seq,
        read_seq=found.read_seq,
        messages=[
            MessageAnswer(
                seq=message.seq,
                author=message.author_name,
                mine=message.author == call.reader.id,
                body=message.body,
                posted_at=message.posted_at,
            )
            for message in found.messages
        ],
        next=last if len(found.messages) == PAGE and last < found.last_seq else None,
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
