"""What crosses the bridge: a call on its way to the island, and its result on the way back."""

from __future__ import annotations

import asyncio
import contextvars
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Protocol

import outcome
import trio


class Harbour(Protocol):
    """What a call needs of the island that runs it."""

    loop: asyncio.AbstractEventLoop

    def settle(self, call: Call, result: outcome.Outcome[Any]) -> None:
        """Answer ``call``."""


class Call(ABC):
    """One coroutine function on its way over the bridge and back."""

    def __init__(self, fn: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]) -> None:
        self.fn = fn
        self.args = args
        self.context = contextvars.copy_context()
        self.task: asyncio.Task[None] | None = None
        self.started = False
        self.cancelled = False

    @abstractmethod
    def deliver(self, result: outcome.Outcome[Any]) -> None:
        """Hand ``result`` to whoever waits. Called on the island's thread, once."""

    def begin(self, island: Harbour) -> None:
        """Start the asyncio task. Called on the island's thread."""
        self.task = island.loop.create_task(self._carry(island), context=self.context)

    def cancel(self) -> None:
        """Cancel the asyncio task, if it still runs. Called on the island's thread, after ``begin``."""
        self.cancelled = True
        if self.started and self.task is not None:  # a task cancelled before its first step would never answer
            self.task.cancel()

    async def _carry(self, island: Harbour) -> None:
        # Settling here, and not in a done callback, saves the loop a turn; and the task itself never fails, so that
        # even a SystemExit belongs to the caller, and not to the loop.
        self.started = True
        result: outcome.Outcome[Any]
        if self.cancelled:
            result = outcome.Error(asyncio.CancelledError())
        else:
            try:
                result = outcome.Value(await self.fn(*self.args))
            except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the caller
                result = outcome.Error(error)
        island.settle(self, result)


class TrioCall(Call):
    """A call from a trio task."""

    def __init__(self, fn: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...], mailbox: Mailbox) -> None:
        super().__init__(fn, args)
        self.mailbox = mailbox
        self.waiter = trio.lowlevel.current_task()
        self.raise_cancel: Callable[[], Any] | None = None

    def deliver(self, result: outcome.Outcome[Any]) -> None:
        self.mailbox.post(self, result)

    def wake(self, result: outcome.Outcome[Any]) -> None:
        """Let the trio task go on. Called in its own trio run."""
        if isinstance(result, outcome.Error) and isinstance(result.error, asyncio.CancelledError):
            if self.raise_cancel is not None:
                result = outcome.capture(self.raise_cancel)
            else:
                result = outcome.Error(_torn(self.fn, result.error))
        trio.lowlevel.reschedule(self.waiter, result)


class ThreadCall(Call):
    """A call from a plain thread, which blocks on the future."""

    def __init__(self, fn: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]) -> None:
        super().__init__(fn, args)
        self.future: Future[Any] = Future()

    def deliver(self, result: outcome.Outcome[Any]) -> None:
        if isinstance(result, outcome.Value):
            self.future.set_result(result.value)
        elif isinstance(result, outcome.Error):
            error = result.error
            if isinstance(error, asyncio.CancelledError):
                error = _torn(self.fn, error)
            self.future.set_exception(error)


class Mailbox:
    """Results on their way to one trio run: many results, one wake-up."""

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self._token = token
        self._results: deque[tuple[TrioCall, outcome.Outcome[Any]]] = deque()
        self._wake_up_sent = False

    def post(self, call: TrioCall, result: outcome.Outcome[Any]) -> None:
        """Queue a result and wake the trio run if no wake-up is under way (the island's thread)."""
        self._results.append((call, result))
        if not self._wake_up_sent:
            self._wake_up_sent = True
            try:
                self._token.run_sync_soon(self._distribute)
            except trio.RunFinishedError:
                self._results.clear()  # that trio run is over: nobody is left to tell

    def _distribute(self) -> None:
        self._wake_up_sent = False  # first: a result posted from here on sends its own wake-up
        while self._results:
            call, result = self._results.popleft()
            call.wake(result)


def _torn(fn: Callable[..., Any], error: BaseException) -> RuntimeError:
    """asyncio.CancelledError must not enter trio, where it would mean nothing."""
    torn = RuntimeError(f"{getattr(fn, '__qualname__', fn)} was cancelled on the island, not by its caller")
    torn.__cause__ = error
    return torn
