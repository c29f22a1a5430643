"""Metric 11, through the whole engine: pushes a second and core, against raw aioapns and raw firebase-admin.

Ours publishes a campaign to everyone, plans it, looks at each device anew, renders, sends and settles, as a worker
does; its figure is pushes divided by the CPU seconds of the worker's process *and of PostgreSQL*. The raw clients send
as many pushes and keep no record. All of them send to the same fake provider, which runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import trio

from benchmarks import harness, house, population
from benchmarks.push_rate import Child
from benchmarks.server import Server, running
from ent_notify.channels.apns import ApnsChannel
from ent_notify.channels.fcm import FcmChannel
from ent_notify.channels.push_options import ApnsOptions, FcmOptions
from ent_notify.testing.process import FakeProcess, open_fake_process

DATABASE = "bench_push"
APP = "fr.example.ent"
"""The application of every device of the population."""


async def deliver(dsn: str, kind: str, address: dict[str, Any]) -> tuple[int, float, float]:
    """One campaign, published, planned and delivered to one provider: pushes, CPU seconds, seconds."""
    async with house.opened(dsn) as engine:
        channel: ApnsChannel | FcmChannel
        if kind == "apns":
            channel = ApnsChannel(engine.island, ApnsOptions(**address))
        else:
            options = {name: address[name] for name in ("service_account", "base_url", "ca")}
            channel = FcmChannel(engine.island, FcmOptions(**options))
        await engine.use_push(kind, APP, channel)
        cpu, wall = time.process_time(), time.perf_counter()
        campaign = (await engine.publish(house.announcement())).notification
        await engine.worker().run_until_idle()
        spent = time.process_time() - cpu, time.perf_counter() - wall
        ((_, channels),) = [each for each in await engine.ledgers(1) if each[0].campaign == campaign]
        part = next(part for part in channels if part.provider == kind)
        if part.accepted != part.planned:
            raise RuntimeError(f"{part.accepted} of {part.planned} pushes were accepted: the figure is void")
        await channel.aclose()
    return part.accepted, *spent


class Ours:
    """The engine as a child process, with what PostgreSQL spent meanwhile."""

    def __init__(self, server: Server, dsn: str, kind: str, fake: FakeProcess) -> None:
        self._command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "benchmarks.push_engine",
            "--deliver",
            kind,
            "--dsn",
            dsn,
        ]
        self._address = json.dumps(fake.address)
        self._postmaster = psutil.Process(server.embedded.cluster.running().pid)
        self.pushes = 0
        self.walls: list[float] = []
        self.database_share: list[float] = []

    def __call__(self) -> float:
        before = self._postgresql()
        done = subprocess.run(
            self._command, input=self._address, env=os.environ, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"the engine failed:\n{done.stderr[-2_000:]}")
        database = self._postgresql() - before
        self.pushes, cpu, wall = json.loads(done.stdout)
        self.walls.append(self.pushes / wall)
        self.database_share.append(database / (cpu + database))
        return self.pushes / (cpu + database)

    def _postgresql(self) -> float:
        """CPU seconds of the server and all its processes, those that have ended included."""
        own = self._postmaster.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for child in self._postmaster.children():
            try:
                times = child.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total


async def measure(server: Server, dsn: str, people: int, pairs: int, windows: dict[str, int]) -> list[harness.Entry]:
    """Both providers, interleaved pairs."""
    entries = []
    for kind, peer in (("apns", "aioapns raw"), ("fcm", "firebase-admin send_each_async raw")):
        async with open_fake_process(f"ent_notify.testing.{kind}") as fake:
            us = Ours(server, dsn, kind, fake)
            await trio.to_thread.run_sync(us)  # how many devices there are
            with tempfile.TemporaryDirectory() as folder:
                ca_file = Path(folder) / "ca.pem"
                ca_file.write_text(fake.address["ca"])
                them = Child(f"raw-{kind}", fake, us.pushes, windows[kind], ca_file)
                figures = await trio.to_thread.run_sync(harness.interleave, {"ours": us, peer: them}, pairs)
        entries.append(
            harness.compare(
                11,
                f"pushes a second and core to {kind.upper()} through the whole engine, PostgreSQL's CPU included",
                ours=figures["ours"],
                peers={peer: figures[peer]},
                target=">= 0.95",
                best="higher",
                settings={
                    "unit": "pushes/CPU s",
                    "people": people,
                    "pushes": us.pushes,
                    "window": {peer: windows[kind]},
                    "PostgreSQL's share of our CPU": round(max(us.database_share), 3),
                    "wall": {"ours": round(max(us.walls)), peer: round(max(them.walls))},
                    "peer at work": "a fake provider in a process of its own",
                    "server": server.settings(),
                },
            )
        )
    return entries


def main() -> None:
    parser = harness.arguments(__doc__, people=15_000, pairs=7)
    parser.add_argument("--window-apns", type=int, default=50, help="raw aioapns: sends at once")
    parser.add_argument("--window-fcm", type=int, default=100, help="raw firebase-admin: messages a call")
    parser.add_argument("--deliver", choices=("apns", "fcm"), help=argparse.SUPPRESS)
    parser.add_argument("--dsn", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.deliver:
        print(json.dumps(trio.run(deliver, options.dsn, options.deliver, json.load(sys.stdin))))
        return
    windows = {"apns": options.window_apns, "fcm": options.window_fcm}
    with running() as server, population.copied(server, options.people, DATABASE) as dsn:
        entries = trio.run(measure, server, dsn, options.people, options.pairs, windows)
    harness.publish(entries, options.json)


if __name__ == "__main__":
    main()
