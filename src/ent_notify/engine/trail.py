"""The trail of who read, exported, moderated or overrode: only added to, under pseudonyms that last.

People stand in it under a key of their own (HMAC-SHA256): ``privacy.pseudonym_key``, and without it a secret that the
database keeps. So every process writes the same pseudonym, and whoever asks what was done with their data finds it.
"""

from __future__ import annotations

from typing import Any

from ent_notify.observe import pseudonym_under
from ent_notify.ports import Clock
from ent_notify.settings import PrivacySettings
from ent_notify.store.rights import PostgresRights


class Trail:
    """Adds to the trail and reads it."""

    def __init__(self, store: PostgresRights, settings: PrivacySettings, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        given = settings.pseudonym_key
        self._key = None if given is None else given.get_secret_value().encode()

    async def note(
        self, actor: str, capacity: str, action: str, subject: str = "", detail: str = "", hold: int | None = None
    ) -> None:
        """Say that ``actor`` did something with the data of ``subject`` (external ids). ``detail`` names nobody.

        What is done for a hold is not shown to its subject while that stands: a procedure may be secret.
        """
        who, about = await self._pseudonym(actor), await self._pseudonym(subject) if subject else ""
        await self._store.note(who, capacity, action, about, detail, self._clock.now(), hold)

    async def about(self, person: str, most: int) -> list[dict[str, Any]]:
        """What was done with somebody's data, newest first."""
        return [dict(row.items()) for row in await self._store.trail(await self._pseudonym(person), most)]

    async def _pseudonym(self, person: str) -> str:
        if self._key is None:
            self._key = await self._store.salt()
        return pseudonym_under(self._key, person)
