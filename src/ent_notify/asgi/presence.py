"""What a page says of its reader's eyes: whether it is looked at, and how far they have seen."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ent_notify.asgi.problems import Fault, malformed
from ent_notify.asgi.router import Call, Route
from ent_notify.asgi.shapes import Place, Shape


class Look(Shape):
    """A page that holds a live stream."""

    stream: Annotated[str, Field(pattern=r"^[0-9a-f]{1,16}\.[1-9][0-9]{0,17}$")]
    """What the `held` event of its stream said."""
    visible: bool
    """Whether the page is before its reader's eyes (`document.visibilityState`)."""


class Seen(Shape):
    """How far somebody has seen."""

    upto: Place
    """Every notification up to this place was on the screen. It stays unread."""


class Noted(Shape):
    """It was taken in."""


async def look(call: Call) -> Noted:
    """A page is looked at, or not any more."""
    given = call.given(Look)
    if int(given.stream.partition(".")[0], 16) >= 2**63:
        fault = "names no stream of ours; give what the stream's `held` event said"
        raise malformed(f"/stream: {fault}.", [Fault("/stream", fault)])
    await call.engine.evidence.look(call.reader, given.stream, visible=given.visible)
    return Noted()


async def seen(call: Call) -> Noted:
    """What was on the screen has been seen."""
    await call.engine.evidence.saw(call.reader, call.given(Seen).upto)
    return Noted()


ROUTES = (
    Route(
        method="POST",
        path="/v1/presence",
        handler=look,
        body=Look,
        answer=Noted,
        summary="Say whether a page is looked at: pushes wait for who may see the notification there",
    ),
    Route(
        method="POST",
        path="/v1/presence/seen",
        handler=seen,
        body=Seen,
        answer=Noted,
        summary="Say how far notifications were seen on the screen: they are not pushed any more",
    ),
)
