"""The asyncio pieces that coroutine functions of the shells need when they run on the island.

The shells never import asyncio: they take what they need from here. All of it works on the island's thread only.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError, Event, Lock, Queue, Semaphore, sleep, timeout
from collections.abc import Awaitable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

__all__ = [
    "Bell",
    "CancelledError",
    "Event",
    "Future",
    "Lock",
    "Queue",
    "Semaphore",
    "Task",
    "gather",
    "new_future",
    "running_loop",
    "sleep",
    "spawn",
    "timeout",
    "uncancelled",
]

T = TypeVar("T")

Future = asyncio.Future
Task = asyncio.Task

_background: set[asyncio.Task[Any]] = set()  # asyncio itself keeps only weak references to tasks


class Bell:
    """An event that any thread may ring. Made, and waited for, on the island; rings between two waits are one."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Let whoever waits go on. After the island's end it does nothing."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        """Wait until it has rung since the last wait."""
        await self._event.wait()
        self._event.clear()


async def gather(work: Iterable[Coroutine[Any, Any, T]], *, limit: int) -> list[T]:
    """Run all of ``work``, at most ``limit`` (1 or more) at a time; values in the order given.

    The first error cancels the rest, waits for their end and is raised alone.
    """
    gate = asyncio.Semaphore(limit)

    async def one(coroutine: Coroutine[Any, Any, T]) -> T:
        async with gate:
            return await coroutine

    waiting = list(work)
    running: list[asyncio.Task[T]] = []
    try:
        async with asyncio.TaskGroup() as group:
            running.extend(group.create_task(one(coroutine)) for coroutine in waiting)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        for coroutine in waiting:
            coroutine.close()  # those that never began, so that none is "never awaited"
    return [task.result() for task in running]


def spawn(coroutine: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Start a background task that the island owns: it is cancelled when the island closes."""
    task = asyncio.get_running_loop().create_task(coroutine, name=name)
    _background.add(task)
    task.add_done_callback(_background.discard)
    return task


async def uncancelled(work: Awaitable[T]) -> T:
    """Await ``work`` to its end even when the awaiting task is cancelled; its value or error then wins."""
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
        except BaseException:  # noqa: BLE001 - the task's own error: task.result() below raises it
            break
    return task.result()


def running_loop() -> asyncio.AbstractEventLoop:
    """The island's loop, for drivers that want it as an argument."""
    return asyncio.get_running_loop()


def new_future() -> asyncio.Future[Any]:
    """A future of the island's loop, for protocols that answer by one."""
    return asyncio.get_running_loop().create_future()
