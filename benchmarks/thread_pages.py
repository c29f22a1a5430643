"""Metrics 15b and 15c: a page of a conversation, and a search, among 10 million messages against a tenth of them.

In both databases a person has 400 messages written for each of them, in conversations of two or three; the larger one
has ten times as many people. The same readers by place open a page of a long conversation of theirs (a hundred messages
of two hundred), and look for a word in all of theirs: one that is in most messages, one that is in few, the beginning
of one, two at once. Everything goes through the engine.
"""

from __future__ import annotations

import hashlib
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import trio

from benchmarks import harness, house, population
from benchmarks.held_streams import p99
from benchmarks.server import Server, running
from benchmarks.statements import FOLDER, load
from ent_notify.engine import Engine
from ent_notify.model.search import Question

EACH = 400
"""Messages for each person."""
SHARE = 10
"""How many times as many messages the larger database has."""
PAGE = 100
WORDS = ("bonjour", "motb2003", "reunion absence", "motc1")
SEED = 15


def region(server: Server, messages: int) -> str:
    """The address of a database of so many messages, made once and kept."""
    people = messages // EACH
    template = population.template(server, people)
    text = template + (FOLDER / "threads.sql").read_text(encoding="utf-8")
    name = f"threads_{messages}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    known = server.databases()
    if name not in known:
        for stale in known:
            if stale.startswith(f"threads_{messages}_"):
                server.drop(stale)
        harness.say(f"  writing {messages:,} messages of {people:,} people (kept for later runs)")
        dsn = server.fresh_database("threads_new", template=template)
        with psycopg.connect(dsn, autocommit=True) as connection:
            with psycopg.ClientCursor(connection) as cursor:
                cursor.execute(load("threads")["make"], {"messages": messages, "people": people})
            connection.execute("vacuum (freeze, analyze)")
            connection.execute("checkpoint")
        server.rename("threads_new", name)
    return server.dsn(name)


class Side:
    """One database: who reads which long conversation there, and milliseconds of each page and each search by pair."""

    def __init__(self, engine: Engine, long_ones: list[tuple[int, int]], people: int) -> None:
        self.engine = engine
        self.long_ones = long_ones
        self.people = people
        self.pages: list[list[float]] = []
        self.searches: list[list[float]] = []
        self.by_word: dict[str, list[float]] = {word: [] for word in WORDS}
        self.hits = 0

    async def page(self, place: float) -> None:
        """Open a long conversation somewhere within it."""
        person, conversation = self.long_ones[int(place * len(self.long_ones))]
        reader = await self.engine.reader(f"P{person}")
        found, spent = await _timed(
            lambda: self.engine.conversations.messages(conversation, reader, int(place * 100), PAGE)
        )
        if len(found) != PAGE:
            raise RuntimeError(f"a page of conversation {conversation} has {len(found)} messages: the figure is void")
        self.pages[-1].append(spent)

    async def search(self, place: float, word: str) -> None:
        """Look for a word."""
        reader = await self.engine.reader(f"P{1 + int(place * self.people)}")
        found, spent = await _timed(lambda: self.engine.search.find(reader, Question(words=word)))
        self.hits += len(found.hits)
        self.searches[-1].append(spent)
        self.by_word[word].append(spent)


async def _timed(ask: Callable[[], Awaitable[Any]]) -> tuple[Any, float]:
    begun = time.perf_counter()
    found = await ask()
    return found, (time.perf_counter() - begun) * 1e3


async def measure(dsns: dict[int, str], readers: int, pairs: int) -> dict[int, Side]:
    """Read in turn in both, one reader at a time."""
    small, large = dsns
    async with house.opened(dsns[small]) as one, house.opened(dsns[large]) as other:
        engines = {small: one, large: other}
        draw = random.Random(SEED)
        for pair in range(-1, pairs):
            if pair <= 0:  # the first is to warm up
                sides = {
                    count: Side(engine, long_ones(dsns[count]), count // EACH) for count, engine in engines.items()
                }
            for side in sides.values():
                side.pages.append([])
                side.searches.append([])
            for number in range(readers):
                place = draw.random()
                for side in sides.values():
                    await side.page(place)
                    await side.search(place, WORDS[number % len(WORDS)])
            if pair >= 0:
                told = [
                    f"{count:,}: page {statistics.median(side.pages[-1]):.2f} ms, "
                    f"search {statistics.median(side.searches[-1]):.2f} ms"
                    for count, side in sides.items()
                ]
                harness.say(f"  pair {pair + 1}/{pairs}  {'; '.join(told)}")
    return sides


def long_ones(dsn: str) -> list[tuple[int, int]]:
    """(person, conversation) of long conversations."""
    with psycopg.connect(dsn) as connection:
        return [(row[0], row[1]) for row in connection.execute(load("threads")["long_ones"]).fetchall()]


def entries(sides: dict[int, Side], settings: dict[str, Any]) -> list[harness.Entry]:
    """Both metrics."""
    small, large = sides
    made = []
    for metric, what, figures in (
        ("15b", "thread page", {count: side.pages for count, side in sides.items()}),
        ("15c", "search", {count: side.searches for count, side in sides.items()}),
    ):
        more: dict[str, Any] = {
            "p99, ms": {
                f"{count:,}": round(p99([each for pair in of for each in pair]), 2) for count, of in figures.items()
            }
        }
        if what == "search":
            more["p50 by what is looked for, ms"] = {
                f"{count:,}": {word: round(statistics.median(spent), 2) for word, spent in side.by_word.items()}
                for count, side in sides.items()
            }
            more["found"] = {f"{count:,}": side.hits for count, side in sides.items()}
        made.append(
            harness.compare(
                metric,
                f"{what}, p50, among {large:,} messages against {small:,}",
                ours=[statistics.median(pair) for pair in figures[large]],
                peers={f"among {small:,}": [statistics.median(pair) for pair in figures[small]]},
                target="<= 1.2",
                best="lower",
                settings=settings | more,
            )
        )
    return made


def main() -> None:
    parser = harness.arguments(__doc__, people=0, pairs=7)
    parser.add_argument("--messages", type=int, default=1_000_000, help="in the larger database (default: %(default)s)")
    parser.add_argument("--readers", type=int, default=200, help="pages of each side in a pair (default: %(default)s)")
    options = parser.parse_args()
    with running() as server:
        dsns = {count: region(server, count) for count in (options.messages // SHARE, options.messages)}
        sides = trio.run(measure, dsns, options.readers, options.pairs)
        settings = {
            "unit": "ms",
            "messages of a page": PAGE,
            "messages for each person": EACH,
            "pages and searches of each side in a pair": options.readers,
            "one reader at a time": "through the engine, in this process; the statements are prepared",
            "server": server.settings(),
        }
    harness.publish(entries(sides, settings), options.json)


if __name__ == "__main__":
    main()
