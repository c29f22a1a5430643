"""Which hints say a batch of news: at most one for each notification and node, however many people it is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ent_notify.model.feed import FeedHint, FeedItem, TalkHint
from ent_notify.model.subjects import EVERYONE, subjects_of

MOST_HINTS = 32
"""Hints that say one batch; where it would take more, one to everybody says it."""
MOST_SUBJECTS = 64
"""Subjects that one hint names; above it, it goes to everybody."""
MOST_READERS = 10_000
"""People whose reading waits for a listener who is busy; beyond, their pages learn of it the next time."""


def hints_of(items: Sequence[FeedItem]) -> list[FeedHint]:
    """The hints for ``items``: one for each subject that is some item's only one, one for all items with several.

    Whoever holds some subjects finds at most as many hints for them as there are items for them, and at least one if
    there is any item for them.
    """
    alone: dict[str, int] = {}
    several: set[str] = set()
    several_seq = 0
    for item in items:
        subjects = subjects_of(item.clauses)
        if len(subjects) == 1:
            (subject,) = subjects
            alone[subject] = max(alone.get(subject, 0), item.seq)
        elif subjects:
            several |= subjects
            several_seq = max(several_seq, item.seq)
    if EVERYONE in alone or EVERYONE in several or len(several) > MOST_SUBJECTS or len(alone) >= MOST_HINTS:
        return [FeedHint(seq=max(item.seq for item in items))]
    hints = [FeedHint(seq=seq, subjects=frozenset({subject})) for subject, seq in alone.items()]
    if several:
        hints.append(FeedHint(seq=several_seq, subjects=frozenset(several)))
    return hints


MOST_TALKS = 1_000
"""What happened in conversations waits as long as this many; beyond, pages learn of it when they look."""


@dataclass(slots=True)
class MergedHint:
    """Hints that wait for whoever listens, as one; so nothing grows while they are busy."""

    waiting: bool = False
    _seq: int | None = 0
    _readers: set[int] = field(default_factory=set)
    _news: bool = False
    _talks: dict[TalkHint, None] = field(default_factory=dict)

    def add(self, hint: FeedHint) -> None:
        """Take one more hint in."""
        self.waiting = True
        if len(self._readers) < MOST_READERS:
            self._readers |= hint.readers
        if len(self._talks) < MOST_TALKS:
            self._talks |= dict.fromkeys(hint.talks)
        if hint.news:
            self._news = True
            self._seq = None if self._seq is None or hint.seq is None else max(self._seq, hint.seq)

    def take(self) -> FeedHint:
        """All that was added, as one hint."""
        taken = FeedHint(
            seq=self._seq if self._news else None,
            readers=frozenset(self._readers),
            news=self._news,
            talks=tuple(self._talks),
        )
        self.waiting, self._seq, self._readers, self._news, self._talks = False, 0, set(), False, {}
        return taken
