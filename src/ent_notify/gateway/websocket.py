"""WebSocket (RFC 6455) for apps: msgpack frames out, next to nothing in, and the economy of an event stream.

Out, each message is one binary frame that holds a map: ``{"event": "notification", "seq", "notification", "type",
"category"}``, ``{"event": "position" or "reload", "seq"}``, ``{"event": "retry", "ms"}``. In, ``{"event": "seen",
"seq"}``: this person has seen everything up to ``seq``; ``{"event": "look", "visible"}``: whether they look at it now.
wsproto reads and writes the frames; no compression, so that a
frame is built once for everybody. Nothing is kept for a reader who has said nothing, or all of what they began.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import h11
import msgpack  # type: ignore[import-untyped] # it has no annotations
from wsproto import ConnectionType
from wsproto.events import AcceptConnection
from wsproto.frame_protocol import CloseReason, Frame, FrameDecoder, FrameProtocol, MessageDecoder, Opcode, ParseFailed
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError

from ent_notify.errors import RequestRefused
from ent_notify.gateway.http import Request
from ent_notify.gateway.wires import Wire
from ent_notify.model.evidence import Marks
from ent_notify.model.feed import FeedItem, TalkHint

SUBPROTOCOL = "ent-notify.v1"
"""Accepted when it is offered; a browser that offers one wants it answered."""
MAX_MESSAGE_BYTES = 128
"""What a reader may say is short."""
MAX_MESSAGES = 64
"""Messages of one reader between two heartbeats; above it they are cut."""
_LARGEST = 2**63 - 1
_GOODBYES = {
    "drained": CloseReason.GOING_AWAY,
    "revoked": CloseReason.POLICY_VIOLATION,
    "store": CloseReason.TRY_AGAIN_LATER,
    "silent": CloseReason.POLICY_VIOLATION,
}

R = TypeVar("R", bound=Hashable)


def _frames() -> FrameProtocol:
    return FrameProtocol(client=False, extensions=[])


def _message(**fields: object) -> bytes:
    return bytes(_frames().send_data(msgpack.packb(fields)))


def goodbye(code: CloseReason) -> bytes:
    """A close frame."""
    return bytes(_frames().close(code))


class _WebSocket:
    listens = True

    def notification(self, item: FeedItem) -> bytes:
        return _message(
            event="notification",
            seq=item.seq,
            notification=item.notification,
            type=item.type,
            category=item.category,
        )

    def position(self, seq: int) -> bytes:
        return _message(event="position", seq=seq)

    def heartbeat(self, seq: int) -> bytes:
        return bytes(_frames().ping()) + self.position(seq)

    def reload(self, seq: int) -> bytes:
        return _message(event="reload", seq=seq)

    def retry(self, milliseconds: int) -> bytes:
        return _message(event="retry", ms=milliseconds)

    def held(self, label: str) -> bytes:
        return b""  # it says so here

    def read(self, marks: Marks) -> bytes:
        return _message(event="read", upto=marks.upto, seqs=marks.seqs)

    def talk(self, talk: TalkHint) -> bytes:
        return _message(event="conversation", conversation=talk.conversation, seq=talk.seq, what=str(talk.what))

    def goodbye(self, reason: str) -> bytes:
        return goodbye(_GOODBYES[reason]) if reason in _GOODBYES else b""


SOCKET: Wire = _WebSocket()
"""WebSocket frames, for apps."""


class Upgrade:
    """The handshake of one request. Raises RequestRefused: 400 for no handshake at all, 426 for another version."""

    def __init__(self, request: Request) -> None:
        self._handshake = H11Handshake(ConnectionType.SERVER)
        headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in request.headers.items()]
        try:
            self._handshake.initiate_upgrade_connection(headers, request.path)
        except RemoteProtocolError as error:
            status = getattr(error.event_hint, "status_code", 400)
            raise RequestRefused(
                status, "WebSocket required", f"open a WebSocket of version 13 here: {error}"
            ) from None
        except (h11.ProtocolError, ValueError):
            # No host (HTTP/1.0), a body, or bytes beyond ASCII where wsproto reads words: it does not say so itself.
            raise RequestRefused(
                400, "WebSocket required", "open a WebSocket of version 13 here: this is no handshake"
            ) from None
        (asked,) = self._handshake.events()
        self._offers = SUBPROTOCOL in getattr(asked, "subprotocols", ())

    def accept(self, headers: tuple[tuple[str, str], ...]) -> bytes:
        """The response that makes the connection a WebSocket."""
        extra = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]
        subprotocol = SUBPROTOCOL if self._offers else None
        return self._handshake.send(AcceptConnection(subprotocol=subprotocol, extra_headers=extra))


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a reader's bytes. ``end``: a close frame, after which the stream is over."""

    reply: bytes = b""
    seen: int | None = None
    visible: bool | None = None
    end: bytes | None = None


class Ears(Generic[R]):
    """Listens to many readers, and remembers one only while a message of theirs has begun and not ended."""

    def __init__(self) -> None:
        self._unfinished: dict[R, tuple[_Incoming, float]] = {}
        self._said: Counter[R] = Counter()

    def take(self, reader: R, data: bytes, now: float) -> Heard:
        """Take bytes of one reader. ``now``: seconds, of any clock."""
        incoming, since = self._unfinished.pop(reader, (None, now))
        incoming = incoming or _Incoming()
        reply, seen, visible = b"", None, None
        try:
            for frame in incoming.take(data):
                self._said[reader] += 1
                if self._said[reader] > MAX_MESSAGES:
                    return Heard(reply, seen, visible, goodbye(CloseReason.POLICY_VIOLATION))
                if frame.opcode is Opcode.PING:
                    reply += bytes(_frames().pong(bytes(frame.payload)))  # type: ignore[arg-type] # never text
                elif frame.opcode is Opcode.CLOSE:
                    return Heard(reply, seen, visible, goodbye(CloseReason.NORMAL_CLOSURE))
                elif frame.opcode is not Opcode.PONG:
                    said = _said(frame.payload)
                    if isinstance(said, bool):
                        visible = said
                    else:
                        seen = max(seen or 0, said)
        except _Refused as refused:
            return Heard(reply, seen, visible, goodbye(refused.code))
        except ParseFailed as failed:
            return Heard(reply, seen, visible, goodbye(failed.code))
        if incoming.unfinished:
            self._unfinished[reader] = (incoming, since)
        return Heard(reply, seen, visible)

    def forget(self, reader: R) -> None:
        """A reader is gone."""
        self._unfinished.pop(reader, None)
        self._said.pop(reader, None)

    def dribbling(self, since: float) -> list[R]:
        """Who began a message before ``since`` and has not ended it."""
        return [reader for reader, (_, began) in self._unfinished.items() if began < since]

    def allow_more(self) -> None:
        """A heartbeat has passed: everybody may say something again."""
        self._said.clear()


class _Refused(Exception):
    def __init__(self, code: CloseReason) -> None:
        super().__init__(code.name)
        self.code = code


class _Incoming:
    """The messages of one reader, put together from frames."""

    def __init__(self) -> None:
        self._frames = FrameDecoder(client=False)
        self._messages = MessageDecoder()
        self._message = b""

    @property
    def unfinished(self) -> bool:
        return bool(len(self._frames.buffer) or self._frames.header or self._messages.opcode)

    def take(self, data: bytes) -> Iterator[Frame]:
        """Control frames and whole messages."""
        self._frames.receive_bytes(data)
        while True:
            frame = self._frames.process_buffer()
            if (header := self._frames.header) is not None and header.payload_len > MAX_MESSAGE_BYTES:
                raise _Refused(CloseReason.MESSAGE_TOO_BIG)
            if frame is None:
                return
            if frame.opcode.iscontrol():
                yield frame
                continue
            message = self._messages.process_frame(frame)
            if message.opcode is Opcode.TEXT or not isinstance(message.payload, bytes):
                raise _Refused(CloseReason.UNSUPPORTED_DATA)
            self._message += message.payload
            if len(self._message) > MAX_MESSAGE_BYTES:
                raise _Refused(CloseReason.MESSAGE_TOO_BIG)
            if message.message_finished:
                whole, self._message = self._message, b""
                yield Frame(Opcode.BINARY, whole, True, True)


def _said(payload: Any) -> int | bool:
    """How far the reader has seen, or (a bool) whether they look."""
    try:
        said = msgpack.unpackb(payload)
    except (ValueError, msgpack.UnpackException):
        raise _Refused(CloseReason.INVALID_FRAME_PAYLOAD_DATA) from None
    if not isinstance(said, dict):
        raise _Refused(CloseReason.POLICY_VIOLATION)
    if said.keys() == {"event", "visible"} and said["event"] == "look" and isinstance(said["visible"], bool):
        return said["visible"]
    if said.keys() != {"event", "seq"} or said["event"] != "seen":
        raise _Refused(CloseReason.POLICY_VIOLATION)
    seq = said["seq"]
    if type(seq) is not int or not 0 <= seq <= _LARGEST:
        raise _Refused(CloseReason.POLICY_VIOLATION)
    return seq
