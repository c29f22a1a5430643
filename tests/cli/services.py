"""A service in a process of its own, as an operator starts it, and what it says."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(sys.executable).with_name("ent-notify")


class Service:
    """A running service, and the log lines that it writes."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
        )
        self.lines: list[dict[str, Any]] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._queue.put(line)
        self._queue.put(None)

    def wait_event(self, event: str) -> dict[str, Any]:
        """The first line with that event, among those to come."""
        while (line := self._queue.get(timeout=60)) is not None:
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == event:
                return self.lines[-1]
        pytest.fail(f"the service ended without {event}: {self.lines}")

    def wait_end(self) -> int:
        code = self.process.wait(timeout=60)
        self._reader.join(timeout=60)
        while (line := self._queue.get_nowait()) is not None:
            self.lines.append(json.loads(line))
        return code


def get(port: int, path: str) -> bytes:
    """The body that a service of this machine answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        body: bytes = answer.read()
        return body


def wait_ready(port: int) -> None:
    """Ask a gateway until it has read how far the feed reaches: until then it answers 503."""
    for _ in range(5_000):
        try:
            get(port, "/readyz")
        except urllib.error.HTTPError as error:
            assert error.code == HTTPStatus.SERVICE_UNAVAILABLE
        else:
            return
    pytest.fail("the gateway was never ready")


def wait_metric(port: int, line: str) -> None:
    """Read a service's metrics until they hold ``line``: a counter moves just after what it counts."""
    for _ in range(5_000):
        shown = get(port, "/metrics").decode().splitlines()
        if line in shown:
            return
    pytest.fail(f"the metrics never said {line}: {[each for each in shown if each.split('{')[0] in line]}")
