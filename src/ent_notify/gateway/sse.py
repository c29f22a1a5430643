"""Server-sent events: the bytes of a stream. A frame is built once and sent to everybody as it is.

Format: WHATWG HTML, "Server-sent events". Frames carry no personal data: a notification's id, type and category; the
page then asks for its own inbox entry.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from ent_notify.model.evidence import Marks
from ent_notify.model.feed import FeedItem, TalkHint

_MAX_EVENT_ID = 2**63 - 1


def stream_head(*, allow_origin: str | None, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """The response head of a stream. It has no length: the stream ends when the connection does."""
    head = (
        b"HTTP/1.1 200 OK\r\n"
        b"content-type: text/event-stream; charset=utf-8\r\n"
        b"cache-control: no-store, no-transform\r\n"
        b"x-content-type-options: nosniff\r\n"
        b"x-accel-buffering: no\r\n"  # nginx: pass each frame on at once
        b"connection: close\r\n"
    )
    if allow_origin is not None:
        headers = (
            ("access-control-allow-origin", allow_origin),
            ("access-control-allow-credentials", "true"),
            ("vary", "origin"),
            *headers,
        )
    return head + b"".join(f"{name}: {value}\r\n".encode("ascii") for name, value in headers) + b"\r\n"


def notification_frame(item: FeedItem) -> bytes:
    """``event: notification``, ``data: {"seq", "notification", "type", "category"}``."""
    data = orjson.dumps(
        {"seq": item.seq, "notification": item.notification, "type": item.type, "category": item.category}
    )
    return b"id: %d\nevent: notification\ndata: %b\n\n" % (item.seq, data)


def position_frame(seq: int) -> bytes:
    """A comment, and ``seq`` as the reader's Last-Event-ID, without an event: opens a stream and is its heartbeat.

    The comment keeps proxies from closing a silent stream and shows us a peer that is gone; the id makes a later
    reconnection replay little.
    """
    return b":\nid: %d\n\n" % seq


def reload_frame(seq: int) -> bytes:
    """``event: reload``: too much was missed to replay; read the inbox again, the stream goes on after ``seq``."""
    return b"id: %d\nevent: reload\ndata: {}\n\n" % seq


def held_frame(label: str) -> bytes:
    """``event: held``, ``data: {"stream"}``: what the page shows to say that it is looked at."""
    return b"event: held\ndata: %b\n\n" % orjson.dumps({"stream": label})


def read_frame(marks: Marks) -> bytes:
    """``event: read``, ``data: {"upto", "seqs"}``: what its reader has read, wherever they did."""
    return b"event: read\ndata: %b\n\n" % orjson.dumps({"upto": marks.upto, "seqs": marks.seqs})


def talk_frame(talk: TalkHint) -> bytes:
    """``event: conversation``, ``data: {"conversation", "seq", "what"}``: something has happened to a message; whoever
    shows that conversation reads it again. It has no place of its own: what a cut loses is found by reading."""
    said = {"conversation": talk.conversation, "seq": talk.seq, "what": talk.what}
    return b"event: conversation\ndata: %b\n\n" % orjson.dumps(said)


def retry_frame(milliseconds: int) -> bytes:
    """Tells a browser how long to wait before it connects again."""
    return b"retry: %d\n\n" % milliseconds


def parse_event_id(text: str) -> int | None:
    """A Last-Event-ID (or ``after``) as a feed sequence; None if it is not one."""
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        return None
    seq = int(text)
    return seq if seq <= _MAX_EVENT_ID else None
