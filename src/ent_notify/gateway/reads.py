"""What somebody has read, told at once to all their streams here: wherever they read, every page knows.

The bus says who; what they have read is asked for, many people at a time, so that a message lost is made good by the
next, and a doubled one says the same again.
"""

from __future__ import annotations

from collections.abc import Iterable

import trio

from ent_notify.errors import StoreError
from ent_notify.gateway.streams import Streams
from ent_notify.observe import get_logger
from ent_notify.ports import EvidencePort

_GATHER = 0.05
"""Seconds for which people are gathered."""
_AT_ONCE = 500
_log = get_logger(__name__)


class ReadRelay:
    """One for each gateway process."""

    def __init__(self, port: EvidencePort, streams: Streams) -> None:
        self._port = port
        self._streams = streams
        self._people: dict[int, None] = {}
        self._some = trio.Event()

    def note(self, people: Iterable[int]) -> None:
        """These people have read something. Whoever has no stream here is passed over."""
        here = {person: None for person in people if self._streams.of_person(person)}
        if here:
            self._people |= here
            self._some.set()

    async def run(self) -> None:
        """Tell their streams, for ever."""
        while True:
            await self._some.wait()
            await trio.sleep(_GATHER)
            people = list(self._people)[:_AT_ONCE]
            try:
                marks = await self._port.marks(people)
            except StoreError as error:
                _log.warning("store_failed", error=error)
                await trio.sleep(1)
                continue
            for person in people:
                del self._people[person]
                if person in marks:
                    self._streams.tell_read(person, marks[person])
            if not self._people:
                self._some = trio.Event()
