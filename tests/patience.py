"""How tests wait.

For what is in the same process they wait for an event; a process says by a line that it is ready. What is left is what
tells nobody that it has changed: the metrics, the pages and the tables of another process, and the counters that the
island's thread keeps without a word to trio. Those are asked again and again, here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio

PATIENCE = 60.0
"""Seconds after which a test gives up on one thing that it waits for: a bound for a loaded machine, never a measure."""
_BETWEEN = 0.02


@contextmanager
def patience(what: str) -> Iterator[None]:
    """Within it ``what`` happens, or the test fails and says so."""
    with trio.move_on_after(PATIENCE) as scope:
        yield
    if scope.cancelled_caught:
        raise AssertionError(f"waited {PATIENCE:.0f} s in vain: {what}")


async def ask_until(what: str, look: Callable[[], Awaitable[bool]]) -> None:
    """Ask ``look`` until it says yes. It must be of a state that stays: one that passes may be passed over."""
    with patience(what):
        while not await look():  # noqa: ASYNC110 - see above: nobody would set an event
            await trio.sleep(_BETWEEN)


async def look_until(what: str, look: Callable[[], bool]) -> None:
    """The same for what can be looked at without waiting."""

    async def asked() -> bool:
        return look()

    await ask_until(what, asked)
