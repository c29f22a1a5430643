"""The two ways in which a stream is written: the bytes of each thing that a reader is told.

A frame is built once and sent to everybody who listens that way.
"""

from __future__ import annotations

from typing import Protocol

from ent_notify.gateway import sse
from ent_notify.model.evidence import Marks
from ent_notify.model.feed import FeedItem, TalkHint


class Wire(Protocol):
    """How one kind of stream is written, and whether its reader may say something."""

    listens: bool
    """Whether the reader may write; one of a stream that does not listen ends it with its first byte."""

    def notification(self, item: FeedItem) -> bytes:
        """One notification."""
        ...

    def position(self, seq: int) -> bytes:
        """Where the stream stands, when it opens."""
        ...

    def heartbeat(self, seq: int) -> bytes:
        """The same, now and then, to a stream that may be silent for hours."""
        ...

    def reload(self, seq: int) -> bytes:
        """Too much was missed to replay: read the inbox again; the stream goes on after ``seq``."""
        ...

    def retry(self, milliseconds: int) -> bytes:
        """How long to wait before the next connection."""
        ...

    def held(self, label: str) -> bytes:
        """What a reader who cannot write shows elsewhere, to say that they look at this stream."""
        ...

    def read(self, marks: Marks) -> bytes:
        """What the reader has read, here or elsewhere."""
        ...

    def talk(self, talk: TalkHint) -> bytes:
        """Something has happened in a conversation of the reader's."""
        ...

    def goodbye(self, reason: str) -> bytes:
        """The last word before a stream is ended for ``reason`` (a label of the metric of closed streams)."""
        ...


class _ServerSentEvents:
    listens = False

    def notification(self, item: FeedItem) -> bytes:
        return sse.notification_frame(item)

    def position(self, seq: int) -> bytes:
        return sse.position_frame(seq)

    def heartbeat(self, seq: int) -> bytes:
        return sse.position_frame(seq)

    def reload(self, seq: int) -> bytes:
        return sse.reload_frame(seq)

    def retry(self, milliseconds: int) -> bytes:
        return sse.retry_frame(milliseconds)

    def held(self, label: str) -> bytes:
        return sse.held_frame(label)

    def read(self, marks: Marks) -> bytes:
        return sse.read_frame(marks)

    def talk(self, talk: TalkHint) -> bytes:
        return sse.talk_frame(talk)

    def goodbye(self, reason: str) -> bytes:
        return b""


EVENTS: Wire = _ServerSentEvents()
"""Server-sent events, for browsers and whoever reads HTTP."""
