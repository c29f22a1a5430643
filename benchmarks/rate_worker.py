"""A worker whose push lane leads to a UDP sink: one datagram for each send. usage: DSN PORT PER_SECOND"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence

import trio

from benchmarks import house
from ent_notify.model.delivery import ACCEPTED, Outgoing, Verdict

PROVIDER, APP = "apns", "fr.example.ent"
"""Not FCM: the engine itself slows FCM down around the quarter hours, as Google asks."""


class DatagramChannel(house.NullChannel):
    """Sends one datagram to the sink for each recipient; it is the kernel that stamps them there."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))

    async def send(self, contents: object, batch: Sequence[Outgoing]) -> list[Verdict]:
        """Every send is accepted."""
        for item in batch:
            self._socket.send(item.target.to_bytes(4, "big"))
        return [ACCEPTED] * len(batch)


async def main(dsn: str, port: str, per_second: str) -> None:
    """Work until killed."""
    async with house.opened(dsn) as engine:
        await engine.use_push(PROVIDER, APP, DatagramChannel(int(port)), float(per_second))
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        await engine.worker().run()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
