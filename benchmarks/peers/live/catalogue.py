"""The servers beside ours: how each is started, opened and told to broadcast.

Every one of them shares a port between as many processes as our gateway has, by SO_REUSEPORT, and sends a frame of the
same length as ours. nginx takes its broadcast by HTTP, as a host would give it; the others by a line on the standard
input of each process, which is less than any real one costs.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from benchmarks import proc
from benchmarks.harness import CACHE
from benchmarks.peers.base import importable

HERE = Path(__file__).parent
ALL = 1_000_000
SLOW = 20_000
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
NCHAN = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
EVENTS = "GET {path} HTTP/1.1\r\nhost: peer\r\naccept: text/event-stream\r\n\r\n"
SOCKET = (
    "GET / HTTP/1.1\r\nhost: peer\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
NGINX_CONF = """
load_module {module};
daemon off;
worker_processes {processes};
worker_rlimit_nofile {descriptors};
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections {connections}; multi_accept on; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    nchan_shared_memory_size 512M;
    server {{
        listen 127.0.0.1:{port} reuseport backlog=4096;
        location = /stream {{
            nchan_subscriber eventsource; nchan_channel_id news; nchan_subscriber_first_message newest;
        }}
        location = /publish {{ nchan_publisher; nchan_channel_id news; nchan_message_buffer_length 1; }}
    }}
}}
"""


class LivePeer(Protocol):
    """A server under test. ``most`` is the number of streams that it is given at most, so that a slow one ends in time;
    what it held is told beside its figures (ALL: as many as ours)."""

    name: str
    most: int
    opening: str
    port: int

    @property
    def settings(self) -> str:
        """How it runs."""
        ...

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        ...

    def missing(self) -> str | None:
        """Why it cannot run here, or None."""
        ...

    def start(self, processes: int) -> None:
        """Start it."""
        ...

    def broadcast(self, number: int) -> float:
        """Send notification ``number`` to everybody; the monotonic time just before it was told to."""
        ...

    def end(self) -> None:
        """Stop it."""
        ...


class Nchan:
    """nginx with nchan."""

    name = "nginx with nchan"
    most = ALL
    opening = EVENTS.format(path="/stream")
    settings = "reuseport, backlog 4096, no access log, buffer of one message, 512 MiB of shared memory allowed"

    def missing(self) -> str | None:
        """See LivePeer."""
        if not Path(NGINX).exists():
            return "nginx is not installed (Debian: nginx-light)"
        return None if NCHAN.exists() else "nchan is not installed (Debian: libnginx-mod-nchan)"

    def start(self, processes: int) -> None:
        """See LivePeer."""
        import resource

        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory()
        conf = Path(self._folder.name) / "nginx.conf"
        conf.write_text(
            NGINX_CONF.format(
                module=NCHAN,
                processes=processes,
                descriptors=descriptors,
                connections=descriptors - 100,
                folder=self._folder.name,
                port=self.port,
            )
        )
        self._process = subprocess.Popen([NGINX, "-p", self._folder.name, "-c", conf, "-e", "stderr"])
        wait_listening(self.port, self._process)
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    @property
    def pids(self) -> list[int]:
        """See LivePeer."""
        return proc.tree(self._process.pid)

    def broadcast(self, number: int) -> float:
        """See LivePeer."""
        headers = {"content-type": "application/json", "x-eventsource-event": "notification"}
        called = time.monotonic()
        self._connection.request("POST", "/publish", body=payload(number), headers=headers)
        answer = self._connection.getresponse()
        answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"nchan answered {answer.status} to a message")
        return called

    def end(self) -> None:
        """See LivePeer."""
        self._connection.close()
        self._process.terminate()
        self._process.wait(timeout=60)


class Looped:
    """A peer of ours to write: so many processes of one program, told by a line each."""

    def __init__(
        self,
        name: str,
        opening: str,
        settings: str,
        command: Callable[[], Sequence[str]],
        *,
        needs: Sequence[str] = (),
        most: int = ALL,
    ) -> None:
        self.name, self.opening, self.settings, self.most = name, opening, settings, most
        self._command, self._needs = command, needs
        self._processes: list[subprocess.Popen[str]] = []

    def missing(self) -> str | None:
        """See LivePeer."""
        return next((why for module in self._needs if (why := importable(module))), None)

    def start(self, processes: int) -> None:
        """See LivePeer."""
        self.port = free_port()
        command = [*self._command(), str(self.port)]
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(processes)
        ]
        for process in self._processes:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"{self.name} did not start (exit {process.wait()})")
        for process in self._processes:
            wait_listening(self.port, process)

    @property
    def pids(self) -> list[int]:
        """See LivePeer."""
        return [process.pid for process in self._processes]

    def broadcast(self, number: int) -> float:
        """See LivePeer."""
        called = time.monotonic()
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(payload(number) + "\n")
            process.stdin.flush()
        return called

    def end(self) -> None:
        """See LivePeer."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()


def payload(number: int) -> str:
    """What a frame of ours says of a notification."""
    return json.dumps(
        {"seq": number, "notification": number, "type": "BenchNews", "category": "announcement"}, separators=(",", ":")
    )


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_listening(port: int, process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """Until somebody answers at ``port``. Raises RuntimeError if ``process`` ends first."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args!r} has ended (exit {process.returncode})") from None
            time.sleep(0.05)
        else:
            return


def compiler() -> str | None:
    """A C compiler, if there is one."""
    return shutil.which("gcc") or shutil.which("cc")


def bare_loop() -> list[str]:
    """The bare loop, compiled; in Python where nothing can compile it."""
    found = compiler()
    if found is None:
        return _python("bare_loop")
    CACHE.mkdir(parents=True, exist_ok=True)
    program = CACHE / "bare_loop"
    subprocess.run([found, "-O2", "-Wall", "-o", program, HERE / "bare_loop.c"], check=True)
    return [str(program)]


def _python(name: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", f"benchmarks.peers.live.{name}"]


BARE = Looped(
    "bare loop",
    EVENTS.format(path="/"),
    f"epoll and one send() a socket, nothing else, in {'C, -O2' if compiler() else 'Python (no C compiler here)'}",
    bare_loop,
)
NCHAN_PEER = Nchan()
LIVE_PEERS: tuple[LivePeer, ...] = (
    NCHAN_PEER,
    BARE,
    Looped(
        "websockets",
        SOCKET,
        "its broadcast(), no compression, no pings, uvloop",
        lambda: _python("websockets_server"),
        needs=("websockets", "uvloop"),
        most=SLOW,
    ),
    Looped(
        "starlette with uvicorn",
        EVENTS.format(path="/stream"),
        "a StreamingResponse each, uvloop, httptools if there, no access log, backlog 4096",
        lambda: _python("starlette_server"),
        needs=("starlette", "uvicorn", "uvloop"),
        most=SLOW,
    ),
    Looped(
        "hypercorn-trio",
        EVENTS.format(path="/"),
        "a plain ASGI application, no access log, backlog 4096",
        lambda: _python("hypercorn_server"),
        needs=("hypercorn",),
        most=SLOW,
    ),
)
