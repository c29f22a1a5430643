"""Evidence that somebody has something before their eyes: a page that they look at, what they have seen and read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

_LABEL = re.compile(r"([0-9a-f]{1,16})\.([1-9][0-9]{0,17})\Z")


@dataclass(frozen=True, slots=True)
class Page:
    """A page, or an app, by the stream that it holds: whose, at which gateway process, in which stream session."""

    person: int
    node: int
    stream: int

    @property
    def label(self) -> str:
        """How the page names its stream when it says that it is looked at. It says nothing about its reader."""
        return f"{self.node:x}.{self.stream}"

    @classmethod
    def of(cls, person: int, label: str) -> Page | None:
        """The page of ``person`` that has this label; None for a text that is none."""
        found = _LABEL.match(label)
        if found is None:
            return None
        node, stream = int(found[1], 16), int(found[2])
        return cls(person, node, stream) if node < 2**63 else None


@dataclass(frozen=True, slots=True)
class Marks:
    """What somebody has read: everything up to a place in the feed, and single entries above it."""

    upto: int
    seqs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class EvidenceCounts:
    """How it stands: gateway processes that live, pages that are looked at there, pushes that wait to be seen."""

    gateways: int
    pages: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Clear:
    """What one device of ``person`` shows and need not any more. ``roots``: the first versions of the events that were
    read, newest first, at least one. ``unread``: entries of the inbox that are not read, counted to 100."""

    person: int
    device: int
    token: str
    registered_at: datetime
    roots: tuple[int, ...]
    unread: int
