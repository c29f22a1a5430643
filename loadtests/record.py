"""What each reader heard, in the order in which it came: the evidence that a run is judged by."""

from __future__ import annotations

import struct
from array import array
from enum import IntEnum
from pathlib import Path

_MAGIC = b"heard\0\0\1"
_COLUMNS = (("I", 4), ("B", 1), ("q", 8), ("q", 8))


class Kind(IntEnum):
    """What a row says. Its number is a place in the feed unless said otherwise."""

    OPENED = 1
    """The reader's first stream stands, and begins after this place."""
    HEARD = 2
    """A notification."""
    LOST = 3
    """The stream ended, with everything up to this place heard or not meant for the reader."""
    BACK = 4
    """The reader came back, and asked for what followed this place."""
    REFUSED = 5
    """A request was refused: its HTTP status; 0 when the connection failed."""
    RELOAD = 6
    """The stream said that too much was missed to replay."""
    LEFT = 8
    """The reader lost the network by themselves, at this place: no gateway ended the stream."""
    LAST = 7
    """The run ends with the stream at this place; -1: no stream was held."""


class Record:
    """Rows of (reader, kind, number, nanoseconds since 1970), in four columns of plain numbers."""

    def __init__(self) -> None:
        self.readers, self.kinds, self.numbers, self.at = (array(code) for code, _ in _COLUMNS)

    def __len__(self) -> int:
        return len(self.readers)

    def note(self, reader: int, kind: Kind, number: int, at_ns: int) -> None:
        """Add a row."""
        self.readers.append(reader)
        self.kinds.append(kind)
        self.numbers.append(number)
        self.at.append(at_ns)

    def save(self, file: Path) -> None:
        """Write the rows to ``file``."""
        with file.open("wb") as opened:
            opened.write(_MAGIC + struct.pack("<q", len(self)))
            for column in (self.readers, self.kinds, self.numbers, self.at):
                column.tofile(opened)

    @classmethod
    def load(cls, file: Path) -> Record:
        """Read what ``save`` wrote. Raises ValueError when it is anything else, or was cut short."""
        record = cls()
        with file.open("rb") as opened:
            head = opened.read(len(_MAGIC) + 8)
            if not head.startswith(_MAGIC) or len(head) != len(_MAGIC) + 8:
                raise ValueError(f"{file} is no record of a run; run it again")
            (rows,) = struct.unpack("<q", head[len(_MAGIC) :])
            if file.stat().st_size != len(head) + rows * sum(size for _, size in _COLUMNS):
                raise ValueError(f"{file} ends before its {rows} rows do, or after them; run it again")
            for column in (record.readers, record.kinds, record.numbers, record.at):
                column.fromfile(opened, rows)
        return record
