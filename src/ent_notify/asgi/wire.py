"""ASGI's messages in and out: a request read whole within its bound, an answer written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ent_notify.asgi.problems import Problem
from ent_notify.asgi.router import Answer, Request

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_BODY = 65_536
"""Bytes of a body, as the gateway's own."""
MAX_QUERY = 8_192

_ALWAYS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_NO_CONTENT = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


class Disconnected(Exception):
    """The client left before its request was whole."""


async def read_request(scope: Scope, receive: Receive) -> Request:
    """The whole request. Raises Problem 413 or 414, and Disconnected."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    body = bytearray()
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length[:12]) > MAX_BODY:
        raise _too_large()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise _too_large()
        more = message.get("more_body", False)
    if len(scope.get("query_string", b"")) > MAX_QUERY:
        raise Problem(414, "Address too long", f"A query has at most {MAX_QUERY} bytes.")
    root = scope.get("root_path", "").rstrip("/")
    path = scope["path"]
    # The path holds the place where a host has mounted us (ASGI), or does not (hosts of before that was said).
    path = path[len(root) :] if root and path.startswith(f"{root}/") else path
    return Request(scope["method"], path, root, bytes(scope.get("query_string", b"")), headers, bytes(body))


async def write_answer(send: Send, answer: Answer, *, head: bool) -> None:
    """Write ``answer``; without its body to a HEAD request."""
    own = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    if not any(name == b"content-security-policy" for name, _ in own):
        own.append(_NO_CONTENT)
    headers = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        *_ALWAYS,
        *own,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else answer.body})


def _too_large() -> Problem:
    return Problem(413, "Body too large", f"A body has at most {MAX_BODY} bytes.")
