"""The inbox: pages, read marks (by POST alone: a GET changes nothing), the badge's count, acknowledgements."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ent_notify.asgi.problems import Fault, malformed
from ent_notify.asgi.router import Call, Route
from ent_notify.asgi.shapes import FROM_TEXT, Instant, Place, Shape
from ent_notify.engine.personal import UNREAD_CAP
from ent_notify.model.people import Profile

MAX_PAGE = 100
MAX_MARKS = 200


class InboxQuery(Shape):
    """Which page."""

    cursor: Annotated[str, Field(pattern=r"^[0-9]{1,18}$")] | None = None
    """`next` of the page before; left out, the newest page."""
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE), FROM_TEXT] = 50
    """Entries on the page, at most."""


class Entry(Shape):
    """One notification in an inbox."""

    seq: Place
    """Its place in the feed: newer is higher."""
    notification: int
    """Its id, which pushes carry too."""
    type: str
    category: str
    headline: str
    """One line of plain text, in the reader's language."""
    published_at: Instant
    children: list[str]
    """Given names of the guardian's children whom it concerns."""
    read: bool
    acknowledged_at: Instant | None
    """When the reader said that they took note of it."""
    data: dict[str, Any]
    """What was published, as its type has it."""


class InboxPage(Shape):
    """A page, newest first."""

    entries: list[Entry]
    next: str | None
    """`cursor` of the next page; null when this is the last."""
    head: Place
    """How far the feed reached when this page was read: the place to mark all as read up to."""


class Unread(Shape):
    """What a badge shows."""

    count: Annotated[int, Field(ge=0, le=UNREAD_CAP)]
    more: bool
    """Whether there are more than `count`."""
    shown: str
    """The badge's text: `0` to `99`, or `99+`."""


class ReadMarks(Shape):
    """Entries that have been read."""

    seqs: Annotated[list[Place], Field(min_length=1, max_length=MAX_MARKS)]
    """Their places; one that is not in this inbox is passed over."""


class ReadUpTo(Shape):
    """Everything up to a place has been read."""

    upto: Place
    """`head` of the page that was shown: what came since stays unread."""


class Acknowledged(Shape):
    """The reader took note of a notification."""

    notification: int
    acknowledged_at: Instant
    """When they first said so."""


async def page(call: Call) -> InboxPage:
    """A page of the inbox."""
    asked = call.asked(InboxQuery)
    # The head first: whatever comes between the two looks is in the page and in the stream, never in neither.
    head = await call.engine.feed.feed_head()
    found = await call.engine.inbox(call.reader, None if asked.cursor is None else int(asked.cursor), asked.limit + 1)
    entries = found[: asked.limit]
    noted = await call.engine.personal.acknowledged(call.reader, [entry.notification for entry in entries])
    guardian = call.reader.profile == Profile.GUARDIAN
    return InboxPage(
        entries=[
            Entry(
                seq=entry.seq,
                notification=entry.notification,
                type=entry.type,
                category=entry.category,
                headline=call.engine.headline(entry, call.reader),
                published_at=entry.published_at,
                children=list(entry.children) if guardian else [],
                read=entry.is_read,
                acknowledged_at=noted.get(entry.notification),
                data=dict(entry.data),
            )
            for entry in entries
        ],
        next=str(entries[-1].seq) if len(found) > asked.limit else None,
        head=head,
    )


async def unread(call: Call) -> Unread:
    """The badge."""
    count = await call.engine.personal.unread(call.reader)
    more = count > UNREAD_CAP
    return Unread(count=min(count, UNREAD_CAP), more=more, shown=f"{UNREAD_CAP}+" if more else str(count))


async def mark(call: Call) -> Unread:
    """Mark entries as read."""
    own = await call.engine.personal.own_entries(call.reader, call.given(ReadMarks).seqs)
    if own:
        await call.engine.mark_read(call.reader, own)
    return await unread(call)


async def mark_all(call: Call) -> Unread:
    """Mark everything up to a place as read."""
    upto = call.given(ReadUpTo).upto
    if upto > await call.engine.feed.feed_head():
        fault = "lies beyond the feed, and what is yet to come cannot be read; give the head of a page"
        raise malformed(f"/upto: {fault}.", [Fault("/upto", fault)], status=409)
    await call.engine.mark_all_read(call.reader, upto)
    return await unread(call)


async def acknowledge(call: Call) -> Acknowledged:
    """Say that the reader took note."""
    notification = call.number("notification")
    at = await call.engine.personal.acknowledge(call.reader, notification)
    return Acknowledged(notification=notification, acknowledged_at=at)


ROUTES = (
    Route(
        method="GET", path="/v1/inbox", handler=page, query=InboxQuery, answer=InboxPage, summary="A page of the inbox"
    ),
    Route(method="GET", path="/v1/inbox/unread", handler=unread, answer=Unread, summary="The number on the badge"),
    Route(
        method="POST",
        path="/v1/inbox/read",
        handler=mark,
        body=ReadMarks,
        answer=Unread,
        summary="Mark entries as read",
    ),
    Route(
        method="POST",
        path="/v1/inbox/read-all",
        handler=mark_all,
        body=ReadUpTo,
        answer=Unread,
        refuses=(409,),
        summary="Mark everything up to a place as read",
    ),
    Route(
        method="POST",
        path="/v1/notifications/{notification}/acknowledgement",
        handler=acknowledge,
        answer=Acknowledged,
        refuses=(404,),
        summary="Say that one took note (« j'ai pris connaissance »); saying it again changes nothing",
    ),
)
