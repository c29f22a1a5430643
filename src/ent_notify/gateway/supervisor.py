"""Several gateway processes on one port: started, started again when they die, and stopped together.

Each takes its share of new connections from the kernel (SO_REUSEPORT). A process ends by itself when its standard input
ends, so that none outlives a supervisor that was killed.
"""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import trio

from ent_notify.observe import get_logger

FIRST_PAUSE = 0.5
"""Seconds before a process that has died is started again; twice as long each time, up to LONGEST_PAUSE."""
LONGEST_PAUSE = 30.0
STEADY_SECONDS = 60.0
"""A process that has lived so long starts anew from FIRST_PAUSE."""
_KILL_SECONDS = 1.0
_log = get_logger(__name__)


def next_pause(last: float, lived: float) -> float:
    """Seconds to wait before a process is started again, after a wait of ``last`` (0: none) and a life of ``lived``."""
    if last == 0 or lived >= STEADY_SECONDS:
        return FIRST_PAUSE
    return min(last * 2, LONGEST_PAUSE)


@contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """The port that several processes will share, kept for them and for nobody else's; 0 takes a free one.

    Raises OSError when another program has it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:  # whoever listens alone on it refuses us here
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        port = probe.getsockname()[1]
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield port


class Supervisor:
    """Runs ``commands``, one process each, until ``drain`` has ended them all (or cancellation)."""

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        self._commands = commands
        self._running: set[trio.Process] = set()
        self._stopping = trio.Event()

    def drain(self) -> None:
        """Tell every process to end gracefully, and start none again."""
        self._stopping.set()
        self._tell(signal.SIGTERM)

    def reload(self) -> None:
        """Tell every process to read its settings again."""
        self._tell(signal.SIGHUP)

    async def run(self) -> None:
        """Start the processes and keep them running. Cancelled, it ends those that are left at once."""
        async with trio.open_nursery() as nursery:
            for command in self._commands:
                nursery.start_soon(self._keep, command)

    async def _keep(self, command: Sequence[str]) -> None:
        pause = 0.0
        while not self._stopping.is_set():
            began = trio.current_time()
            try:
                status = await self._run_once(command)
            except OSError as error:
                # no memory, process or descriptor left: the others go on, and this one is tried again
                pause = next_pause(pause, 0)
                _log.error("gateway_process_not_started", error=error, seconds=pause)
            else:
                if self._stopping.is_set():
                    return
                pause = next_pause(pause, trio.current_time() - began)
                _log.error("gateway_process_ended", status=status, seconds=pause)
            with trio.move_on_after(pause):
                await self._stopping.wait()

    async def _run_once(self, command: Sequence[str]) -> int:
        # Of a session of its own: what the terminal sends to all must not count twice.
        process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, start_new_session=True)
        self._running.add(process)
        _log.info("gateway_process_started", process=process.pid)
        if self._stopping.is_set():
            process.send_signal(signal.SIGTERM)
        try:
            return await process.wait()
        finally:
            with trio.CancelScope(shield=True):
                await _end(process)
            self._running.discard(process)

    def _tell(self, number: signal.Signals) -> None:
        for process in self._running:
            if process.returncode is None:
                process.send_signal(number)


async def _end(process: trio.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)  # the second: it ends without draining
        with trio.move_on_after(_KILL_SECONDS):
            await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
    if process.stdin is not None:
        await process.stdin.aclose()
