"""What systemd, or whoever set NOTIFY_SOCKET, is told: ready, reloading, stopping, and that the work goes on.

The protocol is a datagram of lines, see sd_notify(3). See docs/decisions/running.md for why this is no library.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

import trio

from ent_notify.clock import monotonic_microseconds

STUCK_SECONDS = 180.0
"""Seconds of silence after which a worker's ``/healthz`` says that it is stuck; as ``WatchdogSec`` of our units."""


class Manager:
    """Tells the service manager of this process; nothing where there is none. Never raises, never blocks."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._every = 0.0
        if environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            with suppress(ValueError):
                self._every = int(environ.get("WATCHDOG_USEC", "0")) / 1e6 / 4
        self._next = 0.0
        self._last = monotonic_microseconds()

    def ready(self) -> None:
        """It serves, for the first time or again."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """It has begun to read its settings again; ``ready`` follows."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={monotonic_microseconds()}")

    def stopping(self) -> None:
        """It has begun to end."""
        self._tell("STOPPING=1")

    def beat(self) -> None:
        """The work goes on: to be called wherever it goes round, as often as it likes. Within a trio run only."""
        self._last = monotonic_microseconds()
        if self._every and (now := trio.current_time()) >= self._next:
            self._next = now + self._every
            self._tell("WATCHDOG=1")

    def goes_round(self) -> bool:
        """Whether there was a beat in the last STUCK_SECONDS; from any thread."""
        return monotonic_microseconds() - self._last < STUCK_SECONDS * 1e6

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
            way.setblocking(False)
            way.sendto("\n".join(lines).encode(), self._address)
