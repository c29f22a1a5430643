"""``python -m loadtests.page``: write the figures of the committed results into docs/load.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "load.md"
MARK = "<!-- Below: written by `python -m loadtests.page` from `loadtests/results/*.json`. Do not edit. -->\n"


def read_results() -> dict[str, dict[str, Any]]:
    """The committed results by name; those of ``smoke`` are not committed."""
    files = [file for file in RESULTS.glob("*.json") if not file.stem.startswith("smoke")]
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(files)}


def tables(results: Mapping[str, Mapping[str, Any]]) -> str:
    """What the page says of the results."""
    parts = [
        MARK,
        "\n## Results\n\n",
        "The load before is the machine's load average when a run began: what others were doing on its cores. Where\n",
        "it is far above 0, latencies tell as much of them as of us.\n\n",
        "| Run | Streams held | by Locust, in processes | Gateway processes | Notifications heard, of expected "
        "| Missed, doubled, disordered, foreign | Gateways' Pss | Load before | Verdict |\n",
        "|---|---|---|---|---|---|---|---|---|\n",
    ]
    for name, row in results.items():
        verdict, streams, faults = row["verdict"], row["streams"], row["verdict"]["faults"]
        found = ", ".join(str(faults[fault]) for fault in ("missed", "doubled", "disordered", "foreign"))
        parts.append(
            f"| `{name}` | {streams['held_at_the_end']:,} | {streams['locust_processes']} "
            f"| {streams['gateway_processes']} | {verdict['heard']:,} of {verdict['expected']:,} | {found} "
            f"| {row['usage']['gateway']['pss_mib']:,.0f} MiB | {row.get('load_average_before', 'unknown')} on "
            f"{row['machine']['cores']} cores | {'passed' if row['passed'] else '**failed**'} |\n"
        )
    parts.append("\nAnnouncements to everyone: milliseconds from the intended moment until readers had them.\n\n")
    parts.append("| Run | Phase | Readers | p50 | p99 | last |\n|---|---|---|---|---|---|\n")
    for name, row in results.items():
        for phase, told in row["broadcasts"].items():
            best = [
                f"{middle([each[key] for each in told]):,.0f}" for key in ("deliveries", "p50_ms", "p99_ms", "last_ms")
            ]
            parts.append(f"| `{name}` | {phase.replace('_', ' ')} | {' | '.join(best)} |\n")
    parts.append("\nEach line is the median of the phase's announcements.\n")
    if storms := [(name, storm, found) for name, row in results.items() for storm, found in row["storms"].items()]:
        parts.append("\nGateways killed: seconds until a stream that was lost stood again.\n\n")
        parts.append("| Run | Processes killed | Streams lost | back | p50 | p99 | last | Window | Refused |\n")
        parts.append("|---|---|---|---|---|---|---|---|---|\n")
        for name, _, storm in storms:
            refused = ", ".join(f"{number:,} by {status}" for status, number in storm["refusals_by_status"].items())
            parts.append(
                f"| `{name}` | {storm['processes_killed']} | {storm['streams_lost']:,} | {storm['streams_back']:,} "
                f"| {storm['back_p50_seconds']} | {storm['back_p99_seconds']} | {storm['back_last_seconds']} "
                f"| {storm['window_seconds']:g} s, and {storm['slack_seconds']:g} | {refused or 'none'} |\n"
            )
    parts += [_released(name, phase) for name, row in results.items() for phase in row["phases"]]
    return "".join(parts)


def _released(name: str, phase: Mapping[str, Any]) -> str:
    if "drained_seconds" not in phase:
        return ""
    return (
        f"\n`{name}`: the pause had held {phase['held_before']:,} mails and pushes.\n"
        f"With what was announced meanwhile, {phase['sent']:,} were sent within {phase['drained_seconds']:g} s,\n"
        "and the servers had taken exactly what was accounted for.\n"
    )


def middle(values: list[float]) -> float:
    """The median, the lower one of two."""
    return sorted(values)[(len(values) - 1) // 2]


def main() -> None:
    """Write the page."""
    text = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    PAGE.write_text(text + tables(read_results()), encoding="utf-8")


if __name__ == "__main__":
    main()
