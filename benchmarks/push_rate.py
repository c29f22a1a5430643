"""Metric 11, at the channel: pushes a second and core, against raw aioapns and raw firebase-admin.

Every side runs in a process of its own against the same fake provider, which runs in another: a side's figure is
pushes divided by the CPU seconds of its own process (user and system, every thread), so that the fake's share of the
machine does not count. ``settings.wall`` holds pushes a second by the clock. The raw sides run as their documentation
has it, on uvloop, with the window that served each best on this machine (``--window``): aioapns 50 sends at once,
firebase-admin calls of 100.

``push_engine`` measures the whole engine, planning to settled; this is the part that replaces the raw clients.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trio

from benchmarks import harness
from ent_notify._island import open_island
from ent_notify.channels.apns import ApnsChannel
from ent_notify.channels.fcm import FcmChannel
from ent_notify.channels.push_options import ApnsOptions, FcmOptions
from ent_notify.model.delivery import ACCEPTED, Outgoing, WakeUp
from ent_notify.testing.process import FakeProcess, open_fake_process

WAKE_UPS = {"fr": WakeUp("Une nouvelle information vous attend.", "n-4711", "homework", "c-4711")}
ENGINE_WINDOW = 200
"""What the engine hands to a channel at once (``DeliveryBounds.window``)."""
SIDES = ("ours-apns", "raw-apns", "ours-fcm", "raw-fcm")


def outgoing(number: int) -> Outgoing:
    """One delivery."""
    return Outgoing(number, f"{number:064x}", "fr", str(uuid.UUID(int=number)))


# ---------------------------------------------------------------------- the sides, each in its own process


async def ours(address: dict[str, Any], pushes: int, window: int, kind: str) -> tuple[float, float]:
    """Our channel, in windows as the engine sends them, two at a time."""
    async with AsyncExitStack() as stack:
        island = await stack.enter_async_context(open_island())
        channel: ApnsChannel | FcmChannel
        if kind == "apns":
            channel = ApnsChannel(island, ApnsOptions(**address))
        else:
            options = {name: address[name] for name in ("service_account", "base_url", "ca")}
            channel = FcmChannel(island, FcmOptions(**options))
        batches = [
            [outgoing(number) for number in range(first, min(first + window, pushes))]
            for first in range(0, pushes, window)
        ]
        assert await channel.send(WAKE_UPS, [outgoing(0)]) == [ACCEPTED]

        async def worker() -> None:
            while batches:
                batch = batches.pop()
                assert await channel.send(WAKE_UPS, batch) == [ACCEPTED] * len(batch)

        cpu, wall = time.process_time(), time.perf_counter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker)
            nursery.start_soon(worker)
        spent = time.process_time() - cpu, time.perf_counter() - wall
        await channel.aclose()
    return spent


async def raw_apns(address: dict[str, Any], pushes: int, window: int) -> tuple[float, float]:
    """aioapns as its README has it; only the server's address and its certificate are ours."""
    from aioapns import APNs, NotificationRequest
    from aioapns.connection import APNsProductionClientProtocol

    context = ssl.create_default_context(cadata=address["ca"])
    context.set_alpn_protocols(["h2"])
    client = APNs(
        key=address["key"],
        key_id=address["key_id"],
        team_id=address["team_id"],
        topic=address["topic"],
        max_connections=2,
        ssl_context=context,
    )
    here = {"APNS_SERVER": address["host"], "APNS_PORT": address["port"]}
    client.pool.protocol_class = type("Here", (APNsProductionClientProtocol,), here)

    async def send(number: int) -> None:
        item = outgoing(number)
        body = {"aps": {"alert": {"body": WAKE_UPS["fr"].sentence}, "sound": "default"}, "n": "n-4711"}
        request = NotificationRequest(
            device_token=item.address, message=body, notification_id=item.dedup_id, priority=10, collapse_key="c-4711"
        )
        result = await client.send_notification(request)
        assert result.is_successful

    return await asyncio_windows(send, pushes, window)


async def raw_fcm(address: dict[str, Any], pushes: int, window: int) -> tuple[float, float]:
    """firebase-admin's send_each_async, in calls of ``window``; only the server's address is ours."""
    import warnings

    import firebase_admin
    from firebase_admin import credentials, messaging

    warnings.simplefilter("ignore", DeprecationWarning)  # Message.token
    messaging._MessagingService.FCM_URL = address["base_url"] + "/v1/projects/{0}/messages:send"
    app = firebase_admin.initialize_app(credentials.Certificate(address["service_account"]))
    notification = messaging.Notification(body=WAKE_UPS["fr"].sentence)
    android = messaging.AndroidConfig(
        collapse_key="c-4711", priority="high", notification=messaging.AndroidNotification(tag="c-4711")
    )

    def message(number: int) -> Any:
        return messaging.Message(
            token=outgoing(number).address, data={"n": "n-4711"}, notification=notification, android=android
        )

    assert (await messaging.send_each_async([message(0)], app=app)).success_count == 1
    cpu, wall = time.process_time(), time.perf_counter()
    for first in range(0, pushes, window):
        messages = [message(number) for number in range(first, min(first + window, pushes))]
        assert (await messaging.send_each_async(messages, app=app)).success_count == len(messages)
    return time.process_time() - cpu, time.perf_counter() - wall


async def asyncio_windows(send: Callable[[int], Awaitable[None]], pushes: int, window: int) -> tuple[float, float]:
    """``window`` sends at once, always."""
    await send(0)
    numbers = iter(range(pushes))

    async def worker() -> None:
        for number in numbers:
            await send(number)

    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(window)))
    return time.process_time() - cpu, time.perf_counter() - wall


def run_side(side: str, address: dict[str, Any], pushes: int, window: int) -> tuple[float, float]:
    """The child's work."""
    if side.startswith("ours"):
        return trio.run(ours, address, pushes, window, side.removeprefix("ours-"))
    import uvloop

    work = raw_apns if side == "raw-apns" else raw_fcm
    return uvloop.run(work(address, pushes, window))


# ---------------------------------------------------------------------- the pairs


class Child:
    """A side as a child process: pushes a second and core; ``walls`` are pushes a second by the clock."""

    def __init__(self, side: str, fake: FakeProcess, pushes: int, window: int, ca_file: Path) -> None:
        self._command = [sys.executable, "-m", "benchmarks.push_rate", "--side", side]
        self._command += ["--pushes", str(pushes), "--window", str(window)]
        self._address = json.dumps(fake.address)
        self._environment = os.environ | {"SSL_CERT_FILE": str(ca_file), "REQUESTS_CA_BUNDLE": str(ca_file)}
        self._pushes = pushes
        self.walls: list[float] = []

    def __call__(self) -> float:
        done = subprocess.run(
            self._command, input=self._address, env=self._environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(self._command)} failed:\n{done.stderr[-2_000:]}")
        cpu, wall = json.loads(done.stdout)
        self.walls.append(self._pushes / wall)
        return self._pushes / float(cpu)


async def measure(pushes: int, pairs: int, window_apns: int, window_fcm: int) -> list[harness.Entry]:
    """Both providers, interleaved pairs."""
    entries = []
    for kind, peer, window in (
        ("apns", "aioapns raw", window_apns),
        ("fcm", "firebase-admin send_each_async raw", window_fcm),
    ):
        async with open_fake_process(f"ent_notify.testing.{kind}") as fake:
            with tempfile.TemporaryDirectory() as folder:
                ca_file = Path(folder) / "ca.pem"
                ca_file.write_text(fake.address["ca"])
                us = Child(f"ours-{kind}", fake, pushes, ENGINE_WINDOW, ca_file)
                them = Child(f"raw-{kind}", fake, pushes, window, ca_file)
                figures = await trio.to_thread.run_sync(harness.interleave, {"ours": us, peer: them}, pairs)
        entries.append(
            harness.compare(
                11,
                f"pushes a second and core at the {kind.upper()} channel",
                ours=figures["ours"],
                peers={peer: figures[peer]},
                target=">= 0.95",
                best="higher",
                settings={
                    "unit": "pushes/CPU s",
                    "pushes": pushes,
                    "window": {"ours": ENGINE_WINDOW, peer: window},
                    "wall": {"ours": round(max(us.walls)), peer: round(max(them.walls))},
                    "peer at work": "a fake provider in a process of its own",
                },
            )
        )
    return entries


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pushes", type=int, default=5_000, help="pushes of one run (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=7, help="interleaved pairs (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=harness.LATEST, help="results file to merge into")
    parser.add_argument("--window-apns", type=int, default=50, help="raw aioapns: sends at once")
    parser.add_argument("--window-fcm", type=int, default=100, help="raw firebase-admin: messages a call")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--window", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(run_side(options.side, json.load(sys.stdin), options.pushes, options.window)))
        return
    entries = trio.run(measure, options.pushes, options.pairs, options.window_apns, options.window_fcm)
    harness.publish(entries, options.json)


if __name__ == "__main__":
    main()
