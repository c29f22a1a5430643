"""``python -m benchmarks.report``: ``docs/performance.md`` and its plots (SVG) from the results.

The page is generated, failures included: what is not in the results file is not on it.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import harness

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
PLOTS = PAGE.parent / "plots"

TABLES = frozenset({"growth", "comparison"})
"""Settings that are lists of rows, shown as tables."""

HEAD = """# Performance

<!-- Written by `python -m benchmarks.report` from `benchmarks/results/latest.json`. Do not edit. -->

Every ratio below was measured side by side with its peers in one run on one machine, in interleaved pairs; a line gives
the median ratio and the lowest and highest of the pairs. Absolute figures belong to that machine and that hour. What
misses its target is kept. A figure with a null sink or a null handler says so in its name: no provider is that fast.

`make bench` runs a short form of all of them, `make bench-full` the long one.

"""


def page(entries: Sequence[Mapping[str, Any]]) -> str:
    """The whole page, in Markdown."""
    missed = [entry for entry in entries if not entry["holds"]]
    lines = [
        HEAD,
        f"{len(entries) - len(missed)} of {len(entries)} targets hold.\n",
        "\n| Metric | What | Ours | Peers | Ratio | Spread | Target | Verdict |\n|---|---|---|---|---|---|---|---|\n",
    ]
    for entry in entries:
        unit = entry["settings"].get("unit", "")
        spread = " to ".join(f"{bound:.3g}" for bound in entry["spread"]) or "-"
        verdict = "holds" if entry["holds"] else ("**misses**" if entry["ratio"] is not None else "**not measured**")
        lines.append(
            f"| {entry['metric']} | {entry['name']} | {_figure(entry['ours'])} {unit} | {_peers(entry)} "
            f"| {_figure(entry['ratio'])} | {spread} | {entry['target']} | {verdict} |\n"
        )
    for entry in entries:
        if "comparison" in entry["settings"]:
            lines.append(f"\n## Side by side: {entry['name']}\n")
            lines.append(_rows_table(entry["settings"]["comparison"]))
            lines.append(_remark(entry))
    lines.append("\n## Settings of each measurement\n")
    for entry in entries:
        lines.append(f"\n### {entry['metric']}: {entry['name']}\n\n")
        lines.extend(
            textwrap.fill(f"- {_words(key)}: {_setting(value)}", 118, subsequent_indent="  ") + "\n"
            for key, value in entry["settings"].items()
            if key not in TABLES
        )
        if "growth" in entry["settings"]:
            lines.append(_rows_table(entry["settings"]["growth"]))
            lines.append(f"\n![{entry['name']}](plots/{_plot_name(entry)})\n")
    lines.append("\n![All ratios against their targets](plots/ratios.svg)\n")
    return "".join(lines)


def plot_ratios(entries: Sequence[Mapping[str, Any]], file: Path) -> None:
    """One bar for each entry: how far its ratio is from its target, on a logarithmic scale; right of 1 it holds."""
    figure, axes = _axes(height=1.2 + 0.34 * len(entries))
    rows = [(entry, _margin(entry)) for entry in entries]
    shown = [(entry, margin) for entry, margin in rows if margin is not None][::-1]
    places = range(len(shown))
    colours = ["#3b7d4f" if entry["holds"] else "#b5482f" for entry, _ in shown]
    axes.barh(places, [margin for _, margin in shown], color=colours, left=0, height=0.6)
    axes.set_yticks(places, [f"{entry['metric']}  {_short(entry['name'])}" for entry, _ in shown], fontsize=8)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlabel("ratio over target (to the right of 1: holds)")
    _save(figure, file)


def plot_growth(entry: Mapping[str, Any], file: Path) -> None:
    """A growth curve: every measured column over the number of people, both axes logarithmic."""
    points = entry["settings"]["growth"]
    column = next(key for key in ("seconds", "MiB", "milliseconds") if key in points[0] and key in entry_columns(entry))
    figure, axes = _axes(height=3.6)
    people = [point["people"] for point in points]
    axes.loglog(people, [point[column] for point in points], marker="o", color="#2f5d8a")
    axes.set_xlabel("people in the directory")
    axes.set_ylabel("MiB" if column == "MiB" else column)
    axes.set_title(_short(entry["name"], 90), fontsize=9)
    axes.grid(visible=True, which="major", linewidth=0.3)
    _save(figure, file)


def entry_columns(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns that a growth plot of this entry may show, the first present one being shown."""
    return ("MiB",) if entry["settings"].get("unit", "").startswith("MiB") else ("seconds", "milliseconds")


def _margin(entry: Mapping[str, Any]) -> float | None:
    ratio = entry["ratio"]
    if not ratio:
        return None
    target = entry["target"]
    if target.startswith(">="):
        return float(ratio / float(target[3:]))
    if target.startswith("<="):
        return float(float(target[3:]) / ratio)
    low, high = (float(bound) for bound in target.split(" to "))
    return float(min(ratio / low, high / ratio))


def _axes(height: float) -> tuple[Any, Any]:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "ent_notify"  # the same results give the same file
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(9, height), layout="constrained")


def _save(figure: Any, file: Path) -> None:
    from matplotlib import pyplot

    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def _plot_name(entry: Mapping[str, Any]) -> str:
    return f"growth-{entry['metric']}.svg"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _peers(entry: Mapping[str, Any]) -> str:
    present = [f"{name} {_figure(figure)}" for name, figure in entry["peers"].items()]
    absent = [f"{name}: missing" for name in entry["settings"].get("missing", {})]
    return "; ".join(present + absent) or "none ran"


def _short(name: str, most: int = 60) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _words(key: str) -> str:
    return key.replace("_", " ")


def _setting(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{_words(str(key))} {_setting(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return " / ".join(_setting(inner) for inner in value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _rows_table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    head = f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    lines = (f"| {' | '.join(_cell(row.get(column)) for column in columns)} |\n" for row in rows)
    return head + "".join(lines)


def _cell(value: Any) -> str:
    return "" if value is None else _setting(value)


def _remark(entry: Mapping[str, Any]) -> str:
    """When and how quietly a comparison was measured."""
    machine = entry["settings"].get("machine", {})
    when = entry["settings"].get("measured_at", "an unknown time")
    beside = entry["settings"].get("beside it", "")
    return (
        f"\nMeasured at {when} on {machine.get('cores', '?')} cores.\n"
        f"Load average at its end: {machine.get('load', '?')}, of which the measurement's own is a part.\n"
        + (f"Beside it: {beside}.\n" if beside else "")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, default=harness.LATEST)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    entries = harness.read(options.json)
    plot_ratios(entries, PLOTS / "ratios.svg")
    for entry in entries:
        if "growth" in entry["settings"]:
            plot_growth(entry, PLOTS / _plot_name(entry))
    options.page.parent.mkdir(parents=True, exist_ok=True)
    options.page.write_text(page(entries), encoding="utf-8")
    harness.say(f"wrote {options.page} and {PLOTS}/*.svg")


if __name__ == "__main__":
    main()
