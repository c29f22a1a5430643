"""The HTTP/1.1 half of the fake servers, by h11: OAuth token requests come this way."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import h11
import trio

Respond = Callable[[str, str, Mapping[str, str], bytes], tuple[int, tuple[tuple[str, str], ...], bytes, float]]
"""From (method, path, headers, body) to (status, headers, body, delay in seconds); status 0 cuts the connection."""


async def serve_http1(stream: trio.abc.Stream, respond: Respond) -> None:
    """Answer requests on ``stream`` until the client leaves or asks to close."""
    conn = h11.Connection(h11.SERVER)
    while True:
        try:
            request = await _read_request(stream, conn)
        except h11.RemoteProtocolError:
            return
        if request is None:
            return
        status, headers, body, delay = respond(*request)
        await trio.sleep(delay)
        if status == 0:
            return
        head = h11.Response(status_code=status, headers=[*headers, ("content-length", str(len(body)))])
        for event in (head, h11.Data(data=body), h11.EndOfMessage()):
            await stream.send_all(conn.send(event) or b"")
        if conn.our_state is not h11.DONE or conn.their_state is not h11.DONE:
            return
        conn.start_next_cycle()


async def _read_request(stream: trio.abc.Stream, conn: h11.Connection) -> tuple[str, str, dict[str, str], bytes] | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = conn.next_event()
        if event is h11.NEED_DATA:
            conn.receive_data(bytes(await stream.receive_some(65_536)))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
            return head.method.decode("ascii"), head.target.decode("ascii"), headers, bytes(body)
        else:
            return None
