"""Tickets for live streams: a browser cannot send a bearer token with EventSource, so it takes a ticket first."""

from __future__ import annotations

from ent_notify.asgi.router import Call, Route
from ent_notify.asgi.shapes import Shape


class Ticket(Shape):
    """What opens one stream, once, within its time."""

    ticket: str
    expires_in: float
    """Seconds."""


async def issue(call: Call) -> Ticket:
    """A ticket for the reader."""
    return Ticket(
        ticket=await call.engine.stream_ticket(call.reader),
        expires_in=call.engine.settings.gateway.ticket_seconds,
    )


ROUTES = (
    Route(
        method="POST", path="/v1/streams/ticket", handler=issue, answer=Ticket, summary="A ticket for one live stream"
    ),
)
