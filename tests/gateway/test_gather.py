"""Many questions, few statements: nobody waits behind somebody else's slow one, and an error is told to its askers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
import trio.testing

from ent_notify.gateway.gather import Gather


class Slow:
    """Answers that wait until they are let go; what is under way, in order of asking."""

    def __init__(self) -> None:
        self.under_way: list[list[int]] = []
        self.go = trio.Event()

    async def __call__(self, questions: Sequence[int]) -> list[int]:
        self.under_way.append(list(questions))
        await self.go.wait()
        if -1 in questions:
            raise ZeroDivisionError
        return [question * 10 for question in questions]


async def test_a_slow_statement_does_not_hold_up_the_next() -> None:
    slow = Slow()
    gather = Gather[int, int](slow)
    answers: dict[int, int] = {}

    async def ask(question: int) -> None:
        answers[question] = await gather.ask(question)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(gather.run)
        async with trio.open_nursery() as askers:
            for question in range(1, 6):
                await trio.testing.wait_all_tasks_blocked()
                askers.start_soon(ask, question)
            await trio.testing.wait_all_tasks_blocked()
            assert slow.under_way == [[1], [2]]  # two at once, and the others wait together
            slow.go.set()
        assert sorted(map(sorted, slow.under_way)) == [[1], [2], [3, 4, 5]]
        assert answers == {question: question * 10 for question in range(1, 6)}
        nursery.cancel_scope.cancel()


async def test_an_error_is_told_to_who_asked_and_the_next_are_answered() -> None:
    slow = Slow()
    slow.go.set()
    gather = Gather[int, int](slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gather.run)
        with pytest.raises(ZeroDivisionError):
            await gather.ask(-1)
        assert await gather.ask(2) == 20
        nursery.cancel_scope.cancel()
