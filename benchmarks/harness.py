"""Pairs, ratios, targets and the results file.

A benchmark hands over *sides*: functions that do the work once and return one figure. They are run interleaved
(A/B/A/B), so that a noisy minute hurts both alike; each pair gives one ratio, and an entry holds the median of the
ratios and their spread. An entry that fails its target is written like any other.

The results file is a list of entries::

    {"metric": 1, "name": "...", "ours": 1.52, "peers": {"row per delivery": 4.71}, "ratio": 3.1,
     "spread": [2.9, 3.3], "target": ">= 3", "holds": true, "settings": {...}}

``ours`` and ``peers`` are medians in the unit of ``settings.unit``. A peer that could not be run is absent from
``peers`` and named, with the reason, in ``settings.missing``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

RESULTS = Path(__file__).parent / "results"
LATEST = RESULTS / "latest.json"
CACHE = Path(os.environ.get("ENT_NOTIFY_BENCH_CACHE", Path(__file__).parent / ".cache"))
"""Data folders and npm packages, kept between runs; git-ignored, and safe to delete."""

DURABILITY = "fsync on, synchronous_commit on, full_page_writes on, logged tables"

Metric = int | str
Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the results file: a figure of ours against its peers, and whether the target holds."""

    metric: Metric
    name: str
    ours: float | None
    peers: dict[str, float]
    ratio: float | None
    spread: list[float]
    target: str
    holds: bool
    settings: dict[str, Any] = field(default_factory=dict)


def holds(ratio: float | None, target: str) -> bool:
    """Whether ``ratio`` meets ``target`` (``">= 3"``, ``"<= 2"``, or a band: ``"0.98 to 1"``). No ratio, no hold."""
    if ratio is None:
        return False
    if band := re.fullmatch(r"([\d.]+) to ([\d.]+)", target):
        return float(band[1]) <= ratio <= float(band[2])
    bound = re.fullmatch(r"(>=|<=) ([\d.]+)", target)
    if bound is None:
        raise ValueError(f'target {target!r} is not ">= x", "<= x" or "x to y"')
    return ratio >= float(bound[2]) if bound[1] == ">=" else ratio <= float(bound[2])


@dataclass(frozen=True, slots=True)
class Missing:
    """A side that could not be run, and exactly why. It is reported as missing, never as zero."""

    why: str


Side = Callable[[], float]
Pairs = dict[str, list[float]]


def interleave(sides: Mapping[str, Side], pairs: int, *, warm_up: int = 1) -> Pairs:
    """Run every side ``pairs`` times in turn and return the figures by side.

    ``warm_up`` rounds are run first and thrown away: caches, plans and files exist for everybody then.
    """
    figures: Pairs = {name: [] for name in sides}
    for round_ in range(-warm_up, pairs):
        for name, run in sides.items():
            figure = run()
            say(f"  {'warm-up' if round_ < 0 else f'pair {round_ + 1}/{pairs}'}  {name}: {figure:,.4g}")
            if round_ >= 0:
                figures[name].append(figure)
    return figures


def compare(
    metric: Metric,
    name: str,
    *,
    ours: Sequence[float],
    peers: Mapping[str, Sequence[float] | Missing],
    target: str,
    best: Better,
    divide: Literal["ours/peer", "peer/ours"] = "ours/peer",
    settings: Mapping[str, Any],
) -> Entry:
    """Make an entry out of figures taken in pairs.

    Each pair's ratio is taken against the best peer *of that pair* (``best`` says whether a higher or a lower figure
    is the better one), which is the hardest comparison that the run allows.
    """
    present = {peer: list(figures) for peer, figures in peers.items() if not isinstance(figures, Missing)}
    missing = {peer: why.why for peer, why in peers.items() if isinstance(why, Missing)}
    ratios = []
    if present:
        for pair, figure in enumerate(ours):
            rivals = [figures[pair] for figures in present.values()]
            rival = max(rivals) if best == "higher" else min(rivals)
            ratios.append(figure / rival if divide == "ours/peer" else rival / figure)
    ratio = statistics.median(ratios) if ratios else None
    return Entry(
        metric=metric,
        name=name,
        ours=_rounded(statistics.median(ours)) if ours else None,
        peers={peer: _rounded(statistics.median(figures)) for peer, figures in present.items()},
        ratio=None if ratio is None else _rounded(ratio),
        spread=[_rounded(min(ratios)), _rounded(max(ratios))] if ratios else [],
        target=target,
        holds=holds(ratio, target),
        settings={
            **settings,
            "pairs": len(ours),
            **({"missing": missing} if missing else {}),
            "machine": machine(),
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def machine() -> dict[str, Any]:
    """What this run ran on; a ``load`` average above ``cores`` says that somebody else was at work too."""
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 1),
    }


def merge(entries: Iterable[Entry], path: Path = LATEST) -> None:
    """Write ``entries`` into the list at ``path``, in place of those of the same metric and name."""
    known: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    fresh = [asdict(entry) for entry in entries]
    replaced = {(str(entry["metric"]), entry["name"]) for entry in fresh}
    kept = [entry for entry in known if (str(entry["metric"]), entry["name"]) not in replaced]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(sorted(kept + fresh, key=order), indent=1, ensure_ascii=False) + "\n")
    partial.replace(path)


def read(path: Path = LATEST) -> list[dict[str, Any]]:
    """The entries at ``path``, in the order of their metrics; none if there is no such file."""
    return sorted(json.loads(path.read_text()), key=order) if path.exists() else []


def order(entry: Mapping[str, Any]) -> tuple[int, str, str]:
    """Sort key: 1, 2, 2b, 3, ... 10."""
    parts = re.fullmatch(r"(\d+)(.*)", str(entry["metric"]))
    assert parts is not None, f"metric {entry['metric']!r} does not start with a number"
    return int(parts[1]), parts[2], str(entry["name"])


def table(entries: Iterable[Mapping[str, Any]]) -> str:
    """The entries as a text table: ratio, spread, target, verdict."""
    rows = [("metric", "what", "ours", "best peer", "ratio", "spread", "target", "verdict")]
    for entry in entries:
        unit = entry["settings"].get("unit", "")
        spread = entry["spread"]
        rows.append(
            (
                str(entry["metric"]),
                entry["name"],
                "-" if entry["ours"] is None else f"{entry['ours']:,.6g} {unit}".strip(),
                ", ".join(f"{peer} {figure:,.6g}" for peer, figure in entry["peers"].items()) or "none ran",
                "-" if entry["ratio"] is None else f"{entry['ratio']:.4g}",
                f"{spread[0]:.3g} to {spread[1]:.3g}" if spread else "-",
                entry["target"],
                "holds" if entry["holds"] else ("FAILS" if entry["ratio"] is not None else "NOT MEASURED"),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def arguments(description: str | None, *, people: int, pairs: int = 7) -> argparse.ArgumentParser:
    """The options that every module takes: ``--people``, ``--pairs``, ``--json``."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--people", type=int, default=people, help="people in the directory (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=pairs, help="interleaved pairs (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=LATEST, help="results file to merge into (default: %(default)s)")
    return parser


def publish(entries: Sequence[Entry], path: Path) -> None:
    """Merge ``entries`` into ``path`` and print them."""
    merge(entries, path)
    print(table([asdict(entry) for entry in entries]))


def say(line: str) -> None:
    """Progress, on stderr: stdout carries the table."""
    print(line, file=sys.stderr, flush=True)


def _rounded(figure: float) -> float:
    return float(f"{figure:.5g}")
