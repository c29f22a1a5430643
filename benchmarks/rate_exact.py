"""Metric 9: sends against what the rate limit permits, by several workers of which one is killed and one is stopped.

The workers share one push lane with a limit. Each send is a datagram to a sink on the loopback, stamped by the kernel
as it arrives. One worker is killed (SIGKILL), another is stopped (SIGSTOP) and continued: what it had reserved is past
by then, and must not be sent on top of what others send. Two figures:

- all sends over what the limit permits from the first to the last;
- the busiest sliding window (of 1 s and of 10 s, at every arrival) over what the limit permits in a window.
"""

from __future__ import annotations

import bisect
import contextlib
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from datetime import datetime
from typing import Any

import psycopg

from benchmarks import harness, house, population
from benchmarks.rate_worker import APP, PROVIDER
from benchmarks.server import Server, running
from ent_notify.engine import Engine

DATABASE = "bench_rate"
WINDOWS = (1.0, 10.0)
_SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 35, 33


class Sink:
    """Takes datagrams in a thread and keeps the kernel's time stamp of each, in seconds."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.settimeout(0.2)
        self.port: int = self._socket.getsockname()[1]
        self.stamps: list[float] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                _, ancillary, _, _ = self._socket.recvmsg(16, 64)
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
                self.stamps.append(seconds + nanoseconds / 1e9)

    def close(self) -> list[float]:
        """Stop, and return the stamps in order."""
        self._closing.set()
        self._thread.join()
        self._socket.close()
        return sorted(self.stamps)


def busiest(stamps: list[float], window: float) -> tuple[int, float]:
    """Most arrivals in any half-open window [t, t + window), and how long after the first arrival that window began."""
    counts = ((bisect.bisect_left(stamps, stamp + window) - place, stamp) for place, stamp in enumerate(stamps))
    most, began = max(counts, key=lambda counted: counted[0])
    return most, began - stamps[0]


def once(dsn: str, *, per_second: float, seconds: float, workers: int) -> dict[str, Any]:
    """One run: the stamps' account. ``per_second`` is the provider's limit, given to the product as it is."""

    async def prepare(engine: Engine) -> int:
        await engine.publish(house.announcement())
        await engine.worker().tick()
        await engine.use_push(PROVIDER, APP, house.NullChannel(), per_second)
        lane = next(lane for lane in await engine.lanes() if lane.provider == PROVIDER)
        return lane.id

    lane = house.run(dsn, prepare)
    with psycopg.connect(dsn, autocommit=True, options=house.SESSION) as connection:
        row = connection.execute("select sum(size) from chunk where lane_id = %s", [lane]).fetchone()
        ready = int(row[0]) if row else 0
    if ready < per_second * seconds * 1.05:
        raise RuntimeError(f"{ready} sends are ready, too few for {seconds} s at {per_second}/s: take more people")
    sink = Sink()
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.rate_worker", dsn, str(sink.port), str(per_second)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(workers)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"a rate worker did not start (exit {process.poll()})")
        start = time.monotonic()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        _wait_until(start + seconds * 0.3)
        processes[0].send_signal(signal.SIGKILL)
        _wait_until(start + seconds * 0.5)
        processes[1].send_signal(signal.SIGSTOP)
        _wait_until(start + seconds * 0.7)
        processes[1].send_signal(signal.SIGCONT)
        _wait_until(start + seconds)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    stamps = sink.close()
    span = stamps[-1] - stamps[0]
    peaks = {window: busiest(stamps, window) for window in WINDOWS}
    return {
        "sent": len(stamps),
        "seconds": round(span, 2),
        "ratio": (len(stamps) - 1) / (per_second * span),
        "busiest": {f"{window:g} s": most / (per_second * window) for window, (most, _) in peaks.items()},
        "busiest began at": {f"{window:g} s": round(began, 2) for window, (_, began) in peaks.items()},
        "each second": [
            bisect.bisect_left(stamps, stamps[0] + second + 1) - bisect.bisect_left(stamps, stamps[0] + second)
            for second in range(int(span))
        ],
    }


def _wait_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def measure(
    server: Server, people: int, times: int, *, per_second: float, seconds: float, workers: int
) -> list[harness.Entry]:
    """``times`` runs; two entries."""
    runs = []
    for _ in range(times):
        with population.copied(server, people, DATABASE) as dsn:
            runs.append(once(dsn, per_second=per_second, seconds=seconds, workers=workers))
        harness.say(f"  {runs[-1]}")
    settings = {
        "unit": "share of the limit",
        "limit": f"{per_second:g} sends/s",
        "workers": f"{workers}; one killed at 30 % of the run, one stopped from 50 % to 70 %",
        "seconds": seconds,
        "sink": "loopback datagrams, stamped by the kernel",
        "runs": runs,
        "started_at": datetime.now().astimezone().isoformat(timespec="seconds"),
        "server": server.settings(),
    }
    limit = {"the limit": [1.0] * times}
    return [
        harness.compare(9, "sends over permitted sends, first to last", ours=[run["ratio"] for run in runs],
                        peers=limit, target="0.98 to 1", best="higher", settings=settings),
        harness.compare(9, "busiest sliding window of 1 s and 10 s over what it permits",
                        ours=[max(run["busiest"].values()) for run in runs], peers=limit, target="<= 1", best="lower",
                        settings=settings),
    ]  # fmt: skip


def main() -> None:
    parser = harness.arguments(__doc__, people=150_000, pairs=1)
    parser.add_argument("--per-second", type=float, default=2_000, help="the limit (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=30, help="length of a run (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=4, help="worker processes (default: %(default)s)")
    options = parser.parse_args()
    with running() as server:
        entries = measure(
            server,
            options.people,
            options.pairs,
            per_second=options.per_second,
            seconds=options.seconds,
            workers=options.workers,
        )
    harness.publish(entries, options.json)


if __name__ == "__main__":
    main()
