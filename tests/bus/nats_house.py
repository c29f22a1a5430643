"""Real NATS servers: started on loopback, stopped, started again."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from subprocess import PIPE

import trio
from tests.patience import PATIENCE, look_until


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class NatsServer:
    """One server and how to start it; ``command`` goes before the program (to enter a network namespace)."""

    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    arguments: Sequence[str] = ()
    command: Sequence[str] = ()
    process: trio.Process | None = None

    @property
    def url(self) -> str:
        return f"nats://{self.host}:{self.port}"

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        self.process = await trio.lowlevel.open_process(
            [*self.command, "nats-server", "--addr", self.host, "--port", str(self.port), *self.arguments], stderr=PIPE
        )
        assert self.process.stderr is not None
        said = b""
        with trio.fail_after(PATIENCE):
            while b"Server is ready" not in said:
                more = await self.process.stderr.receive_some()
                assert more, f"nats-server ended: {said.decode()}"
                said += more

    async def stop(self) -> None:
        """Kill it."""
        if self.process is not None:
            self.process.kill()
            assert self.process.stderr is not None
            with trio.CancelScope(shield=True):
                await self.process.wait()
                await self.process.stderr.aclose()
            self.process = None


@asynccontextmanager
async def open_nats(**server: object) -> AsyncIterator[NatsServer]:
    """A server for the length of the block."""
    nats = NatsServer(**server)  # type: ignore[arg-type] # the fields of NatsServer
    await nats.start()
    try:
        yield nats
    finally:
        with trio.CancelScope(shield=True):
            await nats.stop()


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what becomes true on the island, which tells nobody."""
    await look_until("a bus is as it should be", condition)
