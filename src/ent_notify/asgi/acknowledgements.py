"""Acknowledgements and signatures: what one is asked for, saying it, and how it stands for who asked."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from ent_notify.asgi.problems import not_found
from ent_notify.asgi.router import Call, Route
from ent_notify.asgi.shapes import TEXT, WHOLE, Instant, Shape
from ent_notify.engine.acknowledgements import FIRST
from ent_notify.model.acknowledgement import Ask, AskKind, Matter, Quorum

PAGE = 100
MOST_CHILDREN = 50
LONGEST_SEQ = 2**31
Kind = Literal["acknowledgement", "signature"]
QuorumName = Literal["each", "one_guardian", "all_guardians"]
Version = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class AskBody(Shape):
    """A request for acknowledgements of a message."""

    kind: Kind = "acknowledgement"
    quorum: QuorumName = "each"
    """Everybody addressed; or, of each child whose guardians are addressed, one guardian or all."""
    deadline: Instant | None = None
    remind_hours: Annotated[int, Field(ge=1, le=24 * 60), WHOLE] | None = None
    """Hours after which, again and again, those who are missing are reminded; never after the deadline."""

    def ask(self) -> Ask:
        """As the engine takes it."""
        return Ask(
            kind=AskKind[self.kind.upper()],
            quorum=Quorum[self.quorum.upper()],
            deadline=self.deadline,
            remind_every=None if self.remind_hours is None else timedelta(hours=self.remind_hours),
        )


class SlotAnswer(Shape):
    """One thing that is asked for."""

    child: str | None
    """The child's id; null: it is asked for oneself."""
    child_name: str | None
    given_at: Instant | None
    """When the reader gave it, for the text as it is now."""
    met: bool
    """Whether it waits for nobody any more: another guardian may have given it."""


class AskedAnswer(Shape):
    """What the reader is asked for."""

    kind: Kind
    quorum: QuorumName
    asked_at: Instant
    deadline: Instant | None
    version: Version | None
    """The SHA-256 of the text as it is now, which a signature names; null: it was taken back."""
    changed: bool
    """Whether the reader gave it for an earlier text."""
    slots: list[SlotAnswer]


class GiveBody(Shape):
    """What is said."""

    version: Version | None = None
    """`version` of the text that was read; a signature needs it."""
    children: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=200), *TEXT]],
            Field(min_length=1, max_length=MOST_CHILDREN),
        ]
        | None
    ) = None
    """For which children; left out, for all for whom the reader is asked."""


class Said(Shape):
    """It was said."""

    given_at: Instant
    """When the reader first said it of this text."""


class StandingAnswer(Shape):
    """How it stands: numbers of people, or of children where guardians are asked."""

    asked: int
    met: int
    missing: int
    unreachable: int
    """Children whom no guardian may answer for."""
    outdated: int
    """People who acknowledged an earlier text only."""
    late: int
    """People who did after the deadline."""


class AnswerersQuery(Shape):
    """Which page."""

    after: Annotated[str, Field(pattern=r"^[0-9]{1,9}\.[0-9]{1,9}$")] | None = None
    """`next` of the page before; left out, from the beginning."""


class AnswererAnswer(Shape):
    """Somebody who is asked."""

    person: str
    name: str
    child: str | None
    child_name: str | None
    given_at: Instant | None
    met: bool


class AnswerersPage(Shape):
    """Who is asked, by name."""

    answerers: list[AnswererAnswer]
    next: str | None


class GivenAnswer(Shape):
    """A line of a proof."""

    person: str
    name: str
    child: str | None
    given_at: Instant
    version: Version


class ProofAnswer(Shape):
    """Everything that was given, also of earlier texts."""

    matter: str
    kind: Kind
    quorum: QuorumName
    asked_at: Instant
    deadline: Instant | None
    version: Version | None
    texts: dict[str, str]
    """The texts that are known, by version."""
    given: list[GivenAnswer]
    digest: Version
    """The SHA-256 of the lines as `ent-notify conversations proof` writes them in CSV."""


def matter_of(call: Call) -> Matter:
    """What the path names. Raises Problem 404 for a place that no message can have."""
    if "notification" in call.path:
        return Matter.published(call.number("notification"))
    return Matter.message(call.number("conversation"), seq_of(call))


def seq_of(call: Call) -> int:
    """The message of the path. Raises Problem 404 for a place that no message can have."""
    seq = call.number("seq")
    if seq >= LONGEST_SEQ:
        raise not_found()
    return seq


async def asked(call: Call) -> AskedAnswer:
    """What the reader is asked for."""
    found = await call.engine.acknowledgements.asked(matter_of(call), call.reader)
    return AskedAnswer(
        kind=_kind(found.kind),
        quorum=_quorum(found.quorum),
        asked_at=found.asked_at,
        deadline=found.deadline,
        version=found.version,
        changed=found.changed,
        slots=[
            SlotAnswer(child=slot.child, child_name=slot.child_name, given_at=slot.given_at, met=slot.met)
            for slot in found.slots
        ],
    )


async def give(call: Call) -> Said:
    """Acknowledge, or sign."""
    said = call.given(GiveBody)
    at = await call.engine.acknowledgements.give(
        matter_of(call), call.reader, version=said.version, children=said.children
    )
    return Said(given_at=at)


async def standing(call: Call) -> StandingAnswer:
    """How it stands, for who asked."""
    found = await call.engine.acknowledgements.standing(matter_of(call), call.reader)
    return StandingAnswer(
        asked=found.asked,
        met=found.met,
        missing=found.missing,
        unreachable=found.unreachable,
        outdated=found.outdated,
        late=found.late,
    )


async def answerers(call: Call) -> AnswerersPage:
    """Who is asked, for who asked."""
    after = call.asked(AnswerersQuery).after
    place = FIRST
    if after is not None:
        child, _, person = after.partition(".")
        place = int(child), int(person)
    page, rest = await call.engine.acknowledgements.answerers(matter_of(call), call.reader, after=place, most=PAGE)
    return AnswerersPage(
        answerers=[
            AnswererAnswer(
                person=each.person,
                name=each.name,
                child=each.child,
                child_name=each.child_name,
                given_at=each.given_at,
                met=each.met,
            )
            for each in page
        ],
        next=None if rest is None else f"{rest[0]}.{rest[1]}",
    )


async def proof(call: Call) -> ProofAnswer:
    """Everything that was given, for who asked."""
    found = await call.engine.acknowledgements.proof(matter_of(call), call.reader)
    return ProofAnswer(
        matter=found.matter,
        kind=_kind(found.kind),
        quorum=_quorum(found.quorum),
        asked_at=found.asked_at,
        deadline=found.deadline,
        version=found.version,
        texts=found.texts,
        given=[
            GivenAnswer(
                person=each.person, name=each.name, child=each.child, given_at=each.given_at, version=each.version
            )
            for each in found.given
        ],
        digest=found.digest,
    )


def _kind(kind: AskKind) -> Kind:
    return "signature" if kind is AskKind.SIGNATURE else "acknowledgement"


def _quorum(quorum: Quorum) -> QuorumName:
    names: dict[Quorum, QuorumName] = {
        Quorum.EACH: "each",
        Quorum.ONE_GUARDIAN: "one_guardian",
        Quorum.ALL_GUARDIANS: "all_guardians",
    }
    return names[quorum]


def _routes(root: str, what: str) -> tuple[Route, ...]:
    return (
        Route(
            method="GET",
            path=f"{root}/request",
            handler=asked,
            answer=AskedAnswer,
            refuses=(404,),
            summary=f"What one is asked to say of {what}",
        ),
        Route(
            method="POST",
            path=f"{root}/request",
            handler=give,
            body=GiveBody,
            answer=Said,
            refuses=(404,),
            summary=f"Acknowledge or sign {what}, for oneself or for one's children; said again it changes nothing",
        ),
        Route(
            method="GET",
            path=f"{root}/standing",
            handler=standing,
            answer=StandingAnswer,
            refuses=(404,),
            summary=f"How many have acknowledged {what}, for who asked",
        ),
        Route(
            method="GET",
            path=f"{root}/answerers",
            handler=answerers,
            query=AnswerersQuery,
            answer=AnswerersPage,
            refuses=(404,),
            summary=f"Who is asked to acknowledge {what}, and who has, for who asked, where the school shows names",
        ),
        Route(
            method="GET",
            path=f"{root}/proof",
            handler=proof,
            answer=ProofAnswer,
            refuses=(404,),
            summary=f"Everything that was said of {what}, with the texts, for who asked, where the school shows names",
        ),
    )


ROUTES = (
    *_routes("/v1/conversations/{conversation}/messages/{seq}", "a message"),
    *_routes("/v1/notifications/{notification}", "an announcement"),
)
