"""A command line on the test's own database and in an empty folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from ent_notify._island import open_island
from ent_notify.cli import run
from ent_notify.engine import open_engine
from ent_notify.settings import settings_from
from ent_notify.store import open_database

from .services import Service

TOWN = (Path(__file__).parents[1] / "engine/town.sql").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command line ended."""

    code: int
    out: str
    err: str


async def fan_out(dsn: str) -> None:
    """Relay, plan and deliver whatever was published, as a worker without mail and push does."""
    async with open_engine(settings_from({"store": {"dsn": dsn}})) as engine:
        await engine.worker("test").run_until_idle()


Command = Callable[..., Ended]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and an environment without a setting of ours."""
    for name in list(os.environ):
        if name.startswith("ENT_NOTIFY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs one command line in this process; nothing it does may leave a traceback, unless asked for."""

    def call(*arguments: str | Path) -> Ended:
        code = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        if "--debug" not in arguments:
            assert "Traceback" not in captured.err + captured.out
        return Ended(code, captured.out, captured.err)

    return call


@pytest.fixture
def store(dsn: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh, migrated database, and the environment pointing at it."""
    monkeypatch.setenv("ENT_NOTIFY_STORE__DSN", dsn)
    return dsn


@pytest.fixture
def town(store: str) -> str:
    """The database with the small town in it."""

    async def fill() -> None:
        async with open_island() as island, open_database(store, island) as database:
            await database.script(TOWN)

    trio.run(fill)
    return store


@pytest.fixture
def start() -> Iterator[Callable[..., Service]]:
    """Starts services with these words; ended with the test if they still run."""
    started: list[Service] = []

    def go(*arguments: str) -> Service:
        started.append(Service(*arguments))
        return started[-1]

    yield go
    for service in started:
        service.process.kill()
        service.process.wait(timeout=60)
        for stream in (service.process.stdout, service.process.stderr):
            assert stream is not None
            stream.close()
