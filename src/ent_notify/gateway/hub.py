"""Who hears what: a pure table from audience keys to the readers that hold them.

No I/O and no trio here, so that it can be held against a set model, whatever the order of joins and leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Generic, TypeVar

from ent_notify.model.feed import Clause, Key
from ent_notify.model.subjects import HeldSubjects


class Reader:
    """What the hub needs of a member: room to remember where it is listed. Subclass it."""

    __slots__ = ("topics",)

    topics: tuple[Topic, ...]

    def __init__(self) -> None:
        self.topics = ()


class Topic(set[Reader]):
    """The readers that hold one audience key."""

    __slots__ = ("key",)

    def __init__(self, key: Key) -> None:
        super().__init__()
        self.key = key


R = TypeVar("R", bound=Reader)
_NOBODY: frozenset[Reader] = frozenset()


class Hub(Generic[R]):
    """Routes by audience key. Membership may change at any moment; the next look-up already follows it.

    ``held`` is kept in line with the keys that somebody holds.
    """

    def __init__(self, held: HeldSubjects | None = None) -> None:
        self._topics: dict[Key, Topic] = {}
        self._held = held

    def set_keys(self, reader: R, keys: Iterable[Key]) -> None:
        """List ``reader`` under exactly ``keys``: joins, moves, and (with no keys) leaves. Cost: the keys changed."""
        wanted = set(keys)
        kept = []
        for topic in reader.topics:
            if topic.key in wanted:
                wanted.remove(topic.key)
                kept.append(topic)
            else:
                self._leave(topic, reader)
        for key in wanted:
            topic = self._topics.get(key) or self._open(key)
            topic.add(reader)
            kept.append(topic)
        reader.topics = tuple(kept)

    def addressed(self, clauses: Iterable[Clause]) -> Set[R]:
        """The readers that some clause addresses, each once.

        The answer may be the hub's own set: go through it before anybody joins or leaves.
        """
        answers = [readers for clause in clauses if (readers := self._clause(clause))]
        if not answers:
            return frozenset()
        # A Topic holds Readers; this hub put only R there.
        found: Set[R] = answers[0] if len(answers) == 1 else set[R]().union(*answers)  # type: ignore[arg-type, assignment]
        return found

    def __len__(self) -> int:
        """Audience keys that somebody holds."""
        return len(self._topics)

    def _clause(self, clause: Clause) -> Set[Reader]:
        topics = self._topics
        included = [topic for key in clause.included if (topic := topics.get(key))]
        if not included:
            return _NOBODY
        excluded = [topic for key in clause.excluded if (topic := topics.get(key))]
        if not excluded and len(included) == 1:
            return included[0]
        return set[Reader]().union(*included).difference(*excluded)

    def _open(self, key: Key) -> Topic:
        topic = self._topics[key] = Topic(key)
        if self._held is not None:
            self._held.hold(key)
        return topic

    def _leave(self, topic: Topic, reader: Reader) -> None:
        topic.discard(reader)
        if not topic:
            del self._topics[topic.key]
            if self._held is not None:
                self._held.release(topic.key)
