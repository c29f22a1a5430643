"""A storm's figures: who was lost to it, who came back in time, and who only lost the network meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from loadtests.figures import storm
from loadtests.judge import Evidence
from loadtests.record import Kind, Record

SECOND = 1_000_000_000
PHASE = {"killed_ns": 10 * SECOND, "ended_ns": 60 * SECOND, "window_seconds": 4.0, "killed": 1}


def went(*rows: tuple[int, Kind, int, float]) -> dict[str, Any]:
    record = Record()
    for reader, kind, number, seconds in rows:
        record.note(reader, kind, number, round(seconds * SECOND))
    return storm(Evidence.gather([record]), PHASE, slack_seconds=10.0)


def test_a_storm_holds_when_all_that_it_cut_are_back_in_time() -> None:
    told = went(
        (1, Kind.LOST, 5, 10.1),
        (2, Kind.LOST, 5, 10.1),
        (3, Kind.LEFT, 5, 10.2),  # lost the network by themselves, and are still away
        (2, Kind.REFUSED, 503, 12.0),
        (1, Kind.BACK, 5, 13.1),
        (2, Kind.BACK, 5, 20.1),
    )
    assert told["holds"]
    assert (told["streams_lost"], told["streams_back"], told["within_window"]) == (2, 2, 1)
    assert told["back_last_seconds"] == 10.0


@pytest.mark.parametrize(
    "rows",
    [
        [(1, Kind.LOST, 5, 10.1)],
        [(1, Kind.LOST, 5, 10.1), (1, Kind.BACK, 5, 24.2)],
        [(1, Kind.LOST, 5, 10.1), (1, Kind.REFUSED, 429, 11.0), (1, Kind.BACK, 5, 12.0)],
        [(1, Kind.LOST, 5, 10.1), (1, Kind.REFUSED, 0, 11.0), (1, Kind.BACK, 5, 12.0)],
        [(1, Kind.LEFT, 5, 10.1), (1, Kind.BACK, 5, 12.0)],  # nobody was cut: no storm was seen
    ],
)
def test_a_storm_does_not_hold(rows: list[tuple[int, Kind, int, float]]) -> None:
    assert not went(*rows)["holds"]
