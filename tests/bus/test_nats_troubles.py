"""Whatever a server says or leaves unsaid, and whenever it goes: hints come again once it behaves."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from contextlib import suppress
from functools import partial

import trio
from tests.patience import PATIENCE

from ent_notify._island import Island
from ent_notify.bus.nats import open_nats_bus
from ent_notify.bus.nats_options import NatsOptions
from ent_notify.bus.wire import encode
from ent_notify.model.feed import FeedHint
from ent_notify.model.subjects import HeldSubjects

INFO = b'INFO {"server_id":"rude","version":"2.9.10","max_payload":1048576,"proto":1}\r\n'
REFUSED = b"-ERR 'Authorization Violation'\r\n"
SAID = encode(FeedHint(seq=7))

# What the client says, how many times it has said it, what the server does then instead of what it should. "FIN" and
# "RST" end the connection.
TROUBLES = [
    ("", 1, (b"FIN",)),
    ("", 1, (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"FIN")),
    ("", 1, (INFO, b"FIN")),
    ("CONNECT", 1, (b"FIN",)),
    ("CONNECT", 1, (b"RST",)),
    ("CONNECT", 1, (REFUSED, b"FIN")),
    ("PING", 1, (b"FIN",)),
    ("PING", 1, (INFO, b"PONG\r\n")),  # news of the cluster come before the answer
    ("PING", 1, (b"PONG\r\n", b"FIN")),
    ("PING", 1, (b"PONG\r\n", b"RST")),
    ("PING", 1, (b"PONG\r\n", REFUSED, b"FIN")),
    ("PING", 2, ()),
    ("PING", 2, (b"FIN",)),
    ("PING", 2, (b"\x00\x01 what is this\r\n",)),
    ("PING", 2, (b"-ERR 'Stale Connection'\r\n",)),
    ("PING", 2, (REFUSED, b"RST")),
    ("SUB", 1, (b"FIN",)),
    ("SUB", 2, (b"-ERR 'Parser Error'\r\n", b"RST")),
    ("PING", 3, ()),  # it answers no more, once all has begun well
]


class RudeServer:
    """Speaks the protocol of NATS but for one trouble a connection. Once there is none left it behaves, and gives
    hints to whoever has subscribed."""

    def __init__(self) -> None:
        self.met = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        trouble = TROUBLES[self.met] if self.met < len(TROUBLES) else None
        self.met += 1
        with suppress(trio.BrokenResourceError):  # the client has gone
            await self._converse(stream, trouble)

    async def _converse(self, stream: trio.SocketStream, trouble: tuple[str, int, tuple[bytes, ...]] | None) -> None:
        at, times, instead = trouble or ("", 0, ())
        if times and not at and await self._misbehave(stream, instead):
            return
        await stream.send_all(INFO)
        said, sids, rest = Counter[str](), dict[str, str](), b""
        async for more in stream:
            *lines, rest = (rest + more).split(b"\r\n")
            for line in lines:
                verb, *words = line.decode().split(" ")
                said[verb] += 1
                if times and verb == at and said[verb] >= times:
                    if await self._misbehave(stream, instead):
                        return
                elif verb == "SUB":
                    sids[words[0]] = words[-1]
                elif verb == "PING":
                    await stream.send_all(b"PONG\r\n")
                    if trouble is None:  # again and again: a hint that comes with "look" is one with it
                        for subject, sid in sids.items():
                            await stream.send_all(f"MSG {subject} {sid} {len(SAID)}\r\n".encode() + SAID + b"\r\n")

    async def _misbehave(self, stream: trio.SocketStream, instead: tuple[bytes, ...]) -> bool:
        """Whether that ends the connection."""
        for what in instead:
            if what == b"RST":
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif what != b"FIN":
                await stream.send_all(what)
        return instead[-1:] in ((b"FIN",), (b"RST",))


async def test_no_trouble_of_a_server_leaves_a_node_without_hints_for_ever(island: Island) -> None:
    """One link meets them all, one after another; whatever it believes of a connection, it finds out."""
    server, held = RudeServer(), HeldSubjects()
    held.hold((1, 50))
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        options = NatsOptions(
            servers=(f"nats://127.0.0.1:{port}",), retry_seconds=0.01, ping_seconds=0.1, connect_seconds=0.5
        )
        async with open_nats_bus(island, options) as bus, bus.listen(held) as hints:
            with trio.move_on_after(PATIENCE) as patience:
                async for hint in hints:
                    if hint.seq == 7:
                        break
            assert not patience.cancelled_caught, f"it goes no further than {TROUBLES[server.met - 1]}"
            assert server.met > len(TROUBLES)
            assert bus.statistics().connected
        nursery.cancel_scope.cancel()
