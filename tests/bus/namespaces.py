"""Machines of a test's own: network namespaces on one bridge, made and taken away again (Linux, as root)."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import outcome

_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Machine:
    """One namespace: its name, and its address on the bridge."""

    name: str
    address: str
    cable: str
    """The bridge's end of its cable, in the hub's namespace."""
    hub: str

    @property
    def enter(self) -> list[str]:
        """What goes before a command that is to run there."""
        return ["ip", "netns", "exec", self.name]

    def unplug(self) -> None:
        """Cut it off from all others: nothing is refused, nothing answers."""
        _ip("-n", self.hub, "link", "set", self.cable, "down")

    def plug(self) -> None:
        """Put the cable back."""
        _ip("-n", self.hub, "link", "set", self.cable, "up")

    def connect(self, port: int) -> socket.socket:
        """A connection from within to its own loopback, which no cable's end can touch."""

        def enter_and_connect() -> socket.socket:
            libc = ctypes.CDLL(None, use_errno=True)
            with Path("/run/netns", self.name).open("rb") as there:
                if libc.setns(there.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"cannot enter {self.name}")
            return socket.create_connection(("127.0.0.1", port), timeout=20)

        # A namespace is a thread's own: one that ends with it.
        found: list[outcome.Outcome[socket.socket]] = []
        thread = threading.Thread(target=lambda: found.append(outcome.capture(enter_and_connect)))
        thread.start()
        thread.join()
        return found[0].unwrap()


def why_not() -> str | None:
    """Why there can be no namespaces here; None if there can."""
    if shutil.which("ip") is None:
        return "the program ip is not here (Debian: iproute2)"
    name = f"ent{os.getpid()}try"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"no network namespace can be made: {tried.stderr.strip()}"
    try:
        kinds = (["veth", "peer", "name", "try1"], ["bridge"])
        for place, kind in enumerate(kinds):
            made = subprocess.run(
                ["ip", "-n", name, "link", "add", f"try{place * 2}", "type", *kind],
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode:
                return f"no {kind[0]} can be made: {made.stderr.strip()}"
    finally:
        _ip("netns", "del", name)
    return None


@contextmanager
def open_machines(number: int) -> Iterator[list[Machine]]:
    """Machines 10.77.0.1 and up, each with a cable to one bridge, which is in a namespace of its own."""
    hub = f"ent{os.getpid()}hub"
    machines = [
        Machine(f"ent{os.getpid()}n{place}", f"10.77.0.{place}", f"c{place}", hub) for place in range(1, number + 1)
    ]
    names = [hub, *(machine.name for machine in machines)]
    try:
        for name in names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", hub, "link", "add", "name", "switch", "type", "bridge")
        _ip("-n", hub, "link", "set", "switch", "up")
        for machine in machines:
            end = ["type", "veth", "peer", "name", "eth0", "netns", machine.name]
            _ip("-n", hub, "link", "add", machine.cable, *end)
            _ip("-n", hub, "link", "set", machine.cable, "master", "switch", "up")
            _ip("-n", machine.name, "addr", "add", f"{machine.address}/24", "dev", "eth0")
            _ip("-n", machine.name, "link", "set", "eth0", "up")
        yield machines
    finally:
        for name in names:
            with suppress(subprocess.CalledProcessError):  # it was not made
                _ip("netns", "del", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
