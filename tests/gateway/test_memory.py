"""What a held stream costs."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from held_streams import WARM

COUNT = 3_000
BOUND = 6.0
"""KiB of Pss a stream: 0.6 times what nginx with nchan takes (10.0)."""

OPENING = {
    "events": (b"GET /v1/stream?ticket=%d HTTP/1.1\r\nhost: gateway\r\n\r\n", b"HTTP/1.1 200"),
    "websocket": (
        b"GET /v1/ws?ticket=%d HTTP/1.1\r\nhost: gateway\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        b"HTTP/1.1 101",
    ),
}


@pytest.mark.peer("linux")
@pytest.mark.parametrize("wire", OPENING)
def test_a_held_stream_costs_a_few_kibibytes(wire: str) -> None:
    request, answer = OPENING[wire]
    child = [sys.executable, str(Path(__file__).with_name("held_streams.py")), str(COUNT)]
    with (
        subprocess.Popen(child, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as gateway,
        ExitStack() as stack,
    ):
        assert gateway.stdin is not None
        assert gateway.stdout is not None
        port = int(gateway.stdout.readline())
        sizes = []
        for people in (range(WARM), range(WARM, WARM + COUNT)):
            for person in people:
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                sock.sendall(request % person)
                assert sock.recv(12) == answer
            sizes.append(int(gateway.stdout.readline()))
        gateway.stdin.close()
        assert gateway.wait() == 0
    cost = (sizes[1] - sizes[0]) / COUNT
    assert 1.0 < cost <= BOUND, f"{cost:.2f} KiB a stream"
