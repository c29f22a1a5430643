"""The platform under load: a generated region in a database, ``ent-notify gateway`` and ``ent-notify worker``.

All of it is set as an operator would: a TOML file, a key set, processes. The clients are the reverse proxies that the
gateway trusts, so that its caps count each reader's own address.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import trio

from ent_notify.asgi.auth import make_key, public_half
from ent_notify.gateway.supervisor import reserved
from loadtests.profiles import Profile

ISSUER, AUDIENCE = "https://ent.example", "ent-notify"
_PROGRAM = [sys.executable, "-m", "ent_notify.cli"]
_STOP_SECONDS = 40.0


class Service:
    """A command at work; what it logs goes to a file, and is looked at on the way."""

    def __init__(self, process: trio.Process, log: Path) -> None:
        self.process = process
        self.log = log
        self.children: list[int] = []
        """Process ids of a supervisor's children that are alive, oldest first."""
        self._events: dict[str, list[dict[str, Any]]] = {}
        self._more = trio.Event()
        self.ended = False

    async def follow(self) -> None:
        """Read its log until it ends."""
        assert self.process.stderr is not None
        rest = b""
        with self.log.open("wb") as file:
            async for data in self.process.stderr:
                file.write(data)
                file.flush()
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._take(line)
        self.ended = True
        self._more.set()

    def _take(self, line: bytes) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            return
        event = str(said.get("event"))
        self._events.setdefault(event, []).append(said)
        if event == "gateway_process_started":
            self.children.append(said["process"])
        self._more.set()

    async def wait_said(self, event: str, times: int = 1) -> list[dict[str, Any]]:
        """Wait until it has logged ``event`` so many times. Raises RuntimeError when it ends before."""
        while len(self._events.get(event, ())) < times:
            if self.ended:
                raise RuntimeError(f"it ended before it said {event!r}: see {self.log}")
            self._more = trio.Event()
            await self._more.wait()
        return self._events[event]

    def count(self, event: str) -> int:
        """How often it has logged ``event``."""
        return len(self._events.get(event, ()))

    def kill_children(self, number: int | None) -> int:
        """SIGKILL a supervisor's ``number`` oldest children (None: all of them); how many that were."""
        chosen = self.children[:number]
        for child in chosen:
            os.kill(child, signal.SIGKILL)
        self.children = self.children[len(chosen) :]
        return len(chosen)


class House:
    """The running platform."""

    def __init__(self, dsn: str, port: int, key: Mapping[str, str], gateway: Service, worker: Service) -> None:
        self.dsn = dsn
        self.port = port
        self.key = dict(key)
        self.gateway = gateway
        self.worker = worker
        self._spent: dict[str, dict[int, float]] = {}

    def usage(self) -> dict[str, dict[str, float]]:
        """Processes and Pss in MiB now, and CPU seconds so far, of the gateway's processes (those killed as they were
        when last looked at) and of the worker."""
        return {
            "gateway": self._usage("gateway", self.gateway.children),
            "worker": self._usage("worker", [self.worker.process.pid]),
        }

    def _usage(self, name: str, processes: list[int]) -> dict[str, float]:
        spent = self._spent.setdefault(name, {})
        pss = 0.0
        for process in processes:
            with suppress(psutil.Error):
                found = psutil.Process(process)
                pss += found.memory_full_info().pss / 2**20
                times = found.cpu_times()
                spent[process] = times.user + times.system
        return {"processes": len(processes), "pss_mib": round(pss, 1), "cpu_seconds": round(sum(spent.values()), 2)}


@asynccontextmanager
async def open_house(
    profile: Profile, dsn: str, folder: Path, sources: list[str], more: Mapping[str, Mapping[str, Any]]
) -> AsyncIterator[House]:
    """Start everything on the database ``dsn``; stop it at the end. ``more``: further settings, by group."""
    key = make_key("load")
    (folder / "keys.json").write_text(json.dumps({"keys": [public_half(key)]}))
    settings: dict[str, dict[str, Any]] = {
        "store": {"dsn": dsn, "pool_size": 4},
        "gateway": {
            "trusted_proxies": sources,
            "retry_seconds": profile.retry_seconds,
            "heartbeat_seconds": profile.heartbeat_seconds,
        },
        "api": {"keys_file": str(folder / "keys.json"), "issuer": ISSUER, "audience": AUDIENCE},
        "rates": {"notifications_per_day": 100_000},
        **{group: dict(values) for group, values in more.items()},
    }
    config = folder / "ent-notify.toml"
    config.write_text(toml(settings))
    with reserved("127.0.0.1", 0) as free:
        port = free
    command = [*_PROGRAM, "--config", str(config)]
    async with trio.open_nursery() as nursery:
        worker = await _start(nursery, [*command, "worker", "--name", "load"], folder / "worker.log")
        gateway = await _start(
            nursery,
            [*command, "gateway", "--port", str(port), "--processes", str(profile.gateways)],
            folder / "gateway.log",
        )
        try:
            with trio.fail_after(60 + 5 * profile.gateways):
                await worker.wait_said("worker_started")
                await gateway.wait_said("gateway_started", profile.gateways)
                await _wait_ready(port, 3 * profile.gateways)
            yield House(dsn, port, key, gateway, worker)
        finally:
            with trio.CancelScope(shield=True):
                for service in (gateway, worker):
                    await _stop(service)


async def _start(nursery: trio.Nursery, command: list[str], log: Path) -> Service:
    process = await trio.lowlevel.open_process(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    service = Service(process, log)
    nursery.start_soon(service.follow)
    return service


async def _stop(service: Service) -> None:
    process = service.process
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        with trio.move_on_after(2.0):
            await process.wait()
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)  # the second: at once
        with trio.move_on_after(_STOP_SECONDS):
            await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()


async def _wait_ready(port: int, times: int) -> None:
    """Wait until the shared port has said so often in a row that it is ready: the kernel chooses who is asked."""
    ready = 0
    while ready < times:
        answer = b""
        try:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                answer = await stream.receive_some()
        except (OSError, trio.BrokenResourceError):
            pass
        ready = ready + 1 if b" 200 " in answer[:20] else 0
        if not ready:
            await trio.sleep(0.05)


def toml(groups: Mapping[str, Mapping[str, Any]]) -> str:
    """Settings as a TOML file: JSON's strings, numbers and lists are TOML's too."""
    lines = []
    for group, values in groups.items():
        lines.append(f"[{group}]")
        lines += [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    return "\n".join(lines) + "\n"


def now_ns() -> int:
    """Nanoseconds since 1970: one clock for all processes of a run."""
    return time.time_ns()
