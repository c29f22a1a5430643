"""Phones and browsers that were offline: what changed since their cursor, and what they wrote meanwhile.

In JSON, or in msgpack for who asks for it by Accept and sends it by Content-Type; the forms are those of
``ent_notify.wire.sync``.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ent_notify.asgi.router import Call, Route
from ent_notify.asgi.shapes import FROM_TEXT, TEXT, Place, Shape
from ent_notify.model.sync import CAPPED_AT, WriteKind
from ent_notify.wire.cursor import MOST_CHARACTERS
from ent_notify.wire.sync import MOST_CLIENT_ID, MOST_WRITES, answers_form, delta_form, read_writes

MOST = 1_000
_Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class SyncQuery(Shape):
    """From where on."""

    cursor: Annotated[str, Field(pattern=rf"^[A-Za-z0-9_-]{{1,{MOST_CHARACTERS}}}$")] | None = None
    """`cursor` of the page before; left out, everything begins anew."""
    limit: Annotated[int, Field(ge=1, le=MOST), FROM_TEXT] | None = None
    """Entries on the page, at most; the setting `sync.page` if that is less."""


class SyncReset(Shape):
    """Drop everything that is held, but writes that were not sent."""

    reason: str
    """`first`, `too_old`, `other_form` or `other_store`."""
    remedy: str


class SyncRead(Shape):
    """All read marks, in place of those held."""

    upto: Place
    seqs: list[Place]


class SyncEntry(Shape):
    """An entry as it is now; it replaces one of the same `seq`."""

    seq: Place
    notification: int
    type: str
    category: str
    urgency: int
    data: dict[str, Any]
    published_at: _Instant
    expires_at: _Instant
    children: list[str]
    headline: str


class SyncMessage(Shape):
    """One message."""

    seq: int
    author: str
    author_name: str
    body: str
    posted_at: _Instant


class SyncConversation(Shape):
    """A conversation as it is now, with its messages after `told_after`."""

    id: int
    subject: str
    last_seq: int
    read_seq: int
    told_after: int
    messages: list[SyncMessage]


class SyncPage(Shape):
    """A page; to be applied in this order: reset, floor, range, gone, items."""

    cursor: str
    """To be sent with the next request."""
    more: bool
    """Ask again at once."""
    now: _Instant
    reset: SyncReset | None
    floor: Place
    """Drop entries at this place and below."""
    range: Annotated[list[Place], Field(min_length=2, max_length=2)] | None
    """`[low, high]`: of the entries held above low and up to high, those that are not in `items` are gone."""
    items: list[SyncEntry]
    gone: list[Place]
    """Entries that are gone, by notification."""
    read: SyncRead | None
    unread: Annotated[int, Field(ge=0, le=CAPPED_AT)] | None
    """The badge; null on a page that is not the last."""
    unread_is_more: bool
    conversations: list[SyncConversation]


class SyncWrite(Shape):
    """One write: `read` (seqs), `read_all` (upto), `read_conversation` (conversation, upto), `acknowledge`
    (notification) or `post` (conversation, body)."""

    model_config = ConfigDict(extra="allow")  # its kind says which fields; a wrong one is answered by itself

    client_id: Annotated[str, Field(min_length=1, max_length=MOST_CLIENT_ID), *TEXT]
    """The device's own id of this write: sent again, it is the same write. Each of a batch has another."""


class SyncWrites(Shape):
    """What a device wrote, in its order."""

    writes: Annotated[list[SyncWrite], Field(max_length=MOST_WRITES)]


class SyncWritten(Shape):
    """What became of one write."""

    client_id: str
    done: bool
    result: dict[str, Any] | None = None
    error: str | None = None
    """Why it was refused; it was not applied, the others were."""


class SyncAnswers(Shape):
    """What became of each write."""

    answers: list[SyncWritten]


async def changes(call: Call) -> SyncPage:
    """What has changed for the reader."""
    asked = call.asked(SyncQuery)
    return SyncPage.model_validate(delta_form(await call.engine.phones.changes(call.reader, asked.cursor, asked.limit)))


async def write(call: Call) -> SyncAnswers:
    """Apply what a device wrote."""
    writes = read_writes(call.given(SyncWrites).model_dump())
    return SyncAnswers.model_validate(answers_form(await call.engine.phones.write(call.reader, writes)))


def messages(body: BaseModel) -> int:
    """A batch counts as the messages in it: they are what others see."""
    writes = body.writes if isinstance(body, SyncWrites) else []
    kinds = [(write.model_extra or {}).get("kind") for write in writes]
    return max(1, kinds.count(WriteKind.POST.value))


ROUTES = (
    Route(
        method="GET",
        path="/v1/sync",
        handler=changes,
        query=SyncQuery,
        answer=SyncPage,
        packs=True,
        summary="What has changed since a cursor",
    ),
    Route(
        method="POST",
        path="/v1/sync",
        handler=write,
        body=SyncWrites,
        answer=SyncAnswers,
        packs=True,
        writes=messages,
        summary="Apply what was written offline; a retry is the same write",
    ),
)
