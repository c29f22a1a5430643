"""A long run of both push channels through trouble: no leak, one verdict for each, and the sums agree.

``python -m benchmarks.push_soak --sends 200000`` sends that many pushes through each channel to a fake in a process of
its own, where fixed shares of devices are gone, reset, refused, met by GOAWAY, silence or a cut connection. It prints
what became of them and what the channel's process holds after each fifth, and exits 1 if

- a push has no verdict, or Accepted verdicts are not what the provider accepted (Unknown ones may be);
- streams, overdue pushes or connections are left over;
- objects or memory have grown since the second fifth (more than 2,000 objects, or 8 MB).
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import uuid
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from ent_notify._island import open_island
from ent_notify.channels.apns import ApnsChannel
from ent_notify.channels.fcm import FcmChannel
from ent_notify.channels.push_options import ApnsOptions, FcmOptions
from ent_notify.model.delivery import Outgoing, Verdict, WakeUp
from ent_notify.testing.process import FakeProcess, open_fake_process

WAKE_UPS = {"fr": WakeUp("Une nouvelle information vous attend.", "n-4711", "homework", "c-4711")}
TROUBLE = {
    "apns": ("Unregistered=0.02", "TooManyRequests=0.005", "reset=0.0005", "refused=0.0005", "goaway=0.0002"),
    "fcm": ("UNREGISTERED=0.02", "UNAVAILABLE=0.005", "reset=0.0005", "refused=0.0005", "goaway=0.0002"),
}
RARE = ("drop=0.0001", "silence=0.0001")
WINDOW = 200
ABREAST = 5
MOST_OBJECTS = 2_000
MOST_MEGABYTES = 8.0


@dataclass
class Report:
    """What one channel went through."""

    channel: str
    sends: int
    verdicts: Counter[str] = field(default_factory=Counter)
    late: Counter[str] = field(default_factory=Counter)
    provider: dict[str, int] = field(default_factory=dict)
    objects: list[int] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    left_over: dict[str, int] = field(default_factory=dict)
    credentials: int = 0

    def faults(self) -> list[str]:
        """What is not as it must be."""
        found = []
        if sum(self.verdicts.values()) != self.sends:
            found.append(f"{sum(self.verdicts.values())} verdicts for {self.sends} sends")
        accepted, unknown = self.verdicts["accepted"], self.verdicts["unknown"]
        if not accepted <= self.provider["accepted"] <= accepted + unknown:
            found.append(f"{accepted} accepted here, {self.provider['accepted']} there, {unknown} unknown")
        if self.provider["replaced"]:
            found.append(f"{self.provider['replaced']} pushes were shown twice")
        if any(self.left_over.values()):
            found.append(f"left over: {self.left_over}")
        if self.objects[-1] - self.objects[1] > MOST_OBJECTS:
            found.append(f"objects grew from {self.objects[1]} to {self.objects[-1]}")
        if self.megabytes[-1] - self.megabytes[1] > MOST_MEGABYTES:
            found.append(f"memory grew from {self.megabytes[1]} to {self.megabytes[-1]} MB")
        if self.credentials != 1:
            found.append(f"{self.credentials} credentials were made")
        return found


async def soak(kind: str, sends: int, *, send_timeout: float = 2.0, late_window: float = 1.0) -> Report:
    """Send ``sends`` pushes through the channel ``kind`` (``apns`` or ``fcm``)."""
    report = Report(kind, sends)
    shares = [argument for share in (*TROUBLE[kind], *RARE) for argument in ("--share", share)]
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(open_fake_process(f"ent_notify.testing.{kind}", *shares))
        island = await stack.enter_async_context(open_island())

        def late(_: Outgoing, verdict: Verdict) -> None:
            report.late[verdict.reason or verdict.kind.value] += 1

        channel = make_channel(kind, island, fake, late, {"send_timeout": send_timeout, "late_window": late_window})

        async def phase(first: int, last: int) -> None:
            """Send pushes ``first`` to ``last``, wait for the late ones, and count what is held then."""
            numbers = iter(range(first, last, WINDOW))

            async def worker() -> None:
                for number in numbers:
                    batch = [outgoing(one) for one in range(number, min(number + WINDOW, last))]
                    for verdict in await channel.send(WAKE_UPS, batch):
                        report.verdicts[verdict.kind.value] += 1

            async with trio.open_nursery() as nursery:
                for _ in range(ABREAST):
                    nursery.start_soon(worker)
            await trio.sleep(late_window + 0.5)
            take_stock(report)

        for fifth in range(5):
            await phase(sends * fifth // 5, sends * (fifth + 1) // 5)
        statistics = await channel.statistics()
        report.left_over = {"streams": statistics.open_streams, "overdue": statistics.overdue}
        report.credentials = statistics.credentials_made
        report.provider = await fake.summary()
        await channel.aclose()
        report.left_over["connections"] = (await channel.statistics()).connections
    return report


def make_channel(
    kind: str, island: Any, fake: FakeProcess, late: Any, patience: dict[str, Any]
) -> ApnsChannel | FcmChannel:
    """A channel to ``fake``."""
    address = fake.address
    if kind == "apns":
        return ApnsChannel(island, ApnsOptions(**address, **patience), late=late)
    options = {name: address[name] for name in ("service_account", "base_url", "ca")}
    return FcmChannel(island, FcmOptions(**options, **patience), late=late)


def outgoing(number: int) -> Outgoing:
    """One delivery, to a device of its own."""
    return Outgoing(number, f"{number:064x}", "fr", str(uuid.UUID(int=number)))


def take_stock(report: Report) -> None:
    """Count what this process holds."""
    gc.collect()
    report.objects.append(len(gc.get_objects()))
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    report.megabytes.append(round(pages * 4_096 / 1e6, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sends", type=int, default=20_000, help="pushes through each channel (default: %(default)s)")
    parser.add_argument("--channel", choices=sorted(TROUBLE), action="append", help="default: both")
    options = parser.parse_args()
    failed = False
    for kind in options.channel or sorted(TROUBLE):
        report = trio.run(soak, kind, options.sends)
        print(json.dumps(vars(report)))
        for fault in report.faults():
            failed = True
            print(f"{kind}: {fault}", file=sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    main()
