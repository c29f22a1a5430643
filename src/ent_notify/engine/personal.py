"""What one person asks and says of their own things: ``engine.personal``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ent_notify.errors import NotFound
from ent_notify.flows.outbox import Unsubscribe
from ent_notify.model.inbox import Acknowledgement, Choice, Reader, UnsubscribeLink
from ent_notify.ports import Clock
from ent_notify.store.personal import PostgresPersonal

UNREAD_CAP = 99
"""Unread entries are counted up to one more than this, which a badge shows as ``99+``."""


class Personal:
    """Unread count, acknowledgements, preferences, unsubscribing. Every call may be repeated."""

    def __init__(self, store: PostgresPersonal, unsubscribe: Unsubscribe, clock: Clock) -> None:
        self._store = store
        self._unsubscribe = unsubscribe
        self._clock = clock

    async def unread(self, reader: Reader, cap: int = UNREAD_CAP) -> int:
        """How many entries of the inbox are unread; ``cap + 1`` stands for any number above ``cap``."""
        return await self._store.unread(reader.person, cap + 1, self._clock.now())

    async def own_entries(self, reader: Reader, seqs: Sequence[int]) -> list[int]:
        """Those of some places in the feed that are entries of this reader's inbox."""
        return await self._store.own_entries(reader.person, seqs, self._clock.now())

    async def acknowledge(self, reader: Reader, notification: int) -> datetime:
        """Note that the reader took note of a notification ("j'ai pris connaissance"); the instant of the first time.

        Raises NotFound when it is not in their inbox.
        """
        return await self._store.acknowledge(reader.person, notification, self._clock.now())

    async def acknowledged(self, reader: Reader, notifications: Sequence[int]) -> dict[int, datetime]:
        """When the reader acknowledged each of some notifications; those that they did not are left out."""
        return await self._store.acknowledged(reader.person, notifications)

    async def acknowledgements(
        self, notification: int, most: int = 100, after: int = 0
    ) -> tuple[list[Acknowledgement], int]:
        """For the host: who has acknowledged a notification, and what to give as ``after`` for the rest (0: all)."""
        return await self._store.acknowledgements(notification, most, after)

    async def preferences(self, reader: Reader) -> list[Choice]:
        """Everything that may be chosen, as it stands for this reader: enabled unless they said otherwise."""
        return await self._store.preferences(reader.person)

    async def prefer(self, reader: Reader, choices: Sequence[Choice]) -> list[Choice]:
        """Keep choices, all or none; everything as it then stands.

        Raises NotFound for a category or channel that ``preferences`` does not list.
        """
        known = {(choice.category, choice.channel) for choice in await self._store.preferences(reader.person)}
        for choice in choices:
            if (choice.category, choice.channel) not in known:
                raise NotFound(
                    f"there is no choice {choice.category!r} on {choice.channel!r}; there are "
                    + ", ".join(f"{category} on {channel}" for category, channel in sorted(known))
                )
        await self._store.prefer(reader.person, choices)
        return await self._store.preferences(reader.person)

    async def unsubscribe_link(self, token: str) -> UnsubscribeLink:
        """Whom a mail's unsubscribe link (its ``t``) is for. Raises NotFound for one that we did not sign."""
        read = self._unsubscribe.read(token)
        if read is None:
            raise NotFound("this unsubscribe link is not one of ours")
        person, category = read
        return UnsubscribeLink(person, category, await self._store.language(person) or "fr")

    async def unsubscribe(self, token: str) -> UnsubscribeLink:
        """Send its person no more mail of its category. Raises NotFound for a link that we did not sign."""
        link = await self.unsubscribe_link(token)
        await self._store.prefer(link.person, [Choice(link.category, "email", enabled=False)])
        return link
