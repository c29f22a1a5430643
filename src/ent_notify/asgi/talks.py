"""What people do with conversations: list, keep, close, leave, join, add, edit, recall, answer one, see who read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field

from ent_notify.asgi.acknowledgements import seq_of
from ent_notify.asgi.conversations import Id, NewMessage, Posted
from ent_notify.asgi.problems import Problem
from ent_notify.asgi.router import Call, Route
from ent_notify.asgi.shapes import FROM_TEXT, PROSE, TEXT, WHOLE, Instant, Shape
from ent_notify.errors import NotAllowed, NotFound
from ent_notify.model.conversations import Copy, Scope
from ent_notify.policy.messages import MAX_BODY
from ent_notify.policy.threads import LONGEST_LABEL, MOST_LABELS
from ent_notify.store.conversations import NEWEST

PAGE = 50
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROOT = "/v1/conversations/{conversation}"
_MESSAGE = f"{_ROOT}/messages/{{seq}}"
Label = Annotated[str, Field(min_length=1, max_length=LONGEST_LABEL), *PROSE]


class ThreadsQuery(Shape):
    """Which conversations, and which page of them."""

    before: Annotated[str, Field(pattern=r"^[0-9]{1,16}\.[0-9]{1,18}$")] | None = None
    """`next` of the page before; left out, the newest."""
    kept: Literal["present", "archived", "all"] = "present"
    favourite: Literal["true", "false"] | None = None
    label: Annotated[str, Field(min_length=1, max_length=LONGEST_LABEL), *TEXT] | None = None


class ThreadAnswer(Shape):
    """A conversation, without its messages."""

    conversation: int
    shape: str
    subject: str
    language: str | None
    replies: str
    last_seq: int
    read_seq: int
    unread: int
    last_at: Instant
    active: bool
    """Whether the reader takes part (still)."""
    closed: bool
    archived: bool
    favourite: bool
    muted: bool
    labels: list[str]
    tracked: bool
    """Whether authors see who has read what they wrote."""


class ThreadsPage(Shape):
    """Conversations, those with the newest message first."""

    conversations: list[ThreadAnswer]
    next: str | None


class Done(Shape):
    """It is so now."""

    conversation: int


class Keep(Shape):
    """What the reader keeps of a conversation; what is left out stays as it is."""

    archived: bool | None = None
    favourite: bool | None = None
    muted: bool | None = None
    labels: Annotated[list[Label], Field(max_length=MOST_LABELS)] | None = None


class Delete(Shape):
    """What goes out of the reader's sight."""

    seq: Annotated[int, Field(ge=1, lt=2**31), WHOLE] | None = None
    """One message; left out, all there is."""


class More(Shape):
    """People who take part from now on."""

    people: Annotated[list[Id], Field(min_length=1, max_length=50)]
    copy_only: bool = False


class MemberAnswer(Shape):
    """Somebody who takes part by name."""

    person: str
    name: str
    copied: Literal["to", "copy", "blind"]
    active: bool


class GroupAnswer(Shape):
    """A group that takes part as a whole."""

    group: str
    scope: Literal["members", "guardians"]


class MembersAnswer(Shape):
    """Who takes part."""

    people: list[MemberAnswer]
    groups: list[GroupAnswer]
    guardians_of_child: bool


class NewText(Shape):
    """A message's new text."""

    body: Annotated[str, Field(min_length=1, max_length=MAX_BODY), *PROSE]


class RecalledAnswer(Shape):
    """A recalled message."""

    seq: int
    readers: int
    """How many had read it."""


class EarlierAnswer(Shape):
    """What a message was before."""

    body: str | None
    changed_at: Instant


class History(Shape):
    """What a message was before each edit, oldest first."""

    earlier: list[EarlierAnswer]


class ReadersQuery(Shape):
    """Which page."""

    after: Annotated[int, Field(ge=0, lt=2**31), FROM_TEXT] = 0
    """`next` of the page before."""


class ReaderAnswer(Shape):
    """Somebody who has read a message."""

    person: str
    name: str
    read_at: Instant


class ReadersPage(Shape):
    """Who has read a message."""

    readers: list[ReaderAnswer]
    next: int | None


class JoinableQuery(Shape):
    """Which page."""

    before: Annotated[int, Field(ge=1, lt=10**18), FROM_TEXT] | None = None
    """`next` of the page before."""


class JoinableAnswer(Shape):
    """A conversation about a child that its guardian may join."""

    conversation: int
    subject: str
    child: str
    """The child's given name."""


class JoinablePage(Shape):
    """Those, newest first."""

    conversations: list[JoinableAnswer]
    next: int | None


async def threads(call: Call) -> ThreadsPage:
    """The reader's conversations."""
    asked = call.asked(ThreadsQuery)
    before = NEWEST
    if asked.before is not None:
        micros, _, number = asked.before.partition(".")
        before = _EPOCH + timedelta(microseconds=min(int(micros), 7 * 10**15)), int(number)
    found = await call.engine.conversations.threads(
        call.reader,
        before=before,
        most=PAGE,
        archived={"present": False, "archived": True, "all": None}[asked.kept],
        favourite=None if asked.favourite is None else asked.favourite == "true",
        label=asked.label,
    )
    last = found[-1] if len(found) == PAGE else None
    return ThreadsPage(
        conversations=[
            ThreadAnswer(
                conversation=each.id,
                shape=each.shape.name.lower(),
                subject=each.subject,
                language=each.language,
                replies=each.replies.name.lower(),
                last_seq=each.last_seq,
                read_seq=each.read_seq,
                unread=each.unread,
                last_at=each.last_at,
                active=each.active,
                closed=each.closed,
                archived=each.archived,
                favourite=each.favourite,
                muted=each.muted,
                labels=list(each.labels),
                tracked=each.tracked,
            )
            for each in found
        ],
        next=None if last is None else f"{(last.last_at - _EPOCH) // timedelta(microseconds=1)}.{last.id}",
    )


async def keep(call: Call) -> Done:
    """Archive, mark, mute, label."""
    said, number = call.given(Keep), call.number("conversation")
    await call.engine.conversations.keep(
        number,
        call.reader,
        archived=said.archived,
        favourite=said.favourite,
        muted=said.muted,
        labels=said.labels,
    )
    return Done(conversation=number)


async def delete(call: Call) -> Done:
    """Put out of one's own sight."""
    number = call.number("conversation")
    await call.engine.conversations.delete(number, call.reader, call.given(Delete).seq)
    return Done(conversation=number)


async def close(call: Call) -> Done:
    """Let nobody write any more."""
    number = call.number("conversation")
    await call.engine.conversations.close(number, call.reader)
    return Done(conversation=number)


async def leave(call: Call) -> Done:
    """Take part no longer."""
    number = call.number("conversation")
    await call.engine.conversations.leave(number, call.reader)
    return Done(conversation=number)


async def join(call: Call) -> Done:
    """Take part in a conversation about one's child."""
    number = call.number("conversation")
    await call.engine.conversations.join(number, call.reader)
    return Done(conversation=number)


async def add(call: Call) -> MembersAnswer:
    """Let more people take part."""
    said, number = call.given(More), call.number("conversation")
    copy = Copy.COPY if said.copy_only else Copy.TO
    await call.engine.conversations.thread(number, call.reader)  # a stranger learns nothing of who there is
    try:
        await call.engine.conversations.add(number, call.reader, list(dict.fromkeys(said.people)), copy)
    except (NotFound, NotAllowed):
        # One answer for both, so that nobody learns by asking which ids there are.
        raise Problem(403, "Not allowed", "You may not add one of these people to this conversation.") from None
    return await members(call)


async def members(call: Call) -> MembersAnswer:
    """Who takes part."""
    found = await call.engine.conversations.members(call.number("conversation"), call.reader)
    names: dict[Copy, Literal["to", "copy", "blind"]] = {Copy.TO: "to", Copy.COPY: "copy", Copy.BLIND: "blind"}
    return MembersAnswer(
        people=[
            MemberAnswer(person=each.person, name=each.name, copied=names[each.copy], active=each.active)
            for each in found.people
        ],
        groups=[
            GroupAnswer(group=group, scope="guardians" if scope is Scope.GUARDIANS else "members")
            for group, scope in found.groups
        ],
        guardians_of_child=found.guardians_of_child,
    )


async def edit(call: Call) -> Posted:
    """Give a message another text."""
    number, seq = call.number("conversation"), seq_of(call)
    await call.engine.conversations.edit(number, seq, call.reader, call.given(NewText).body)
    return Posted(conversation=number, seq=seq)


async def recall(call: Call) -> RecalledAnswer:
    """Take a message back."""
    seq = seq_of(call)
    recalled = await call.engine.conversations.recall(call.number("conversation"), seq, call.reader)
    return RecalledAnswer(seq=seq, readers=len(recalled.readers))


async def reply(call: Call) -> Posted:
    """Answer the author of a message alone."""
    conversation, seq = await call.engine.conversations.reply_to_sender(
        call.number("conversation"), seq_of(call), call.reader, call.given(NewMessage).body
    )
    return Posted(conversation=conversation, seq=seq)


async def history(call: Call) -> History:
    """What a message was before."""
    found = await call.engine.conversations.history(call.number("conversation"), seq_of(call), call.reader)
    return History(earlier=[EarlierAnswer(body=each.body, changed_at=each.changed_at) for each in found])


async def readers(call: Call) -> ReadersPage:
    """Who has read a message."""
    page, rest = await call.engine.conversations.readers(
        call.number("conversation"), seq_of(call), call.reader, after=call.asked(ReadersQuery).after
    )
    return ReadersPage(
        readers=[ReaderAnswer(person=each.person, name=each.name, read_at=each.read_at) for each in page], next=rest
    )


async def joinable(call: Call) -> JoinablePage:
    """Conversations about one's children."""
    before = call.asked(JoinableQuery).before
    found = await call.engine.conversations.joinable(call.reader, 2**62 if before is None else before, PAGE)
    return JoinablePage(
        conversations=[
            JoinableAnswer(conversation=number, subject=subject, child=child) for number, subject, child in found
        ],
        next=found[-1][0] if len(found) == PAGE else None,
    )


ROUTES = (
    Route(
        method="GET",
        path="/v1/conversations",
        handler=threads,
        query=ThreadsQuery,
        answer=ThreadsPage,
        summary="One's conversations, those with the newest message first",
    ),
    Route(
        method="GET",
        path="/v1/joinable-conversations",
        handler=joinable,
        query=JoinableQuery,
        answer=JoinablePage,
        summary="Conversations about one's children that one may join",
    ),
    Route(
        method="POST",
        path=f"{_ROOT}/keep",
        handler=keep,
        body=Keep,
        answer=Done,
        refuses=(404,),
        summary="Archive, mark as favourite, mute or label a conversation, for oneself",
    ),
    Route(
        method="POST",
        path=f"{_ROOT}/delete",
        handler=delete,
        body=Delete,
        answer=Done,
        refuses=(404,),
        summary="Put a message, or all there is, out of one's own sight",
    ),
    Route(
        method="POST",
        path=f"{_ROOT}/close",
        handler=close,
        answer=Done,
        refuses=(404,),
        summary="Let nobody write in it any more; who opened it may",
    ),
    Route(
        method="POST",
        path=f"{_ROOT}/leave",
        handler=leave,
        answer=Done,
        refuses=(404,),
        summary="Take part no longer",
    ),
    Route(
        method="POST",
        path=f"{_ROOT}/join",
        handler=join,
        answer=Done,
        refuses=(404,),
        summary="Take part in a conversation about one's child",
    ),
    Route(
        method="GET",
        path=f"{_ROOT}/people",
        handler=members,
        answer=MembersAnswer,
        refuses=(404,),
        summary="Who takes part: people by name, groups by theirs alone",
    ),
    Route(
        method="POST",
        path=f"{_ROOT}/people",
        handler=add,
        body=More,
        answer=MembersAnswer,
        refuses=(404,),
        summary="Let more people take part; who opened it may",
    ),
    Route(
        method="POST",
        path=f"{_MESSAGE}/edit",
        handler=edit,
        body=NewText,
        answer=Posted,
        refuses=(404,),
        summary="Give one's own message another text, for some minutes",
    ),
    Route(
        method="POST",
        path=f"{_MESSAGE}/recall",
        handler=recall,
        answer=RecalledAnswer,
        refuses=(404,),
        summary="Take one's own message back; a second time changes nothing",
    ),
    Route(
        method="POST",
        path=f"{_MESSAGE}/reply",
        handler=reply,
        body=NewMessage,
        answer=Posted,
        status=201,
        refuses=(404,),
        summary="Answer the author of a message alone, in a direct conversation",
    ),
    Route(
        method="GET",
        path=f"{_MESSAGE}/history",
        handler=history,
        answer=History,
        refuses=(404,),
        summary="What a message was before it was changed, for its author and for moderators",
    ),
    Route(
        method="GET",
        path=f"{_MESSAGE}/readers",
        handler=readers,
        query=ReadersQuery,
        answer=ReadersPage,
        refuses=(404,),
        summary="Who has read a message, for its author, where the school shows it",
    ),
)
