"""Replies of an SMTP server (RFC 5321, 4.2), read from bytes as they come."""

from __future__ import annotations

import re
from typing import NamedTuple

LINE_LIMIT = 4_096
"""Octets of a line. RFC 5321, 4.5.3.1.5 says 512; servers are laxer than that."""

LINES_LIMIT = 200
"""Lines of one reply."""

_STATUS = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: |\Z)")


class NotSmtp(Exception):
    """What came is no SMTP reply: the connection is of no more use."""


class Reply(NamedTuple):
    """A reply: its code, its enhanced status (RFC 2034) or an empty string, and the text of its lines."""

    code: int
    status: str
    lines: tuple[str, ...]


class ReplyReader:
    """Turns bytes into replies, whatever pieces they come in."""

    def __init__(self) -> None:
        self._buffer = b""
        self._lines: list[str] = []
        self._known: dict[bytes, Reply] = {}

    @property
    def pending(self) -> bool:
        """Whether something has come that is not a whole reply yet."""
        return bool(self._buffer or self._lines)

    def feed(self, data: bytes) -> list[Reply]:
        """Take ``data`` in and return the replies that are whole now. Raises NotSmtp."""
        lines = (self._buffer + data).split(b"\n")
        self._buffer = lines.pop()
        if len(self._buffer) > LINE_LIMIT:
            raise NotSmtp(f"a line of more than {LINE_LIMIT} octets")
        replies = []
        for line in lines:
            reply = self._known.get(line) or self._read(line)
            if reply is not None:
                replies.append(reply)
        return replies

    def _read(self, line: bytes) -> Reply | None:
        code, mark, text = line[:3], line[3:4], line[4:].rstrip(b"\r").decode("utf-8", "replace")
        if not code.isdigit() or mark not in (b" ", b"-", b"\r", b"") or len(line) > LINE_LIMIT:
            raise NotSmtp(f"a line that begins with {line[:4]!r}")
        if mark == b"-":
            self._lines.append(text)
            if len(self._lines) > LINES_LIMIT:
                raise NotSmtp(f"a reply of more than {LINES_LIMIT} lines")
            return None
        status = _STATUS.match(text)
        reply = Reply(int(code), status[1] if status else "", (*self._lines, text))
        if self._lines:
            self._lines.clear()
        elif len(self._known) < 32:  # most servers say "250 2.1.0 Ok" all day long
            self._known[line] = reply
        return reply
