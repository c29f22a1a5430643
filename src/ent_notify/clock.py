"""The one module that reads the clock. Everything else takes ``now`` or a Clock."""

from __future__ import annotations

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
