from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from benchmarks.harness import Missing, compare, merge, read
from benchmarks.rate_exact import busiest
from benchmarks.registry import REGISTRY
from benchmarks.statements import load

from benchmarks import report


@pytest.fixture
def entries(tmp_path: Path) -> list[dict[str, Any]]:
    file = tmp_path / "latest.json"
    merge(
        [
            compare(1, "plan", ours=[1.0], peers={"rows": [4.0]}, target=">= 3", best="lower", divide="peer/ours",
                    settings={"unit": "s", "growth": [{"people": 15, "seconds": 0.1}, {"people": 150, "seconds": 1}]}),
            compare(2, "drain", ours=[5.0], peers={"pgmq": [1.0], "other": Missing("no Node.js")}, target=">= 20",
                    best="higher", settings={"unit": "recipients/s"}),
            compare(9, "rate", ours=[0.99], peers={"limit": [1.0]}, target="0.98 to 1", best="higher", settings={}),
        ],
        file,
    )  # fmt: skip
    return read(file)


def test_the_page_keeps_what_misses_its_target(entries: list[dict[str, Any]]) -> None:
    page = report.page(entries)
    assert "2 of 3 targets hold" in page
    missed = next(line for line in page.splitlines() if line.startswith("| 2 |"))
    assert "**misses**" in missed
    assert "other: missing" in missed
    assert "no Node.js" in page
    assert "growth-1.svg" in page


def test_the_plots_are_svg_and_the_same_for_the_same_results(entries: list[dict[str, Any]], tmp_path: Path) -> None:
    drawn = []
    for name in ("first", "second"):
        report.plot_ratios(entries, tmp_path / f"{name}.svg")
        report.plot_growth(entries[0], tmp_path / f"{name}-growth.svg")
        drawn.append([(tmp_path / f"{name}{part}.svg").read_bytes() for part in ("", "-growth")])
    assert all(b"<svg" in picture for picture in drawn[0])
    assert drawn[0] == drawn[1]


def test_every_registered_module_is_there_and_named_once() -> None:
    modules = [benchmark.module for benchmark in REGISTRY]
    assert len(modules) == len(set(modules))
    assert all(find_spec(f"benchmarks.{benchmark.module}") for benchmark in REGISTRY)


@pytest.mark.parametrize("file", ["rows", "small"])
def test_statements_are_named_and_whole(file: str) -> None:
    statements = load(file)
    assert statements
    assert all(body.endswith(b";") for body in statements.values())


def test_the_busiest_window_slides_and_is_half_open() -> None:
    stamps = [0.0, 0.5, 1.0, 1.4, 1.45, 3.0]
    assert busiest(stamps, 1.0) == (4, 0.5)
    assert busiest(stamps, 0.5) == (3, 1.0)
    assert busiest([0.0, 1.0], 1.0) == (1, 0.0)
