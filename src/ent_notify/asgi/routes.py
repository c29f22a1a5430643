"""The route table: every route of the API, in the order of the documentation.

A new family is a module with its own ``ROUTES``, added here; its checks and its documentation follow from that.
"""

from __future__ import annotations

from functools import lru_cache

import orjson

from ent_notify.asgi import (
    acknowledgements,
    conversations,
    devices,
    inbox,
    letters,
    preferences,
    presence,
    privacy,
    search,
    streams,
    sync,
    talks,
    unsubscribe,
)
from ent_notify.asgi.openapi import document
from ent_notify.asgi.router import JSON, Answer, AnyRoute, OpenRoute, Request
from ent_notify.engine import Engine


async def describe(engine: Engine, request: Request) -> Answer:
    """The OpenAPI document, for the place where the app is mounted."""
    return Answer(body=_document(request.root or "/"))


@lru_cache(maxsize=8)
def _document(root: str) -> bytes:
    """Written once for each place: anybody may ask for it."""
    return orjson.dumps(document(ROUTES, root))


ROUTES: tuple[AnyRoute, ...] = (
    *inbox.ROUTES,
    *devices.ROUTES,
    *preferences.ROUTES,
    *conversations.ROUTES,
    *talks.ROUTES,
    *acknowledgements.ROUTES,
    *letters.ROUTES,
    *search.ROUTES,
    *sync.ROUTES,
    *streams.ROUTES,
    *presence.ROUTES,
    *privacy.ROUTES,
    *unsubscribe.ROUTES,
    OpenRoute(method="GET", path="/v1/openapi.json", handler=describe, content_type=JSON, summary="This document"),
)
