"""The judge of a run: it passes what is whole, and notices every way of not being so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from loadtests.judge import Evidence, judge, self_test
from loadtests.oracle import Published
from loadtests.record import Kind, Record

ALL = np.array([1, 2, 3], dtype=np.int64)
FEED = [
    Published(1, 11, "Announcement", 0, ALL),
    Published(2, 12, "HomeworkAssigned", 0, ALL[:2]),
    Published(3, 13, "Announcement", 0, ALL),
    Published(4, 14, "Announcement", 0, ALL),
]
READERS = [1, 2, 3]


def whole() -> Record:
    """Reader 1 from the beginning, with a gap; 2 from place 1; 3 hears what is for everybody."""
    record = Record()
    rows = [
        (1, Kind.OPENED, 0), (2, Kind.OPENED, 1), (3, Kind.OPENED, 0),
        (1, Kind.HEARD, 1), (3, Kind.HEARD, 1),
        (1, Kind.LOST, 1), (1, Kind.REFUSED, 503), (2, Kind.HEARD, 2), (1, Kind.BACK, 1),
        (1, Kind.HEARD, 2), (2, Kind.HEARD, 3), (1, Kind.HEARD, 3), (3, Kind.HEARD, 3),
        (1, Kind.LAST, 3), (2, Kind.LAST, 3), (3, Kind.LAST, 4),
    ]  # fmt: skip
    for at, (reader, kind, number) in enumerate(rows):
        record.note(reader, kind, number, at)
    return record


def tampered(*, drop: tuple[int, Kind, int] | None = None, add: tuple[int, Kind, int] | None = None) -> Evidence:
    record, made = whole(), Record()
    for row in zip(record.readers, record.kinds, record.numbers, strict=True):
        if row != drop:
            made.note(row[0], Kind(row[1]), row[2], len(made))
    if add is not None:
        made.note(*add, len(made))
    return Evidence.gather([made])


def test_a_whole_run_passes_and_what_came_before_or_after_is_nobodys_loss() -> None:
    verdict = judge(Evidence.gather([whole()]), FEED, READERS, upto=3)
    assert verdict.passed
    assert (verdict.expected, verdict.heard) == (7, 7)


@pytest.mark.parametrize(
    ("fault", "drop", "add"),
    [
        ("missed", (2, Kind.HEARD, 3), None),
        ("doubled", None, (1, Kind.HEARD, 3)),
        ("disordered", (1, Kind.HEARD, 1), (1, Kind.HEARD, 1)),
        ("foreign", None, (3, Kind.HEARD, 2)),
        ("foreign", None, (2, Kind.HEARD, 1)),  # from before its stream began
        ("absent", (3, Kind.LAST, 4), None),
        ("absent", (2, Kind.OPENED, 1), None),
        ("reloaded", None, (2, Kind.RELOAD, 3)),
    ],
)
def test_one_fault_fails_the_run(
    fault: str, drop: tuple[int, Kind, int] | None, add: tuple[int, Kind, int] | None
) -> None:
    verdict = judge(tampered(drop=drop, add=add), FEED, READERS, upto=3)
    assert not verdict.passed
    assert verdict.faults[fault] >= 1
    assert verdict.examples[fault]


def test_a_reader_who_is_behind_at_the_end_has_missed_it() -> None:
    verdict = judge(Evidence.gather([whole()]), FEED, READERS, upto=4)
    assert (verdict.faults["missed"], verdict.faults["absent"]) == (3, 2)


def test_a_run_in_which_nothing_was_to_be_heard_shows_nothing() -> None:
    verdict = judge(Evidence.gather([whole()]), FEED, READERS, upto=0)
    assert verdict.faults["nothing to hear"] == 1
    assert not verdict.passed


def test_every_run_tries_its_own_judge() -> None:
    noticed = self_test(Evidence.gather([whole()]), FEED, READERS, upto=3)
    assert noticed == {"missed": True, "doubled": True, "disordered": True, "foreign": True, "absent": True}


def test_a_record_is_read_as_it_was_written_and_a_torn_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "heard.bin"
    whole().save(file)
    assert list(Record.load(file).numbers) == list(whole().numbers)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match="ends before"):
        Record.load(file)
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match="no record"):
        Record.load(file)
