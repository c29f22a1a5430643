"""Metrics 2, 2b, 3, 4 and 14: drain a planned campaign, and what it writes and holds in memory.

Ours and the peers are drained by worker processes that are up and connected before the clock starts, on the same
server, in turn. The peers get row jobs (one recipient each) and chunk jobs (1,000 recipients each); their handlers do
nothing. Of ours two ways are published, because they answer different questions:

- *leases*: claim chunks with their ids, settle them; like the peers' handlers it loads and renders nothing
  (metrics 2, 2b and 3);
- *whole worker*: eligibility looked at anew, addresses loaded, texts rendered, windows checkpointed. The peers do none
  of that, so the comparison is hard on ours (metrics 2 and 3, said in the name).

A figure that only a null sink allows says so in its name; no provider is that fast.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from benchmarks import harness, house, population
from benchmarks.harness import Missing, Side
from benchmarks.peers import base
from benchmarks.peers.catalogue import FASTEST, PEERS
from benchmarks.server import Server, running, wal_position
from benchmarks.statements import load
from ent_notify.engine import Engine

DATABASE = "bench_drain"
OUR_PROCESSES = 2
HARDER = (
    "ours looks at every recipient anew (who has left, who may still see it, what they chose, what they have read), "
    "loads addresses, renders and checkpoints; the peers' handlers do nothing, so this line is not like for like"
)
ROWS = (
    "each of the 6 % that are not plain success is a row with its reason and its retry, which the row per recipient "
    "does not keep; no form of one row in sixteen can be a fiftieth of a row for each"
)
MEMORY_SIZES = (1_500, 15_000, 150_000, 1_500_000)


class House:
    """Our side on one populated database; every drain publishes and plans a new campaign to everyone first."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.rows = load("rows")
        self.chunks = 0
        self.deliveries = 0
        self.wal: dict[str, list[float]] = {}

    def connect(self) -> psycopg.Connection[Any]:
        """A connection in the product's schema."""
        return psycopg.connect(self.dsn, autocommit=True, options=house.SESSION)

    def drain(self, way: str) -> float:
        """Deliveries a second by ``way`` (see benchmarks.drain_worker); keeps the WAL of each from publish on."""
        with self.connect() as connection:
            connection.execute("checkpoint")
            before = wal_position(connection)
            campaign = house.run(self.dsn, _plan)
            row = connection.execute(self.rows["planned"], {"campaign": campaign}).fetchone()
            assert row is not None
            self.deliveries, self.chunks = int(row[0]), int(row[1])
            seconds, handled, first = 0.0, 0, 0
            with base.Fleet(_command(self.dsn, way), OUR_PROCESSES) as fleet:
                for _ in range(2 if way in ("real", "refused", "answers") else 1):
                    spent, count = fleet.drain()
                    seconds, handled, first = seconds + spent, handled + count, first or count
            self._check(connection, campaign)
            self.wal.setdefault(way, []).append((wal_position(connection) - before) / self.deliveries)
        if first != self.deliveries:
            raise RuntimeError(f"{way}: {first} of {self.deliveries} deliveries were tried: the figure is void")
        return self.deliveries / seconds

    def _check(self, connection: psycopg.Connection[Any], campaign: int) -> None:
        row = connection.execute(self.rows["unfinished"], {"campaign": campaign}).fetchone()
        assert row is not None
        if row[0]:
            raise RuntimeError(f"{row[0]} chunks of campaign {campaign} are not finished: the figure is void")

    def row_per_recipient(self) -> float:
        """WAL bytes per recipient of the same campaign kept as rows: inserted once, each marked once, by 1,000."""
        campaign = house.run(self.dsn, _plan)
        with self.connect() as connection:
            connection.execute(self.rows["create_delivery"])
            connection.execute("truncate bench_delivery")
            connection.execute("checkpoint")
            zones, ends, default = house.holds(house.TUESDAY_AT_TEN)
            before = wal_position(connection)
            parameters = {"campaign": campaign, "zones": zones}
            written = connection.execute(
                self.rows["plan_rows"],
                parameters | {"holds": [house.instant(end) for end in ends], "default_hold": house.instant(default)},
            ).rowcount
            connection.execute(self.rows["mark_rows"])
            used = wal_position(connection) - before
            connection.execute("truncate bench_delivery")
            connection.execute(self.rows["forget_campaign"], {"campaign": campaign})
        return used / written


def _command(dsn: str, way: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "benchmarks.drain_worker", dsn, way]


async def _plan(engine: Engine) -> int:
    published = await engine.publish(house.announcement())
    await engine.worker("planner").tick()
    return published.notification


def _peer_sides(
    server: Server, peers: Sequence[base.Peer], per_job: int, *, real: bool, recipients: int
) -> dict[str, Side]:
    def side(peer: base.Peer) -> Callable[[], float]:
        sized = base.sized(peer, base.Load(recipients, per_job, real))
        return lambda: base.drain(server, peer, sized).rate

    return {peer.name: side(peer) for peer in peers}


def measure(
    server: Server, dsn: str, people: int, recipients: int, pairs: int, *, every_peer: bool, wanted: set[str]
) -> list[harness.Entry]:
    """The drains (2, 2b, 3) and their WAL (4); ``recipients`` is what the peers are given."""
    ready, missing = base.available(PEERS if every_peer else FASTEST)
    house_ = House(dsn)
    fast = [peer for peer in ready if peer in FASTEST]
    entries: list[harness.Entry] = []

    def settings(way: str, per_job: int) -> dict[str, Any]:
        return {
            "unit": "recipients/s",
            "ours": {"people": people, "deliveries": house_.deliveries, "chunks": house_.chunks, "way": way,
                     "processes": OUR_PROCESSES},
            "peers": {
                peer.name: {"recipients": base.sized(peer, base.Load(recipients, per_job)).recipients, **peer.settings}
                for peer in ready
            },
            "server": server.settings(),
        }  # fmt: skip

    def peers(figures: harness.Pairs) -> dict[str, Sequence[float] | Missing]:
        return {**missing, **{name: values for name, values in figures.items() if not name.startswith("ours")}}

    def compared(
        metric: harness.Metric, name: str, ours: str, figures: harness.Pairs, target: str, per_job: int
    ) -> None:
        remark = {"remark": HARDER} if ours == "ours: whole worker" else {}
        entries.append(
            harness.compare(
                metric,
                name,
                ours=figures[ours],
                peers=peers(figures),
                target=target,
                best="higher",
                settings=settings(ours, per_job) | remark,
            )
        )

    if "2" in wanted:
        sides: dict[str, Side] = {"ours: leases": lambda: house_.drain("leases"),
                                  "ours: whole worker": lambda: house_.drain("null")}  # fmt: skip
        figures = harness.interleave(sides | _peer_sides(server, ready, 1, real=False, recipients=recipients), pairs)
        compared(2, "drain leases with a null handler, against row jobs", "ours: leases", figures, ">= 20", 1)
        compared(2, "drain by the whole worker to a null sink, against row jobs with a null handler",
                 "ours: whole worker", figures, ">= 20", 1)  # fmt: skip
    if "2b" in wanted:
        sides = {"ours: leases": lambda: house_.drain("leases")}
        figures = harness.interleave(
            sides | _peer_sides(server, fast, base.CHUNK, real=False, recipients=recipients), pairs
        )
        compared("2b", "drain leases with a null handler, against chunk jobs of 1,000", "ours: leases", figures, ">= 1",
                 base.CHUNK)  # fmt: skip
    if "3" in wanted:
        sides = {"ours: leases": lambda: house_.drain("answers"), "ours: whole worker": lambda: house_.drain("real")}
        figures = harness.interleave(sides | _peer_sides(server, ready, 1, real=True, recipients=recipients), pairs)
        compared(
            3, "drain with 5 % put off and 1 % gone, leases, against row jobs", "ours: leases", figures, ">= 10", 1
        )
        compared(3, "drain with 5 % put off and 1 % gone, by the whole worker, against row jobs", "ours: whole worker",
                 figures, ">= 10", 1)  # fmt: skip
    if "4" in wanted:
        for way in ("null", "refused"):
            if len(house_.wal.get(way, ())) < pairs:
                house_.wal[way] = []
                for _ in range(pairs):
                    house_.drain(way)
        rows = [house_.row_per_recipient() for _ in range(pairs)]
        for way, name in (("null", "all accepted"), ("refused", "5 % put off and 1 % refused")):
            entries.append(
                harness.compare(
                    4,
                    f"WAL per recipient from publish to settled, {name}, against a row inserted and marked once",
                    ours=house_.wal[way][-pairs:],
                    peers={"row per recipient": rows},
                    target="<= 0.02",
                    best="lower",
                    settings=settings(way, 1)
                    | {"unit": "bytes", "peers": {}}
                    | ({"remark": ROWS} if way == "refused" else {}),
                )
            )
    return entries


def under_snapshot(server: Server, people: int, recipients: int, seconds: float) -> harness.Entry:
    """Metric 2 after ``seconds`` of filling and draining while an old snapshot keeps every dead row; one round each."""
    ready, missing = base.available(FASTEST)
    rounds: list[float] = []
    with population.copied(server, people, DATABASE) as dsn, base.held_snapshot(dsn):
        house_ = House(dsn)
        start = time.monotonic()
        while not rounds or time.monotonic() - start < seconds:
            rounds.append(house_.drain("leases"))
    peers: dict[str, Sequence[float] | Missing] = {**missing}
    for peer in ready:
        peers[peer.name] = [base.drain(server, peer, base.Load(recipients), held_for=seconds).rate]
        harness.say(f"  {peer.name} under a snapshot: {peers[peer.name]}")
    return harness.compare(
        2,
        "drain leases with a null handler, against row jobs, the last round under a held snapshot",
        ours=rounds[-1:],
        peers=peers,
        target=">= 20",
        best="higher",
        settings={
            "unit": "recipients/s",
            "snapshot held": f"{seconds:g} s on each side, the queue filled and drained again and again",
            "people": people,
            "recipients of a round": recipients,
            "our first round": round(rounds[0]),
            "our rounds": len(rounds),
            "server": server.settings(),
        },
    )


def memory(server: Server, sizes: Sequence[int]) -> harness.Entry:
    """Metric 14: peak resident memory of a worker that relays, plans and delivers a campaign, by size of directory."""
    points = []
    for people in sizes:
        with population.copied(server, people, DATABASE) as dsn:
            house.run(dsn, lambda engine: engine.publish(house.announcement()))
            with base.Fleet(_command(dsn, "null"), 1) as fleet:
                spent, handled = fleet.drain()
                peak = fleet.peak_memory()[0]
        points.append({"people": people, "deliveries": handled, "MiB": peak, "seconds": round(spent, 2)})
        harness.say(f"  {points[-1]}")
    at_base = next(point for point in points if point["people"] == 15_000)
    return harness.compare(
        14,
        f"worker memory while fanning out to {sizes[-1]:,} people, against 15,000",
        ours=[points[-1]["MiB"]],
        peers={"at 15,000": [at_base["MiB"]]},
        target="<= 1.2",
        best="lower",
        settings={"unit": "MiB peak resident", "growth": points, "sink": "null", "server": server.settings()},
    )


def main() -> None:
    parser = harness.arguments(__doc__, people=150_000, pairs=3)
    parser.add_argument("--recipients", type=int, default=0, help="what the peers get (default: as many as people)")
    parser.add_argument("--metrics", default="2,2b,3,4,14", help="which of them (default: %(default)s)")
    parser.add_argument("--snapshot", type=float, default=0, help="also drain under a snapshot held that many seconds")
    parser.add_argument("--every-peer", action="store_true", help="also pg-boss, pgqueuer and procrastinate")
    options = parser.parse_args()
    wanted = set(options.metrics.split(","))
    entries: list[harness.Entry] = []
    with running() as server:
        if wanted & {"2", "2b", "3", "4"}:
            with population.copied(server, options.people, DATABASE) as dsn:
                entries += measure(
                    server,
                    dsn,
                    options.people,
                    options.recipients or options.people,
                    options.pairs,
                    every_peer=options.every_peer,
                    wanted=wanted,
                )
        if options.snapshot and "2" in wanted:
            size = min(options.people, 150_000)
            entries.append(under_snapshot(server, size, size, options.snapshot))
        if "14" in wanted:
            entries.append(memory(server, [size for size in MEMORY_SIZES if size <= max(options.people, 15_000)]))
    harness.publish(entries, options.json)


if __name__ == "__main__":
    main()
