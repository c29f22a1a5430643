"""Metric 12: a month of delivery rows removed, against a DELETE of the same rows; 12b: what live users feel of a night.

Ours is the drop of the month's partition, as the nightly run does it once its campaigns are counted; the yardstick
is the statement that one would write without partitions. Its cost grows with the rows, the drop's hardly does: the
ratio of a small month is small. The whole nightly run, which sums each campaign's reasons first and blanks who the
chunks were to (the DELETE sums nothing), is timed too, and stands in the settings. In 12b clients open inbox pages
through an engine while such a run goes on; the figure is their p99 during it against before it. What it takes to
erase a person with 5,000 messages is measured beside them, and stands in the settings, too.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field

import psycopg
import trio

from benchmarks import harness, house, population
from benchmarks.server import Server, running
from benchmarks.statements import load
from ent_notify.engine import Engine
from ent_notify.model.rights import Asked

DATABASE = "bench_retention"
PEOPLE = 15_000
CLIENTS = 4
CALM_SECONDS = 5.0
MESSAGES = 5_000
CHUNKS_A_CAMPAIGN = 10


@dataclass(slots=True)
class Felt:
    """Seconds of each page that live clients opened."""

    spent: list[float] = field(default_factory=list)

    def p99(self) -> float:
        """In milliseconds."""
        return 1000 * statistics.quantiles(self.spent, n=100)[98]


class Month:
    """A database in which a month is put, and forgotten in one way or the other."""

    def __init__(self, dsn: str, rows: int) -> None:
        self.dsn = dsn
        self.chunks = max(CHUNKS_A_CAMPAIGN, rows // 1000)
        self.statements = load("retention")
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.before = Felt()
        self.during = Felt()
        self.drops: list[float] = []

    def put(self) -> int:
        """Put a month in; the lowest number of its chunks."""
        (low,) = self.connection.execute(self.statements["place"]).fetchone() or (0,)
        high = low + self.chunks
        with self.connection.transaction():
            self.connection.execute("set local synchronous_commit = off")  # the making of the data is not measured
            self.connection.execute(f"create table ent_notify.outcome_{low} (like ent_notify.outcome including all)")
            self.connection.execute(
                f"alter table ent_notify.outcome attach partition ent_notify.outcome_{low}"
                f" for values from ({low}) to ({high})"
            )
            values = {"low": low, "chunks": self.chunks, "campaigns": self.chunks // CHUNKS_A_CAMPAIGN,
                      "now": house.BenchClock().now()}  # fmt: skip
            for name in ("fill_notifications", "fill_campaigns", "fill_chunks", "fill_outcomes"):
                self.connection.execute(self.statements[name], values)
            self.connection.execute("select setval('ent_notify.chunk_id_seq', %s)", [high])
        self.connection.execute("vacuum (analyze) ent_notify.outcome, ent_notify.chunk, ent_notify.notification")
        self.connection.execute("checkpoint")
        return int(low)

    def left(self, low: int) -> int:
        """Rows of a month that are there still."""
        (rows,) = self.connection.execute(self.statements["rows"], {"low": low}).fetchone() or (0,)
        return int(rows)

    def dropped(self) -> float:
        """Seconds to drop a month whose campaigns are counted."""
        low = self.put()
        self.connection.execute(self.statements["blank_chunks"], {"low": low})
        self.connection.execute("update ent_notify.campaign set detail = 1 where detail = 0")
        begun = time.perf_counter()
        self.connection.execute("select ent_notify.drop_counted(100)")
        spent = time.perf_counter() - begun
        self._check_gone(low)
        self.connection.execute("update ent_notify.campaign set detail = 2 where detail = 1")
        return spent

    def _check_gone(self, low: int) -> None:
        if left := self.left(low):
            raise RuntimeError(f"{left} rows of the month are still there")

    def night(self) -> float:
        """Seconds of the whole nightly run, with nobody else at work."""
        low = self.put()
        spent = house.run(self.dsn, self._run)
        self._check_gone(low)
        return spent

    def deleted(self) -> float:
        """Seconds of a DELETE of the same rows."""
        low = self.put()
        begun = time.perf_counter()
        with self.connection.transaction():
            self.connection.execute(self.statements["delete_rows"], {"low": low})
            self.connection.execute(self.statements["blank_chunks"], {"low": low})
        spent = time.perf_counter() - begun
        self._check_gone(low)
        self.connection.execute("update ent_notify.campaign set detail = 2 where detail = 0")
        return spent

    def felt(self) -> float:
        """The p99 of live pages during a run, against before it."""
        self.put()
        self.before, self.during = Felt(), Felt()
        house.run(self.dsn, self._live, pool=CLIENTS + 4)
        return self.during.p99() / self.before.p99()

    async def _run(self, engine: Engine) -> float:
        begun = time.perf_counter()
        run = await engine.retention.begin(await engine.retention.plan(), confirmed=True)
        if run is None:
            raise RuntimeError("the run was not begun")
        await engine.retention.finish(run.id)
        return time.perf_counter() - begun

    async def _live(self, engine: Engine) -> None:
        people = [row[0] for row in self.connection.execute("select external_id from ent_notify.person limit 40")]
        readers = [await engine.reader(person) for person in people]
        felt = Felt()  # of the warm-up

        async def client(number: int) -> None:
            nonlocal felt
            while True:
                for reader in readers[number::CLIENTS]:
                    begun = time.perf_counter()
                    await engine.inbox(reader, most=20)
                    felt.spent.append(time.perf_counter() - begun)

        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                nursery.start_soon(client, number)
            await trio.sleep(1)
            felt = self.before
            await trio.sleep(CALM_SECONDS)
            felt = self.during
            await self._run(engine)
            nursery.cancel_scope.cancel()


def erasing(dsn: str) -> float:
    """Seconds to erase somebody who wrote 5,000 messages."""
    statements = load("retention")
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = connection.execute("select id, external_id from ent_notify.person order by id limit 2").fetchall()
        (person, name), (other, _) = rows
        values = {"person": person, "other": other, "messages": MESSAGES, "now": house.BenchClock().now()}
        for each in ("write_much", "take_part", "write_messages"):
            connection.execute(statements[each], values)
        connection.execute("vacuum analyze")

    async def erase(engine: Engine) -> float:
        begun = time.perf_counter()
        done = await engine.data_rights.erase(name, Asked("bench", "officer", "bench"))
        spent = time.perf_counter() - begun
        if done.state != "done":
            raise RuntimeError(f"the erasure is {done.state}")
        return spent

    return house.run(dsn, erase)


def measure(server: Server, pairs: int, rows: int) -> list[harness.Entry]:
    """The pairs; two entries."""
    with population.copied(server, PEOPLE, DATABASE) as dsn:
        month = Month(dsn, rows)
        sides = {"drop": month.dropped, "DELETE": month.deleted, "whole night": month.night}
        figures = harness.interleave(sides, pairs)
        ratios, calm, busy = [], [], []
        for pair in range(pairs):
            ratios.append(month.felt())
            calm.append(month.before.p99())
            busy.append(month.during.p99())
            harness.say(
                f"  live pages, pair {pair + 1}/{pairs}: p99 {calm[-1]:.2f} ms before, {busy[-1]:.2f} ms during"
            )
        seconds = erasing(dsn)
        harness.say(f"  a person with {MESSAGES:,} messages erased: {seconds:.2f} s")
        month.connection.close()
    settings = {
        "rows of the month": month.chunks * 1000,
        "people": PEOPLE,
        "whole nightly run with its accounts, s": round(statistics.median(figures["whole night"]), 3),
        f"a person with {MESSAGES:,} messages erased, s": round(seconds, 3),
        "server": server.settings(),
    }
    return [
        harness.compare(
            12,
            "a counted month of delivery rows dropped, against a DELETE of the same rows",
            ours=figures["drop"],
            peers={"DELETE": figures["DELETE"]},
            target=">= 50",
            best="lower",
            divide="peer/ours",
            settings={"unit": "s", **settings},
        ),
        harness.compare(
            "12b",
            "p99 of inbox pages while a month is forgotten, against before it",
            ours=busy,
            peers={"before": calm},
            target="<= 2",
            best="lower",
            settings={"unit": "ms", "clients": CLIENTS, **settings},
        ),
    ]


def main() -> None:
    parser = harness.arguments(__doc__, people=PEOPLE, pairs=3)
    parser.add_argument("--rows", type=int, default=200_000, help="delivery rows of the month (default: %(default)s)")
    options = parser.parse_args()
    with running() as server:
        entries = measure(server, options.pairs, options.rows)
    harness.publish(entries, options.json)


if __name__ == "__main__":
    main()
