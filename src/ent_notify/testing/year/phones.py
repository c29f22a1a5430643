"""A phone that is offline most of the time: what it holds after it has come back is what the oracle says."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from ent_notify.engine import Engine
from ent_notify.testing.year.oracle import Broken, Oracle
from ent_notify.testing.year.settings import INBOX_DAYS

_PAGES = 200
KEPT_FOR_SURE = timedelta(days=INBOX_DAYS - 2)
"""Older entries may have gone with a night's run, or not yet; a phone may hold them, or not."""


@dataclass(slots=True)
class Phone:
    """It keeps a cursor and the entries that it was told of, and applies deltas as their documentation says."""

    person: str
    cursor: str | None = None
    entries: dict[int, int] = field(default_factory=dict)
    """Place in the feed to notification."""
    floor: int = 0

    async def come_back(self, engine: Engine, oracle: Oracle) -> None:
        """Ask for everything that was missed; what does not agree is told to the oracle."""
        reader = await engine.reader(self.person)
        for _ in range(_PAGES):
            delta = await engine.phones.changes(reader, self.cursor)
            if delta.reset is not None:
                self.entries.clear()
            self.floor = delta.floor
            told = {item.seq: item.notification for item in delta.items}
            if delta.range is not None:
                low, high = delta.range
                self.entries = {s: n for s, n in self.entries.items() if not low < s <= high or s in told}
            for seq in delta.gone:
                self.entries.pop(seq, None)
            self.entries |= told
            self.entries = {seq: number for seq, number in self.entries.items() if seq > self.floor}
            self.cursor = delta.cursor
            if not delta.more:
                break
        expected = {
            post.seq: post.number
            for post in oracle.mine[self.person]
            if post.seq > self.floor and oracle.may_read(post, self.person)
        }
        lately = engine.clock.now() - KEPT_FOR_SURE
        sure = {seq: number for seq, number in expected.items() if oracle.posts[number].at > lately}
        if missing := sure.items() - self.entries.items():
            post = oracle.posts[min(missing)[1]]
            said = f"a phone of {self.person} does not hold {post.kind} {post.number} of {post.at} after a sync"
            oracle.broken.append(Broken("I4", said))
        known = {seq: n for seq, n in self.entries.items() if n not in oracle.posts or oracle.posts[n].at > lately}
        if surplus := known.items() - expected.items():
            seq, number = min(surplus)
            kind = oracle.posts[number].kind if number in oracle.posts else "unknown"
            said = f"a phone of {self.person} holds {kind} {number}, which is not in their inbox"
            oracle.broken.append(Broken("I4", said))
