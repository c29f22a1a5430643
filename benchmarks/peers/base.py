"""What a peer is, how it is drained, and the protocol between the driver and a peer's worker processes.

A worker connects, prints ``ready``, and for each line ``go`` that it reads drains the queue until nothing is due and
prints ``done N`` (jobs handled). It ends at end of file. Node workers speak the same.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg

from benchmarks.harness import Missing
from benchmarks.server import Server, wal_position

CHUNK = 1_000
"""Recipients of a chunk job."""

RETRIED_PERCENT = 5
GONE_PERCENT = 1

GONE_TABLE = "create table bench_gone (recipient int primary key)"


@dataclass(frozen=True, slots=True)
class Load:
    """What is drained: ``recipients`` in jobs of ``per_job``; ``real`` for outcomes by recipient."""

    recipients: int
    per_job: int = 1
    real: bool = False

    @property
    def jobs(self) -> int:
        """Number of jobs."""
        return -(-self.recipients // self.per_job)

    def ids(self, job: int) -> range:
        """Recipients of the job number ``job``, from 0."""
        return range(job * self.per_job, min((job + 1) * self.per_job, self.recipients))

    @property
    def handlings(self) -> int:
        """Jobs that workers must have handled when the queue is empty: each once, and the put-off ones twice."""
        retried = sum(1 for id_ in range(min(100, self.recipients)) if id_ < RETRIED_PERCENT) if self.real else 0
        return self.jobs + (self.recipients // 100 * retried if self.real else 0)


def outcome(recipient: int, *, first: bool) -> str:
    """``retry``, ``gone`` or ``ok``: what the provider would say of this recipient at this try."""
    place = recipient % 100
    if first and place < RETRIED_PERCENT:
        return "retry"
    return "gone" if RETRIED_PERCENT <= place < RETRIED_PERCENT + GONE_PERCENT else "ok"


@dataclass(frozen=True, slots=True)
class Drained:
    """One run of a peer. Times in seconds, WAL in bytes; ``wal`` is enqueue and drain together."""

    recipients: int
    seconds: float
    enqueue_seconds: float
    wal: int

    @property
    def rate(self) -> float:
        """Recipients a second, while draining."""
        return self.recipients / self.seconds


class Peer(Protocol):
    """A queue that can be drained. ``share`` is the part of the asked recipients that it is given, so that a slow one
    ends in time (its rate does not suffer from a shorter queue; that favours it, if anything)."""

    name: str
    workers: int
    share: float

    @property
    def settings(self) -> Mapping[str, Any]:
        """What it runs with, for the results file."""
        ...

    def missing(self) -> str | None:
        """Why this peer cannot run here, or None."""
        ...

    def install(self, dsn: str) -> None:
        """Create its schema and the queue in a fresh database."""
        ...

    def enqueue(self, dsn: str, load: Load) -> None:
        """Put the whole load into the queue, the fastest documented way."""
        ...

    def release_retries(self, dsn: str) -> None:
        """Make jobs that wait for a retry due now."""
        ...

    def left(self, dsn: str) -> int:
        """Jobs still in the queue."""
        ...

    def command(self, dsn: str, load: Load) -> Sequence[str]:
        """The command line of one worker process."""
        ...


def python_worker(module: str, dsn: str, load: Load) -> list[str]:
    """Command line of a worker that is this module run as a program (see ``serve``)."""
    return [sys.executable, "-W", "ignore", "-m", module, dsn, str(load.per_job), str(int(load.real))]


def serve(drain: Callable[[], int]) -> None:
    """The worker's side of the protocol: ``drain`` empties the queue once and returns the jobs handled."""
    print("ready", flush=True)
    for line in sys.stdin:
        assert line == "go\n", f"expected go, read {line!r}"
        print(f"done {drain()}", flush=True)


class Fleet:
    """Worker processes of one peer, connected and waiting. A context manager: they are ended at its exit."""

    def __init__(self, command: Sequence[str], workers: int) -> None:
        self._processes = [
            subprocess.Popen(list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(workers)
        ]

    def __enter__(self) -> Fleet:
        try:
            for process in self._processes:
                self._expect(process, "ready")
        except RuntimeError:
            self.__exit__()
            raise
        return self

    def drain(self) -> tuple[float, int]:
        """Let all of them drain the queue; return the seconds it took and the jobs handled."""
        start = time.perf_counter()
        for process in self._processes:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it died: the answer that does not come says so
                process.stdin.write("go\n")
                process.stdin.flush()
        handled = sum(int(self._expect(process, "done").split()[1]) for process in self._processes)
        return time.perf_counter() - start, handled

    def peak_memory(self) -> list[float]:
        """Peak resident memory of each process so far, in MiB."""
        peaks = []
        for process in self._processes:
            status = Path(f"/proc/{process.pid}/status").read_text()
            line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            peaks.append(round(int(line.split()[1]) / 1024, 1))
        return peaks

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()

    @staticmethod
    def _expect(process: subprocess.Popen[str], word: str) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith(word):
            raise RuntimeError(f"a worker said {line!r} (exit {process.poll()}) where {word!r} was expected")
        return line


def drain(server: Server, peer: Peer, load: Load, *, held_for: float = 0) -> Drained:
    """Run ``peer`` on a fresh database: install, enqueue, drain. Every job must be handled as often as due.

    With ``held_for`` seconds, the queue is filled and drained again and again while an old snapshot is held, so that no
    dead row can be cleaned away; the answer is then the last round's.
    """
    with server.borrowed(f"peer_{peer.name.replace('-', '_')}") as dsn:
        peer.install(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(GONE_TABLE)
            with held_snapshot(dsn) if held_for else contextlib.nullcontext():
                start = time.monotonic()
                while True:
                    drained = _once(peer, dsn, load, connection)
                    if time.monotonic() - start >= held_for:
                        return drained


def _once(peer: Peer, dsn: str, load: Load, connection: psycopg.Connection[Any]) -> Drained:
    before = wal_position(connection)
    start = time.perf_counter()
    peer.enqueue(dsn, load)
    enqueued = time.perf_counter() - start
    connection.execute("vacuum (analyze)")  # a queue at rest: planned on true statistics, nothing left to clean
    connection.execute("checkpoint")
    seconds, handled, rounds = 0.0, 0, 0
    with Fleet(peer.command(dsn, load), peer.workers) as fleet:
        while peer.left(dsn):
            peer.release_retries(dsn)
            spent, count = fleet.drain()
            seconds, handled, rounds = seconds + spent, handled + count, rounds + 1
            if rounds > 20:
                raise RuntimeError(f"{peer.name} still has {peer.left(dsn)} jobs after {rounds} rounds")
    if handled != load.handlings:
        raise RuntimeError(f"{peer.name} handled {handled} jobs where {load.handlings} were due: its figure is void")
    return Drained(load.recipients, seconds, enqueued, wal_position(connection) - before)


@contextlib.contextmanager
def held_snapshot(dsn: str) -> Iterator[None]:
    """Hold a snapshot of the database at ``dsn``, as a forgotten transaction or a long report does."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("begin isolation level repeatable read")
        connection.execute("select count(*) from pg_class")
        yield
        connection.execute("rollback")


def sized(peer: Peer, load: Load) -> Load:
    """The load for ``peer``: its share of the recipients, in whole hundreds of jobs."""
    if peer.share >= 1:
        return load
    unit = 100 * load.per_job
    return Load(max(unit, int(load.recipients * peer.share) // unit * unit), load.per_job, load.real)


def available(peers: Sequence[Peer]) -> tuple[list[Peer], dict[str, Missing]]:
    """Peers that can run here, and the others with the reason why not."""
    reasons = {peer.name: peer.missing() for peer in peers}
    return (
        [peer for peer in peers if reasons[peer.name] is None],
        {name: Missing(why) for name, why in reasons.items() if why is not None},
    )


def importable(module: str) -> str | None:
    """None if the Python package can be imported, else what to say about it."""
    from importlib.util import find_spec

    return None if find_spec(module) else f"the Python package {module} is not installed (dependency group bench)"
