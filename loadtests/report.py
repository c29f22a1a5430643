"""The results of a run: JSON, plots, and a page in HTML beside Locust's own."""

from __future__ import annotations

import html
import json
import os
import platform
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg

from loadtests import figures
from loadtests.conductor import LOCUST_REPORT, Outcome, say, settings_shown
from loadtests.judge import Evidence, judge, self_test
from loadtests.oracle import read_feed
from loadtests.phases import STORM_SLACK_SECONDS
from loadtests.plan import Plan, RunFolder
from loadtests.profiles import Profile
from loadtests.record import Record


def make(
    profile: Profile, plan: Plan, outcome: Outcome, dsn: str, path: Path, database: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Judge a run: its results, and what its plots show."""
    folder = RunFolder(path)
    records = [folder.record(place) for place in range(plan.clients)]
    missing = [str(file.name) for file in records if not file.exists()]
    evidence = Evidence.gather([Record.load(file) for file in records if file.exists()] or [Record()])
    with psycopg.connect(dsn) as connection:
        feed = read_feed(connection)
    published = folder.published(0)
    verdict = judge(evidence, feed, plan.everybody(), outcome.bell_seq)
    noticed = self_test(evidence, feed, plan.everybody(), outcome.bell_seq)
    by_label = figures.latencies(evidence, feed, published, outcome.phases)
    storms = {
        phase["name"]: figures.storm(evidence, phase, STORM_SLACK_SECONDS)
        for phase in outcome.phases
        if "killed_ns" in phase
    }
    waits = {name: storm.pop("waits") for name, storm in storms.items()}
    troubles = [*outcome.troubles, *(f"a client process left no record ({name})" for name in missing)]
    refused = figures.refusals(evidence)
    if set(refused) - {"503"}:
        troubles.append(f"streams or tickets were refused by something else than 503 + Retry-After: {refused}")
    result = {
        "profile": profile.name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "database": dict(database),
        "settings": settings_shown(profile),
        "streams": {
            "wanted": plan.readers + plan.visitors, "held_at_the_end": outcome.held,
            "locust_processes": plan.clients, "gateway_processes": profile.gateways,
        },
        "notifications": len(feed),
        "verdict": {
            "passed": verdict.passed, "readers": verdict.readers, "expected": verdict.expected, "heard": verdict.heard,
            "faults": verdict.faults, "examples": verdict.examples,
        },
        "check_notices_tampering": noticed,
        "storms": storms,
        "refusals_by_status": refused,
        "latency": {label: figures.summary(values) for label, values in sorted(by_label.items())},
        "broadcasts": {
            phase["name"]: told
            for phase in outcome.phases
            if (told := figures.last_by_broadcast(evidence, feed, published, phase))
        },
        "phases": [_phase(phase) for phase in outcome.phases],
        "load_average_before": outcome.load_before,
        "usage": outcome.usage,
        "troubles": troubles,
        "passed": verdict.passed and all(noticed.values())
        and all(storm["holds"] for storm in storms.values()) and not troubles,
    }  # fmt: skip
    return result, {"latency": by_label, "waits": waits, "samples": outcome.samples, "phases": outcome.phases}


def write(result: dict[str, Any], plots: dict[str, Any], run: Path, target: Path) -> None:
    """Write ``target``.json, .html and plots, and Locust's report beside them."""
    target.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{target}.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    drawn = _draw(plots, target)
    if (run / LOCUST_REPORT).exists():
        shutil.copy(run / LOCUST_REPORT, f"{target}-locust.html")
    Path(f"{target}.html").write_text(_page(result, drawn, f"{target.name}-locust.html"))


def show(result: Mapping[str, Any]) -> None:
    """Print the summary."""
    verdict = result["verdict"]
    streams = result["streams"]
    say(f"  streams held: {streams['held_at_the_end']:,} of {streams['wanted']:,}")
    say(f"  notifications heard: {verdict['heard']:,} of {verdict['expected']:,}; faults: {verdict['faults']}")
    for fault, examples in verdict["examples"].items():
        say(f"    {fault}: {'; '.join(examples)}")
    say(f"  the check notices tampering: {result['check_notices_tampering']}")
    for label, row in result["latency"].items():
        say(f"  {label:40} {row['deliveries']:>10,}  p50 {row['p50_ms']:>9,.1f}  p99 {row['p99_ms']:>9,.1f}"
            f"  last {row['last_ms']:>9,.1f} ms")  # fmt: skip
    for name, storm in result["storms"].items():
        say(f"  {name}: {storm}")
    say(f"  refused: {result['refusals_by_status'] or 'nothing'}; usage: {result['usage']}")
    for trouble in result["troubles"]:
        say(f"  ! {trouble}")
    say(f"{'PASSED' if result['passed'] else 'FAILED'} in {result['seconds']:.0f} s")


def _phase(phase: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in phase.items() if not name.endswith("_ns")}
    return kept | {"seconds": round((phase["ended_ns"] - phase["began_ns"]) / 1e9, 2)}


def _machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _draw(plots: dict[str, Any], target: Path) -> list[Path]:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "ent_notify"
    from matplotlib import pyplot

    drawn = []

    def save(figure: Any, name: str) -> None:
        file = Path(f"{target}-{name}.svg")
        figure.savefig(file, format="svg", metadata={"Date": None})
        pyplot.close(figure)
        drawn.append(file)

    samples = plots["samples"]
    if samples:
        figure, axes = pyplot.subplots(figsize=(9, 3.2), layout="constrained")
        began = samples[0]["at"]
        axes.plot([row["at"] - began for row in samples], [row["held"] for row in samples], color="#2f5d8a")
        for phase in plots["phases"]:
            axes.axvline(phase["began_ns"] / 1e9 - began, color="#999", linewidth=0.6)
            axes.text(phase["began_ns"] / 1e9 - began, 0, f" {phase['name']}", rotation=90, fontsize=7, va="bottom")
        axes.set(xlabel="seconds", ylabel="streams held", ylim=(0, None))
        save(figure, "streams")
    shown = {label: values for label, values in plots["latency"].items() if len(values) >= 100}
    if shown:
        figure, axes = pyplot.subplots(figsize=(9, 4.2), layout="constrained")
        for label, values in sorted(shown.items()):
            shares = np.linspace(0, 100, 201)
            axes.plot(np.percentile(values, shares), shares, label=label, linewidth=1)
        axes.set_xscale("log")
        axes.set(xlabel="milliseconds from the intended moment until the reader has it", ylabel="% of deliveries")
        axes.grid(visible=True, linewidth=0.3)
        axes.legend(fontsize=7)
        save(figure, "latency")
    for name, waits in plots["waits"].items():
        if len(waits):
            figure, axes = pyplot.subplots(figsize=(9, 3), layout="constrained")
            axes.hist(waits, bins=60, color="#2f5d8a")
            axes.set(xlabel="seconds until a stream that was lost is back", ylabel="streams", title=name)
            save(figure, name)
    return drawn


def _page(result: Mapping[str, Any], drawn: list[Path], locust: str) -> str:
    verdict = result["verdict"]
    rows = "".join(
        f"<tr><td>{html.escape(label)}</td><td>{row['deliveries']:,}</td><td>{row['p50_ms']:,}</td>"
        f"<td>{row['p99_ms']:,}</td><td>{row['last_ms']:,}</td></tr>"
        for label, row in result["latency"].items()
    )
    pictures = "".join(file.read_text().partition("<svg")[1] + file.read_text().partition("<svg")[2] for file in drawn)
    details = html.escape(json.dumps({k: v for k, v in result.items() if k != "latency"}, indent=2, ensure_ascii=False))
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{result["profile"]}: {"passed" if result["passed"] else "FAILED"}</title>
<style>body{{font:15px/1.5 sans-serif;margin:2em;max-width:60em}}td,th{{padding:.1em .8em;text-align:right}}
td:first-child{{text-align:left}}svg{{max-width:100%;height:auto}}pre{{font-size:12px}}</style>
<h1>{result["profile"]}: {"passed" if result["passed"] else "FAILED"}</h1>
<p>{verdict["heard"]:,} notifications heard of {verdict["expected"]:,} that {verdict["readers"]:,} readers should have
heard; faults: {html.escape(json.dumps(verdict["faults"]))}. <a href="{locust}">Locust's report</a></p>
<table><tr><th>phase: kind<th>deliveries<th>p50 ms<th>p99 ms<th>last ms</tr>{rows}</table>
{pictures}<pre>{details}</pre>
<p>Written {time.strftime("%Y-%m-%d %H:%M")}.</p></html>
"""
