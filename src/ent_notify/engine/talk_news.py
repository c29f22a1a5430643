"""The news of conversations on their way to readers' pages: which message, what happened, for whom. Never a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ent_notify.bus.wire import MOST_KEYS
from ent_notify.errors import StoreError
from ent_notify.flows.together import Together
from ent_notify.model.feed import FeedHint, Happened, Key, TalkHint
from ent_notify.model.subjects import subject_of
from ent_notify.observe import get_logger
from ent_notify.ports import Bus
from ent_notify.store.talk_news import PostgresTalkNews

_PERSON = 3
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Said:
    places: tuple[tuple[int, int], ...]
    what: Happened
    people: tuple[int, ...] | None


class TalkNews:
    """Says what has happened, once it is committed. What many say at once is one look and one message."""

    def __init__(self, store: PostgresTalkNews, bus: Bus) -> None:
        self._store = store
        self._bus = bus
        self._together = Together[_Said](self._tell)

    async def say(self, conversation: int, seq: int, what: Happened, people: Sequence[int] | None = None) -> None:
        """Tell ``people`` (internal ids), or everybody who takes part. Never raises for a database that is away: what
        is not told is found by reading."""
        await self._add(_Said(((conversation, seq),), what, None if people is None else tuple(dict.fromkeys(people))))

    async def say_all(self, places: Sequence[tuple[int, int]], what: Happened) -> None:
        """Tell everybody who takes part of several messages (conversation, seq)."""
        if places:
            await self._add(_Said(tuple(places), what, None))

    async def _add(self, said: _Said) -> None:
        try:
            await self._together.add(said)
        except StoreError as error:
            _log.warning("store_failed", error=error)

    async def _tell(self, said: Sequence[_Said]) -> None:
        open_to_all = {number for each in said if each.people is None for number, _ in each.places}
        keys = await self._store.listeners(sorted(open_to_all)) if open_to_all else {}
        hints = []
        for each in dict.fromkeys(said):
            for conversation, seq in each.places:
                held: Sequence[Key] = (
                    keys.get(conversation, ()) if each.people is None else [(_PERSON, person) for person in each.people]
                )
                for first in range(0, len(held), MOST_KEYS):
                    some = tuple(held[first : first + MOST_KEYS])
                    talk = TalkHint(conversation, seq, each.what, some)
                    hints.append(FeedHint(subjects=frozenset(map(subject_of, some)), news=False, talks=(talk,)))
        await self._bus.publish(hints)
