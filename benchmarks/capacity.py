"""``python -m benchmarks.capacity``: the capacity page, computed from the measured figures of ``benchmarks/results``.

Nothing is measured here. The page shows each figure that it takes, each assumption, and the arithmetic for three sizes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/latest.json"
PAGE = ROOT / "docs/explanation/capacity.md"
SIZES = (1_500_000, 15_000_000, 150_000_000)

LANES = {"mail": 0.60, "FCM": 0.45, "APNs": 0.25, "Web Push": 0.20}
"""Deliveries of one announcement for each person, by lane: 1.5 together, as in the generated region."""
ONLINE = 0.10
"""Part of the people who hold a stream at the busiest moment."""
MORNING_SECONDS = 600
"""Time in which they all come, and read one inbox page each."""
EVENTS_A_PERSON = 0.2
"""Events a person and school day (a lesson's homework concerns some 60 people)."""
SCHOOL_HOURS = 8
STREAMS_A_PROCESS = 18_000
RATES = {"mail": 200, "FCM": 9_000, "APNs": 5_000, "Web Push": 2_000}
"""The default limits, sends a second (``rates.*``)."""


class Figures(NamedTuple):
    """What was measured; each with the metric that it comes from."""

    plan_us: float
    wal: float
    wal_trouble: float
    apns: float
    fcm: float
    mails: float
    stream_kib: float
    kernel_kib: float
    frame_us: float
    page_ms: float
    small: float
    worker_mib: float


def read_figures(path: Path = RESULTS) -> Figures:
    results: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))

    def one(start: str) -> dict[str, Any]:
        (found,) = [result for result in results if result["name"].startswith(start)]
        return found

    (held,) = [row for row in one("memory of each of 5,000")["settings"]["comparison"] if row["server"] == "ent_notify"]
    return Figures(
        plan_us=one("plan time for each person, at 1,500,000")["ours"],
        wal=one("WAL per recipient from publish to settled, all accepted")["ours"],
        wal_trouble=one("WAL per recipient from publish to settled, 5 %")["ours"],
        apns=one("pushes a second and core to APNS through the whole engine")["ours"],
        fcm=one("pushes a second and core to FCM through the whole engine")["ours"],
        mails=one("mails a second, whole channel, against aiosmtplib")["ours"],
        stream_kib=one("memory of each of 5,000")["ours"],
        kernel_kib=next(value for name, value in held.items() if name.startswith("kernel")),
        frame_us=one("server CPU a delivered frame")["ours"],
        page_ms=one("inbox page, p50, at 1,500,000")["ours"],
        small=one("small campaigns published and planned")["ours"],
        worker_mib=one("worker memory while fanning out to 1,500,000")["ours"],
    )


def span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.1f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7_200 else f"{seconds / 3600:,.1f} h"


def octets(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def rows(figures: Figures) -> list[tuple[str, Callable[[int], str]]]:
    """Each line of the table: what, and its figure for so many people."""
    deliveries = sum(LANES.values())
    small = EVENTS_A_PERSON / 60 / (SCHOOL_HOURS * 3600)
    mail_core, push_core = figures.mails, (figures.apns + figures.fcm) / 2
    cpu = LANES["mail"] / mail_core + (deliveries - LANES["mail"]) / push_core

    def lane(name: str) -> tuple[str, Callable[[int], str]]:
        return f"the last by {name}, at {RATES[name]:,} a second", lambda n: span(n * LANES[name] / RATES[name])

    return [
        ("deliveries of an announcement to everybody", lambda n: f"{n * deliveries:,.0f}"),
        ("planned after", lambda n: span(n * figures.plan_us / 1e6)),
        ("WAL, all accepted", lambda n: octets(n * deliveries * figures.wal)),
        ("WAL, 5 % put off and 1 % refused", lambda n: octets(n * deliveries * figures.wal_trouble)),
        *(lane(name) for name in LANES),
        ("worker cores to send it all in 15 minutes, providers willing", lambda n: f"{math.ceil(n * cpu / 900):,}"),
        ("limit on mail that 15 minutes would need", lambda n: f"{math.ceil(n * LANES['mail'] / 900):,} a second"),
        ("streams at the busiest moment", lambda n: f"{n * ONLINE:,.0f}"),
        ("gateway processes", lambda n: f"{math.ceil(n * ONLINE / STREAMS_A_PROCESS):,}"),
        (
            "their memory, the kernel's included",
            lambda n: octets(n * ONLINE * (figures.stream_kib + figures.kernel_kib) * 1024),
        ),
        ("CPU time of one broadcast, over all gateways", lambda n: span(n * ONLINE * figures.frame_us / 1e6)),
        (
            "the same for one of those processes",
            lambda n: span(min(STREAMS_A_PROCESS, n * ONLINE) * figures.frame_us / 1e6),
        ),
        ("inbox pages a second, in the morning", lambda n: f"{n * ONLINE / MORNING_SECONDS:,.0f}"),
        (
            "connections busy with them, at the page's own time",
            lambda n: f"{n * ONLINE / MORNING_SECONDS * figures.page_ms / 1000:,.1f}",
        ),
        (
            "small campaigns a second, over a school day",
            lambda n: f"{n * small:,.1f}",
        ),
        (
            "part of the measured rate of small campaigns",
            lambda n: f"{n * small / figures.small:.2%}",
        ),
    ]


def page(figures: Figures) -> str:
    table = "\n".join(
        f"| {what} | " + " | ".join(figure(size) for size in SIZES) + " |" for what, figure in rows(figures)
    )
    lanes = ", ".join(f"{share:g} {name}" for name, share in LANES.items())
    return f"""# Capacity

<!-- Written by `python -m benchmarks.capacity` from `benchmarks/results/latest.json`. Do not edit. -->

What a platform of a given size needs, computed from [what was measured](../performance.md) on 2 cores. Measured were
directories of up to 1,500,000 people, 5,000 held streams for the figures by stream, and 20,000 in the
[load tests](../load.md). **The column of 1.5 million is arithmetic on figures of that size; those of 15 and 150 million
multiply them**, and hold as far as cost for each person stays what it is: from 150,000 to 1,500,000 people it did.

| | {" | ".join(f"{size / 1e6:g} million people" for size in SIZES)} |
|---|{"---|" * len(SIZES)}
{table}

## Figures taken

| Figure | Metric |
|---|---|
| plan: {figures.plan_us:.3f} us a person | 1 |
| WAL: {figures.wal:.1f} bytes a recipient, {figures.wal_trouble:.1f} with trouble | 4 |
| pushes, PostgreSQL's CPU included: {figures.apns:,.0f} (APNs) and {figures.fcm:,.0f} (FCM) a CPU second | 11 |
| mails: {figures.mails:,.0f} a second and process | 10 |
| a held stream: {figures.stream_kib:.2f} KiB, and {figures.kernel_kib:.2f} KiB of the kernel's | 5 |
| a frame to a held stream: {figures.frame_us:.2f} us of CPU | 6 |
| an inbox page: {figures.page_ms:.3f} ms | 13 |
| small campaigns: {figures.small:,.0f} a second | 16 |
| a worker: {figures.worker_mib:.0f} MiB, whatever the size of the campaign | 14 |

## Assumptions

- An announcement to everybody is {lanes} for each person.
  Put in your own shares: each lane stands for itself.
- {ONLINE:.0%} of the people hold a stream at once, came within {MORNING_SECONDS // 60} minutes, and read one page each.
- {EVENTS_A_PERSON:g} events for each person and school day of {SCHOOL_HOURS} hours, each for 60 people.
- A gateway process holds {STREAMS_A_PROCESS:,} streams (`gateway.max_connections`, under 20,000 open files).
- The limits are the defaults of `rates.*`.

## What gives way first

**1.5 million: nothing.** A PostgreSQL with a replica, two or three workers, three machines with gateways. What an
announcement waits for is the mail relay: agree on its rate with whoever runs it.

**15 million: the mail relay, then Google.** Everything else is one more machine of the same kind. NATS carries the
hints between so many gateways.

**150 million: one of everything.** A plan of a minute holds the planner, not the workers; FCM's quota for one
project makes everybody wait for hours; a broadcast is minutes of CPU over hundreds of processes. Nobody has measured
this house there. Run one for each academy or region: schools share no people but a few, and nothing in a house refers
to another.
"""


def main() -> None:
    PAGE.write_text(page(read_figures()), encoding="utf-8")


if __name__ == "__main__":
    main()
