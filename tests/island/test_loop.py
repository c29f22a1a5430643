"""The bridge between trio and the island, without a database."""

from __future__ import annotations

import asyncio  # noqa: TID251 - the coroutine functions below run on the island
import contextvars
import subprocess
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Coroutine

import pytest
import trio

from ent_notify._island import Island, open_island, tasks
from ent_notify.errors import IslandDied

CHILD = contextvars.ContextVar("CHILD", default="nobody")


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


async def where_am_i() -> str:
    return threading.current_thread().name


async def for_ever() -> None:
    await asyncio.Event().wait()


async def crash() -> None:
    asyncio.get_running_loop().call_soon(sys.exit, 3)
    await for_ever()


async def stop() -> None:
    asyncio.get_running_loop().stop()
    await for_ever()


class Gate:
    """Two events on the island: a call says that it has begun, and waits to be let on."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.open = asyncio.Event()
        self.ended = ""

    async def pass_through(self) -> str:
        self.begun.set()
        try:
            await self.open.wait()
            self.ended = "passed"
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        return self.ended

    async def wait_begun(self) -> None:
        await self.begun.wait()

    async def let_on(self) -> None:
        self.open.set()


async def test_a_call_runs_on_the_island_thread(island: Island) -> None:
    assert await island.run(double, 21) == 42
    assert await island.run(where_am_i) == "ent-notify-island"


def test_it_works_under_plain_trio_run_twice() -> None:
    async def main() -> int:
        async with open_island() as island:
            return await island.run(double, 1)

    assert [trio.run(main), trio.run(main)] == [2, 2]


def test_one_island_serves_trio_runs_in_several_threads_at_once() -> None:
    async def main() -> None:
        async with open_island() as island:

            async def one_call(number: int) -> int:
                return await island.run(double, number)

            async def in_a_thread(number: int, into: dict[int, int]) -> None:
                into[number] = await trio.to_thread.run_sync(trio.run, one_call, number)

            answers: dict[int, int] = {}
            async with trio.open_nursery() as nursery:
                for number in range(8):
                    nursery.start_soon(in_a_thread, number, answers)
            assert answers == {number: 2 * number for number in range(8)}

    trio.run(main)


async def test_a_plain_thread_blocks_for_its_answer(island: Island) -> None:
    assert await trio.to_thread.run_sync(island.run_from_thread, double, 4) == 8


async def test_a_call_from_a_thread_is_refused_where_it_would_block_a_loop(island: Island) -> None:
    with pytest.raises(RuntimeError, match="would block"):
        island.run_from_thread(double, 4)

    async def on_the_island() -> None:
        island.run_from_thread(double, 4)

    with pytest.raises(RuntimeError, match="would block"):
        await island.run(on_the_island)


async def test_an_error_in_a_thread_call_is_raised_there(island: Island) -> None:
    async def fail() -> None:
        raise LookupError("no such child")

    with pytest.raises(LookupError, match="no such child"):
        await trio.to_thread.run_sync(island.run_from_thread, fail)


async def test_sixteen_callers_at_once_get_their_own_answers(island: Island) -> None:
    answers: dict[int, list[int]] = {}

    async def caller(number: int) -> None:
        answers[number] = [await island.run(double, number * 1000 + turn) for turn in range(50)]

    async with trio.open_nursery() as nursery:
        for number in range(16):
            nursery.start_soon(caller, number)
    assert answers == {n: [2 * (n * 1000 + turn) for turn in range(50)] for n in range(16)}


async def test_an_error_crosses_with_its_traceback(island: Island) -> None:
    async def deep() -> None:
        await asyncio.sleep(0)
        raise ValueError("seen from afar")

    async def shallow() -> None:
        await deep()

    with pytest.raises(ValueError, match="seen from afar") as caught:
        await island.run(shallow)
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[-2:] == ["shallow", "deep"]
    assert "test_an_error_crosses_with_its_traceback" in frames


async def test_a_function_that_cannot_even_be_called_answers_with_its_error(island: Island) -> None:
    with pytest.raises(TypeError, match="positional argument"):
        await island.run(double)  # type: ignore[arg-type]  # on purpose


async def test_even_a_system_exit_belongs_to_its_caller_and_the_island_lives(island: Island) -> None:
    async def leave() -> None:
        sys.exit(3)

    with pytest.raises(SystemExit):
        await island.run(leave)
    assert await island.run(double, 1) == 2


async def test_context_variables_cross(island: Island) -> None:
    async def read() -> str:
        return CHILD.get()

    CHILD.set("pupil-17")
    assert await island.run(read) == "pupil-17"


async def test_cancelling_the_caller_cancels_the_task_and_waits_for_its_end(island: Island) -> None:
    gate = Gate()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(island.run, gate.pass_through)
            await island.run(gate.wait_begun)
            scope.cancel()
    assert scope.cancelled_caught
    assert gate.ended == "cancelled"


async def test_a_task_that_takes_long_to_notice_is_waited_for(island: Island) -> None:
    steps: list[str] = []
    begun = asyncio.Event()

    async def slow_to_die() -> None:
        begun.set()
        try:
            await for_ever()
        finally:
            for _ in range(100):
                await asyncio.sleep(0)
            steps.append("cleaned up")

    async def wait_begun() -> None:
        await begun.wait()

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(island.run, slow_to_die)
            await island.run(wait_begun)
            scope.cancel()
    assert steps == ["cleaned up"]


async def test_a_result_that_arrives_in_spite_of_the_cancellation_wins(island: Island) -> None:
    begun = asyncio.Event()

    async def stubborn() -> str:
        begun.set()
        try:
            await for_ever()
        except asyncio.CancelledError:
            return "done all the same"
        raise AssertionError("unreachable")

    async def wait_begun() -> None:
        await begun.wait()

    got: list[str] = []

    async def caller() -> None:
        got.append(await island.run(stubborn))
        await trio.lowlevel.checkpoint()
        got.append("never reached: the next checkpoint is cancelled")

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller)
            await island.run(wait_begun)
            scope.cancel()
    assert got == ["done all the same"]
    assert scope.cancelled_caught


async def test_a_caller_already_cancelled_starts_nothing(island: Island) -> None:
    ran: list[int] = []

    async def run() -> None:
        ran.append(1)

    with trio.CancelScope() as scope:
        scope.cancel()
        await island.run(run)
    assert scope.cancelled_caught
    assert ran == []


async def test_run_uncancelled_goes_to_its_end(island: Island) -> None:
    gate = Gate()
    got: list[str] = []

    async def caller() -> None:
        got.append(await island.run_uncancelled(gate.pass_through))

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller)
            await island.run(gate.wait_begun)
            scope.cancel()
            with trio.CancelScope(shield=True):
                await island.run(gate.let_on)
    assert got == ["passed"]


async def test_a_cancellation_on_the_island_itself_does_not_leak_into_trio(island: Island) -> None:
    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match=r"cancels_itself was cancelled on the island"):
        await island.run(cancels_itself)
    with pytest.raises(RuntimeError, match=r"cancels_itself was cancelled on the island"):
        await trio.to_thread.run_sync(island.run_from_thread, cancels_itself)


@pytest.mark.parametrize("end", [crash, stop])
async def test_when_the_island_dies_everybody_hears_of_it(end: Callable[[], Coroutine[None, None, None]]) -> None:
    heard: list[str] = []
    async with open_island() as island:
        gate = Gate()

        async def caller(call: Callable[..., Awaitable[object]]) -> None:
            with pytest.raises(IslandDied, match="open the engine again"):
                await call(gate.pass_through)
            heard.append("pending")

        async def thread_caller() -> None:
            with pytest.raises(IslandDied):
                await trio.to_thread.run_sync(island.run_from_thread, gate.pass_through)
            heard.append("thread")

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(caller, island.run)
            nursery.start_soon(caller, island.run_uncancelled)
            nursery.start_soon(thread_caller)
            await island.run(gate.wait_begun)
            with pytest.raises(IslandDied):
                await island.run(end)
        assert sorted(heard) == ["pending"] * 6 + ["thread"]
        assert not island.alive
        with pytest.raises(IslandDied) as later:
            await island.run(double, 1)
        if end is crash:
            assert isinstance(later.value.__cause__, SystemExit)
        with pytest.raises(IslandDied):
            await trio.to_thread.run_sync(island.run_from_thread, double, 1)


async def test_a_close_leaves_no_thread_and_refuses_calls() -> None:
    before = set(threading.enumerate())
    async with open_island() as island:
        assert await island.run(double, 1) == 2
        assert set(threading.enumerate()) - before
    assert set(threading.enumerate()) - before == set()
    with pytest.raises(IslandDied, match="was closed"):
        await island.run(double, 1)


async def test_a_close_cancels_background_tasks_and_waits_for_them() -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await for_ever()
        finally:
            await asyncio.sleep(0)
            ended.append("background")

    async def start() -> None:
        tasks.spawn(background(), name="background")
        await asyncio.sleep(0)

    async with open_island() as island:
        await island.run(start)
    assert ended == ["background"]


async def test_a_cancelled_host_still_closes_the_island() -> None:
    before = set(threading.enumerate())
    with trio.CancelScope() as scope:
        async with open_island() as island:
            scope.cancel()
            await island.run(for_ever)
    assert set(threading.enumerate()) - before == set()


def test_a_forked_child_is_told_to_open_its_own() -> None:
    script = """
import os, sys, trio
from ent_notify._island import open_island
from ent_notify.errors import IslandDied

async def nothing(): ...

async def main():
    async with open_island() as island:
        await island.run(nothing)
        child = os.fork()
        if child == 0:
            try:
                await island.run(nothing)
            except IslandDied as error:
                print(error, flush=True)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        await island.run(nothing)

trio.run(main)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script], capture_output=True, text=True, check=True
    )
    assert "was forked from process" in done.stdout
    assert "open the engine in the child" in done.stdout


async def test_gather_keeps_order_bound_and_the_first_error(island: Island) -> None:
    running = most = 0

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        if number == 13:
            raise LookupError("thirteen")
        return number

    async def good() -> list[int]:
        return await tasks.gather((work(n) for n in range(10)), limit=3)

    async def bad() -> list[int]:
        return await tasks.gather((work(n) for n in range(20)), limit=3)

    assert await island.run(good) == list(range(10))
    assert most == 3
    with pytest.raises(LookupError, match="thirteen"):
        await island.run(bad)


async def test_uncancelled_work_ends_and_its_value_wins(island: Island) -> None:
    steps: list[str] = []

    async def work() -> str:
        await asyncio.sleep(0)
        steps.append("worked")
        return "value"

    async def main() -> str:
        task = asyncio.create_task(tasks.uncancelled(work()))
        await asyncio.sleep(0)
        task.cancel()
        return await task

    assert await island.run(main) == "value"
    assert steps == ["worked"]


async def test_uncancelled_work_that_fails_raises_its_own_error(island: Island) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise LookupError("gone")

    async def main() -> None:
        await tasks.uncancelled(work())

    with pytest.raises(LookupError, match="gone"):
        await island.run(main)
