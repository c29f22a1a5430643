"""Reading a conversation that one has no part in: ``engine.break_glass``.

One person asks with a reason, another opens it for an hour, and both stand in the trail of everybody whose words are
read, where they see it.
"""

from __future__ import annotations

from datetime import timedelta

from ent_notify.engine.trail import Trail
from ent_notify.errors import NotAllowed, NotFound
from ent_notify.model.rights import GlassMessage
from ent_notify.ports import Clock
from ent_notify.store.rights import PostgresGlass

OPEN_FOR = timedelta(hours=1)
"""How long it stays open: the house's own rule; who needs longer asks again."""


class BreakGlass:
    """Asks for, opens and reads."""

    def __init__(self, store: PostgresGlass, trail: Trail, clock: Clock) -> None:
        self._store = store
        self._trail = trail
        self._clock = clock

    async def ask(self, conversation: int, by: str, reason: str) -> int:
        """Ask to read a conversation; the number to be opened. Raises NotAllowed without a reason, NotFound."""
        if not reason.strip():
            raise NotAllowed("say why this must be read: the reason is written down")
        number = await self._store.ask(conversation, by, reason, self._clock.now())
        if number is None:
            raise NotFound(f"there is no conversation {conversation}")
        await self._note(by, "ask to read", number)
        return number

    async def open(self, number: int, by: str) -> None:
        """Let it be read for an hour. Raises NotAllowed for who asked, and when it was opened before."""
        now = self._clock.now()
        if not await self._store.open(number, by, now, now + OPEN_FOR):
            raise NotAllowed(f"glass {number} waits for the word of somebody else than {by!r}, or was opened before")
        await self._note(by, "allow to read", number)

    async def read(self, number: int, by: str) -> list[GlassMessage]:
        """The messages, for the two who opened it. Raises NotAllowed for anybody else, unopened, and after its hour."""
        if not await self._store.is_open(number, by, self._clock.now()):
            raise NotAllowed(f"glass {number} is not open to {by!r}: another person opens it, for an hour")
        await self._note(by, "read conversation", number)
        return await self._store.messages(number)

    async def _note(self, by: str, action: str, number: int) -> None:
        for person in await self._store.people(number):
            await self._trail.note(by, "break-glass", action, person, f"glass {number}")
