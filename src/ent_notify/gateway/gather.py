"""Many questions, one statement: those that come while others are answered wait, and are asked together.

Two hundred thousand readers who come back at once are then some hundreds of statements, and one reader alone waits for
nobody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import trio
from trio.lowlevel import ParkingLot

Question = TypeVar("Question")
Answer = TypeVar("Answer")

_AT_ONCE = 500
_UNDER_WAY = 2
"""Statements of one kind under way at once: a slow one does not hold up everybody."""


class _Asked(Generic[Question, Answer]):
    __slots__ = ("answer", "answered", "error", "question")

    def __init__(self, question: Question) -> None:
        self.question = question
        self.answered = trio.Event()
        self.answer: Answer
        self.error: Exception | None = None


class Gather(Generic[Question, Answer]):
    """Asks ``answer`` for many questions at once; it returns as many answers, in order."""

    def __init__(self, answer: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]]) -> None:
        self._answer = answer
        self._waiting: list[_Asked[Question, Answer]] = []
        self._idle = ParkingLot()

    async def run(self) -> None:
        """Answer for ever."""
        async with trio.open_nursery() as nursery:
            for _ in range(_UNDER_WAY):
                nursery.start_soon(self._serve)

    async def ask(self, question: Question) -> Answer:
        """The answer to ``question``. Raises what answering its batch raised."""
        asked = _Asked[Question, Answer](question)
        self._waiting.append(asked)
        self._idle.unpark()
        await asked.answered.wait()
        if asked.error is not None:
            raise asked.error
        return asked.answer

    async def _serve(self) -> None:
        while True:
            while not self._waiting:
                await self._idle.park()
            batch, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            try:
                answers = await self._answer([asked.question for asked in batch])
                for asked, answer in zip(batch, answers, strict=True):
                    asked.answer = answer
            except Exception as error:  # noqa: BLE001 - each asker gets it, and decides
                for asked in batch:
                    asked.error = error
            for asked in batch:
                asked.answered.set()
