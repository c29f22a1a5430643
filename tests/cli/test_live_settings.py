"""Services under a service manager: it is told, SIGHUP reads the settings again, and a worker that is stuck falls
silent."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import trio
from pydantic import SecretStr

from ent_notify.cli import manager
from ent_notify.cli.manager import Manager
from ent_notify.settings import (
    EmailSettings,
    GatewaySettings,
    OperatorSettings,
    ProjectSettings,
    RateSettings,
    Settings,
    StoreSettings,
    WorkerSettings,
)
from ent_notify.settings.live import FIXED, Service, taken_on

from .services import PROGRAM

CONFIG = """
[email]
host = "127.0.0.1"
port = 9
tls = "none"
[rates]
email_per_second = {rate}
[project]
name = "{name}"
"""


class Listener:
    """A service manager's end of the socket: what it is told, in order."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{path[1:]}" if path.startswith("@") else path)
        self.socket.settimeout(60)

    def next(self) -> dict[str, str]:
        text = self.socket.recv(4096).decode()
        return dict(line.split("=", 1) for line in text.split("\n"))

    def wait(self, name: str) -> dict[str, str]:
        """The next message that says ``name``; beats before it are passed over."""
        while name not in (said := self.next()):
            assert said == {"WATCHDOG": "1"}, said
        return said


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    listener = Listener(str(tmp_path / "manager"))
    yield listener
    listener.socket.close()


@contextmanager
def managed(listener: Listener, *arguments: str, watchdog: float = 60.0) -> Iterator[subprocess.Popen[bytes]]:
    """A service as systemd starts it; its standard error goes to the file ``err``."""
    environ = os.environ | {"NOTIFY_SOCKET": listener.path, "WATCHDOG_USEC": str(round(watchdog * 1e6))}
    with (
        Path("err").open("wb") as log,
        subprocess.Popen([PROGRAM, *arguments], stdin=subprocess.DEVNULL, stderr=log, env=environ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def write(rate: int, name: str = "ENT") -> None:
    Path("ent-notify.toml").write_text(CONFIG.format(rate=rate, name=name), encoding="utf-8")


def rate(dsn: str) -> float | None:
    """The rate of mail that all workers share."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select per_second from ent_notify.lane where channel = 'email'").fetchone()
    return None if row is None or row[0] is None else float(row[0])


def err() -> str:
    return Path("err").read_text(encoding="utf-8")


def test_a_worker_reads_its_settings_again_and_keeps_those_it_has_when_they_are_wrong(
    town: str, listener: Listener
) -> None:
    write(5)
    with managed(listener, "worker", "--name", "w1") as worker:
        assert listener.wait("READY")
        assert rate(town) == 5
        write(9)
        worker.send_signal(signal.SIGHUP)
        assert int(listener.wait("RELOADING")["MONOTONIC_USEC"]) > 0
        listener.wait("READY")
        assert rate(town) == 9
        Path("ent-notify.toml").write_text("[rates]\nemail_per_secund = 3\n", encoding="utf-8")
        worker.send_signal(signal.SIGHUP)
        listener.wait("RELOADING")
        listener.wait("READY")
        assert "email_per_secund (in ent-notify.toml) is not a setting (did you mean rates.email_per_second?)" in err()
        assert rate(town) == 9
        Path("ent-notify.toml").write_text(
            CONFIG.format(rate=3, name="ENT") + '[fcm.app]\nservice_account_file = "err"\n', encoding="utf-8"
        )  # a file that is taken, and leads to no channel
        worker.send_signal(signal.SIGHUP)
        listener.wait("RELOADING")
        listener.wait("READY")
        assert "fcm.app.service_account is not the JSON that Firebase gives" in err()
        write(7)
        worker.send_signal(signal.SIGHUP)
        listener.wait("RELOADING")
        listener.wait("READY")
        assert rate(town) == 7
        worker.send_signal(signal.SIGTERM)
        listener.wait("STOPPING")
        assert worker.wait(60) == 0
    events = re.findall(r'"event":"(\w+)"', err())
    assert events.count("settings_read") == 2 and events.count("settings_refused") == 2
    assert events[-1] == "worker_stopped"


def test_a_worker_beats_and_falls_silent_when_it_is_stuck(town: str, listener: Listener) -> None:
    """A statement that never ends holds up its round: that is what a restart would end."""
    with managed(listener, "worker", watchdog=1.0) as worker, psycopg.connect(town) as holder:
        listener.wait("READY")
        assert [listener.wait("WATCHDOG") for _ in range(3)]
        holder.execute("lock table ent_notify.notification, ent_notify.chunk in access exclusive mode")
        waiting = "select count(*) from pg_locks where not granted"
        while not holder.execute(waiting).fetchall()[0][0]:
            pass
        listener.socket.settimeout(1.5)  # six times as long as between two beats
        with pytest.raises(TimeoutError):  # those sent before it stood still come first
            for _ in range(50):
                listener.next()
        listener.socket.settimeout(60)
        holder.rollback()
        listener.wait("WATCHDOG")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0


def test_a_gateway_is_ready_beats_and_stops(town: str, listener: Listener) -> None:
    with managed(listener, "gateway", "--port", "0", watchdog=1.0) as gateway:
        listener.wait("READY")
        listener.wait("WATCHDOG")
        gateway.send_signal(signal.SIGTERM)
        listener.wait("STOPPING")
        assert gateway.wait(60) == 0


def test_a_gateways_processes_all_read_again(town: str, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    write(5)
    with managed(listener, "gateway", "--port", "0", "--processes", "2", watchdog=1.0) as gateway:
        listener.wait("READY")
        listener.wait("WATCHDOG")
        while err().count('"event":"gateway_started"') < 2:
            pass
        write(5, "Mon ENT")
        gateway.send_signal(signal.SIGHUP)
        listener.wait("RELOADING")
        listener.wait("READY")
        while err().count('"event":"settings_read"') < 2:
            pass
        gateway.send_signal(signal.SIGTERM)
        listener.wait("STOPPING")
        assert gateway.wait(60) == 0


def test_an_abstract_socket_is_told_too_and_none_hurts_nobody(tmp_path: Path) -> None:
    listener = Listener(f"@ent-notify-{os.getpid()}")
    Manager({"NOTIFY_SOCKET": listener.path}).ready()
    assert listener.next() == {"READY": "1"}
    listener.socket.close()
    for environ in ({}, {"NOTIFY_SOCKET": str(tmp_path / "nobody")}, {"NOTIFY_SOCKET": "vsock:2:1"}):
        Manager(environ).ready()


async def test_beats_come_four_times_in_the_time_that_is_given(
    listener: Listener, autojump_clock: trio.testing.MockClock
) -> None:
    told = Manager({"NOTIFY_SOCKET": listener.path, "WATCHDOG_USEC": "8000000"})
    others = Manager({"NOTIFY_SOCKET": listener.path, "WATCHDOG_USEC": "8000000", "WATCHDOG_PID": "1"})
    for _ in range(100):  # ten seconds
        told.beat()
        others.beat()
        await trio.sleep(0.1)
    listener.socket.setblocking(False)
    count = 0
    with pytest.raises(BlockingIOError):
        while listener.next() == {"WATCHDOG": "1"}:
            count += 1
    assert count == 5


async def test_who_has_not_beaten_for_too_long_does_not_go_round(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0]
    monkeypatch.setattr(manager, "monotonic_microseconds", lambda: now[0])
    told = Manager({})
    now[0] = round(manager.STUCK_SECONDS * 1e6)
    assert not told.goes_round()
    told.beat()
    now[0] += round(manager.STUCK_SECONDS * 1e6) - 1
    assert told.goes_round()


def test_what_is_fixed_stays_and_is_named() -> None:
    running = Settings(store=StoreSettings(dsn=SecretStr("postgresql://u@a/db")))
    read = Settings(
        store=StoreSettings(dsn=SecretStr("postgresql://u@b/db"), pool_size=20),
        gateway=GatewaySettings(port=1, origins=("https://ent.example",)),
        project=ProjectSettings(name="Autre"),
        rates=RateSettings(email_per_second=3),
        worker=WorkerSettings(lanes=9, drain_seconds=1),
        email=EmailSettings(host="relais"),
        operator=OperatorSettings(key=SecretStr("k" * 32)),
    )
    settings, waiting = taken_on("gateway", running, read)
    assert waiting == ("store.dsn", "store.pool_size", "gateway.port")
    assert (settings.store, settings.gateway.port) == (running.store, running.gateway.port)
    assert (settings.gateway.origins, settings.project.name) == (("https://ent.example",), "Autre")
    settings, waiting = taken_on("worker", running, read)
    assert waiting == ("store.dsn", "store.pool_size", "worker.drain_seconds")
    assert (settings.worker.lanes, settings.worker.drain_seconds) == (9, running.worker.drain_seconds)
    assert taken_on("worker", settings, settings) == (settings, ())


@pytest.mark.parametrize("service", ["worker", "gateway"])
def test_what_waits_for_a_restart_is_documented(service: Service) -> None:
    page = (Path(__file__).parents[2] / "docs/running.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| {service} |"))
    named = {name.strip("`").removesuffix(".*") for name in row.split("|")[2].strip().split(", ")}
    assert named == set(FIXED[service])
