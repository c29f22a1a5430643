"""The gateway on the real engine and database: from publishing to the bytes of a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from live_peers import Browser, House, MemoryFeed, StillClock
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from ent_notify.engine import Engine, open_engine
from ent_notify.gateway import Gateway
from ent_notify.model.audience import Everyone, Group, GuardiansOf, Person, School
from ent_notify.model.events import Announcement
from ent_notify.ports import FeedPort
from ent_notify.settings import GatewaySettings, Settings, StoreSettings

TOWN = Path(__file__).parents[1] / "engine" / "town.sql"


class Live:
    """An engine, its worker (who relays), and a gateway on it."""

    def __init__(self, engine: Engine, house: House) -> None:
        self.engine = engine
        self.house = house

    async def open(self, person: str, after: int) -> Browser:
        ticket = await self.engine.stream_ticket(await self.engine.reader(person))
        browser = await self.house.get(f"/v1/stream?ticket={ticket}&after={after}")
        assert browser.status == 200
        return browser


@asynccontextmanager
async def open_live(dsn: str) -> AsyncIterator[Live]:
    async with open_engine(Settings(store=StoreSettings(dsn=SecretStr(dsn)))) as engine:
        await engine.db.script(TOWN.read_text(encoding="utf-8"))
        port: FeedPort = engine.feed
        registry = CollectorRegistry()
        gateway = Gateway(port, settings=GatewaySettings(port=0), clock=engine.clock, registry=registry)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.worker("relay").run)
            listening = await nursery.start(gateway.run)
            house = House(MemoryFeed(), gateway, listening, StillClock(), registry)
            while not gateway.statistics().feed_healthy:
                await trio.lowlevel.checkpoint()
            try:
                yield Live(engine, house)
            finally:
                for sock in house.sockets:
                    sock.close()
            nursery.cancel_scope.cancel()


async def test_each_audience_reaches_the_streams_of_whom_it_means_and_no_other(dsn: str) -> None:
    """Live and replayed, the answer is the same: the hub's and the database's."""
    audiences = {
        "class": Group("0540001A/class/6A"),
        "guardians": GuardiansOf(Group("0540001A/class/6A")),
        "school": School("0540002B"),
        "minus": School("0540001A") - Person("P21"),
        "one": Person("P12"),
        "end": Everyone(),
    }
    # 14 may not hear of pupil 2, by a court's decision; 15 is a mere contact.
    expected = {
        "P1": ["class", "minus", "end"],
        "P5": ["school", "end"],
        "P11": ["guardians", "school", "minus", "end"],
        "P12": ["guardians", "minus", "one", "end"],
        "P13": ["guardians", "minus", "end"],
        "P14": ["end"],
        "P15": ["end"],
        "P21": ["school", "end"],
        "P31": ["minus", "end"],
    }
    async with open_live(dsn) as live:
        streams = {person: await live.open(person, after=0) for person in expected}
        names: dict[int, str] = {}
        for name, audience in audiences.items():
            published = await live.engine.publish(Announcement(key=name, audience=audience, title="T", body="B"))
            names[published.notification] = name

        async def heard(browser: Browser) -> list[str]:
            found: list[str] = []
            while "end" not in found:
                event = await browser.next_event()
                assert event is not None
                found.append(names[int(event.data.partition('"notification":')[2].partition(",")[0])])
            return found

        for person, browser in streams.items():
            assert await heard(browser) == expected[person], f"{person}, live"
            assert await heard(await live.open(person, after=0)) == expected[person], f"{person}, replayed"


async def test_a_ticket_of_the_engine_opens_one_stream(dsn: str) -> None:
    async with open_live(dsn) as live:
        ticket = await live.engine.stream_ticket(await live.engine.reader("P1"))
        assert (await live.house.get(f"/v1/stream?ticket={ticket}")).status == 200
        assert (await live.house.get(f"/v1/stream?ticket={ticket}")).status == 401
        assert (await live.house.get("/readyz")).status == 200


async def test_somebody_reads_a_whole_morning_through_cuts_without_a_gap(dsn: str) -> None:
    async with open_live(dsn) as live:
        published: list[int] = []

        async def publish() -> None:
            for number in range(60):
                audience = Everyone() if number % 3 else Person("P5")
                one = await live.engine.publish(Announcement(key=str(number), audience=audience, title="T", body="B"))
                if number % 3:
                    published.append(one.notification)
            last = await live.engine.publish(Announcement(key="last", audience=Everyone(), title="T", body="B"))
            published.append(last.notification)
            done.set()

        heard: list[int] = []
        position = 0
        done = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publish)
            while not (done.is_set() and heard and heard[-1] == published[-1]):
                browser = await live.open("P1", after=position)
                for _ in range(5):
                    event = await browser.next_event()
                    assert event is not None
                    heard.append(int(event.data.partition('"notification":')[2].partition(",")[0]))
                    position = int(event.id)
                    if done.is_set() and heard[-1] == published[-1]:
                        break
                await browser.stream.aclose()
        assert sorted(heard) == sorted(published)
        assert len(set(heard)) == len(heard)
