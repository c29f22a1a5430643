"""One background thread with one uvloop loop, and the bridge between it and trio.

A trio task that calls ``island.run(fn, ...)`` parks itself; ``fn(...)`` becomes an asyncio task on the island; its end
wakes the trio task. Both directions are queues with one wake-up for all that waits in them, so sixteen concurrent
callers cost far fewer than sixteen wake-ups. The trio side is found at each call, so one island serves any number of
trio runs, one after another or at once (``trio.run``, pytest-trio, a host's threads).

Cancellation: a cancelled ``run`` cancels its asyncio task and waits for its end. If the task ended with a value or an
error of its own all the same, the caller gets that (and the next checkpoint raises ``Cancelled``).
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

import outcome
import trio

from ent_notify._island.calls import Call, Mailbox, ThreadCall, TrioCall
from ent_notify.errors import IslandDied

try:
    from uvloop import new_event_loop
except ImportError:  # a platform without uvloop: the standard loop does the same, slower
    from asyncio import new_event_loop  # type: ignore[assignment]  # its return type is the wider one

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

WIND_DOWN_SECONDS = 5.0
"""How long tasks that are still on the island at its end may take to notice that they are cancelled."""


class Island:
    """The asyncio thread, seen from outside. Made by :func:`open_island`."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = new_event_loop()
        self._pid = os.getpid()
        self._lock = threading.Lock()  # a caller who arrives while the thread ends is either buried or refused
        self._death: str | None = None
        self._cause: BaseException | None = None
        self._ended = False
        self._on_end: Callable[[], object] = lambda: None
        self._pending: set[Call] = set()
        self._inbox: deque[Callable[[], None]] = deque()
        self._wake_up_sent = False
        self._mailboxes: dict[trio.lowlevel.TrioToken, Mailbox] = {}
        # A daemon, so that a host that never closes its engine can still exit.
        self._thread = threading.Thread(target=self._main, name="ent-notify-island", daemon=True)
        self._thread.start()

    async def run(self, fn: Callable[[*Ts], Coroutine[Any, Any, T]], *args: *Ts) -> T:
        """Run ``fn(*args)`` on the island and return its value.

        An error that ``fn`` raises is raised here, with the island's frames in its traceback. Cancelling the caller
        cancels the asyncio task and waits for its end. Raises IslandDied when the thread is gone, or goes meanwhile.
        """
        result: T = await self._cross(fn, args, cancellable=True)
        return result

    async def run_uncancelled(self, fn: Callable[[*Ts], Coroutine[Any, Any, T]], *args: *Ts) -> T:
        """Like :meth:`run`, but once begun it goes to its end: a cancelled caller waits for it and gets its result.

        For what must not be torn in the middle: COMMIT, or a send that ends by its own deadline.
        """
        result: T = await self._cross(fn, args, cancellable=False)
        return result

    def run_from_thread(self, fn: Callable[[*Ts], Coroutine[Any, Any, T]], *args: *Ts) -> T:
        """Run ``fn(*args)`` on the island from a plain thread, which blocks until it ends.

        Raises IslandDied as :meth:`run` does, and RuntimeError inside a trio run or on the island itself, where it
        would block the loop that it waits for.
        """
        if threading.get_ident() == self._thread.ident or trio.lowlevel.in_trio_run():
            raise RuntimeError("run_from_thread would block this thread's loop: `await island.run(...)` instead")
        call = ThreadCall(fn, args)
        self._submit(call)
        result: T = call.future.result()
        return result

    @property
    def alive(self) -> bool:
        """Whether calls are accepted, in this process."""
        return self._death is None and self._pid == os.getpid()

    # ---------------------------------------------------------------- on the caller's thread

    async def _cross(
        self, fn: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...], *, cancellable: bool
    ) -> Any:
        await trio.lowlevel.checkpoint_if_cancelled()
        call = TrioCall(fn, args, self._mailbox(trio.lowlevel.current_trio_token()))
        self._submit(call)

        def abort(raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
            if cancellable:
                call.raise_cancel = raise_cancel
                self._send(call.cancel)
            return trio.lowlevel.Abort.FAILED  # in any case, it is the island's answer that wakes the task

        return await trio.lowlevel.wait_task_rescheduled(abort)

    def _mailbox(self, token: trio.lowlevel.TrioToken) -> Mailbox:
        mailbox = self._mailboxes.get(token)
        if mailbox is None:
            with self._lock:
                if len(self._mailboxes) >= 64:  # mostly trio runs that are over; a live one gets a new mailbox
                    self._mailboxes.clear()
                mailbox = self._mailboxes.setdefault(token, Mailbox(token))
        return mailbox

    def _submit(self, call: Call) -> None:
        if self._pid != os.getpid():
            raise IslandDied(
                f"process {os.getpid()} was forked from process {self._pid}, which had the engine open, and threads do "
                "not survive a fork: open the engine in the child"
            )
        with self._lock:
            if self._death is not None:
                raise self._obituary()
            self._pending.add(call)
        self._send(partial(call.begin, self))

    def _send(self, action: Callable[[], None]) -> None:
        self._inbox.append(action)
        if not self._wake_up_sent:
            self._wake_up_sent = True
            with suppress(RuntimeError):  # the loop is closed: the thread's last act answers every pending call
                self.loop.call_soon_threadsafe(self._receive)

    def _obituary(self) -> IslandDied:
        error = IslandDied(f"{self._death}: open the engine again")
        error.__cause__ = self._cause
        return error

    # ---------------------------------------------------------------- on the island's thread

    def _receive(self) -> None:
        self._wake_up_sent = False  # first: whatever is sent from here on wakes the loop again
        while self._inbox:
            self._inbox.popleft()()

    def settle(self, call: Call, result: outcome.Outcome[Any]) -> None:
        """Answer ``call``. For the island's own thread."""
        self._pending.discard(call)
        match result:
            case outcome.Error(asyncio.CancelledError()) if self._death is not None:
                result = outcome.Error(self._obituary())
        call.deliver(result)

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        cause: BaseException | None = None
        try:
            self.loop.run_forever()
        except BaseException as error:  # noqa: BLE001 - SystemExit and the like end a loop: callers must hear of it
            cause = error
        with self._lock:
            if self._death is None:
                self._death, self._cause = "the island's loop stopped by itself", cause
        try:
            self._wind_down()
        finally:
            with suppress(RuntimeError):  # a callback that stopped a running loop may have left it unclosable
                self.loop.close()
            for call in tuple(self._pending):
                self.settle(call, outcome.Error(self._obituary()))
            with self._lock:
                self._ended = True
                on_end = self._on_end
            on_end()

    def _wind_down(self) -> None:
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.wait(left, timeout=WIND_DOWN_SECONDS))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())

    # ---------------------------------------------------------------- the end

    async def _aclose(self) -> None:
        token, ended = trio.lowlevel.current_trio_token(), trio.Event()
        with self._lock:
            if self._death is None:
                self._death = "the engine was closed"
            must_wait = not self._ended
            self._on_end = lambda: token.run_sync_soon(ended.set)
        with suppress(RuntimeError):  # closed already: the loop stopped by itself
            self.loop.call_soon_threadsafe(self.loop.stop)
        with trio.CancelScope(shield=True):
            if must_wait:
                await ended.wait()
            self._thread.join()


@asynccontextmanager
async def open_island() -> AsyncIterator[Island]:
    """Start the island's thread; at the end stop it, whatever happens, and wait until it is gone."""
    island = Island()
    try:
        yield island
    finally:
        await island._aclose()
