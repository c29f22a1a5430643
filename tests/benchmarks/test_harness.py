from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.harness import Missing, compare, holds, interleave, merge, table
from benchmarks.peers.base import Load, outcome

from benchmarks import harness


@pytest.mark.parametrize(
    ("ratio", "target", "verdict"),
    [
        (3.0, ">= 3", True),
        (2.99, ">= 3", False),
        (0.02, "<= 0.02", True),
        (0.021, "<= 0.02", False),
        (1.0, "0.98 to 1", True),
        (1.001, "0.98 to 1", False),
        (0.97, "0.98 to 1", False),
        (None, ">= 3", False),
    ],
)
def test_a_target_holds_or_not(ratio: float | None, target: str, verdict: bool) -> None:
    assert holds(ratio, target) is verdict


def test_a_target_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="not"):
        holds(1.0, "about 3")


def test_sides_run_in_turn_and_the_warm_up_is_thrown_away() -> None:
    ran: list[str] = []

    def side(name: str) -> harness.Side:
        def run() -> float:
            ran.append(name)
            return float(len(ran))

        return run

    figures = interleave({"a": side("a"), "b": side("b")}, pairs=2)
    assert ran == ["a", "b", "a", "b", "a", "b"]
    assert figures == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_each_pair_is_held_against_the_best_peer_of_that_pair() -> None:
    entry = compare(
        2,
        "drain",
        ours=[100.0, 120.0, 90.0],
        peers={"x": [10.0, 5.0, 9.0], "y": [8.0, 12.0, 10.0], "z": Missing("not installed")},
        target=">= 10",
        best="higher",
        settings={"unit": "recipients/s"},
    )
    assert entry.ratio == 10.0
    assert entry.spread == [9.0, 10.0]
    assert entry.holds
    assert entry.peers == {"x": 9.0, "y": 10.0}
    assert entry.settings["missing"] == {"z": "not installed"}


def test_lower_is_better_and_the_ratio_may_be_turned() -> None:
    entry = compare(
        1,
        "plan",
        ours=[2.0],
        peers={"row": [6.0]},
        target=">= 3",
        best="lower",
        divide="peer/ours",
        settings={},
    )
    assert (entry.ratio, entry.holds) == (3.0, True)


def test_without_any_peer_nothing_holds_and_nothing_is_zero() -> None:
    entry = compare(2, "drain", ours=[1.0], peers={"x": Missing("why")}, target=">= 1", best="higher", settings={})
    assert entry.ratio is None
    assert not entry.holds
    assert entry.peers == {}


def test_results_are_merged_by_metric_and_name(tmp_path: Path) -> None:
    file = tmp_path / "latest.json"

    def entry(metric: harness.Metric, name: str, ratio: float) -> harness.Entry:
        return compare(metric, name, ours=[ratio], peers={"p": [1.0]}, target=">= 1", best="higher", settings={})

    merge([entry(10, "mail", 1.0), entry(2, "drain", 2.0)], file)
    merge([entry("2b", "drain", 3.0), entry(2, "drain", 0.5)], file)
    stored = json.loads(file.read_text())
    assert [(line["metric"], line["ratio"], line["holds"]) for line in stored] == [
        (2, 0.5, False),
        ("2b", 3.0, True),
        (10, 1.0, True),
    ]
    assert set(stored[0]) == {
        "metric", "name", "ours", "peers", "ratio", "spread", "target", "holds", "settings",
    }  # fmt: skip
    shown = table(stored)
    assert "FAILS" in shown.splitlines()[1]
    assert shown.count("holds") == 2


def test_a_load_knows_how_often_its_jobs_must_be_handled() -> None:
    rows = Load(1_000, real=True)
    first = [outcome(id_, first=True) for id_ in range(1_000)]
    assert (first.count("retry"), first.count("gone")) == (50, 10)
    assert rows.handlings == 1_050
    assert outcome(0, first=False) == "ok"
    chunks = Load(2_500, per_job=1_000)
    assert (chunks.jobs, chunks.handlings) == (3, 3)
    assert list(chunks.ids(2)) == list(range(2_000, 2_500))
