"""HTTP/1.1 at its smallest: one request read by h11 within limits, one response written, again.

h11 does the parsing; a stream drops it as soon as its head is read, so that a held connection costs nothing here.
"""

from __future__ import annotations

import socket
from collections.abc import Container, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import h11
import orjson
import trio

from ent_notify.errors import RequestRefused

MAX_HEAD_BYTES = 8_192
"""Request line and headers together; 431 above it. h11 looks between two receipts, so 4 KiB more may pass."""
MAX_BODY_BYTES = 65_536
"""A request's body; 413 above it."""
_RECEIVE_BYTES = 4_096

SECURITY_HEADERS: tuple[tuple[str, str], ...] = (
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
)
"""On every response; pages add their own Content-Security-Policy."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, whole. Header names are in lower case; of a repeated query field or header, the last counts.

    ``address`` is the reader's network address, and ``secure`` says that they came by TLS, as far as trusted proxies
    tell it.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    address: str
    secure: bool = False
    raw_query: str = ""
    """The query as it was sent."""

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; ``RequestRefused`` 415 or 400 if it is anything else."""
        if self.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RequestRefused(415, "Unsupported media type", "send the body as application/json")
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise RequestRefused(400, "Malformed body", f"the body is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise RequestRefused(400, "Malformed body", "the body must be a JSON object")
        return value

    def cookie(self, name: str) -> str | None:
        """The value of one cookie, or None."""
        for pair in self.headers.get("cookie", "").split(";"):
            key, found, value = pair.strip().partition("=")
            if found and key == name:
                return value
        return None


@dataclass(frozen=True, slots=True)
class Response:
    """One response. ``headers`` are added to the usual ones."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def json(cls, value: Any, *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
        """``value`` by orjson: dicts, lists, dataclasses, dates."""
        return cls(status, orjson.dumps(value), "application/json", (("cache-control", "no-store"), *headers))

    @classmethod
    def problem(cls, refused: RequestRefused) -> Response:
        """RFC 9457, ``application/problem+json``."""
        body = {"type": "about:blank", "title": refused.title, "status": refused.status, "detail": str(refused)}
        headers: tuple[tuple[str, str], ...] = (("cache-control", "no-store"),)
        if refused.retry_after is not None:
            headers += (("retry-after", str(refused.retry_after)),)
        if refused.status == 426:
            headers += (("upgrade", "websocket"), ("sec-websocket-version", "13"))
        return cls(refused.status, orjson.dumps(body), "application/problem+json", headers)


class HttpConnection:
    """The HTTP life of one accepted, non-blocking socket. It neither owns nor closes the socket."""

    def __init__(self, sock: socket.socket, *, peer: str, trusted_proxies: frozenset[str] = frozenset()) -> None:
        self._sock = sock
        self._peer = peer
        self._trusted = trusted_proxies
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._method = b""

    @property
    def unread(self) -> bytes:
        """What has come after the request that was read last."""
        return self._h11.trailing_data[0]

    async def wait_first_byte(self) -> bool:
        """Wait until a request begins; False if the peer closed instead."""
        if not self._h11.trailing_data[0]:
            data = await receive(self._sock)
            self._h11.receive_data(data)
            return bool(data)
        return True

    async def read_request(self) -> Request | None:
        """One whole request; None if the peer closed before it began. The caller sets the deadline.

        Raises ``RequestRefused`` (400, 413, 431, 501) for what is no request that we take; the connection then takes
        one response and must be closed.
        """
        head: h11.Request | None = None
        body = b""
        try:
            while True:
                event = self._h11.next_event()
                if event is h11.NEED_DATA:
                    if self._h11.they_are_waiting_for_100_continue:
                        await self._send(h11.InformationalResponse(status_code=100, headers=[]))
                    self._h11.receive_data(await receive(self._sock))
                elif isinstance(event, h11.Request):
                    head = event
                    self._method = event.method
                elif isinstance(event, h11.Data):
                    body += event.data
                    if len(body) > MAX_BODY_BYTES:
                        raise RequestRefused(413, "Body too large", f"a body has at most {MAX_BODY_BYTES} bytes")
                elif isinstance(event, h11.EndOfMessage) and head is not None:
                    return self._request(head, body)
                else:  # ConnectionClosed, or PAUSED after an Upgrade that nobody asked us to take
                    return None
        except h11.RemoteProtocolError as error:
            title = "Head too large" if error.error_status_hint == 431 else "Malformed request"
            raise RequestRefused(error.error_status_hint, title, str(error)) from None

    async def respond(self, response: Response, *, close: bool = False) -> bool:
        """Write ``response``; True if the connection may take another request."""
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return False
        headers = [
            ("content-type", response.content_type),
            ("content-length", str(len(response.body))),
            *SECURITY_HEADERS,
            *response.headers,
        ]
        if close or self._h11.our_state is h11.IDLE:
            headers.append(("connection", "close"))
        reason = HTTPStatus(response.status).phrase.encode()
        data = self._h11.send(h11.Response(status_code=response.status, headers=headers, reason=reason)) or b""
        if self._method != b"HEAD":
            data += self._h11.send(h11.Data(data=response.body)) or b""
        data += self._h11.send(h11.EndOfMessage()) or b""
        await send_all(self._sock, data)
        return self._next_cycle()

    def _next_cycle(self) -> bool:
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        return True

    async def _send(self, event: h11.InformationalResponse) -> None:
        await send_all(self._sock, self._h11.send(event) or b"")

    def _request(self, head: h11.Request, body: bytes) -> Request:
        try:
            parts = urlsplit(head.target.decode("ascii"))
            query = dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=32))
        except ValueError as error:
            raise RequestRefused(400, "Malformed request", f"the target is no URL: {error}") from None
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        address, secure = self._peer, False
        if self._peer in self._trusted:
            if forwarded := headers.get("x-forwarded-for"):
                address = forwarded.rpartition(",")[2].strip()
            secure = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower() == "https"
        return Request(
            method=head.method.decode("ascii"),
            path=parts.path,
            query=query,
            headers=headers,
            body=body,
            address=address,
            secure=secure,
            raw_query=parts.query,
        )


def check_origin(request: Request, origins: Container[str]) -> str | None:
    """The request's Origin if it is exactly one of ``origins``; ``RequestRefused`` 403 if it is any other (``null``
    too). None if there is none: a same-origin page or an app, unless the browser says that the page is foreign."""
    origin = request.headers.get("origin")
    if origin is None:
        if request.headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
            return None
        raise RequestRefused(403, "Foreign origin", "a page of another site asked for this; its origin is not allowed")
    if origin not in origins:
        raise RequestRefused(
            403, "Foreign origin", f"origin {origin[:200]!r} is not allowed; add it to gateway.origins if it should be"
        )
    return origin


async def receive(sock: socket.socket) -> bytes:
    """The next bytes of a non-blocking socket; ``b""`` at its end, however it ended."""
    while True:
        try:
            return sock.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)
        except OSError:
            return b""


async def send_all(sock: socket.socket, data: bytes) -> None:
    """Write all of ``data`` to a non-blocking socket. Raises ``OSError`` when the peer is gone."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[sock.send(rest) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)
