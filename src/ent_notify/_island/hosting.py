"""A trio run on a thread of its own, for hosts that run asyncio or plain threads: the island's mirror image.

The thread holds one resource (an engine), opened and closed by its own trio run. A call crosses once: the coroutine
function runs in that trio run, its value or error comes back. Cancelling the asyncio side cancels the trio task and
waits for its end, so that nothing of a request outlives it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from asyncio import to_thread
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

import trio

from ent_notify._island.tasks import uncancelled
from ent_notify.errors import IslandDied

__all__ = ["TrioThread", "to_thread"]

R = TypeVar("R")
T = TypeVar("T")

_OVER = "the engine's thread has ended; open the engine again"


class _Call:
    """One call on its way over and back."""

    def __init__(self, work: Callable[[], Awaitable[Any]]) -> None:
        self.work = work
        self.scope = trio.CancelScope()
        self.future: Future[Any] = Future()
        self.future.set_running_or_notify_cancel()  # from now on only the trio side ends it

    async def carry(self) -> None:
        """Run the work, and answer whatever happens."""
        answer: Callable[[], None] = self.refuse
        try:
            with self.scope:
                value = await self.work()
                answer = lambda: self.future.set_result(value)  # noqa: E731 - one of three answers, chosen as it goes
        except Exception as error:  # noqa: BLE001 - it belongs to the caller
            raised = error
            answer = lambda: self.future.set_exception(raised)  # noqa: E731
        finally:
            answer()

    def refuse(self) -> None:
        """Answer that there is no value: cancelled, or the run has ended."""
        self.future.set_exception(IslandDied(_OVER))


class TrioThread(Generic[R]):
    """A thread that runs trio with one resource open in it, from its start to its close.

    An asynchronous context manager for asyncio; ``start`` and ``close`` for plain threads. ``open_resource`` is called
    on the thread; what it raises is raised where the thread is started. Each is started once.
    """

    def __init__(self, open_resource: Callable[[], AbstractAsyncContextManager[R]], name: str) -> None:
        self._open = open_resource
        self._started: Future[None] = Future()
        self._ended: Future[None] = Future()
        self._resource: R
        self._token: trio.lowlevel.TrioToken
        self._nursery: trio.Nursery
        self._stop: trio.Event
        self._stopping = False
        self._process = os.getpid()
        # A daemon, so that a host that never closes its engine can still exit.
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    async def __aenter__(self) -> TrioThread[R]:
        self._thread.start()
        try:
            await uncancelled(asyncio.wrap_future(self._started))
        except BaseException:
            await self._join()
            raise
        return self

    def start(self) -> None:
        """Start it from a plain thread, which waits until the resource is open. Raises what opening raises."""
        self._thread.start()
        try:
            self._started.result()
        except BaseException:
            wait([self._started])  # interrupted by hand: what is being opened is closed, not left behind
            if self._started.exception() is None:
                self.close()
            raise

    def close(self) -> None:
        """Close the resource and end the thread, from a plain thread; whoever still waits for a call gets IslandDied.

        Again, or in a process that was forked off, it does nothing.
        """
        if self._process != os.getpid():
            return
        self._ask_to_stop()
        self._ended.result()
        self._thread.join()

    async def __aexit__(self, *_: object) -> None:
        self._ask_to_stop()
        await self._join()
        self._ended.result()

    async def run(self, fn: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """``await fn(resource, *args, **kwargs)`` in the trio run; its value or error. For asyncio tasks.

        Raises IslandDied when the thread has ended.
        """
        call = self._submit(fn, args, kwargs)
        answer = asyncio.wrap_future(call.future)
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            self._send(call.scope.cancel)
            await uncancelled(asyncio.wait([answer]))
            answer.exception()  # retrieved: whoever was cancelled does not want it
            raise

    def run_sync(self, fn: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """The same from a plain thread, which blocks meanwhile. Raises RuntimeError on the trio thread itself.

        Ctrl-C cancels the call and waits for its end, as cancelling an asyncio task does.
        """
        if threading.get_ident() == self._thread.ident:
            raise RuntimeError("this is the engine's own thread: await the call instead")
        call = self._submit(fn, args, kwargs)
        try:
            result: T = call.future.result()
        except BaseException:
            if not call.future.done():  # KeyboardInterrupt, and whatever else a signal's handler raises
                self._send(call.scope.cancel)
                wait([call.future])
            raise
        return result

    # ---------------------------------------------------------------- the two sides

    def _submit(self, fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
        if self._process != os.getpid():
            raise IslandDied(
                f"process {os.getpid()} was forked from process {self._process}, which had the engine open, and "
                "threads do not survive a fork: open it in the child (ent_notify.hosts.ProcessHost does it by itself)"
            )
        call = _Call(lambda: fn(self._resource, *args, **kwargs))
        if not self._started.done() or not self._send(lambda: self._begin(call)):
            raise IslandDied(_OVER)
        return call

    def _send(self, action: Callable[[], object]) -> bool:
        try:
            self._token.run_sync_soon(action)
        except trio.RunFinishedError:
            return False
        return True

    def _begin(self, call: _Call) -> None:
        if self._stopping:
            call.refuse()
        else:
            self._nursery.start_soon(call.carry)

    def _ask_to_stop(self) -> None:
        self._send(lambda: self._stop.set())

    async def _join(self) -> None:
        await uncancelled(asyncio.wait([asyncio.wrap_future(self._ended)]))
        self._thread.join()

    def _main(self) -> None:
        error: BaseException | None = None
        try:
            trio.run(self._serve)
        except BaseException as raised:  # noqa: BLE001 - it belongs to whoever opened the thread
            error = raised
        if not self._started.done():
            self._started.set_exception(error or IslandDied(_OVER))
            error = None
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)

    async def _serve(self) -> None:
        self._stop = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        async with self._open() as self._resource, trio.open_nursery() as self._nursery:
            self._started.set_result(None)
            await self._stop.wait()
            self._stopping = True
            self._nursery.cancel_scope.cancel()
