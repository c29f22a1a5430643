"""Web Push through the engine: from a registered browser to what its service worker would read, and the ledger."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ent_notify.engine import Engine, open_engine
from ent_notify.engine.assembly import connect_channels
from ent_notify.errors import MalformedDevice
from ent_notify.flows.outbox import dedup_id
from ent_notify.model.audience import Person
from ent_notify.model.events import Announcement
from ent_notify.model.people import DeviceRegistration, Provider
from ent_notify.model.receipts import Seen
from ent_notify.observe import Metrics
from ent_notify.policy.pause import PauseHours
from ent_notify.settings import settings_from
from ent_notify.testing.process import open_fake_process
from ent_notify.testing.scripting import Refuse
from ent_notify.testing.webpush import DEMO_KEY, FakeWebPush, open_fake_webpush, subscribe

TOWN = Path(__file__).parents[1] / "engine" / "town.sql"
PEOPLE = ("P1", "P2", "P3", "P4", "P5", "P11", "P12", "P13", "P21", "P22")
NO_PAUSE = PauseHours(enabled=False)
LANE = "push:webpush:site"


@dataclass
class House:
    engine: Engine
    metrics: Metrics
    services: tuple[FakeWebPush, ...]

    async def announce(self, key: str, *people: str) -> int:
        whom = Person(people[0])
        for person in people[1:]:
            whom = whom | Person(person)  # type: ignore[assignment]
        published = await self.engine.publish(Announcement(key=key, audience=whom, title="Photo", body="Mardi."))
        return published.notification

    async def work(self) -> None:
        await self.engine.worker(pause=NO_PAUSE).run_until_idle()

    async def accounts(self, campaign: int) -> dict[str, Any]:
        """What the ledger says of the lane, and whether all of it adds up."""
        ((ledger, parts),) = [each for each in await self.engine.ledgers() if each[0].campaign == campaign]
        assert ledger.adds_up
        (part,) = [part for part in parts if part.provider == "webpush"]
        return {"planned": part.planned, "accepted": part.accepted, "pending": part.pending, "failed": ledger.failed}


@asynccontextmanager
async def open_house(dsn: str, folder: Path, services: int = 1) -> AsyncIterator[House]:
    async with open_fake_webpush() as first, open_fake_webpush() as second:
        (folder / "ca.pem").write_text("\n".join(each.ca for each in (first, second)))
        site = {
            "subject": "mailto:ops@ent.example",
            "key": DEMO_KEY,
            "loopback": True,
            "ca_file": str(folder / "ca.pem"),
        }
        settings = settings_from({"store": {"dsn": dsn}, "webpush": {"site": site}})
        metrics = Metrics()
        async with open_engine(settings, metrics=metrics) as engine, connect_channels(engine):
            await engine.db.script(TOWN.read_text(encoding="utf-8"))
            yield House(engine, metrics, (first, second)[:services])


async def register(house: House, service: FakeWebPush, *people: str) -> None:
    for person in people:
        await house.engine.register_device(
            person, Provider.WEBPUSH, "site", service.subscribe(person).token, language="fr"
        )


async def test_from_a_subscription_to_the_browser(dsn: str, tmp_path: Path) -> None:
    async with open_house(dsn, tmp_path) as house:
        (service,) = house.services
        await register(house, service, "P1", "P2")
        number = await house.announce("k1", "P1", "P2", "P3")
        await house.work()
        assert await house.accounts(number) == {"planned": 2, "accepted": 2, "pending": 0, "failed": {}}
        message = service.requests[0]
        assert message.payload["n"] == dedup_id(number, "push", 0)
        assert message.payload["category"] == "announcement"
        assert message.payload["tag"] == message.topic
        assert len(message.topic) == 32
        assert "Photo" not in str(message.payload)
        lanes = {lane.name: lane for lane in await house.engine.lanes()}
        assert lanes[LANE].per_second == 2_000
        forecast = await house.engine.forecast(Person("P1"))
        assert LANE in {lane.name for lane in forecast.lanes}
        assert 'provider="webpush"' in house.metrics.exposition().decode()


async def test_a_browser_that_is_gone_is_dropped_and_the_ledger_adds_up(dsn: str, tmp_path: Path) -> None:
    async with open_house(dsn, tmp_path) as house:
        (service,) = house.services
        await register(house, service, *PEOPLE[:3])
        service.always(Refuse("410"), device="P1")
        service.always(Refuse("413"), device="P2")
        number = await house.announce("k1", *PEOPLE[:3])
        await house.work()
        account = await house.accounts(number)
        assert (account["planned"], account["accepted"], account["pending"]) == (3, 1, 0)
        assert account["failed"] == {"webpush.410": 1, "webpush.413": 1}
        second = await house.announce("k2", *PEOPLE[:3])
        await house.work()
        assert (await house.accounts(second))["planned"] == 2
        assert not await house.engine.drop_device("P1", Provider.WEBPUSH, service.subscribe("P1").token)


async def test_one_push_service_that_is_down_stops_neither_the_lane_nor_the_others(dsn: str, tmp_path: Path) -> None:
    """Most browsers are at the service that is down: half of the lane's sends fail, and the lane does not rest."""
    async with open_house(dsn, tmp_path, services=2) as house:
        down, up = house.services
        await register(house, down, *PEOPLE)
        await register(house, up, *PEOPLE[:3])
        down.always(Refuse("503"))
        first = await house.announce("k1", *PEOPLE)
        await house.work()
        tried = down.received
        second = await house.announce("k2", *PEOPLE)
        await house.work()
        for number in (first, second):
            account = await house.accounts(number)
            assert (account["accepted"], account["pending"]) == (3, 10)
            assert account["failed"] == {}
        assert up.counts["accepted"] == 6
        assert 0 < tried <= 10  # those that had not left when the first were refused were put off unsent
        assert down.received == tried  # of the second campaign not one was tried: the origin rests
        (lane,) = [lane for lane in await house.engine.lanes() if lane.name == LANE]
        assert (lane.failures, lane.pause_reason) == (0, None)


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("https://evil.example/x", "its host is not in the list of push services"),
        ("https://169.254.169.254/latest", "its host is an address"),
        ("http://fcm.googleapis.com/x", "does not begin with https"),
        ("https://fcm.googleapis.com:22/x", "port is not 443"),
    ],
)
async def test_a_subscription_that_leads_elsewhere_is_refused_when_it_is_registered(
    dsn: str, tmp_path: Path, endpoint: str, why: str
) -> None:
    async with open_house(dsn, tmp_path) as house:
        token = json.dumps(json.loads(subscribe("x", "https://x.example").token) | {"endpoint": endpoint})
        for app in ("site", "another"):
            with pytest.raises(MalformedDevice, match=why) as caught:
                await house.engine.register_device("P1", Provider.WEBPUSH, app, token)
            assert endpoint not in str(caught.value)
        many = [DeviceRegistration(person="P1", provider=Provider.WEBPUSH, app="site", token=token)]
        with pytest.raises(MalformedDevice):
            await house.engine.register_devices(many)


async def test_however_a_page_writes_its_subscription_it_is_one_device(dsn: str, tmp_path: Path) -> None:
    async with open_house(dsn, tmp_path) as house:
        (service,) = house.services
        token = service.subscribe("P1").token
        parts = json.loads(token)
        as_browsers_do = json.dumps(
            {"endpoint": parts["endpoint"], "expirationTime": None, "keys": {k: parts[k] for k in ("auth", "p256dh")}}
        )
        first = await house.engine.register_device("P1", Provider.WEBPUSH, "site", token)
        assert await house.engine.register_device("P1", Provider.WEBPUSH, "site", as_browsers_do) == first
        # a shared tablet: whoever comes next takes it over
        assert await house.engine.register_device("P2", Provider.WEBPUSH, "site", as_browsers_do) != first
        number = await house.announce("k1", "P1", "P2")
        await house.work()
        assert (await house.accounts(number))["planned"] == 1
        opaque = service.requests[0].payload["n"]
        assert await house.engine.receipts.seen("P2", Provider.WEBPUSH, as_browsers_do, opaque, Seen.SHOWN)
        assert await house.engine.drop_device("P2", Provider.WEBPUSH, as_browsers_do)


async def test_the_fake_runs_as_a_process_of_its_own() -> None:
    async with open_fake_process("ent_notify.testing.webpush", "--keep", "10", "--share", "410=0.5") as service:
        assert service.origin == f"https://localhost:{service.port}"
        assert (await service.summary())["received"] == 0


async def test_pages_are_told_the_public_key(dsn: str, tmp_path: Path) -> None:
    async with open_house(dsn, tmp_path) as house:
        key = house.engine.webpush.public_key("site")
        assert len(key) == 87
        assert key[0] == "B"  # an uncompressed point
