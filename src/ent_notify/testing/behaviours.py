"""What a fake server does on a request, as values::

Answer(200)                              a plain answer; Answer(500) is one without a body
Slow(2.5, Answer(200))                   the same, later
EmptyData(Answer(410, b"{...}"))         an empty DATA frame before the body
Limit(1, Answer(200))                    SETTINGS_MAX_CONCURRENT_STREAMS = 1, then the answer
Starve(Answer(200))                      from now on the client gets no more window to send in, until `feed()`
Reset(7)                                 RST_STREAM; 7 is REFUSED_STREAM: surely not processed (RFC 9113, 8.7)
GoAway(processed=False)                  GOAWAY below this stream; with processed=True, below the next one
Drop()                                   the connection is cut after the request's DATA has arrived
Silence()                                nothing, ever
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

REFUSED_STREAM = 7
INTERNAL_ERROR = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. ``headers`` are pairs of lower-case names and values."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Slow:
    """``then``, after ``seconds``."""

    seconds: float
    then: Behaviour


@dataclass(frozen=True, slots=True)
class EmptyData:
    """Headers, an empty DATA frame, then the body of ``then``."""

    then: Answer


@dataclass(frozen=True, slots=True)
class Limit:
    """A new limit of concurrent streams for this connection, then ``then``."""

    streams: int
    then: Behaviour


@dataclass(frozen=True, slots=True)
class Starve:
    """No more WINDOW_UPDATE on this connection, then ``then``."""

    then: Behaviour


@dataclass(frozen=True, slots=True)
class Reset:
    """RST_STREAM with ``code`` (RFC 9113, 7)."""

    code: int = INTERNAL_ERROR


@dataclass(frozen=True, slots=True)
class GoAway:
    """GOAWAY whose last stream id is this request's (``processed``) or the one before it.

    ``then`` is what follows for this request if it was processed. The connection takes no further request, answers
    what is due, and closes when that is done.
    """

    processed: bool = False
    then: Behaviour | None = None
    code: int = 0


@dataclass(frozen=True, slots=True)
class Drop:
    """The TCP connection is closed, without GOAWAY or TLS farewell."""


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer, ever."""


Behaviour = Answer | Slow | EmptyData | Limit | Starve | Reset | GoAway | Drop | Silence


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived. ``connection`` counts connections from 1; ``stream`` is 0 over HTTP/1.1."""

    connection: int
    stream: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Handler = Callable[[Request], Behaviour]
