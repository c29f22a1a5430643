"""Our side of the live benchmarks: real gateway processes, a worker that relays, a host that publishes, real tickets.

The programs are processes of their own, as in production: ``ent-notify gateway --processes N``, a worker
(``benchmarks.live_host worker``) and a publishing host (``benchmarks.live_host publish``). Tickets are written into the
database as the engine would write them, all at once; each opens a session at the gateway, as a browser's does.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import harness, proc
from benchmarks.live_clients import Clients

STREAM = "GET /v1/stream?ticket={line} HTTP/1.1\r\nhost: gateway\r\n\r\n"
HEARTBEAT = 300
"""Seconds: the longest that the gateway allows. The peers send none, and a broadcast should be alone on the wires."""


class Program:
    """A process that answers each JSON line on its standard input with one on its standard output."""

    def __init__(self, dsn: str, part: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.live_host", dsn, part],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.hear()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def tell(self, **command: Any) -> None:
        """Give it a command; ``hear`` its answer later."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        """Its next answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"benchmarks.live_host has ended (exit {self._process.wait()})")
        return json.loads(line)

    def ask(self, **command: Any) -> Any:
        """Give it a command and wait for the answer."""
        self.tell(**command)
        return self.hear()

    def end(self) -> None:
        """Close its input and wait for its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Gateway:
    """``ent-notify gateway --processes N`` on a free port, ready to let readers in."""

    def __init__(self, dsn: str, processes: int) -> None:
        self.processes = processes
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ENT_NOTIFY_")}
        environment = inherited | {
            "ENT_NOTIFY_STORE__DSN": dsn,
            "ENT_NOTIFY_STORE__POOL_SIZE": "4",
            "ENT_NOTIFY_GATEWAY__MAX_PER_ADDRESS": "20000",
            "ENT_NOTIFY_GATEWAY__HEARTBEAT_SECONDS": str(HEARTBEAT),
        }
        command = [sys.executable, "-m", "ent_notify.cli", "gateway", "--port", "0", "--processes", str(processes)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.port = self._wait_started()
        threading.Thread(target=self._pass_on_warnings, daemon=True).start()
        self._wait_ready()

    @property
    def pids(self) -> list[int]:
        """The supervisor, if there is one, and the gateways."""
        return proc.tree(self._process.pid)

    def end(self) -> None:
        """Stop without draining: those who are held are ours."""
        children = self.pids[1:]
        self._process.kill()  # the gateways end when their supervisor's pipe does
        self._process.wait()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, 9)

    def _lines(self) -> Iterator[dict[str, Any]]:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                harness.say(f"  gateway: {line.rstrip()}")

    def _wait_started(self) -> int:
        started, port = 0, 0
        for said in self._lines():
            port = int(said.get("port", port))
            started += said["event"] == "gateway_started"
            if started == self.processes:
                return port
        raise RuntimeError(f"the gateway has ended (exit {self._process.wait()})")

    def _pass_on_warnings(self) -> None:
        for said in self._lines():
            if said.get("level") in ("warning", "error"):
                harness.say(f"  gateway: {said}")

    def _wait_ready(self) -> None:
        """Every process has read the feed: connections are spread at random, so ask many times over."""
        good = 0
        while good < 8 * self.processes:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            connection.request("GET", "/readyz")
            good = good + 1 if connection.getresponse().status == 200 else 0
            connection.close()


class Tickets:
    """Tickets for ``streams`` readers, people 1 to ``people`` again and again, in a file for each holder."""

    def __init__(self, dsn: str, streams: int, people: int, holders: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        each = -(-streams // holders) + 2  # shares may differ by one from opening to opening
        tickets = [secrets.token_urlsafe(32) for _ in range(each * holders)]
        expires = datetime.now(UTC) + timedelta(hours=2)  # the 60 s of a real one are too short to open them all
        with (
            psycopg.connect(dsn, autocommit=True) as connection,
            connection.cursor() as cursor,
            cursor.copy("copy ent_notify.stream_ticket (digest, person_id, expires_at) from stdin") as copy,
        ):
            for place, ticket in enumerate(tickets):
                copy.write_row((hashlib.sha256(ticket.encode()).digest(), place % people + 1, expires))
        self.files: list[Path] = []
        for number in range(holders):
            file = Path(self._folder.name) / str(number)
            own = tickets[number * each : (number + 1) * each]
            file.write_text("".join(f"{ticket}\n" for ticket in own), encoding="ascii")
            self.files.append(file)


def open_streams(clients: Clients, gateway: Gateway, tickets: Tickets, number: int) -> None:
    """Hold ``number`` more of our streams."""
    clients.open(number, gateway.port, STREAM, tickets.files)


def end_well() -> None:
    """Let a signal unwind this program, so that what it started ends with it, even in the background of a shell."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


@contextlib.contextmanager
def ended(*things: Any) -> Iterator[Sequence[Any]]:
    """End what was begun, last first."""
    try:
        yield things
    finally:
        for thing in reversed(things):
            thing.end()
