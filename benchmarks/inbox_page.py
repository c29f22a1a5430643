"""Metric 13: an inbox page in a region of 1.5 million people, against one of 15,000.

Both databases hold a term of notifications, as many for each class, school and region, so that a reader's page is as
full in both; the larger region has a hundred times as many notifications in all. The same readers by place (pupils,
guardians, teachers, staff) open their newest page in turn at one and at the other, through the engine.
"""

from __future__ import annotations

import hashlib
import random
import statistics
import time
from typing import Any

import psycopg
import trio

from benchmarks import harness, house, population
from benchmarks.held_streams import p99
from benchmarks.server import Server, running
from benchmarks.statements import FOLDER, load
from ent_notify.engine import Engine
from ent_notify.store.fanout import PostgresFanout

SMALL = 15_000
PAGE = 20
TERM = {"of_class": 8, "of_school": 8, "of_region": 4}
"""Notifications for each; a pupil has as many as a page holds, a guardian with two children more."""
SEED = 13


def region(server: Server, people: int) -> str:
    """The address of a database of so many people with a term behind them, made once and kept."""
    template = population.template(server, people)
    text = template + (FOLDER / "inbox.sql").read_text(encoding="utf-8") + str(TERM)
    name = f"inbox_{people}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    known = server.databases()
    if name not in known:
        for stale in known:
            if stale.startswith(f"inbox_{people}_"):
                server.drop(stale)
        harness.say(f"  publishing a term to {people:,} people (kept for later runs)")
        dsn = server.fresh_database("inbox_new", template=template)
        with psycopg.connect(dsn) as connection:
            connection.execute("set local synchronous_commit = off")  # the making of the data is not measured
            connection.execute(load("inbox")["publish"], TERM)
        house.run(dsn, _relay)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("vacuum (freeze, analyze)")
            connection.execute("checkpoint")
        server.rename("inbox_new", name)
    return server.dsn(name)


async def _relay(engine: Engine) -> None:
    store = PostgresFanout(engine.db)
    while await store.relay(10_000):
        pass


class Found:
    """What was read in one region: milliseconds of each page, by pair, and how many entries the pages held."""

    def __init__(self) -> None:
        self.spent: list[list[float]] = []
        self.entries = 0

    @property
    def all(self) -> list[float]:
        """Every page's milliseconds."""
        return [spent for pair in self.spent for spent in pair]


async def pages(engines: dict[int, Engine], readers: int, pairs: int) -> dict[int, Found]:
    """Read in turn; by size of region."""
    draw = random.Random(SEED)
    found = {people: Found() for people in engines}
    for pair in range(-1, pairs):
        for people in engines:
            found[people].spent.append([])
        for _ in range(readers):
            place = draw.random()
            for people, engine in engines.items():
                reader = await engine.reader(f"P{1 + int(place * people)}")
                begun = time.perf_counter()
                page = await engine.inbox(reader, most=PAGE)
                found[people].spent[-1].append((time.perf_counter() - begun) * 1e3)
                found[people].entries += len(page)
                if not page:
                    raise RuntimeError(f"{reader.id} of {people:,} people has an empty inbox: the figure is void")
        if pair < 0:
            found = {people: Found() for people in engines}
        else:
            harness.say(f"  pair {pair + 1}/{pairs}  " + ", ".join(
                f"{people:,}: {statistics.median(found[people].spent[-1]):.2f} ms" for people in engines))  # fmt: skip
    return found


async def measure(dsns: dict[int, str], readers: int, pairs: int) -> dict[int, Found]:
    """Open both regions and read in turn."""
    small, large = dsns
    async with house.opened(dsns[small]) as one, house.opened(dsns[large]) as other:
        return await pages({small: one, large: other}, readers, pairs)


def main() -> None:
    parser = harness.arguments(__doc__, people=1_500_000, pairs=7)
    parser.add_argument("--readers", type=int, default=300, help="pages of each side in a pair (default: %(default)s)")
    options = parser.parse_args()
    with running() as server:
        dsns = {people: region(server, people) for people in (SMALL, options.people)}
        heads = {}
        for people, dsn in dsns.items():
            with psycopg.connect(dsn) as connection:
                row = connection.execute(load("inbox")["head"]).fetchone()
                assert row is not None
                heads[f"{people:,} people"] = int(row[0])
        found = trio.run(measure, dsns, options.readers, options.pairs)
        settings: dict[str, Any] = {
            "unit": "ms",
            "entries of a page, at most": PAGE,
            "pages of each side in a pair": options.readers,
            "one reader at a time": "through the engine, in this process; the page's statement is prepared",
            "notifications in the feed": heads,
            "entries found on a page": {
                f"{people:,} people": round(each.entries / len(each.all), 1) for people, each in found.items()
            },
            "p99, ms": {f"{people:,} people": round(p99(each.all), 2) for people, each in found.items()},
            "server": server.settings(),
        }
    entry = harness.compare(
        13,
        f"inbox page, p50, at {options.people:,} people against {SMALL:,}",
        ours=[statistics.median(pair) for pair in found[options.people].spent],
        peers={f"at {SMALL:,}": [statistics.median(pair) for pair in found[SMALL].spent]},
        target="<= 1.2",
        best="lower",
        settings=settings,
    )
    harness.publish([entry], options.json)


if __name__ == "__main__":
    main()
