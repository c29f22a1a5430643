"""The one module that reads the clock. Everything else takes ``now`` or a Clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import trio


class SystemClock:
    """The machine's clock, in UTC."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        await trio.sleep(seconds)


class ShiftedClock(SystemClock):
    """The machine's clock, moved so that it reads ``start`` at its creation. It can be moved on by hand.

    The demo lives on a school Tuesday this way, and a test walks through a night.
    """

    def __init__(self, start: datetime) -> None:
        self._offset = start - datetime.now(UTC)

    def now(self) -> datetime:
        """The present instant on the shifted time line, in UTC."""
        return datetime.now(UTC) + self._offset

    def advance(self, by: timedelta) -> None:
        """Move the time line forward by ``by``."""
        self._offset += by
