"""The one module that reads the clock. Everything else takes ``now`` or a Clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import trio


class SystemClock:
    """The machine's clock, in UTC."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        await trio.sleep(seconds)


def monotonic_microseconds() -> int:
    """CLOCK_MONOTONIC of the machine, in microseconds: what a service manager compares with its own."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
