"""What the Python peers share: a listening socket on the common port, and a line on the standard input for a broadcast.

usage: python -m benchmarks.peers.live.NAME PORT

Each line read is the frame's text, broadcast to everybody held. The process ends at end of file.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable

BACKLOG = 4_096
HEAD = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]


def listen() -> socket.socket:
    """The port of the command line, shared by the peer's processes."""
    sock = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=BACKLOG, reuse_port=True)
    sock.setblocking(False)
    return sock


def read_lines(broadcast: Callable[[str], object], end: Callable[[], object]) -> None:
    """Say ``ready``, hand each line on, and at end of file end; in a thread of its own."""
    print("ready", flush=True)
    for line in sys.stdin:
        broadcast(line.rstrip("\n"))
    end()


def event(data: str) -> bytes:
    """The same bytes as a frame of ours."""
    return f"id: 1\nevent: notification\ndata: {data}\n\n".encode()
