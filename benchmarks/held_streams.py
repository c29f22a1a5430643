"""Metrics 5, 6 and 7: what a held stream costs, what a frame costs, and when the last of all hears a broadcast.

All servers hold their streams at the same time, and broadcast in turn (A/B/A/B): a frame of the same length, to
everybody. Clients are processes of ours on the same machine, so their work is part of every latency, alike for all.

- *memory*: growth of the server processes' proportional set size over the whole opening, a connection; what the kernel
  keeps for a socket stands on its own line. PostgreSQL's is not in it.
- *CPU a frame*: what the server's processes used from the call to the last frame. Loopback bills the receiver's share
  of the network's work to the sender, for everybody.
- *last recipient*: from the call. Ours is then a commit, fsync and all, a relay, a hint, a look into the database, and
  the frames, where nchan's is a POST to memory. ``from the relay's hint`` leaves out what comes before the hint.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks import harness, population, proc
from benchmarks.harness import Missing
from benchmarks.live_clients import Clients
from benchmarks.live_house import HEARTBEAT, Gateway, Program, Tickets, end_well, ended, open_streams
from benchmarks.peers.live.catalogue import ALL, BARE, LIVE_PEERS, NCHAN_PEER, LivePeer
from benchmarks.server import running

DATABASE = "bench_live"
OURS = "ent_notify"
WARM = 400
"""Streams held before the first look at memory: arenas, caches and imports are not a stream's cost."""
A_PROCESS = 16_700
"""Streams that one server process is meant to hold."""
SETTLE_SECONDS = 1.0
PATIENCE = 120.0


@dataclass
class Side:
    """A server with its clients, and what was measured of it."""

    name: str
    settings: str
    streams: int
    clients: Clients
    memory: float = 0.0
    """KiB of Pss a stream."""
    kernel: float | None = None
    """KiB of the kernel's a socket."""
    spent: list[float] = field(default_factory=list)
    """Server CPU, in microseconds a frame, of each broadcast."""
    clients_spent: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    """Milliseconds from the call to the last recipient, of each broadcast."""
    last_from_hint: list[float] = field(default_factory=list)
    base: float = 0.0
    """MiB of Pss before the streams."""
    missed: int = 0

    @property
    def every_round(self) -> bool:
        """Whether it broadcasts in every round of a pair, and not in the first alone."""
        return True

    def pids(self) -> list[int]:
        """The server's processes."""
        raise NotImplementedError

    def open(self, number: int) -> None:
        """Hold so many more."""
        raise NotImplementedError

    def call(self, number: int) -> tuple[int, float, float | None]:
        """Broadcast; the notification, when it was called for, and when its hint was out (ours alone)."""
        raise NotImplementedError

    def settle(self) -> None:
        """Wait until nothing of a broadcast is left to do."""

    def hold(self) -> None:
        """Open all streams, and look at memory before and after."""
        self.open(WARM)
        time.sleep(SETTLE_SECONDS / 2)
        before, slabs = proc.pss(self.pids()), proc.socket_slabs()
        begun = time.monotonic()
        self.open(self.streams - WARM)
        took = time.monotonic() - begun
        time.sleep(SETTLE_SECONDS)
        after, slabs_after = proc.pss(self.pids()), proc.socket_slabs()
        self.base = before / 1024
        opened = max(self.clients.held - WARM, 1)
        self.memory = (after - before) / opened
        if slabs is not None and slabs_after is not None:
            self.kernel = (slabs_after - slabs) / opened / 2  # the client's socket is on this machine, too
        harness.say(
            f"  {self.name}: {self.clients.held:,} held in {took:.1f} s, {self.memory:.2f} KiB each, "
            f"{self.clients.refused} refused"
        )

    def broadcast(self, number: int) -> None:
        """One broadcast, measured."""
        before, clients_before = proc.cpu(self.pids()), self.clients.cpu()
        number, called, hinted = self.call(number)
        heard = self.clients.wait(number, PATIENCE)
        spent, clients_spent = proc.cpu(self.pids()) - before, self.clients.cpu() - clients_before
        self.missed += abs(self.clients.held - heard.frames)
        if not heard.frames:
            raise RuntimeError(f"{self.name}: nobody heard a broadcast; no figure of this run counts")
        self.spent.append(spent * 1e6 / heard.frames)
        self.clients_spent.append(clients_spent * 1e6 / heard.frames)
        self.last.append((heard.last - called) * 1e3)
        if hinted is not None:
            self.last_from_hint.append((heard.last - hinted) * 1e3)
        self.settle()

    def forget(self) -> None:
        """Drop what the warm-up measured."""
        for figures in (self.spent, self.clients_spent, self.last, self.last_from_hint):
            figures.clear()

    def row(self, processes: int) -> dict[str, Any]:
        """This server's line in the comparison."""
        return {
            "server": self.name,
            "processes": processes,
            "held": self.clients.held,
            "refused or lost": self.clients.refused + self.clients.lost,
            "broadcasts": len(self.last),
            "frames missed": self.missed,
            "KiB a stream (Pss)": round(self.memory, 2),
            "kernel's KiB a socket, beside it": None if self.kernel is None else round(self.kernel, 2),
            "server CPU a frame, us": round(statistics.median(self.spent), 2),
            "client CPU a frame, us": round(statistics.median(self.clients_spent), 2),
            "last recipient p50, ms": round(statistics.median(self.last), 1),
            "p99, ms": round(p99(self.last), 1),
            **(
                {
                    "p50 after the relay's hint, ms": round(statistics.median(self.last_from_hint), 1),
                    "p99 after it, ms": round(p99(self.last_from_hint), 1),
                }
                if self.last_from_hint
                else {}
            ),
        }


class Ours(Side):
    """Our gateway, with a database, a worker and a host."""

    gateway: Gateway
    host: Program
    tickets: Tickets

    def pids(self) -> list[int]:
        """See Side."""
        return self.gateway.pids

    def open(self, number: int) -> None:
        """See Side."""
        open_streams(self.clients, self.gateway, self.tickets, number)

    def call(self, number: int) -> tuple[int, float, float | None]:
        """See Side."""
        said = self.host.ask(do="broadcast")
        return said["id"], said["called"], said["relayed"]

    def settle(self) -> None:
        """See Side."""
        self.host.ask(do="settle")


class Theirs(Side):
    """A peer."""

    peer: LivePeer

    @property
    def every_round(self) -> bool:
        """See Side. The slow ones are in no target."""
        return self.peer.most == ALL

    def pids(self) -> list[int]:
        """See Side."""
        return self.peer.pids

    def open(self, number: int) -> None:
        """See Side."""
        self.clients.open(number, self.peer.port, self.peer.opening)

    def call(self, number: int) -> tuple[int, float, float | None]:
        """See Side."""
        return number, self.peer.broadcast(number), None


def p99(figures: Sequence[float]) -> float:
    """The 99th percentile, between the two nearest figures; of few figures nearly the largest."""
    return statistics.quantiles(figures, n=100, method="inclusive")[98] if len(figures) > 1 else figures[0]


def only_p99(figures: Sequence[float]) -> list[float]:
    """The 99th percentile of all pairs together."""
    return [p99(figures)]


def by_pair(figures: Sequence[float], pairs: int) -> list[float]:
    """The median of each pair's share of ``figures``, which are in the order of their measurement."""
    each = len(figures) // pairs
    return [statistics.median(figures[place * each : (place + 1) * each]) for place in range(pairs)]


def measure(
    dsn: str, streams: int, people: int, pairs: int, rounds: int, only: set[str]
) -> tuple[list[Side], dict[str, Missing], int]:
    """Hold ``streams`` at every server and broadcast ``pairs`` times ``rounds`` times at each, in turn."""
    processes = max(2, -(-streams // A_PROCESS))
    missing: dict[str, Missing] = {}
    sides: list[Side] = []
    with ExitStack() as stack:
        worker, host = Program(dsn, "worker"), Program(dsn, "publish")
        stack.enter_context(ended(worker, host))
        ours = Ours(OURS, f"ent-notify gateway --processes {processes}, heartbeats every {HEARTBEAT} s", streams,
                    stack.enter_context(Clients(10, streams)))  # fmt: skip
        ours.host, ours.gateway = host, Gateway(dsn, processes)
        stack.enter_context(ended(ours.gateway))
        ours.tickets = Tickets(dsn, streams, people, len(ours.clients.pids))
        sides.append(ours)
        for place, peer in enumerate(LIVE_PEERS):
            if only and peer.name not in only:
                missing[peer.name] = Missing("left out of this run by --only")
                continue
            if why := peer.missing():
                missing[peer.name] = Missing(why)
                continue
            peer.start(processes)
            stack.enter_context(ended(peer))
            number = min(streams, peer.most)
            theirs = Theirs(peer.name, peer.settings, number, stack.enter_context(Clients(20 + place, number)))
            theirs.peer = peer
            sides.append(theirs)
        for side in sides:
            side.hold()
        often = [side for side in sides if side.every_round]
        for pair in range(-1, pairs):
            for round_ in range(rounds if pair >= 0 else 1):
                for side in sides if round_ == 0 else often:
                    side.broadcast((pair + 1) * rounds + round_ + 1)
            if pair < 0:
                for side in sides:
                    side.forget()
            else:
                told = (f"{side.name} {side.spent[-1]:.1f} us, {side.last[-1]:.0f} ms" for side in sides)
                harness.say(f"  pair {pair + 1}/{pairs}  " + "; ".join(told))
    return sides, missing, processes


def entries(
    sides: Sequence[Side], missing: dict[str, Missing], *, streams: int, people: int, pairs: int, rounds: int,
    processes: int, server: dict[str, str],
) -> list[harness.Entry]:  # fmt: skip
    """What was measured, against the targets."""
    found = {side.name: side for side in sides}
    ours = found[OURS]
    rows = [side.row(processes) for side in sides]
    rows += [{"server": name, "processes": f"missing: {why.why}"} for name, why in missing.items()]
    common = {
        "streams": streams,
        "people in the directory": people,
        "processes of each server": processes,
        "broadcasts": f"{rounds} a pair; 1 of the Python servers, which no target is set against",
        "server": server,
    }

    nchan, bare = NCHAN_PEER.name, BARE.name
    label = f"{streams:,} held streams"
    found_entries = [
        harness.compare(
            5,
            f"memory of each of {label} (Pss)",
            ours=[ours.memory],
            peers={nchan: [found[nchan].memory] if nchan in found else missing[nchan]},
            target="<= 0.6",
            best="lower",
            settings=common | {
                "unit": "KiB",
                "kernel's KiB a socket, beside it": ours.kernel if ours.kernel is None else round(ours.kernel, 2),
                "opened": "once, and the whole growth divided: parts of it would hide the steps in which tables grow",
                "before the streams, MiB": {side.name: round(side.base) for side in sides},
                "how each is run": {side.name: side.settings for side in sides},
                "comparison": rows,
            },
        ),
        harness.compare(
            6,
            f"server CPU a delivered frame, broadcast to {label}, against a bare loop",
            ours=by_pair(ours.spent, pairs),
            peers={bare: by_pair(found[bare].spent, pairs) if bare in found else missing[bare]},
            target="<= 1.3",
            best="lower",
            settings=common | {"unit": "us", "counted": "gateway processes; PostgreSQL and the worker are not in it",
                               "bare loop": BARE.settings},
        ),
        harness.compare(
            7,
            f"held of {streams:,} streams asked, none refused, lost or missed",
            ours=[float(ours.clients.held - ours.clients.lost)],
            peers={"asked": [float(streams)]},
            target="1 to 1",
            best="higher",
            settings=common | {"unit": "streams", "frames missed or doubled": ours.missed},
        ),
    ]  # fmt: skip
    for percentile, take, target in (("p50", partial(by_pair, pairs=pairs), "<= 0.8"), ("p99", only_p99, "<= 1")):
        for since, figures, begins in (
            ("", ours.last, "the call: ours commits, relays and hints, nchan takes a POST into memory"),
            (" after the relay's hint", ours.last_from_hint, "ours: the hint; nchan: the call of its POST"),
        ):
            found_entries.append(
                harness.compare(
                    7,
                    f"last of {label} reached by a broadcast, {percentile}{since}, against nchan",
                    ours=take(figures),
                    peers={nchan: take(found[nchan].last) if nchan in found else missing[nchan]},
                    target=target,
                    best="lower",
                    settings=common | {"unit": "ms", "from": begins},
                )
            )
    return found_entries


def main() -> None:
    parser = harness.arguments(__doc__, people=150_000, pairs=5)
    parser.add_argument("--streams", type=int, default=5_000, help="streams of each server (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="broadcasts of a pair (default: %(default)s)")
    parser.add_argument("--only", default="", help="peers, with commas (default: all)")
    options = parser.parse_args()
    end_well()
    only = set(filter(None, options.only.split(",")))
    with running() as server, population.copied(server, options.people, DATABASE) as dsn:
        sides, missing, processes = measure(
            dsn,
            options.streams,
            options.people,
            options.pairs,
            options.rounds,
            only,
        )
        found = entries(
            sides, missing, streams=options.streams, people=options.people, pairs=options.pairs, rounds=options.rounds,
            processes=processes, server=server.settings(),
        )  # fmt: skip
    harness.publish(found, options.json)


if __name__ == "__main__":
    main()
