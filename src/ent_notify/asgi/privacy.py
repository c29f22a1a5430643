"""What was done with one's data, what one asks for under the GDPR, and the requests for the data protection officer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ent_notify.asgi.problems import Problem, not_found
from ent_notify.asgi.router import Call, Route
from ent_notify.asgi.shapes import PROSE, TEXT, Instant, Shape
from ent_notify.errors import NotAllowed, NotFound
from ent_notify.model.rights import Asked, Right, RightsRequest

MOST = 100
Kind = Literal["export", "rectify", "erase", "restrict", "object"]
State = Literal["open", "held", "done", "refused"]


class TrailLine(Shape):
    """Something that was done with the reader's data."""

    at: Instant
    actor: str
    """A pseudonym, the same for all that one person does."""
    capacity: str
    action: str
    detail: str


class TrailPage(Shape):
    """What was done with the reader's data, newest first."""

    looks: list[TrailLine]


class RequestAnswer(Shape):
    """A request."""

    id: int
    kind: Kind
    person: str | None
    """Whom it is about; null once they are erased."""
    asked_by: str
    capacity: str
    received_at: Instant
    deadline: Instant
    state: State
    note: str
    """Why it is held or was refused."""
    closed_at: Instant | None


class RequestsPage(Shape):
    """Requests."""

    requests: list[RequestAnswer]


class RequestBody(Shape):
    """What one asks for. The officer carries it out by its deadline."""

    kind: Kind
    person: Annotated[str, Field(min_length=1, max_length=200), *TEXT] | None = None
    """A child, by a legal guardian; left out, oneself."""


class OfficerQuery(Shape):
    """Which requests."""

    everything: Literal["true"] | None = None
    """Those that were answered, too."""


class Verdict(Shape):
    """What becomes of a request."""

    act: Literal["carry_out", "refuse"]
    reason: Annotated[str, Field(min_length=1, max_length=500), *PROSE] | None = None
    """Why it is refused: who asked must be told (GDPR 12.4)."""


async def trail(call: Call) -> TrailPage:
    """Who looked."""
    lines = await call.engine.data_rights.trail(call.reader.id, MOST)
    return TrailPage(
        looks=[
            TrailLine(at=line["noted_at"], **{name: line[name] for name in ("actor", "capacity", "action", "detail")})
            for line in lines
        ]
    )


async def own(call: Call) -> RequestsPage:
    """Requests about the reader, and theirs as a guardian."""
    found = await call.engine.data_rights.requests_of(call.reader.person, call.reader.id, MOST)
    return _page(found)


async def ask(call: Call) -> RequestAnswer:
    """Write a request down."""
    body = call.given(RequestBody)
    person = body.person or call.reader.id
    asked = Asked(call.reader.id, "self" if person == call.reader.id else "guardian", "session")
    try:
        return _shown(await call.engine.data_rights.receive(person, Right(body.kind), asked))
    except (NotAllowed, NotFound):  # the same of who is not theirs as of nobody
        raise not_found() from None


async def all_requests(call: Call) -> RequestsPage:
    """Every request, for the officer."""
    _check_officer(call)
    everything = call.asked(OfficerQuery).everything is not None
    return _page(await call.engine.data_rights.requests(everything=everything, most=1000))


async def decide(call: Call) -> RequestAnswer:
    """Carry out or refuse, for the officer."""
    _check_officer(call)
    verdict = call.given(Verdict)
    rights, number = call.engine.data_rights, call.number("request")
    try:
        if verdict.act == "carry_out":
            return _shown(await rights.carry_out(number, call.reader.id))
        return _shown(await rights.refuse(number, call.reader.id, verdict.reason or ""))
    except NotAllowed as refused:
        raise Problem(409, "Not possible", f"{refused}.") from None


def _check_officer(call: Call) -> None:
    """Whoever is no officer is told what they are told of a route that is not there."""
    if call.reader.id not in call.engine.settings.rights.officers:
        raise not_found()


def _page(found: list[RightsRequest]) -> RequestsPage:
    return RequestsPage(requests=[_shown(each) for each in found])


def _shown(request: RightsRequest) -> RequestAnswer:
    return RequestAnswer.model_validate(
        {
            "id": request.id,
            "kind": request.kind.value,
            "person": request.person,
            "asked_by": request.by,
            "capacity": request.capacity,
            "received_at": request.received_at,
            "deadline": request.deadline,
            "state": request.state,
            "note": request.note,
            "closed_at": request.closed_at,
        }
    )


ROUTES = (
    Route(
        method="GET",
        path="/v1/privacy/trail",
        handler=trail,
        answer=TrailPage,
        summary="What was done with one's data: read, exported, moderated, by pseudonym",
    ),
    Route(
        method="GET",
        path="/v1/privacy/requests",
        handler=own,
        answer=RequestsPage,
        summary="What one has asked for under the GDPR, and how it stands",
    ),
    Route(
        method="POST",
        path="/v1/privacy/requests",
        handler=ask,
        body=RequestBody,
        answer=RequestAnswer,
        status=201,
        refuses=(404,),
        summary="Ask for one's rights, or for those of one's child; the officer carries it out",
    ),
    Route(
        method="GET",
        path="/v1/officer/requests",
        handler=all_requests,
        query=OfficerQuery,
        answer=RequestsPage,
        refuses=(404,),
        summary="Every request, the nearest deadline first, for the data protection officer",
    ),
    Route(
        method="POST",
        path="/v1/officer/requests/{request}",
        handler=decide,
        body=Verdict,
        answer=RequestAnswer,
        refuses=(404, 409),
        summary="Carry out a request to erase or to restrict, or refuse one, for the data protection officer",
    ),
)
