"""From commit to browser and to phone while no time passes: nobody on the way waits for a look by the clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import psycopg
import trio
from live_peers import T0, House, MemoryFeed, StillClock
from prometheus_client import CollectorRegistry
from psycopg.types.json import Jsonb
from pydantic import SecretStr
from tests.engine.conftest import RecordingChannel

from ent_notify.engine import Engine, open_engine
from ent_notify.gateway import Gateway
from ent_notify.model.audience import Everyone
from ent_notify.model.events import Announcement
from ent_notify.policy.pause import PauseHours
from ent_notify.settings import GatewaySettings, Settings, StoreSettings

TOWN = Path(__file__).parents[1] / "engine" / "town.sql"
PATIENCE = 60.0


class FrozenClock:
    """No time passes: who sleeps sleeps for ever."""

    def now(self) -> datetime:
        return T0

    async def sleep(self, seconds: float) -> None:
        del seconds
        await trio.sleep_forever()


@asynccontextmanager
async def working(engine: Engine) -> AsyncIterator[None]:
    """The engine's worker at work, listening."""
    worker = engine.worker("w", pause=PauseHours(enabled=False))
    opened, listening = worker.wakes, trio.Event()
    assert opened is not None

    @asynccontextmanager
    async def wakes() -> AsyncIterator[AsyncIterator[object]]:
        async with opened() as heard:
            listening.set()
            yield heard

    worker.wakes = wakes
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)
        await listening.wait()
        yield
        nursery.cancel_scope.cancel()


async def test_what_is_committed_is_on_the_stream_and_on_the_phone_while_time_stands_still(dsn: str) -> None:
    settings = Settings(store=StoreSettings(dsn=SecretStr(dsn)))
    with trio.fail_after(PATIENCE):
        async with open_engine(settings, clock=FrozenClock()) as engine:
            await engine.db.script(TOWN.read_text(encoding="utf-8"))
            apns = RecordingChannel()
            await engine.use_push("apns", "fr.ent", apns)
            gateway = Gateway(
                engine.feed, settings=GatewaySettings(port=0), clock=FrozenClock(), registry=CollectorRegistry()
            )
            async with working(engine), trio.open_nursery() as nursery:
                house = House(
                    MemoryFeed(), gateway, await nursery.start(gateway.run), StillClock(), CollectorRegistry()
                )
                while not gateway.statistics().feed_healthy:
                    await trio.lowlevel.checkpoint()
                ticket = await engine.stream_ticket(await engine.reader("P1"))
                browser = await house.get(f"/v1/stream?ticket={ticket}&after=0")
                # the first one might be found by the look with which a worker begins; those that follow are not
                for number in range(1, 4):
                    event = Announcement(key=str(number), audience=Everyone(), title="T", body="B").to_json()
                    await trio.to_thread.run_sync(commit_elsewhere, dsn, event | {"urgency": "urgent"})
                    heard = await browser.next_event()
                    assert heard is not None
                    assert int(heard.id) == number
                    while len(apns.sent) < 2 * number:
                        await trio.lowlevel.checkpoint()
                for sock in house.sockets:
                    sock.close()
                nursery.cancel_scope.cancel()
    assert [item.address for item in apns.sent].count("tok-1") == 3


def commit_elsewhere(dsn: str, event: object) -> None:
    """A host's own transaction, in another session."""
    with psycopg.connect(dsn) as connection:
        connection.execute("select ent_notify.publish(%s, %s)", [Jsonb(event), T0])
