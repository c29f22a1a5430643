"""Several processes on one port: connections are spread, one is killed, its readers come back and miss nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from live_peers import Browser
from test_on_the_engine import TOWN

from ent_notify.engine import Engine, open_engine
from ent_notify.gateway.limits import RESERVE, Room, divide
from ent_notify.gateway.supervisor import FIRST_PAUSE, LONGEST_PAUSE, STEADY_SECONDS, Supervisor, next_pause, reserved
from ent_notify.model.audience import Everyone
from ent_notify.model.events import Announcement
from ent_notify.settings import settings_from

PROGRAM = [sys.executable, "-m", "ent_notify.cli", "gateway"]
PEOPLE = ("P1", "P2", "P3")


class Service:
    """A command at work, and the log lines that it and its children write."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._buffer = b""

    async def line(self) -> dict[str, Any]:
        assert self.process.stderr is not None
        while b"\n" not in self._buffer:
            more = await self.process.stderr.receive_some()
            assert more, "the service has ended"
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        return said

    async def events(self, **wanted: int) -> dict[str, list[dict[str, Any]]]:
        """Read on until so many of each of these events have been said."""
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in wanted}
        while any(len(found[name]) < number for name, number in wanted.items()):
            line = await self.line()
            found.setdefault(line["event"], []).append(line)
        return found


@asynccontextmanager
async def running(command: list[str], **environment: str) -> AsyncIterator[Service]:
    """A command until the end of the block; then it must be gone, or is killed."""
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ | environment
    )
    try:
        with trio.fail_after(60):
            yield Service(process)
    finally:
        while OPEN:
            OPEN.pop().socket.close()
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            assert process.stderr is not None
            await process.stderr.aclose()


def free_ports(number: int) -> int:
    """The first of so many free ports in a row."""
    for _ in range(100):
        with reserved("127.0.0.1", 0) as first:
            try:
                for port in range(first + 1, first + number):
                    with reserved("127.0.0.1", port):
                        pass
            except OSError:
                continue
            return first
    raise AssertionError("no free ports in a row")


OPEN: list[trio.SocketStream] = []
"""What a test has opened ends with it."""


async def connect(port: int) -> trio.SocketStream:
    OPEN.append(await trio.open_tcp_stream("127.0.0.1", port))
    return OPEN[-1]


async def request(port: int, target: str, *headers: str) -> Browser:
    browser = Browser(await connect(port))
    await browser.send("\r\n".join([f"GET {target} HTTP/1.1", "host: x", *headers, "", ""]).encode())
    await browser.read_head()
    return browser


async def held(port: int) -> int:
    """How many streams the process holds that answers at ``port``."""
    page = (await (await request(port, "/metrics")).read_body()).decode()
    return next(
        int(float(line.split()[1])) for line in page.splitlines() if line.startswith("ent_notify_gateway_streams ")
    )


class Listener:
    """A browser: keeps its cookie and its place, comes back by itself, and remembers what it heard."""

    def __init__(self, port: int, target: str) -> None:
        self.port, self.target = port, target
        self.heard: list[int] = []
        self.cookie = ""
        self.position = ""
        self.opened = trio.Event()
        self.heard_some = trio.Event()

    async def run(self) -> None:
        while True:
            headers = [f"cookie: {self.cookie}", f"last-event-id: {self.position}"] if self.cookie else []
            try:
                browser = await request(self.port, self.target, *headers)
            except (OSError, trio.BrokenResourceError, AssertionError):
                continue  # came to the process just as it died
            assert browser.status == 200, (browser.status, await browser.read_body())
            if "set-cookie" in browser.headers:
                self.cookie = browser.headers["set-cookie"].partition(";")[0]
            while (block := await browser.next_block()) is not None:
                self.opened.set()
                self.position = block.id or self.position
                if block.event == "notification":
                    self.heard.append(int(block.id))
                    self.heard_some.set()

    async def wait_heard(self, number: int) -> None:
        while len(self.heard) < number:
            self.heard_some = trio.Event()
            await self.heard_some.wait()


@asynccontextmanager
async def open_town(dsn: str) -> AsyncIterator[Engine]:
    """An engine with the town in it, and a worker who relays."""
    async with open_engine(settings_from({"store": {"dsn": dsn}})) as engine:
        await engine.db.script(TOWN.read_text(encoding="utf-8"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.worker("relay").run)
            yield engine
            nursery.cancel_scope.cancel()


async def publish(engine: Engine, numbers: range) -> None:
    for number in numbers:
        await engine.publish(Announcement(key=f"n{number}", audience=Everyone(), title="T", body="B"))


async def test_a_killed_process_loses_nothing_for_its_readers(dsn: str) -> None:
    admin = free_ports(2)
    command = [*PROGRAM, "--port", "0", "--processes", "2"]
    async with (
        open_town(dsn) as engine,
        running(command, ENT_NOTIFY_STORE__DSN=dsn, ENT_NOTIFY_GATEWAY__ADMIN_PORT=str(admin)) as service,
    ):
        said = await service.events(gateways_started=1, gateway_process_started=2, gateway_started=2)
        port = said["gateways_started"][0]["port"]
        for place in range(2):
            assert (await request(admin + place, "/healthz")).status == 200
            while (await request(admin + place, "/readyz")).status != 200:
                pass
        readers = [await engine.reader(PEOPLE[number % 3]) for number in range(24)]
        listeners = [Listener(port, f"/v1/stream?ticket={await engine.stream_ticket(reader)}") for reader in readers]
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(listener.run)
            for listener in listeners:
                await listener.opened.wait()
            shares = [await held(admin + place) for place in range(2)]
            assert sum(shares) == 24
            assert min(shares) >= 1, "the kernel gave every connection to one process"
            await publish(engine, range(10))
            for listener in listeners:
                await listener.wait_heard(10)
            os.kill(said["gateway_process_started"][0]["process"], signal.SIGKILL)
            await publish(engine, range(10, 20))
            for listener in listeners:
                await listener.wait_heard(20)
            restarted = await service.events(gateway_process_ended=1, gateway_process_started=1, gateway_started=1)
            assert restarted["gateway_process_ended"][0]["status"] == -signal.SIGKILL
            await publish(engine, range(20, 25))
            for listener in listeners:
                await listener.wait_heard(25)
                assert listener.heard == list(range(1, 26))
            nursery.cancel_scope.cancel()
        service.process.send_signal(signal.SIGTERM)
        ended = await service.events(gateway_stopped=2, gateways_stopped=1)
        assert "service_stopped_early" not in ended
        assert await service.process.wait() == 0


async def test_processes_do_not_outlive_their_supervisor(dsn: str) -> None:
    command = [*PROGRAM, "--port", "0", "--processes", "2"]
    async with open_town(dsn), running(command, ENT_NOTIFY_STORE__DSN=dsn) as service:
        await service.events(gateway_started=2)
        service.process.kill()
        await service.events(gateway_stopped=2)


async def test_new_readers_are_refused_before_descriptors_run_out(dsn: str) -> None:
    room = divide(300, 18_000)
    command = ["sh", "-c", f"ulimit -n 300; exec {' '.join(PROGRAM)} --port 0"]
    async with (
        open_town(dsn) as engine,
        running(command, ENT_NOTIFY_STORE__DSN=dsn, ENT_NOTIFY_GATEWAY__MAX_PER_PERSON="900") as service,
    ):
        port = (await service.events(gateway_started=1))["gateway_started"][0]["port"]
        while (await request(port, "/readyz")).status != 200:
            pass
        first = await request(port, f"/v1/stream?ticket={await engine.stream_ticket(await engine.reader('P1'))}")
        cookie = f"cookie: {first.headers['set-cookie'].partition(';')[0]}"
        browsers = [first] + [await request(port, "/v1/stream", cookie) for _ in range(room.streams - 1)]
        assert {browser.status for browser in browsers} == {200}
        silent = [await connect(port) for _ in range(room.requests + 20)]
        refused = await request(port, "/v1/stream", cookie)
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        await browsers.pop().stream.aclose()
        while (again := await request(port, "/v1/stream", cookie)).status == 503:
            pass
        assert again.status == 200
        for stream in silent:
            await stream.aclose()
        service.process.send_signal(signal.SIGTERM)
        assert "accept_failed" not in await service.events(gateway_stopped=1)


def test_the_room_of_a_process_never_passes_its_descriptors() -> None:
    for descriptors in (20, 256, 1_024, 20_000, 1_048_576):
        room = divide(descriptors, 18_000)
        assert room.streams >= 1
        assert room.requests >= 1
        assert room.streams + room.requests + RESERVE <= max(descriptors, RESERVE + 4)
    assert divide(20_000, 18_000) == Room(18_000, 1_500)
    assert divide(None, 18_000) == Room(18_000, 1_500)


def test_pauses_grow_to_a_bound_and_begin_anew_after_a_steady_life() -> None:
    pauses = [0.0]
    for _ in range(12):
        pauses.append(next_pause(pauses[-1], lived=1))
    assert pauses[1:4] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    assert next_pause(LONGEST_PAUSE, lived=STEADY_SECONDS) == FIRST_PAUSE


STUBBORN = """
import signal, socket
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # kept for us, should it come before we wait for it
with socket.create_connection(("127.0.0.1", {port})) as said:
    for told in range(1, {patience} + 1):
        said.sendall(b"-")
        signal.sigwait([signal.SIGTERM])
"""


@pytest.mark.parametrize("patience", [1, 2, 99])
async def test_a_first_signal_drains_and_a_second_ends(patience: int) -> None:
    """``patience``: the signals that a process needs. It says one byte before it waits for each."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    supervisor = Supervisor([[sys.executable, "-c", STUBBORN.format(port=port, patience=patience)]] * 2)
    with trio.fail_after(60):
        async with listener, trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.run)
            two = [await listener.accept() for _ in range(2)]
            for said in two:
                assert await said.receive_some(1) == b"-"
            supervisor.drain()
            for said in two:
                assert await said.receive_some(1) == (b"-" if patience > 1 else b"")
            if patience > 1:
                nursery.cancel_scope.cancel()
        for said in two:
            await said.aclose()
    assert supervisor._running == set()


def test_a_port_that_somebody_else_has_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(OSError, match="in use"):  # noqa: SIM117
        with reserved("127.0.0.1", other.getsockname()[1]):
            pass


async def test_one_that_cannot_be_started_is_tried_again_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """No memory, or no process left: the machine says it by an OSError at the fork."""
    started: list[str] = []
    again = trio.Event()
    opened = trio.lowlevel.open_process

    async def refuse_once(command: list[str], **options: Any) -> trio.Process:
        started.append(command[-1])
        if started.count("second") == 1 and command[-1] == "second":
            raise BlockingIOError(11, "Resource temporarily unavailable")
        process: trio.Process = await opened(command, **options)
        if command[-1] == "second":
            again.set()
        return process

    monkeypatch.setattr(trio.lowlevel, "open_process", refuse_once)
    lasting = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    supervisor = Supervisor([[*lasting, "first"], [*lasting, "second"]])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await again.wait()
        assert sorted(started) == ["first", "second", "second"]
        nursery.cancel_scope.cancel()


async def test_settings_are_read_again_and_every_stream_stays(dsn: str, tmp_path: Path) -> None:
    config, keys = tmp_path / "ent-notify.toml", tmp_path / "operator"
    admin = free_ports(1)

    def write(origin: str, key: str) -> None:
        keys.write_text(key * 32)
        config.write_text(
            f'[gateway]\norigins = ["{origin}"]\nadmin_port = {admin}\n[operator]\nkey_file = "operator"\n'
        )

    async def let_in(port: int, origin: str) -> bool:
        return (await request(port, "/v1/stream", f"origin: {origin}")).status != 403

    async def shown(key: str) -> bool:
        return (await request(admin, "/operator/look", f"authorization: Bearer {key * 32}")).status == 200

    write("https://one.example", "a")
    command = [sys.executable, "-m", "ent_notify.cli", "--config", str(config), "gateway", "--port", "0"]
    async with open_town(dsn) as engine, running(command, ENT_NOTIFY_STORE__DSN=dsn) as service:
        port = (await service.events(gateway_started=1))["gateway_started"][0]["port"]
        while (await request(admin, "/readyz")).status != 200:
            pass
        assert await let_in(port, "https://one.example") and not await let_in(port, "https://two.example")
        assert await shown("a") and not await shown("b")
        listener = Listener(port, f"/v1/stream?ticket={await engine.stream_ticket(await engine.reader('P1'))}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.run)
            await listener.opened.wait()
            cookie = listener.cookie
            write("https://two.example", "b")
            service.process.send_signal(signal.SIGHUP)
            await service.events(settings_read=1)
            assert await let_in(port, "https://two.example") and not await let_in(port, "https://one.example")
            assert await shown("b") and not await shown("a")
            await publish(engine, range(1))
            await listener.wait_heard(1)
            assert (listener.cookie, await held(admin)) == (cookie, 1)
            nursery.cancel_scope.cancel()
        service.process.send_signal(signal.SIGTERM)
        assert await service.process.wait() == 0
