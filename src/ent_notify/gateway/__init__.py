"""The live gateway: streams to the browsers and phones that are connected right now.

``server`` accepts and answers, ``join`` lets a reader in, ``streams`` holds it, ``pump`` brings what is new, ``hub``
knows whom it concerns; ``http``, ``router`` and ``sse`` are the protocols.
"""

from ent_notify.gateway.http import Request, Response, check_origin
from ent_notify.gateway.router import Handler, Router
from ent_notify.gateway.server import Gateway, GatewayStatistics
from ent_notify.gateway.streams import StreamStatistics

__all__ = [
    "Gateway",
    "GatewayStatistics",
    "Handler",
    "Request",
    "Response",
    "Router",
    "StreamStatistics",
    "check_origin",
]
