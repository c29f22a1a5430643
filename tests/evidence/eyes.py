"""People who look at pages, without any: what a gateway process would say of them."""

from __future__ import annotations

from datetime import timedelta

from tests.engine.conftest import Town

from ent_notify.model.audience import Person
from ent_notify.model.delivery import Ledger
from ent_notify.model.events import Announcement
from ent_notify.model.evidence import Page
from ent_notify.model.inbox import DeliveryExplained

LEASE = timedelta(seconds=15)
GRACE = timedelta(seconds=30)
LINGER = timedelta(seconds=2)


class Eyes:
    """A gateway process, in a few words. It says that it has handed everything on, unless told otherwise."""

    def __init__(self, town: Town, node: int = 1) -> None:
        self.town = town
        self.node = node

    async def beat(self, seq: int = 2**62) -> None:
        await self.town.engine.evidence.beat(self.node, seq)

    async def look(self, person: int, *, visible: bool = True, stream: int = 1) -> None:
        await self.town.engine.evidence.tell({Page(person, self.node, stream): visible})

    async def settle(self, *, after: timedelta = timedelta(0)) -> None:
        """Let time pass with the gateway alive, and the worker do what there is to do."""
        self.town.clock.advance(after)
        await self.town.engine.worker("w").run_until_idle()


def note(key: str, person: int = 12) -> Announcement:
    """An announcement to one person: 12 has an Android phone, 1 an iPhone, 11 one of each."""
    return Announcement(key=key, title="T", body="B", audience=Person(f"P{person}"))


async def pushed(town: Town, notification: int, person: int = 12) -> list[DeliveryExplained]:
    """What explain says of a notification's pushes to one person; the account adds up whenever it is asked."""
    ledger: Ledger = await town.engine.ledger(notification)
    assert ledger.adds_up, ledger
    told = await town.engine.explain(notification, f"P{person}")
    return [delivery for delivery in told.deliveries if delivery.channel == "push"]
