"""Subjects: what a hint is addressed to. Few, whatever the number of people and groups.

An audience key belongs to one subject: everyone, one of 1,024 for groups, or a bucket of 1,000 people. A class and the
guardians of its pupils share theirs, so that what is written to both is one hint. A subject names no person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ent_notify.model.feed import Clause, Key

EVERYONE = "everyone"
GROUP_SUBJECTS = 1_024
PEOPLE_IN_A_SUBJECT = 1_000

_EVERYONE, _GROUP_SCOPES = 0, (1, 2)


def subject_of(key: Key) -> str:
    """The subject that an audience key belongs to: ``everyone``, ``group.17`` or ``people.1203``."""
    scope, ref = key
    if scope == _EVERYONE:
        return EVERYONE
    if scope in _GROUP_SCOPES:
        return f"group.{ref % GROUP_SUBJECTS}"
    return person_subject(ref)


def person_subject(person: int) -> str:
    """The subject of one person's own news (internal id)."""
    return f"people.{person // PEOPLE_IN_A_SUBJECT}"


def subjects_of(clauses: Iterable[Clause]) -> frozenset[str]:
    """The subjects of everybody whom an audience may address; whom it leaves out is not looked at."""
    return frozenset(subject_of(key) for clause in clauses for key in clause.included)


class HeldSubjects:
    """The subjects that somebody in this process holds, counted by audience key.

    ``hold`` and ``release`` belong to one thread; ``names`` and ``in`` may be asked from another. ``on_change`` is
    called in the first, once until ``names`` is asked again.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._told = False
        self.on_change: Callable[[], object] | None = None

    def hold(self, key: Key) -> None:
        """Somebody holds ``key`` from now on. Call it once a key, not once a reader."""
        subject = subject_of(key)
        count = self._counts.get(subject, 0)
        self._counts[subject] = count + 1
        if not count:
            self._tell()

    def release(self, key: Key) -> None:
        """Nobody holds ``key`` any more."""
        subject = subject_of(key)
        if count := self._counts[subject] - 1:
            self._counts[subject] = count
        else:
            del self._counts[subject]
            self._tell()

    def names(self) -> frozenset[str]:
        """All of them, now."""
        self._told = False
        return frozenset(self._counts.copy())  # a copy is one step; iterating beside the other thread is not

    def __contains__(self, subject: str) -> bool:
        return subject in self._counts

    def concerns(self, subjects: frozenset[str] | None) -> bool:
        """Whether news of ``subjects`` may concern somebody here; None are everybody's."""
        if subjects is None or EVERYONE in subjects:
            return True
        return any(subject in self._counts for subject in subjects)

    def _tell(self) -> None:
        if not self._told and self.on_change is not None:
            self._told = True
            self.on_change()


@dataclass(frozen=True, slots=True)
class BusStatistics:
    """What a bus of hints has done so far, in this process."""

    kind: str
    connected: bool
    sent: int = 0
    lost: int = 0
    """Hints that could not be sent: their readers poll."""
    received: int = 0
    ignored: int = 0
    """Received, and for nobody here: nobody was woken."""
    reconnects: int = 0
    subjects: int = 0
    """Subjects listened to."""
