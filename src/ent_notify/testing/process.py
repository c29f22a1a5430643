"""A fake provider in a process of its own, so that it works on another core than what it serves.

The child prints one line of JSON (where it is, what it trusts), answers each line on its standard input with its
counters as a line of JSON, and ends when its input ends.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import orjson
import trio

from ent_notify.testing.behaviours import REFUSED_STREAM, Drop, GoAway, Reset, Silence
from ent_notify.testing.scripting import Refuse, Step

WIRE: dict[str, Step] = {
    "reset": Reset(),
    "refused": Reset(REFUSED_STREAM),
    "goaway": GoAway(processed=False),
    "drop": Drop(),
    "silence": Silence(),
}
"""What a share of devices may meet besides the provider's own errors."""


class RunnableFake(Protocol):
    """What a fake offers to be run this way."""

    def describe(self) -> dict[str, Any]:
        """Where it is, as JSON."""
        ...

    def summary(self) -> dict[str, int]:
        """Its counters."""
        ...

    def share(self, fraction: float, step: Step) -> None:
        """Let a share of devices meet ``step``."""
        ...


class FakeProcess:
    """A fake that runs elsewhere: its address, and its counters on request."""

    def __init__(self, process: trio.Process, address: dict[str, Any]) -> None:
        self._process = process
        self._buffer = b""
        self.address = address

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["address"][name]
        except KeyError:
            raise AttributeError(f"the fake did not say {name!r} about itself") from None

    def send_signal(self, number: int) -> None:
        """Send its process a signal; SIGSTOP makes a provider that says nothing, until SIGCONT."""
        self._process.send_signal(number)

    async def summary(self) -> dict[str, int]:
        """The fake's counters now."""
        assert self._process.stdin is not None  # noqa: S101 - opened with pipes, just below
        await self._process.stdin.send_all(b"\n")
        counters: dict[str, int] = orjson.loads(await self._line())
        return counters

    async def _line(self) -> bytes:
        assert self._process.stdout is not None  # noqa: S101 - opened with pipes, just below
        while b"\n" not in self._buffer:
            data = await self._process.stdout.receive_some()
            if not data:
                raise RuntimeError("the fake's process has ended: see its standard error")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line


@asynccontextmanager
async def open_fake_process(module: str, *arguments: str) -> AsyncIterator[FakeProcess]:
    """Run ``python -m module arguments`` (a fake's module) until the block ends."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    fake = FakeProcess(process, {})
    try:
        fake.address = orjson.loads(await fake._line())
        yield fake
    finally:
        with trio.CancelScope(shield=True):
            assert process.stdin is not None  # noqa: S101 - opened with pipes, just above
            await process.stdin.aclose()
            with trio.move_on_after(5):
                await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()


def run_as_process(module: str, open_fake: Callable[..., AbstractAsyncContextManager[RunnableFake]]) -> None:
    """The child's whole life: arguments, address, counters."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description="A fake push provider, for tests.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--keep", type=int, default=1_000, help="requests remembered (counters are always exact)")
    parser.add_argument(
        "--share",
        action="append",
        default=[],
        metavar="WORD=FRACTION",
        help="let a fixed share of devices meet that error (Unregistered=0.01), or what the wire does to them: "
        + ", ".join(WIRE),
    )
    options = parser.parse_args()
    trio.run(_serve, open_fake, options)


async def _serve(
    open_fake: Callable[..., AbstractAsyncContextManager[RunnableFake]], options: argparse.Namespace
) -> None:
    async with open_fake(host=options.host, port=options.port, keep=options.keep) as fake:
        for share in options.share:
            word, _, fraction = share.partition("=")
            fake.share(float(fraction), WIRE.get(word) or Refuse(word))
        _say(fake.describe())
        stdin = trio.lowlevel.FdStream(sys.stdin.fileno())
        async for asked in stdin:
            for _ in range(asked.count(b"\n")):
                _say(fake.summary())


def _say(value: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(value) + b"\n")
    sys.stdout.buffer.flush()
