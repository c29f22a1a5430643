"""Devices and preferences in PostgreSQL. A token is bound to one person at a time: who registers it last has it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ent_notify.errors import NotFound
from ent_notify.model.people import DeviceId, DeviceRegistration, Preference, Provider
from ent_notify.store.database import Database, Transaction


@dataclass(frozen=True, slots=True)
class DeviceCounts:
    """What a bulk registration did. ``unknown_people``: registrations for people who are not in the directory."""

    added: int
    refreshed: int
    taken_over: int
    unknown_people: int


class PostgresDevices:
    """Registers and drops devices, and keeps preferences."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def register_device(
        self, person: str, provider: Provider, app: str, token: str, language: str | None, now: datetime
    ) -> DeviceId:
        """Bind ``token`` to ``person`` (external id), taking it over from whoever had it; the binding's id.

        Registering again refreshes the binding and keeps its id. Raises NotFound when there is no such person.
        """
        return await self._db.atomically(_register, person, provider, app, token, language, now)

    async def drop_device(
        self, person: str, provider: Provider, token: str, now: datetime, *, reason: str = "signed out"
    ) -> bool:
        """End ``person``'s binding of ``token``; False when they have none (somebody else may have it by now)."""
        touched = await self._db.execute(
            "devices.drop", person=person, provider=provider, token=token, now=now, reason=reason
        )
        return touched > 0

    async def register_devices(self, records: Iterable[DeviceRegistration], now: datetime) -> DeviceCounts:
        """Register many devices in one transaction. ``records`` is streamed; the last of a token counts."""
        async with self._db.transaction() as tx:
            await tx.execute("devices.create_staging")
            await tx.copy_in(
                "staged_device",
                columns=("n", "person", "provider", "app", "token", "language"),
                records=(
                    (n, device.person, device.provider, device.app, device.token, device.language)
                    for n, device in enumerate(records)
                ),
                schema="pg_temp",
            )
            await tx.execute("devices.index_staging")
            await tx.execute("devices.analyze_staging")
            await tx.execute("devices.resolve")
            taken_over = await tx.execute("devices.take_over_all", now=now)
            refreshed = await tx.execute("devices.refresh_all", now=now)
            added = await tx.execute("devices.insert_all", now=now)
            unknown: int = await tx.fetchval("devices.count_unknown")
            await tx.execute("devices.analyze_devices")
        return DeviceCounts(added, refreshed, taken_over, unknown)

    async def set_preferences(self, records: Iterable[Preference]) -> int:
        """Store what people chose, in one transaction; how many choices were new. Unknown people are left out."""
        async with self._db.transaction() as tx:
            await tx.execute("devices.create_preference_staging")
            await tx.copy_in(
                "staged_preference",
                columns=("n", "person", "category", "channel", "enabled"),
                records=(
                    (n, choice.person, choice.category, choice.channel, choice.enabled)
                    for n, choice in enumerate(records)
                ),
                schema="pg_temp",
            )
            await tx.execute("devices.analyze_preference_staging")
            return await tx.execute("devices.merge_preferences")


async def _register(
    tx: Transaction, person: str, provider: Provider, app: str, token: str, language: str | None, now: datetime
) -> DeviceId:
    await tx.fetchval("devices.lock_token", provider=provider, token=token)
    person_id = await tx.fetchval("devices.find_person", person=person)
    if person_id is None:
        raise NotFound(f"there is no person {person!r} in the directory to bind a device to")
    binding = {"person_id": person_id, "provider": provider, "token": token, "now": now}
    described = {**binding, "app": app, "language": language}
    await tx.execute("devices.take_over", **binding)
    device = await tx.fetchval("devices.refresh", **described)
    if device is None:
        device = await tx.fetchval("devices.insert", **described)
    return DeviceId(device)
