"""Metric 16: small campaigns, one class each (about 80 people, three channels), published and planned per second.

The same pgbench clients publish through ``ent_notify.publish``, one transaction each, while a worker process relays and
plans; the clock stops when the last campaign is planned. Beside it, in turn, the same clients insert one bare row each.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import psycopg

from benchmarks import harness, population
from benchmarks.server import Server, pgbench_count, running
from benchmarks.statements import load

DATABASE = "bench_small"
CLIENTS = 8


class Sides:
    """Both sides on one database. ``each`` is the number of transactions of each client."""

    def __init__(self, server: Server, dsn: str, people: int, each: int) -> None:
        self.server = server
        self.dsn = dsn
        self.each = each
        self.statements = load("small")
        self.connection = psycopg.connect(self.dsn, autocommit=True)
        self.connection.execute(self.statements["create_bare"])
        self.classes = max(1, people // 1_875) * 28
        self.last: dict[str, Any] = {}

    def ours(self) -> float:
        """Campaigns published and planned per second."""
        self.connection.execute("checkpoint")
        newest = self._one("newest")[0]
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.plan_worker", self.dsn]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
            try:
                assert worker.stdout is not None
                if worker.stdout.readline() != "ready\n":
                    raise RuntimeError("the planning worker did not start")
                start = time.perf_counter()
                pgbench_count(self.server, DATABASE, self.script("publish"), clients=CLIENTS, each=self.each)
                published = time.perf_counter()
                while self._one("waiting")[0]:
                    time.sleep(0.02)
                    if worker.poll() is not None or time.perf_counter() - start > 300:
                        raise RuntimeError("campaigns are left unplanned")
                seconds = time.perf_counter() - start
            finally:
                worker.kill()
        row = self.connection.execute(self.statements["planned"], {"after": newest}).fetchone()
        assert row is not None
        if row[0] != CLIENTS * self.each:
            raise RuntimeError(f"{row[0]} campaigns have chunks, {CLIENTS * self.each} were published")
        self.last = {
            "campaigns": row[0],
            "chunks": row[1],
            "deliveries a campaign, web included": round(int(row[2]) / row[0], 1),
            "published/s": round(row[0] / (published - start)),
        }
        return CLIENTS * self.each / seconds

    def bare(self) -> float:
        """Bare one-row inserts per second."""
        self.connection.execute("checkpoint")
        start = time.perf_counter()
        pgbench_count(self.server, DATABASE, self.script("bare"), clients=CLIENTS, each=self.each)
        return CLIENTS * self.each / (time.perf_counter() - start)

    def script(self, name: str) -> str:
        body = self.statements[name].decode().rstrip(";").replace("\n", " ")
        return f"\\set class random(0, {self.classes - 1})\n{body};\n"

    def _one(self, name: str) -> Any:
        return self.connection.execute(self.statements[name]).fetchone()


def measure(server: Server, people: int, pairs: int, each: int) -> list[harness.Entry]:
    """The pairs; one entry."""
    with population.copied(server, people, DATABASE) as dsn:
        sides = Sides(server, dsn, people, each)
        figures = harness.interleave({"ours": sides.ours, "bare insert": sides.bare}, pairs)
    return [
        harness.compare(
            16,
            "small campaigns published and planned, against bare one-row inserts",
            ours=figures["ours"],
            peers={"bare insert": figures["bare insert"]},
            target=">= 0.3",
            best="higher",
            settings={
                "unit": "/s",
                "people": people,
                "pgbench clients": CLIENTS,
                **sides.last,
                "planning workers": 1,
                "server": server.settings(),
            },
        )
    ]


def main() -> None:
    parser = harness.arguments(__doc__, people=150_000)
    parser.add_argument("--each", type=int, default=1_250, help="campaigns of each of 8 clients (default: %(default)s)")
    options = parser.parse_args()
    with running() as server:
        entries = measure(server, options.people, options.pairs, options.each)
    harness.publish(entries, options.json)


if __name__ == "__main__":
    main()
