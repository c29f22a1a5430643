"""Requests for other paths, handed to an ASGI app in the gateway's own trio run.

HTTP alone; a body is whole when it comes (see http.MAX_BODY_BYTES), an answer has a bound in bytes and in time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

import trio

from ent_notify.errors import RequestRefused
from ent_notify.gateway.http import SECURITY_HEADERS, Request, Response

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""An answer's body; a page of an inbox has a tenth of it."""
SECONDS = 25.0
"""How long an app may take over one answer."""

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

_OURS = frozenset({"content-type", "content-length", *(name for name, _ in SECURITY_HEADERS)})
"""Headers that the gateway writes itself."""


class AsgiBridge:
    """An ASGI app as a handler of the gateway's router: ``Router(fallback=AsgiBridge(app).handle)``."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def handle(self, request: Request) -> Response:
        """The app's answer. Raises RequestRefused: 502 when it gives none or too long a one, 504 when it is late."""
        answer = _Answer()
        to_read = [{"type": "http.request", "body": request.body, "more_body": False}]

        async def receive() -> Message:
            await trio.lowlevel.checkpoint()
            return to_read.pop() if to_read else {"type": "http.disconnect"}

        with trio.move_on_after(SECONDS) as patience:
            await self._app(_scope(request), receive, answer.send)
        if patience.cancelled_caught:
            raise RequestRefused(504, "Too slow", "this took too long; try again", 5)
        return answer.response()


class _Answer:
    """What an app sends, until it is whole."""

    def __init__(self) -> None:
        self._status = 0
        self._headers: tuple[tuple[str, str], ...] = ()
        self._body = bytearray()
        self._whole = False

    async def send(self, message: Message) -> None:
        """ASGI's ``send``."""
        await trio.lowlevel.checkpoint()
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = tuple(
                (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in message.get("headers", ())
            )
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            self._whole = not message.get("more_body", False)
            if len(self._body) > MAX_ANSWER_BYTES:
                raise RequestRefused(502, "Bad answer", "the application's answer is too long")

    def response(self) -> Response:
        """The answer as the gateway writes it."""
        if not self._status or not self._whole:
            raise RequestRefused(502, "Bad answer", "the application gave no whole answer")
        content_type = dict(self._headers).get("content-type", "application/octet-stream")
        rest = tuple((name, value) for name, value in self._headers if name not in _OURS)
        return Response(self._status, bytes(self._body), content_type, rest)


def _scope(request: Request) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "https" if request.secure else "http",
        "path": unquote(request.path),
        "raw_path": request.path.encode(),
        "root_path": "",
        "query_string": request.raw_query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in request.headers.items()],
        "client": (request.address, 0),
        "server": None,
    }
