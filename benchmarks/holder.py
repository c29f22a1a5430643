"""A client process that holds streams: an epoll loop over plain sockets, event streams or WebSockets alike.

Told what to do by JSON lines on its standard input, and answering each with one on its standard output:

``{"do": "open", "number", "port", "source", "opening", "lines"?}``  connect so many more from the address ``source``,
    send each the request ``opening`` (``{line}`` in it stands for a line of its own of the file ``lines``), and read
    its head; answers ``{"held", "refused"}``
``{"do": "wait", "id", "frames", "seconds"}``  until the notification ``id`` has come so many times in all; answers
    ``{"frames", "first", "last"}``
``{"do": "stamps"}``  answers ``{"id": [time, ...]}`` of everything heard so far, and forgets it

Times are those of the monotonic clock, which all processes of a machine share. What was heard is known by
``"notification":ID`` in a frame. At the end of its input the process closes everything and ends.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import sys
import time
from collections import deque
from itertools import islice
from pathlib import Path
from typing import Any

FRAME = re.compile(rb'"notification":(\d+)')
MOST_OPENING = 200
"""Connections under way at once: below the 500 that one address may have in requests at our gateway."""
TRIES = 5
PATIENCE = 60.0
"""Seconds without any answer after which an opening is given up."""


class Holder:
    """All connections of this process."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self.heard: dict[int, list[float]] = {}
        self.lost = 0

    def open(self, port: int, source: str, requests: list[bytes]) -> dict[str, int]:
        """Connect once for each of ``requests``, some at a time, and read each answer's head."""
        waiting = deque((request, 1) for request in requests)
        opening: dict[int, tuple[bytes, int, bytes]] = {}
        held = refused = 0
        while waiting or opening:
            while waiting and len(opening) < MOST_OPENING:
                request, tried = waiting.popleft()
                opening[self._connect(port, source)] = (request, tried, b"")
            events = self._epoll.poll(PATIENCE)
            if not events:
                raise TimeoutError(f"{len(opening)} connections to port {port} had no answer for {PATIENCE:g} s")
            for file, event in events:
                if file not in opening:
                    self._read(file)
                    continue
                request, tried, head = opening[file]
                if event & select.EPOLLOUT:
                    self._epoll.modify(file, select.EPOLLIN)
                    self._sockets[file].send(request)
                    continue
                head += self._receive(file)
                if b"\r\n\r\n" in head and head.split(b" ", 2)[1] in (b"200", b"101"):
                    held += 1
                    del opening[file]
                elif b"\r\n\r\n" in head or not head:
                    del opening[file]
                    self._close(file)
                    if tried < TRIES:
                        waiting.append((request, tried + 1))
                    else:
                        refused += 1
                        print(f"refused: {head[:200]!r}", file=sys.stderr)
                else:
                    opening[file] = (request, tried, head)
        return {"held": held, "refused": refused}

    def wait(self, number: int, frames: int, seconds: float, control: int) -> dict[str, Any]:
        """Listen until the notification has come ``frames`` times, or for so long."""
        deadline = time.monotonic() + seconds
        while len(self.heard.get(number, ())) < frames and time.monotonic() < deadline:
            self.listen(0.5, control)
        stamps = self.heard.get(number, [])
        return {"frames": len(stamps), "first": min(stamps, default=0), "last": max(stamps, default=0)}

    def listen(self, seconds: float, control: int) -> bool:
        """Read what comes, once; whether there is a command."""
        told = False
        for file, _ in self._epoll.poll(seconds):
            if file == control:
                told = True
            else:
                self._read(file)
        return told

    def hear_commands(self, control: int) -> None:
        """Look at the standard input, too."""
        self._epoll.register(control, select.EPOLLIN)

    def _connect(self, port: int, source: str) -> int:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
        sock.bind((source, 0))
        sock.connect_ex(("127.0.0.1", port))
        self._sockets[sock.fileno()] = sock
        self._epoll.register(sock.fileno(), select.EPOLLOUT)
        return sock.fileno()

    def _read(self, file: int) -> None:
        data = self._receive(file)
        if not data:
            self.lost += 1
            self._close(file)
            return
        for found in FRAME.findall(data):
            self.heard.setdefault(int(found), []).append(time.monotonic())

    def _receive(self, file: int) -> bytes:
        try:
            return os.read(file, 65_536)
        except OSError:
            return b""

    def _close(self, file: int) -> None:
        self._sockets.pop(file).close()


def main() -> None:
    holder = Holder()
    control = sys.stdin.fileno()
    holder.hear_commands(control)
    lines: dict[str, Any] = {}
    rest = b""
    while True:
        if not holder.listen(-1, control):
            continue
        data = os.read(control, 65_536)
        if not data:
            return
        *commands, rest = (rest + data).split(b"\n")
        for text in commands:
            print(json.dumps(_obey(holder, json.loads(text), lines, control)), flush=True)


def _obey(holder: Holder, command: dict[str, Any], lines: dict[str, Any], control: int) -> dict[str, Any]:
    if command["do"] == "open":
        opening, number = command["opening"], command["number"]
        name = command.get("lines")
        if name is None:
            requests = [opening.encode()] * number
        else:
            own = lines.setdefault(name, iter(Path(name).read_text(encoding="ascii").splitlines()))
            requests = [opening.replace("{line}", line).encode() for line in islice(own, number)]
        return {**holder.open(command["port"], command["source"], requests), "lost": holder.lost}
    if command["do"] == "wait":
        return {**holder.wait(command["id"], command["frames"], command["seconds"], control), "lost": holder.lost}
    if command["do"] == "stamps":
        heard, holder.heard = holder.heard, {}
        return {str(number): stamps for number, stamps in heard.items()}
    raise ValueError(f"unknown command {command['do']!r}")


if __name__ == "__main__":
    main()
