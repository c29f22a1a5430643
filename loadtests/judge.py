"""The verdict: what each reader heard against what they should have heard, one by one and in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtests.oracle import Published
from loadtests.record import Kind, Record

_EXAMPLES = 5
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The rows of all client processes: reader, kind, number, nanoseconds; each reader's in the order of hearing."""

    readers: Rows
    kinds: Rows
    numbers: Rows
    at: Rows

    @classmethod
    def gather(cls, records: Iterable[Record]) -> Evidence:
        """Put records together. A reader is in one of them alone."""
        taken = list(records)
        columns = [
            np.concatenate([np.array(getattr(record, name), dtype=np.int64) for record in taken])
            for name in ("readers", "kinds", "numbers", "at")
        ]
        return cls(*columns)

    def of(self, *kinds: Kind) -> Evidence:
        """The rows of some kinds."""
        chosen = np.isin(self.kinds, kinds)
        return Evidence(self.readers[chosen], self.kinds[chosen], self.numbers[chosen], self.at[chosen])

    def __len__(self) -> int:
        return len(self.readers)


@dataclass(slots=True)
class Verdict:
    """What is wrong, in numbers and with examples; nothing, if ``passed``."""

    readers: int = 0
    expected: int = 0
    heard: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nobody missed, doubled, disordered or overheard anything, and there was something to hear."""
        return not any(self.faults.values())

    def blame(self, fault: str, number: int, examples: Iterable[Any]) -> None:
        """Count a fault."""
        self.faults[fault] = self.faults.get(fault, 0) + number
        if number:
            self.examples.setdefault(fault, []).extend([str(each) for each, _ in zip(examples, range(_EXAMPLES))])  # noqa: B905


def judge(evidence: Evidence, feed: Sequence[Published], readers: Sequence[int], upto: int) -> Verdict:
    """Compare what ``readers`` heard with what ``feed`` says, from where each one's first stream began to ``upto``.

    Faults: ``absent`` (a reader who never had a stream, or has none at the end), ``missed``, ``doubled``,
    ``disordered``, ``foreign`` (heard, and not meant for them), ``reloaded`` (told to read the inbox instead).
    """
    verdict = Verdict(readers=len(readers))
    wanted = np.unique(np.array(readers, dtype=np.int64))
    opened = evidence.of(Kind.OPENED)
    first_readers, first_places = np.unique(opened.readers, return_index=True)
    begins = dict(zip(first_readers.tolist(), opened.numbers[first_places].tolist(), strict=True))
    last = evidence.of(Kind.LAST)
    standing = last.readers[last.numbers >= upto]
    absent = np.union1d(np.setdiff1d(wanted, first_readers), np.setdiff1d(wanted, standing))
    verdict.blame("absent", len(absent), absent.tolist())

    expected = _expected(feed, first_readers, np.array(list(begins.values()), dtype=np.int64), upto)
    heard = evidence.of(Kind.HEARD)
    up_to = heard.numbers <= upto
    got = _pairs(heard.readers[up_to], heard.numbers[up_to])
    verdict.expected, verdict.heard = len(expected), len(got)
    once, counts = np.unique(got, return_counts=True)
    missed = np.setdiff1d(expected, once, assume_unique=True)
    foreign = np.setdiff1d(once, expected, assume_unique=True)
    doubled = once[counts > 1]
    types = {published.seq: published.type for published in feed}

    def shown(pairs: Rows) -> Iterable[str]:
        return (f"{_pair(code)} ({types.get(code & 0xFFFFFFFF, 'no such place')})" for code in pairs.tolist())

    verdict.blame("missed", len(missed), shown(missed))
    verdict.blame("doubled", int((counts - 1).sum()), shown(doubled))
    verdict.blame("foreign", len(foreign), shown(foreign))

    order = np.argsort(heard.readers, kind="stable")
    who, what = heard.readers[order], heard.numbers[order]
    back = (np.diff(who) == 0) & (np.diff(what) < 0)
    verdict.blame("disordered", int(back.sum()), map(_pair, _pairs(who[1:][back], what[1:][back]).tolist()))
    reloads = evidence.of(Kind.RELOAD)
    verdict.blame("reloaded", len(reloads), reloads.readers.tolist())
    verdict.blame("nothing to hear", int(not len(expected)), ["no notification was meant for any reader"])
    return verdict


def self_test(evidence: Evidence, feed: Sequence[Published], readers: Sequence[int], upto: int) -> dict[str, bool]:
    """Whether the judge notices each fault when this run's own evidence is tampered with: a check that cannot fail
    shows nothing."""
    places = np.flatnonzero((evidence.kinds == Kind.HEARD) & (evidence.numbers <= upto))
    noticed = {}
    tampering: dict[str, Callable[[], Evidence]] = {
        "missed": lambda: _without(evidence, places[len(places) // 2]),
        "doubled": lambda: _again(evidence, places[len(places) // 3]),
        "disordered": lambda: _swapped(evidence, places),
        "foreign": lambda: _to_somebody_else(evidence, places[len(places) // 2], upto),
        "absent": lambda: _without(evidence, int(np.flatnonzero(evidence.kinds == Kind.LAST)[0])),
    }
    for fault, tampered in tampering.items():
        verdict = judge(tampered(), feed, readers, upto) if len(places) > 1 else Verdict()
        noticed[fault] = verdict.faults.get(fault, 0) > 0
    return noticed


def _expected(feed: Sequence[Published], readers: Rows, begins: Rows, upto: int) -> Rows:
    parts = []
    for published in feed:
        if published.seq <= upto:
            listening = readers[begins < published.seq]
            addressed = listening[np.isin(listening, published.people, assume_unique=True)]
            parts.append(_pairs(addressed, np.full(len(addressed), published.seq, dtype=np.int64)))
    return np.sort(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int64)


def _pairs(readers: Rows, seqs: Rows) -> Rows:
    return (readers << 32) | seqs


def _pair(code: int) -> str:
    return f"reader {code >> 32}, place {code & 0xFFFFFFFF}"


def _without(evidence: Evidence, row: int) -> Evidence:
    return Evidence(*(np.delete(column, row) for column in _columns(evidence)))


def _again(evidence: Evidence, row: int) -> Evidence:
    return Evidence(*(np.insert(column, row, column[row]) for column in _columns(evidence)))


def _swapped(evidence: Evidence, places: Rows) -> Evidence:
    """The evidence with two neighbouring notifications of one reader the other way round."""
    order = places[np.argsort(evidence.readers[places], kind="stable")]
    same = np.flatnonzero(np.diff(evidence.readers[order]) == 0)
    numbers = evidence.numbers.copy()
    if len(same):
        one, two = order[same[0]], order[same[0] + 1]
        numbers[one], numbers[two] = numbers[two], numbers[one]
    return Evidence(evidence.readers, evidence.kinds, numbers, evidence.at)


def _to_somebody_else(evidence: Evidence, row: int, upto: int) -> Evidence:
    """The evidence with one notification under a place that the feed does not have."""
    numbers = evidence.numbers.copy()
    numbers[row] = 0 if upto >= 0 else -1
    return Evidence(evidence.readers, evidence.kinds, numbers, evidence.at)


def _columns(evidence: Evidence) -> tuple[Rows, Rows, Rows, Rows]:
    return evidence.readers, evidence.kinds, evidence.numbers, evidence.at
