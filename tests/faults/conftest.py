"""A region of 8,000 people, servers that speak the real protocols, and workers in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
import trio
from pydantic import SecretStr
from tests.engine.conftest import town, town_dsn

from ent_notify.engine import Engine, open_engine
from ent_notify.model.people import Profile
from ent_notify.settings import Settings, StoreSettings, load_settings
from ent_notify.store.embedded import EmbeddedServer
from ent_notify.testing.devices import APP, generate_devices, generate_preferences
from ent_notify.testing.process import FakeProcess, open_fake_process
from ent_notify.testing.region import generate_region

__all__ = ["town", "town_dsn"]

PEOPLE = 8_000
WINDOW = 50
"""``worker.checkpoint_every`` of these tests: the bound of repeats for each chunk held."""
SENDERS = 2
REGION = "template_region"


@pytest.fixture(scope="session")
def region(postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with the whole region in it, to be cloned; its name."""
    folder = tmp_path_factory.mktemp("aaf")
    generate_region(folder, PEOPLE, seed=3)
    postgres.cluster.create_database(REGION)

    async def fill() -> None:
        settings = Settings(store=StoreSettings(dsn=SecretStr(postgres.dsn(REGION))))
        async with open_engine(settings, apply_migrations=True) as engine:
            await engine.import_aaf(folder)
            rows = await engine.db.fetch("scenes.people_between", after=0, most=PEOPLE + 1)
            people = [(row["external_id"], Profile(row["profile"])) for row in rows]
            await engine.register_devices(generate_devices(people, 3))
            await engine.set_preferences(generate_preferences(people, 3))
            await engine.db.script("update ent_notify.instance set place = null")  # its clones are no restored backups

    trio.run(fill)
    return REGION


@dataclass
class Servers:
    """The servers, and the settings that lead to them."""

    smtp: FakeProcess
    apns: FakeProcess
    fcm: FakeProcess
    config: Path

    def settings(self) -> Settings:
        return load_settings(self.config)

    async def received(self) -> dict[str, int]:
        """Deliveries accepted by each server, repeats included."""
        mail, apple, google = await self.smtp.summary(), await self.apns.summary(), await self.fcm.summary()
        return {
            "email": mail.get("accepted", mail["received"]),
            "apns": apple.get("accepted", 0),
            "fcm": google.get("accepted", 0),
        }

    async def distinct(self) -> dict[str, int]:
        """Deliveries accepted by each server, each once."""
        mail, apple, google = await self.smtp.summary(), await self.apns.summary(), await self.fcm.summary()
        return {
            "email": mail["distinct"],
            "apns": apple.get("accepted", 0) - apple["replaced"],
            "fcm": google.get("accepted", 0) - google["replaced"],
        }


@asynccontextmanager
async def open_servers(dsn: str, folder: Path, **worker: object) -> AsyncIterator[Servers]:
    """Start the servers and write a configuration that leads a worker to them."""
    async with (
        open_fake_process("ent_notify.testing.smtp", "--keep", "10") as smtp,
        open_fake_process("ent_notify.testing.apns", "--keep", str(PEOPLE)) as apns,
        open_fake_process("ent_notify.testing.fcm", "--keep", str(PEOPLE)) as fcm,
    ):
        (folder / "apns.p8").write_text(apns.key)
        (folder / "apns.pem").write_text(apns.ca)
        (folder / "fcm.json").write_text(json.dumps(fcm.service_account))
        (folder / "fcm.pem").write_text(fcm.ca)
        config = folder / "ent-notify.toml"
        chosen: Mapping[str, object] = {"checkpoint_every": WINDOW, "lanes": SENDERS, "lease_seconds": 4.0} | worker
        config.write_text(
            f"""
[store]
dsn = {json.dumps(dsn)}
[worker]
{chr(10).join(f"{name} = {json.dumps(value)}" for name, value in chosen.items())}
[email]
host = "{smtp.host}"
port = {smtp.port}
tls = "none"
[apns."{APP}"]
topic = "{apns.topic}"
team_id = "{apns.team_id}"
key_id = "{apns.key_id}"
key_file = "{folder / "apns.p8"}"
server = "{apns.host}:{apns.port}"
ca_file = "{folder / "apns.pem"}"
[fcm."{APP}"]
service_account_file = "{folder / "fcm.json"}"
server = "{fcm.base_url}"
ca_file = "{folder / "fcm.pem"}"
"""
        )
        yield Servers(smtp, apns, fcm, config)


@asynccontextmanager
async def open_region(region: str, postgres: EmbeddedServer, name: str) -> AsyncIterator[str]:
    """A clone of the region; its DSN."""
    postgres.cluster.create_database(name, template=region)
    try:
        yield postgres.dsn(name)
    finally:
        postgres.cluster.drop_database(name)


@asynccontextmanager
async def open_worker(servers: Servers, name: str) -> AsyncIterator[trio.Process]:
    """``ent-notify worker`` in a process of its own; ended with the block if it still runs."""
    process = await trio.lowlevel.open_process(
        [
            sys.executable,
            "-c",
            "from ent_notify.cli import main; main()",
            "--config",
            str(servers.config),
            "worker",
            "--name",
            name,
        ],
        stdin=subprocess.DEVNULL,  # on a terminal SIGHUP would end it
        env={name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ},
    )
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            await process.wait()


async def finish(engine: Engine) -> None:
    """Work until nothing is left: what waits for a lease or a retry has its turn too."""
    from ent_notify.policy.pause import PauseHours

    worker = engine.worker("successor", pause=PauseHours(enabled=False))
    # only those who came before it lose leases, however busy the machine is
    worker.bounds = replace(worker.bounds, lease=timedelta(minutes=1))
    while True:
        await worker.run_until_idle()
        due = await engine.next_due()
        if due is None:
            return
        await engine.clock.sleep(max((due - engine.clock.now()).total_seconds(), 0.01))
