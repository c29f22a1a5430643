"""Preferences: which categories somebody wants by mail and by push. The inbox keeps everything."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ent_notify.asgi.problems import Fault, malformed
from ent_notify.asgi.router import Call, Route
from ent_notify.asgi.shapes import PROSE, Shape
from ent_notify.errors import NotFound
from ent_notify.model.inbox import Choice


class ChoiceBody(Shape):
    """One choice."""

    category: Annotated[str, Field(min_length=1, max_length=100), *PROSE]
    channel: Literal["email", "push"]
    enabled: bool


class Choices(Shape):
    """Choices; in an answer all that there are, in a request those to be changed."""

    preferences: Annotated[list[ChoiceBody], Field(min_length=1, max_length=200)]


class Preferences(Shape):
    """Everything that may be chosen, as it stands."""

    preferences: list[ChoiceBody]


async def show(call: Call) -> Preferences:
    """Every choice as it stands."""
    return _shown(await call.engine.personal.preferences(call.reader))


async def change(call: Call) -> Preferences:
    """Change some choices, all or none."""
    wanted = [Choice(one.category, one.channel, one.enabled) for one in call.given(Choices).preferences]
    try:
        return _shown(await call.engine.personal.prefer(call.reader, wanted))
    except NotFound as error:
        raise malformed(f"{error}.", [Fault("/preferences", str(error))], status=409) from None


def _shown(choices: list[Choice]) -> Preferences:
    return Preferences.model_construct(
        preferences=[
            ChoiceBody.model_construct(category=one.category, channel=one.channel, enabled=one.enabled)
            for one in choices
        ]
    )


ROUTES = (
    Route(method="GET", path="/v1/preferences", handler=show, answer=Preferences, summary="What may be chosen, and is"),
    Route(
        method="PATCH",
        path="/v1/preferences",
        handler=change,
        body=Choices,
        answer=Preferences,
        refuses=(409,),
        summary="Change some choices, all or none",
    ),
)
