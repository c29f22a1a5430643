"""Metric 1: plan a campaign for 1.5 million people, durably, with real eligibility.

Ours is publish, relay and plan, as a worker does them, until the plan is committed: preferences, devices, dropped
addresses and the pause are looked at for everybody. Beside it, in turn, on the same server and the same people:

- the same eligibility written as a row per delivery, with only a primary key, by the fastest SELECT we know for it;
- a raw COPY of the same ids (campaign, lane, target of each delivery) into a table without any index.

Also how the plan grows from 1,500 people to ``--people``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import psycopg
import trio

from benchmarks import harness, house, population
from benchmarks.server import Server, running
from benchmarks.statements import load
from ent_notify.engine import Engine

DATABASE = "bench_plan"
SIZES = (1_500, 15_000, 150_000, 1_500_000)


class Sides:
    """The three ways, each a function that does it once and returns seconds. An engine stays open for all pairs."""

    def __init__(self, dsn: str, in_house: Callable[[Callable[[Engine], Any]], Any]) -> None:
        self.parts: dict[str, list[float]] = {"publish": [], "relay and plan": []}
        self.deliveries = 0
        self.chunks = 0
        self.campaign = 0
        self._in_house = in_house
        self._rows = load("rows")
        self._connection = psycopg.connect(dsn, autocommit=True, options=house.SESSION)
        for name in ("create_delivery", "create_ids"):
            self._connection.execute(self._rows[name])
        self._ids = b""

    def ours(self) -> float:
        """Publish, relay and plan through the engine."""
        self._connection.execute("checkpoint")
        seconds = self._in_house(self._plan)
        row = self._connection.execute(self._rows["planned"], {"campaign": self.campaign}).fetchone()
        assert row is not None
        self.deliveries, self.chunks = int(row[0]), int(row[1])
        return float(seconds)

    async def _plan(self, engine: Engine) -> float:
        worker = engine.worker("bench")
        start = time.perf_counter()
        published = await engine.publish(house.announcement())
        between = time.perf_counter()
        await worker.tick()
        end = time.perf_counter()
        self.campaign = published.notification
        self.parts["publish"].append(between - start)
        self.parts["relay and plan"].append(end - between)
        return end - start

    def rows(self) -> float:
        """The same SELECT as a row per delivery, for the campaign that ours has just planned."""
        self._connection.execute("truncate bench_delivery")
        self._connection.execute("checkpoint")
        zones, ends, default = house.holds(house.TUESDAY_AT_TEN)
        start = time.perf_counter()
        written = self._connection.execute(
            self._rows["plan_rows"],
            {
                "campaign": self.campaign,
                "zones": zones,
                "holds": [house.instant(end) for end in ends],
                "default_hold": house.instant(default),
            },
        ).rowcount
        seconds = time.perf_counter() - start
        if written != self.deliveries:
            raise RuntimeError(f"{written} rows, but the plan has {self.deliveries} deliveries: not the same work")
        return seconds

    def copy(self) -> float:
        """A raw COPY of the same ids: binary, prepared beforehand, no index."""
        if not self._ids:
            with self._connection.cursor().copy(
                "copy (select campaign_id, lane_id, target from bench_delivery) to stdout (format binary)"
            ) as out:
                self._ids = b"".join(bytes(block) for block in out)
        self._connection.execute("truncate bench_ids")
        self._connection.execute("checkpoint")
        start = time.perf_counter()
        with self._connection.cursor().copy("copy bench_ids from stdin (format binary)") as into:
            for first in range(0, len(self._ids), 1 << 20):
                into.write(self._ids[first : first + (1 << 20)])
        return time.perf_counter() - start

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


async def _paired(dsn: str, pairs: int) -> tuple[harness.Pairs, Sides]:
    async with house.opened(dsn) as engine:

        def measure() -> tuple[harness.Pairs, Sides]:
            sides = Sides(dsn, lambda work: trio.from_thread.run(work, engine))
            try:
                figures = harness.interleave(
                    {"ours": sides.ours, "row per delivery": sides.rows, "raw COPY": sides.copy}, pairs
                )
            finally:
                sides.close()
            return figures, sides

        return await trio.to_thread.run_sync(measure)


async def _alone(dsn: str, people: int, times: int) -> dict[str, float]:
    async with house.opened(dsn) as engine:

        def measure() -> dict[str, float]:
            sides = Sides(dsn, lambda work: trio.from_thread.run(work, engine))
            seconds = [sides.ours() for _ in range(times + 1)][1:]
            sides.close()
            return {
                "people": people,
                "seconds": round(statistics.median(seconds), 5),
                "deliveries": sides.deliveries,
                "chunks": sides.chunks,
            }

        return await trio.to_thread.run_sync(measure)


def measure(server: Server, people: int, pairs: int, *, curve: bool = True) -> list[harness.Entry]:
    """Run the pairs and the growth curve; two entries against the yardsticks, one for the growth."""
    with population.copied(server, people, DATABASE) as dsn:
        figures, sides = trio.run(_paired, dsn, pairs)
    settings: dict[str, Any] = {
        "unit": "s",
        "people": people,
        "deliveries": sides.deliveries,
        "chunks": sides.chunks,
        "parts": {part: round(statistics.median(seconds), 4) for part, seconds in sides.parts.items()},
        "server": server.settings(),
    }
    entries = [
        harness.compare(
            1,
            "plan a campaign, against the same eligibility as a row per delivery",
            ours=figures["ours"],
            peers={"row per delivery, primary key only": figures["row per delivery"]},
            target=">= 3",
            best="lower",
            divide="peer/ours",
            settings=settings | {"ratio": "their time / our time"},
        ),
        harness.compare(
            1,
            "plan a campaign, against a raw COPY of the same ids",
            ours=figures["ours"],
            peers={"raw COPY, no index": figures["raw COPY"]},
            target="<= 2",
            best="lower",
            settings=settings | {"ratio": "our time / its time"},
        ),
    ]
    if curve:
        points = []
        for size in (size for size in SIZES if size < people):
            with population.copied(server, size, DATABASE) as dsn:
                points.append(trio.run(_alone, dsn, size, 3))
        points.append({"people": people, "seconds": statistics.median(figures["ours"])})
        base = points[-2]
        entries.append(
            harness.compare(
                1,
                f"plan time for each person, at {people:,} people against {base['people']:,.0f}",
                ours=[points[-1]["seconds"] / people * 1e6],
                peers={f"at {base['people']:,.0f}": [base["seconds"] / base["people"] * 1e6]},
                target="<= 1.25",
                best="lower",
                settings={"unit": "us a person", "growth": points, "server": settings["server"]},
            )
        )
    return entries


def main() -> None:
    parser = harness.arguments(__doc__, people=1_500_000)
    parser.add_argument("--no-curve", action="store_true", help="leave the growth curve out")
    options = parser.parse_args()
    with running() as server:
        entries = measure(server, options.people, options.pairs, curve=not options.no_curve)
    harness.publish(entries, options.json)


if __name__ == "__main__":
    main()
