"""firebase-admin, held to its promise: it builds and reads messages, our streams carry them.

What firebase-admin 7.7 does otherwise, and what stands in its place here:

- it sends 500 and 503 again, up to four times, without jitter and deaf to Retry-After: nothing is sent again here, the
  verdict carries what Retry-After said;
- one error of authorization, or one answer that is not JSON, raises for a whole call while the rest is delivered: a
  call is one message here, so a raise concerns one recipient;
- it refreshes credentials by blocking the loop: see ``fcm_credentials``;
- httpx's pool stands still when a server lowers its limit of streams, and gives up what a GOAWAY would still answer:
  see ``http2``.

``_MessagingService`` is private; pyproject.toml pins its minor release, and a test holds the fence against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

import firebase_admin
import httpx
import orjson
from firebase_admin import messaging

from ent_notify._island.tasks import Future, new_future
from ent_notify.channels.http2 import Exchange, Fate, Http2Streams, Loop
from ent_notify.channels.http2_pool import Http2Pool
from ent_notify.model.delivery import Outgoing

MOST_TRIES = 4
"""Times that one message is written, if each time before FCM has surely not processed it."""


class Trip(Exchange):
    """One message on its way to FCM, and the future that its sender waits for until the deadline."""

    __slots__ = ("answer", "authorization", "give_up_at", "item", "overdue", "report_late")

    def __init__(
        self, item: Outgoing, authorization: str, give_up_at: float, report_late: Callable[[Trip], None]
    ) -> None:
        super().__init__((), b"")
        self.item = item
        self.authorization = authorization
        self.give_up_at = give_up_at  # the loop's time after which it is not written any more
        self.answer: Future[None] | None = None
        self.overdue = False
        self.report_late = report_late

    def on_end(self) -> None:
        if self.overdue:
            self.report_late(self)
        elif self.answer is not None and not self.answer.done():
            self.answer.set_result(None)

    def expire(self) -> None:
        """The deadline: whoever waits goes on, the stream stays."""
        if self.answer is not None and not self.answer.done():
            self.overdue = True
            self.answer.set_result(None)


current_trip: ContextVar[Trip] = ContextVar("current_trip")
"""The message that the running task sends."""


class FencedMessaging(messaging._MessagingService):  # type: ignore[misc] # firebase-admin has no types
    """firebase-admin's messaging service with our client under it. ``send_each_async`` is its own."""

    def __init__(self, project: str, base_url: str, client: StreamClient) -> None:
        # The parent's would build credentials, two connection pools and their retries.
        self._project_id = project
        self._fcm_url = f"{base_url}/v1/projects/{project}/messages:send"
        self._fcm_headers = {
            "x-goog-api-format-version": "2",
            "x-firebase-client": f"fire-admin-python/{firebase_admin.__version__}",
        }
        self._async_client = client


class StreamClient:
    """What firebase-admin takes for its HTTP client: ``request`` returns an httpx response or raises httpx's errors.

    ``httpx.ConnectError`` and ``httpx.PoolTimeout`` mean that nothing was sent; ``httpx.ReadTimeout`` and
    ``httpx.ReadError`` that it may have been.
    """

    def __init__(self, loop: Loop, pool: Http2Pool, send_timeout: float, late_window: float) -> None:
        self._loop = loop
        self._pool = pool
        self._timeout = send_timeout
        self._late_window = late_window
        self.written = 0
        """Messages ever written to a connection."""
        self.overdue: set[Trip] = set()
        """Messages past their deadline whose answer would still be taken."""

    async def request(self, method: str, url: str, *, headers: Mapping[str, str], json: Any) -> httpx.Response:
        """Send the current trip. Called by ``send_each_async``."""
        trip = current_trip.get()
        request = httpx.Request(method.upper(), url)
        address = urlsplit(url)
        trip.body = orjson.dumps(json)
        trip.headers = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", address.netloc),
            (":path", address.path),
            ("authorization", trip.authorization),
            ("content-type", "application/json"),
            *headers.items(),
        ]
        for _ in range(MOST_TRIES):
            await self._write(trip, request)
            if trip.fate is not Fate.UNSENT:
                break
        if trip.overdue:
            raise httpx.ReadTimeout("no answer in time", request=request)
        if trip.fate is Fate.UNSENT:
            raise httpx.ConnectError(trip.detail, request=request)
        if trip.fate is Fate.LOST:
            raise httpx.ReadError(trip.detail, request=request)
        return httpx.Response(
            trip.status,
            headers=[header for header in trip.answer_headers if not header[0].startswith(b":")],
            content=bytes(trip.answer_body),
            request=request,
        ).raise_for_status()

    async def _write(self, trip: Trip, request: httpx.Request) -> None:
        while True:
            if self._loop.time() >= trip.give_up_at:
                raise httpx.PoolTimeout("no room in any connection", request=request)
            connection = self._pool.pick(len(trip.body))
            if connection is not None:
                break
            if self._pool.is_down:
                raise httpx.ConnectError(self._pool.failure, request=request)
            await self._change(trip.give_up_at)
        trip.reset()
        trip.answer = new_future()
        connection.start(trip)
        self.written += 1
        timer = self._loop.call_later(self._timeout, trip.expire)
        await trip.answer
        timer.cancel()
        if trip.overdue:
            self.overdue.add(trip)
            self._loop.call_later(self._late_window, self._abandon, trip, connection)
            if connection.silent_since(trip):
                connection.retire()

    def _abandon(self, trip: Trip, connection: Http2Streams) -> None:
        self.overdue.discard(trip)
        if trip.fate is None:
            connection.abandon(trip)

    async def _change(self, deadline: float) -> None:
        changed: Future[None] = new_future()

        def tell() -> None:
            if not changed.done():
                changed.set_result(None)

        self._pool.listen(tell)
        timer = self._loop.call_later(max(deadline - self._loop.time(), 0.0), tell)
        try:
            await changed
        finally:
            self._pool.unlisten(tell)
            timer.cancel()
