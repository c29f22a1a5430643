"""Whose business a pupil is: ``engine.guardians``. It decides nothing: audiences do; it shows and proves."""

from __future__ import annotations

from ent_notify.errors import NotFound
from ent_notify.model.guardians import Child, GuardianTreated, Treatment
from ent_notify.policy.guardians import Link, Received, Standing, closure, differences, standing_of
from ent_notify.ports import Clock
from ent_notify.store.database import Database, Record
from ent_notify.store.explaining import PostgresExplaining


class Guardians:
    """Who of a pupil's guardians was told of something, and the identities of one human."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._explaining = PostgresExplaining(db)
        self._clock = clock

    async def treatment(self, notification: int, pupil: str) -> Treatment:
        """Who of a pupil's guardians was told of a notification, by what, when, and why not; and whether those with
        authority were treated alike. Raises NotFound for an unknown notification or pupil."""
        now = self._clock.now()
        if not await self._db.fetchval("guardians.is_pupil", pupil=pupil):
            raise NotFound(f"there is no pupil {pupil!r} in the directory")
        await self._explaining.explain(notification, pupil, now)  # (raises for an unknown notification)
        treated, received = [], {}
        for row in await self._db.fetch("guardians.of_pupil", pupil=pupil):
            explained = await self._explaining.explain(notification, row["external_id"], now)
            standing = standing_of(_link(row))
            if standing is Standing.TOLD:
                # (one device of several is enough: the last word on a channel is the best one)
                best_last = sorted(explained.deliveries, key=lambda each: each.state == "accepted")
                states = {each.channel: (each.state, each.reason) for each in best_last}
                received[row["external_id"]] = Received(explained.addressed, states)
            identities = await self.identities(row["external_id"])
            treated.append(
                GuardianTreated(
                    guardian=row["external_id"],
                    name=row["name"],
                    legal_level=row["legal_level"],
                    standing=standing.value,
                    addressed=explained.addressed,
                    deliveries=explained.deliveries,
                    identities=tuple(sorted(identities - {row["external_id"]})),
                )
            )
        return Treatment(notification, pupil, tuple(treated), tuple(differences(received)))

    async def children(self, person: str) -> list[Child]:
        """The children of somebody, under every identity that was declared to be theirs: in several schools too."""
        people = sorted(await self.identities(person))
        return [
            Child(row["pupil"], row["name"], row["guardian"], standing_of(_link(row)).value, tuple(row["schools"]))
            for row in await self._db.fetch("guardians.children", people=people, now=self._clock.now())
        ]

    async def identities(self, person: str) -> frozenset[str]:
        """Every identity (external id) of one human, ``person`` included: only what was declared, never a likeness."""
        rows = await self._db.fetch("guardians.identities", person=person)
        return closure(person, [(row["one"], row["other"]) for row in rows])

    async def declare_same(self, one: str, other: str, *, by: str) -> None:
        """Say that two identities are one human. Nothing is merged: each goes on being told by itself. Raises
        NotFound."""
        if one == other or not await self._db.execute(
            "guardians.declare", one=one, other=other, declared_by=by, now=self._clock.now()
        ):
            raise NotFound(f"{one!r} and {other!r} are not two people of the directory")

    async def withdraw_same(self, one: str, other: str) -> bool:
        """Say that they are not, after all; False when nobody had said so."""
        return bool(await self._db.execute("guardians.withdraw", one=one, other=other))


def _link(row: Record) -> Link:
    return Link(row["legal_level"], row["restricted"], row["has_left"])
