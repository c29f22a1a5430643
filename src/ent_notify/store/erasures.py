"""Erasing people, and the ledger of who was erased: kept apart, and done again on a backup that is restored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ent_notify.store.database import Database, Session, Transaction
from ent_notify.store.personal_data import personal_data

WAYS = {"erase": 1, "pseudonymise": 2, "keep": 3}
"""What becomes of the messages of who is erased."""
SWEEP_AFTER = timedelta(minutes=3)
"""A window that was loaded before an erasure is settled by then: a lease lasts a minute at most."""
CAMPAIGNS_A_SLICE = 2_000
SWEEPS = 20
"""People looked for again in one transaction."""


NOT_BY_ROW = frozenset({"person", "message", "message_draft", "outcome"})
"""Tables with rows of one person that erasing treats in its own way: the database's erase_person says how."""


def own_rows() -> list[str]:
    """``table.column`` of every table whose rows go with their person, as the annotations say."""
    return [
        f"{table.name}.{column}"
        for table in personal_data().tables.values()
        if table.name not in NOT_BY_ROW
        for column in table.people
    ]


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """One erasure, as the ledger keeps it: an internal number, and a digest that only its database can make."""

    seq: int
    person: int
    digest: str
    way: int
    cause: str
    erased_at: datetime


async def erase(tx: Transaction, person: int, way: int, cause: str, now: datetime) -> dict[str, int]:
    """Erase somebody in a transaction; rows that went, by table. Raises NotAllowed when a hold keeps them."""
    await tx.fetchval("erasures.elsewhere", person_id=person)
    counts: dict[str, int] = await tx.fetchval(
        "erasures.erase", person_id=person, way=way, cause=cause, now=now, sweep=SWEEP_AFTER, own=own_rows()
    )
    taken = await _from_chunks(tx, person)
    return counts | ({"chunk": taken} if taken else {})


async def _from_chunks(session: Session, person: int) -> int:
    devices = await session.fetchval("erasures.devices", person_id=person) or []
    after, taken = 0, 0
    while True:
        row = await session.fetchrow(
            "erasures.from_chunks", person_id=person, devices=devices, after=after, most=CAMPAIGNS_A_SLICE
        )
        if row is None or row["upto"] is None:
            break
        after = row["upto"]
        taken += row["taken"]
    await session.fetchval("erasures.outcomes", person_id=person)
    return taken


class PostgresErasures:
    """Erasures and their ledger."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def person(self, external_id: str) -> int | None:
        """Somebody's internal id, also of who has left."""
        found: int | None = await self._db.fetchval("erasures.person", external_id=external_id)
        return found

    async def erase(self, person: int, way: str, cause: str, now: datetime) -> dict[str, int]:
        """Erase somebody with a receipt; rows that went, by table. Raises NotAllowed when a hold keeps them."""

        async def unit(tx: Transaction) -> dict[str, int]:
            counts = await erase(tx, person, WAYS[way], cause, now)
            await tx.fetchval("retention.receipt", what="person", cause=cause, rows=counts, now=now)
            return counts

        return await self._db.atomically(unit)

    async def sweep(self, now: datetime) -> int:
        """Look once more for people who were erased a while ago: what was under way then is told by now. How many."""

        async def unit(tx: Transaction) -> int:
            due = await tx.fetch("erasures.sweepable", now=now, most=SWEEPS)
            for row in due:
                if row["way"] != WAYS["keep"]:
                    await erase(tx, row["person_id"], row["way"], row["cause"], now)
                await tx.execute("erasures.swept", person_id=row["person_id"], now=now)
            return len(due)

        return await self._db.atomically(unit)

    async def ledger(self, after: int = 0) -> AsyncIterator[LedgerLine]:
        """Every erasure after a place in the ledger, in its order."""
        while rows := await self._db.fetch("erasures.ledger", after=after, most=1000):
            for row in rows:
                yield LedgerLine(
                    row["seq"], row["person_id"], row["digest"], row["way"], row["cause"], row["erased_at"]
                )
            after = rows[-1]["seq"]

    async def home(self) -> str:
        """What a ledger says of the database that it is of."""
        home: str = await self._db.fetchval("erasures.home")
        return home

    async def missing(self, lines: Mapping[int, LedgerLine]) -> list[LedgerLine]:
        """Those of a ledger, by person, that this database knows nothing of: it was restored."""
        known = {row["person_id"] for row in await self._db.fetch("erasures.known", people=list(lines))}
        return [line for person, line in lines.items() if person not in known]

    async def replay(self, line: LedgerLine, now: datetime) -> bool:
        """Do an erasure of the ledger again; False when there is nobody to erase (any more). Written down in each case.

        Holds that were asked for before the erasure had been lifted by then: they are lifted here, too.
        """

        async def unit(tx: Transaction) -> bool:
            row = await tx.fetchrow("erasures.same", person_id=line.person, digest=line.digest)
            await tx.execute("erasures.highest_person", person_id=line.person)
            if row is None or row["erased"] or row["person_id"] is None or not row["same"]:
                await tx.execute(
                    "erasures.note", person_id=line.person, digest=line.digest, way=line.way, cause=line.cause,
                    erased_at=line.erased_at, now=now,
                )  # fmt: skip
                return False
            await tx.fetchval("erasures.lift_holds", person_id=line.person, erased_at=line.erased_at, now=now)
            counts = await erase(tx, line.person, line.way, line.cause, now)
            cause = f"{line.cause}, again after a restore"
            await tx.fetchval("retention.receipt", what="person", cause=cause, rows=counts, now=now)
            return True

        return await self._db.atomically(unit)

    async def place(self) -> tuple[str | None, str]:
        """Where this database says that it is, and where it is. A new one says where it is from then on."""
        row = await self._db.fetchrow("erasures.place")
        if row is None:
            return None, ""
        if row["place"] is None:
            await self._db.execute("erasures.settle_first")
            return row["here"], row["here"]
        return row["place"], row["here"]

    async def settle(self, replayed: int, cause: str, now: datetime) -> None:
        """Say that this database belongs where it is, with a receipt of what was replayed."""

        async def unit(tx: Transaction) -> None:
            await tx.execute("erasures.settle")
            rows = {"erasure": replayed}
            await tx.fetchval("retention.receipt", what="restored database", cause=cause, rows=rows, now=now)

        await self._db.atomically(unit)
