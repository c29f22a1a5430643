"""Looking for messages: ``engine.search``."""

from __future__ import annotations

from ent_notify.errors import MalformedMessage
from ent_notify.model.inbox import Reader
from ent_notify.model.search import Found, Place, Question
from ent_notify.ports import Clock
from ent_notify.store.search import PostgresSearch

LARGEST_PAGE = 100
LONGEST_QUESTION = 200
"""Characters that may be asked."""


class Search:
    """Finds messages for whoever may read them: what they see is what is looked through."""

    def __init__(self, store: PostgresSearch, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def find(self, reader: Reader, question: Question, *, after: Place | None = None, most: int = 20) -> Found:
        """Messages that answer ``question``, newest first. ``after``: ``next`` of the page before.

        A message is found as soon as it is posted, and no more once it was recalled, or deleted by this reader.
        Raises MalformedMessage for a question that is too long.
        """
        if len(question.words) > LONGEST_QUESTION or "\0" in question.words:
            raise MalformedMessage(f"a question is a text of at most {LONGEST_QUESTION} characters; shorten it")
        return await self._store.find(reader, question, after, min(max(most, 1), LARGEST_PAGE), self._clock.now())
