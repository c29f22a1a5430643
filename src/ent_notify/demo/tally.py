"""The reckoning: does every ledger add up, and did each server get exactly what the ledgers say?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from ent_notify.engine import Engine
from ent_notify.model.delivery import Ledger
from ent_notify.model.fanout import ChannelLedger

_BATCH = 2_000

Accounts = Sequence[tuple[Ledger, tuple[ChannelLedger, ...]]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demo came to. ``disagreements`` is empty when all is well."""

    people: int
    schools: int
    accounts: Accounts
    sinks: Mapping[str, int]
    disagreements: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """``{"people", "schools", "campaigns": [...], "sinks": {...}, "disagreements": [...]}``."""
        campaigns = []
        for ledger, _ in self.accounts:
            row = asdict(ledger)
            row["id"] = row.pop("campaign")
            campaigns.append(row)
        return {
            "people": self.people,
            "schools": self.schools,
            "campaigns": campaigns,
            "sinks": dict(self.sinks),
            "disagreements": list(self.disagreements),
        }


async def count_web(engine: Engine, notifications: Sequence[int]) -> dict[int, int]:
    """How many people find each notification in their inbox, by reading everybody's."""
    found: Counter[int] = Counter()
    after = 0
    while rows := await engine.db.fetch("scenes.people_between", after=after, most=_BATCH):
        found.update(await engine.count_entries([row["id"] for row in rows], notifications))
        after = rows[-1]["id"]
    return dict(found)


def disagreements(accounts: Accounts, sinks: Mapping[str, int], web: Mapping[int, int]) -> list[str]:
    """Everything that does not agree, a sentence each."""
    wrong: list[str] = []
    said: Counter[str] = Counter()
    for ledger, parts in accounts:
        who = f"campaign {ledger.campaign} ({ledger.event})"
        if not ledger.adds_up:
            wrong.append(f"{who}: its ledger does not add up: {ledger}")
        if ledger.pending or ledger.held:
            wrong.append(f"{who}: {ledger.pending} deliveries are pending and {ledger.held} held at the end of the day")
        for part in parts:
            said[part.provider or part.channel] += part.accepted
        on_web = sum(part.accepted for part in parts if part.channel == "web")
        if web.get(ledger.campaign, 0) != on_web:
            wrong.append(
                f"{who}: the ledger says {on_web} inboxes, and {web.get(ledger.campaign, 0)} people find it in theirs"
            )
    wrong += [
        f"the ledgers say {said[name]} accepted by {name}, and its server accepted {sinks[name]}"
        for name in ("email", "apns", "fcm", "webpush")
        if said[name] != sinks[name]
    ]
    return wrong


def as_table(accounts: Accounts) -> Table:
    """The ledgers, as one looks at them."""
    table = Table(title="Ledger: planned = accepted + held + suppressed + failed + pending (deliveries)")
    table.add_column("id", justify="right")
    table.add_column("event")
    for name in ("planned", "accepted", "held", "suppressed", "failed", "pending"):
        table.add_column(name, justify="right")
    for ledger, _ in sorted(accounts, key=lambda account: account[0].campaign):
        table.add_row(
            str(ledger.campaign),
            ledger.event,
            f"{ledger.planned:,}",
            f"{ledger.accepted:,}",
            f"{ledger.held:,}",
            _reasons(ledger.suppressed),
            _reasons(ledger.failed),
            f"{ledger.pending:,}",
        )
    return table


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in sorted(counts.items())) or "0"
