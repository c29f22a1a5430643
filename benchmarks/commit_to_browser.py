"""Metric 8: from commit to browser while a campaign to everybody runs on the same machine, against the same, idle.

Small notifications, each for one person, are published on an open schedule, and each is stamped when the stream of that
person hears it. Latency is given twice: from the instant at which it was *meant* to be published (what a slow database
adds is in it, and nobody waits politely for the one before), and from its *commit*.

In the loaded half a worker plans and sends a campaign on all channels to everybody, and another as soon as it is sent;
its channels take everything at once, which loads the machine as no real provider would. Gateways, host, worker,
PostgreSQL and the clients share the machine's cores.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import harness, population
from benchmarks.held_streams import DATABASE, p99
from benchmarks.live_clients import Clients
from benchmarks.live_house import Gateway, Program, Tickets, end_well, ended, open_streams
from benchmarks.server import running

IDLE, LOADED = "idle", "while a campaign is sent"
PROCESSES = 2
GRACE = 10.0
"""Seconds after the last publication in which the last frames may come."""
POLL = 0.2


@dataclass
class Latencies:
    """Milliseconds of every notification of a kind of half, by pair."""

    intended: list[list[float]] = field(default_factory=list)
    committed: list[list[float]] = field(default_factory=list)


def latencies(
    published: Sequence[tuple[int, float, float]], heard: Mapping[int, Sequence[float]]
) -> tuple[list[float], list[float]]:
    """Milliseconds from each one's intended instant, and from its commit, to the one stream it was for.

    Raises RuntimeError when one was missed or came twice: such a run has no figure.
    """
    wrong = [number for number, *_ in published if len(heard.get(number, ())) != 1]
    if wrong:
        raise RuntimeError(f"{len(wrong)} of {len(published)} notifications were missed or doubled: {wrong[:10]}")
    return (
        [(heard[number][0] - intended) * 1e3 for number, intended, _ in published],
        [(heard[number][0] - committed) * 1e3 for number, _, committed in published],
    )


class Town:
    """Everything at work, and the two halves of a pair."""

    def __init__(
        self,
        clients: Clients,
        host: Program,
        campaigner: Program,
        *,
        people: Sequence[str],
        rate: float,
        seconds: float,
    ) -> None:
        self._clients, self._host, self._campaigner = clients, host, campaigner
        self._people, self._rate, self._seconds = people, rate, seconds
        self.found = {IDLE: Latencies(), LOADED: Latencies()}
        self.campaigns = 0

    def pair(self) -> None:
        """Idle, then loaded."""
        self._half(IDLE)
        self._campaigner.tell(do="load", seconds=self._seconds)
        self._half(LOADED)
        self.campaigns += self._campaigner.hear()["campaigns"]
        self._campaigner.ask(do="drained")

    def _half(self, name: str) -> None:
        published = self._host.ask(do="stream", rate=self._rate, seconds=self._seconds, people=list(self._people))
        heard: dict[int, list[float]] = {}
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and any(number not in heard for number, *_ in published):
            time.sleep(POLL)
            for number, stamps in self._clients.stamps().items():
                heard.setdefault(number, []).extend(stamps)
        intended, committed = latencies(published, heard)
        self.found[name].intended.append(intended)
        self.found[name].committed.append(committed)
        harness.say(f"  {name}: from the intended instant p50 {statistics.median(intended):.0f} ms, "
                    f"p99 {p99(intended):.0f} ms; from commit p99 {p99(committed):.0f} ms")  # fmt: skip


def measure(dsn: str, *, streams: int, rate: float, seconds: float, pairs: int) -> Town:
    """Hold ``streams`` of as many people, and publish to them in ``pairs`` pairs of halves."""
    worker, host, campaigner = Program(dsn, "worker"), Program(dsn, "publish"), Program(dsn, "publish")
    with ended(worker, host, campaigner), Clients(10, streams) as clients:
        gateway = Gateway(dsn, PROCESSES)
        with ended(gateway):
            open_streams(clients, gateway, Tickets(dsn, streams, streams, len(clients.pids)), streams)
            if clients.held != streams:
                raise RuntimeError(f"{clients.held} of {streams} streams are held")
            step = max(streams // round(rate * seconds), 1)
            people = [f"P{number}" for number in range(1, streams + 1, step)]
            town = Town(clients, host, campaigner, people=people, rate=rate, seconds=seconds)
            for _ in range(pairs):
                town.pair()
    return town


def main() -> None:
    parser = harness.arguments(__doc__, people=150_000, pairs=3)
    parser.add_argument("--streams", type=int, default=2_000, help="streams held (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=50, help="notifications a second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=6, help="seconds of each half (default: %(default)s)")
    options = parser.parse_args()
    end_well()
    with running() as server, population.copied(server, options.people, DATABASE) as dsn:
        town = measure(
            dsn, streams=options.streams, rate=options.rate, seconds=options.seconds, pairs=options.pairs
        )  # fmt: skip
        settings: dict[str, Any] = {
            "unit": "ms",
            "people": options.people,
            "streams held": options.streams,
            "notifications a second, each for one person": options.rate,
            "seconds of each half": options.seconds,
            "campaigns begun in the loaded halves": town.campaigns,
            "sink": "null: the worker is never held up by a provider",
            "processes": f"{PROCESSES} gateways, 1 worker, 2 hosts",
            "server": server.settings(),
        }
    entries = []
    for since in ("intended", "committed"):
        idle, loaded = (getattr(town.found[half], since) for half in (IDLE, LOADED))
        rows = [
            {
                "half": half,
                "notifications": len(flat),
                "p50, ms": round(statistics.median(flat), 1),
                "p99, ms": round(p99(flat), 1),
                "longest, ms": round(max(flat), 1),
            }
            for half, each in ((IDLE, idle), (LOADED, loaded))
            if (flat := [figure for pair in each for figure in pair])
        ]
        begins = "commit" if since == "committed" else "the intended instant of publishing"
        entries.append(
            harness.compare(
                8,
                f"from {begins} to browser, p99, while a campaign to {options.people:,} people is sent",
                ours=[p99(pair) for pair in loaded],
                peers={IDLE: [p99(pair) for pair in idle]},
                target="<= 2",
                best="lower",
                settings=settings | {"comparison": rows},
            )
        )
    harness.publish(entries, options.json)


if __name__ == "__main__":
    main()
