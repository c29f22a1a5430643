"""Metric 15: message posts committed per second, against pgbench with a bare one-row insert, by the same clients.

Each post is the statement that ``engine.post`` runs, one transaction each: who takes part and whether they may write is
looked at, the conversation is locked and numbered, the message, its author's read mark and the note for the worker are
written. In as many conversations as people talk at once; that a look at relations is remembered for ten minutes holds
for all of them. Announcing is the worker's, and is not measured here.
"""

from __future__ import annotations

import time

import psycopg
import trio

from benchmarks import harness, house, population
from benchmarks.server import Server, pgbench_count, running
from benchmarks.statements import load
from ent_notify.engine import Engine

DATABASE = "bench_posts"
CLIENTS = 8
TALKS = 2_000
PEOPLE = 15_000


class Sides:
    """Both sides on one database. ``each`` is the number of transactions of each client."""

    def __init__(self, server: Server, dsn: str, each: int) -> None:
        self.server = server
        self.each = each
        self.statements = load("posts")
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.connection.execute(self.statements["create_bare"])
        with psycopg.ClientCursor(self.connection) as cursor:
            cursor.execute(self.statements["create_talks"], {"talks": TALKS})
        self.connection.execute("vacuum analyze")

    def ours(self) -> float:
        """Messages posted per second."""
        before = self._count()
        rate = self._rate("post")
        if (posted := self._count() - before) != CLIENTS * self.each:
            raise RuntimeError(f"{posted} messages were written, {CLIENTS * self.each} were posted")
        return rate

    def bare(self) -> float:
        """Bare one-row inserts per second."""
        return self._rate("bare")

    def _rate(self, name: str) -> float:
        self.connection.execute("checkpoint")
        body = self.statements[name].decode().rstrip(";").replace("\n", " ")
        start = time.perf_counter()
        script = f"\\set talk random(1, {TALKS})\n{body};\n"
        pgbench_count(self.server, DATABASE, script, clients=CLIENTS, each=self.each)
        return CLIENTS * self.each / (time.perf_counter() - start)

    def _count(self) -> int:
        row = self.connection.execute(self.statements["count"]).fetchone()
        assert row is not None
        return int(row[0])


def through_the_engine(dsn: str, posts: int) -> float:
    """Messages posted per second by ``engine.post`` in one process, as many at once as there are clients; for the
    record: it is Python's figure, not the database's."""

    async def post(engine: Engine) -> float:
        readers = [await engine.reader(f"P{n}") for n in range(1, CLIENTS + 1)]

        async def client(number: int) -> None:
            for _ in range(posts // CLIENTS):
                await engine.conversations.post(number + 1, readers[number], "Bonjour")

        for number in range(CLIENTS):
            await engine.conversations.post(number + 1, readers[number], "Bonjour")
        start = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                nursery.start_soon(client, number)
        return posts // CLIENTS * CLIENTS / (time.perf_counter() - start)

    return house.run(dsn, post)


def measure(server: Server, pairs: int, each: int) -> list[harness.Entry]:
    """The pairs; one entry."""
    with population.copied(server, PEOPLE, DATABASE) as dsn:
        sides = Sides(server, dsn, each)
        figures = harness.interleave({"ours": sides.ours, "bare insert": sides.bare}, pairs)
        engine = through_the_engine(dsn, 2_000)
    return [
        harness.compare(
            15,
            "messages posted, against bare one-row inserts",
            ours=figures["ours"],
            peers={"bare insert": figures["bare insert"]},
            target=">= 0.5",
            best="higher",
            settings={
                "unit": "/s",
                "people": PEOPLE,
                "conversations": TALKS,
                "pgbench clients": CLIENTS,
                "through the engine, one process, /s": round(engine),
                "server": server.settings(),
            },
        )
    ]


def main() -> None:
    parser = harness.arguments(__doc__, people=PEOPLE)
    parser.add_argument("--each", type=int, default=2_000, help="posts of each of 8 clients (default: %(default)s)")
    options = parser.parse_args()
    with running() as server:
        entries = measure(server, options.pairs, options.each)
    harness.publish(entries, options.json)


if __name__ == "__main__":
    main()
