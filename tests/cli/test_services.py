"""``worker`` and ``gateway`` as processes: they work, log JSON without personal data, and stop when told to."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest
import trio

from ent_notify.engine import open_engine
from ent_notify.settings import settings_from

from .conftest import Command
from .services import PROGRAM, Service, get, wait_metric

HOMEWORK = {
    "type": "HomeworkAssigned",
    "key": "hw-1",
    "data": {"group": "0540001A/class/6A", "subject": "Mathématiques", "title": "Zéphyrine", "due": "2030-09-18"},
}


async def publish_and_wait(dsn: str) -> None:
    """Publish, and wait for the hint that somebody relayed it."""
    async with open_engine(settings_from({"store": {"dsn": dsn}})) as engine, engine.feed.hints() as hints:
        await engine.publish(HOMEWORK)
        with trio.fail_after(60):
            await anext(hints)


def test_a_worker_works_serves_metrics_and_drains_on_sigterm(
    town: str, start: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENT_NOTIFY_METRICS__PORT", "0")
    worker = start("worker", "--name", "w1")
    port = worker.wait_event("metrics_served")["port"]
    assert worker.wait_event("worker_started")["worker"] == "w1"
    trio.run(publish_and_wait, town)
    wait_metric(port, "ent_notify_relayed_total 1.0")
    assert get(port, "/healthz") == b"ok\n"
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait_end() == 0
    events = [line["event"] for line in worker.lines]
    assert events[-2:] == ["service_stopping", "worker_stopped"]
    assert "Zéphyrine" not in json.dumps(worker.lines, ensure_ascii=False)
    assert not any(line.get("dropped") for line in worker.lines)


def test_a_gateway_answers_and_drains_on_sigint(town: str, start: Callable[..., Service]) -> None:
    gateway = start("gateway", "--port", "0")
    port = gateway.wait_event("gateway_started")["port"]
    assert get(port, "/healthz")
    assert b"ent_notify_gateway_streams 0.0" in get(port, "/metrics")
    gateway.process.send_signal(signal.SIGINT)
    assert gateway.wait_end() == 0
    assert [line["event"] for line in gateway.lines][-2:] == ["service_stopping", "gateway_stopped"]


@pytest.mark.parametrize("service", ["worker", "gateway"])
def test_a_service_that_cannot_start_says_why(service: str, empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENT_NOTIFY_STORE__DSN", empty_dsn)
    process = subprocess.run([PROGRAM, service], capture_output=True, text=True, timeout=60, check=False)
    assert process.returncode == 1
    assert process.stderr.endswith("run `ent-notify migrate`\n") and "Traceback" not in process.stderr


def test_a_second_signal_ends_a_service_that_does_not_drain() -> None:
    program = """
import trio
from ent_notify.cli.door import run_service
from ent_notify.observe import configure_logging
configure_logging()
async def serve():
    print("up", flush=True)
    await trio.sleep_forever()
trio.run(lambda: run_service(serve, lambda: print("draining", flush=True), drain_seconds=600))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "draining\n"
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0
        assert [json.loads(line)["event"] for line in err.splitlines()] == ["service_stopping", "service_stopped_early"]
    finally:
        process.kill()
        process.communicate()


def test_a_service_that_does_not_drain_in_time_is_ended() -> None:
    program = """
import trio
from ent_notify.cli.door import run_service
async def serve():
    print("up", flush=True)
    await trio.sleep_forever()
trio.run(lambda: run_service(serve, lambda: None, drain_seconds=0.01))
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("service", "setting", "words"),
    [("gateway", "GATEWAY__PORT", "another gateway.host"), ("worker", "METRICS__PORT", "another metrics.host")],
)
def test_a_port_that_is_taken_is_told(
    service: str, setting: str, words: str, town: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        monkeypatch.setenv(f"ENT_NOTIFY_{setting}", str(port))
        ended = command(service)
    assert ended.code == 2
    assert ended.err.startswith(f"ent-notify: cannot listen on 127.0.0.1:{port} (Address already in use)")
    assert words in ended.err


def test_sigterm_stops_a_command_as_ctrl_c_does() -> None:
    """What holds a database, servers and a folder lets go of them."""
    program = """
import sys
from contextlib import contextmanager
import click, trio
from ent_notify.cli.main import cli, main
@contextmanager
def held():
    try:
        yield
    finally:
        print("let go", flush=True)
@cli.command()
def hold():
    with held():
        print("held", flush=True)
        trio.run(trio.sleep_forever)
sys.argv[1:] = ["hold"]
main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err.strip()) == (130, "let go\n", "ent-notify: stopped")
    finally:
        process.kill()
        process.communicate()
