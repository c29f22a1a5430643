"""Done together: what many ask for at the same time is one call, without a task of its own that waits for it.

Whoever comes first does the work, for everybody who comes meanwhile too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import trio

Item = TypeVar("Item")

MOST = 500
"""Items of one call."""


class _Batch(Generic[Item]):
    def __init__(self) -> None:
        self.items: list[Item] = []
        self.ended = trio.Event()
        self.error: Exception | None = None


class Together(Generic[Item]):
    """``do`` is never under way twice; it may take an item again if it raised."""

    def __init__(self, do: Callable[[Sequence[Item]], Awaitable[None]]) -> None:
        self._do = do
        self._next = _Batch[Item]()
        self._busy = False

    async def add(self, item: Item) -> None:
        """Return when ``item`` is done. Raises what doing its batch raised."""
        while len(self._next.items) >= MOST:
            await self._next.ended.wait()
        mine = self._next
        mine.items.append(item)
        if self._busy:
            await mine.ended.wait()
        else:
            self._busy = True
            with trio.CancelScope(shield=True):  # others wait for it, and it is short
                await self._work()
        if mine.error is not None:
            raise mine.error

    async def _work(self) -> None:
        try:
            while self._next.items:
                batch, self._next = self._next, _Batch[Item]()
                try:
                    await self._do(batch.items)
                except Exception as error:  # noqa: BLE001 - each of those who wait gets it, and decides
                    batch.error = error
                finally:
                    batch.ended.set()
        finally:
            self._busy = False
