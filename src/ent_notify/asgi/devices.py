"""Devices: a push token belongs to whoever registered it last, so that a shared tablet serves one person at a time."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ent_notify.asgi.problems import not_found
from ent_notify.asgi.router import Call, Route
from ent_notify.asgi.shapes import PROSE, Shape
from ent_notify.model.people import Provider

MAX_TOKEN = 4_096


class DeviceBody(Shape):
    """A device that signs in."""

    provider: Literal["apns", "fcm", "webpush"]
    app: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    """The app, by the name that the settings give it."""
    token: Annotated[str, Field(min_length=1, max_length=MAX_TOKEN), *PROSE]
    """What the provider gave the app; for web push the subscription, as JSON text."""
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*$", max_length=35)] | None = None
    """The device's language (BCP 47), if it says one."""


class DeviceToken(Shape):
    """A device that signs out."""

    provider: Literal["apns", "fcm", "webpush"]
    token: Annotated[str, Field(min_length=1, max_length=MAX_TOKEN), *PROSE]


class DeviceAnswer(Shape):
    """Whether pushes of this person go to the device."""

    provider: str
    bound: bool


async def register(call: Call) -> DeviceAnswer:
    """Bind a token to the reader; whoever had it before gets no push there any more."""
    device = call.given(DeviceBody)
    await call.engine.register_device(
        call.reader.id, Provider(device.provider), device.app, device.token, device.language
    )
    return DeviceAnswer(provider=device.provider, bound=True)


async def drop(call: Call) -> DeviceAnswer:
    """End the reader's binding of a token."""
    device = call.given(DeviceToken)
    if not await call.engine.drop_device(call.reader.id, Provider(device.provider), device.token):
        raise not_found()
    return DeviceAnswer(provider=device.provider, bound=False)


ROUTES = (
    Route(
        method="POST",
        path="/v1/devices",
        handler=register,
        body=DeviceBody,
        answer=DeviceAnswer,
        summary="Register a device; it leaves whoever had it before",
    ),
    Route(
        method="POST",
        path="/v1/devices/drop",
        handler=drop,
        body=DeviceToken,
        answer=DeviceAnswer,
        refuses=(404,),
        summary="Sign out of a device",
    ),
)
