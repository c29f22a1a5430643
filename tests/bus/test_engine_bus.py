"""An engine on each bus: what its worker relays, and whose rights change, is heard by who listens on another engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import trio
from pydantic import SecretStr, ValidationError
from tests.bus.followers import AUDIENCES, announcement
from tests.bus.nats_house import open_nats, wait_until
from tests.patience import PATIENCE

from ent_notify.engine import open_engine
from ent_notify.errors import SettingsError
from ent_notify.model.feed import FeedHint
from ent_notify.model.subjects import HeldSubjects, subject_of
from ent_notify.settings import BusSettings, Settings, StoreSettings
from ent_notify.store.sql import Query

LEAVE = Query("test.leave", "", "delete from ent_notify.membership where person_id = $1", ("person",))


async def until(hints: AsyncIterator[FeedHint], wanted: FeedHint) -> None:
    """Hear hints until the one wanted."""
    with trio.fail_after(PATIENCE):
        async for hint in hints:
            if hint == wanted:
                return


@pytest.mark.parametrize("kind", ["process", "postgres", pytest.param("nats", marks=pytest.mark.peer("nats-server"))])
async def test_what_is_relayed_and_whose_rights_change_is_said_on_every_bus(town_dsn: str, kind: str) -> None:
    async with AsyncExitStack() as stack:
        bus: dict[str, object] = {"kind": kind}
        if kind == "nats":
            bus["servers"] = [(await stack.enter_async_context(open_nats())).url]
        chosen = Settings(store=StoreSettings(dsn=SecretStr(town_dsn)), bus=BusSettings.model_validate(bus))
        worker = await stack.enter_async_context(open_engine(chosen))
        gateway = worker if kind == "process" else await stack.enter_async_context(open_engine(chosen))
        held = HeldSubjects()
        for key in ((0, 0), (1, 7), (3, 1)):
            held.hold(key)
        hints = await stack.enter_async_context(gateway.feed.hints(held))
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        nursery.start_soon(worker.carry_rights)
        if kind == "nats":
            await wait_until(lambda: worker.bus.statistics().connected and gateway.bus.statistics().subjects == 3)
            await until(hints, FeedHint())  # look: something may have passed before

        await worker.publish(announcement("first", AUDIENCES[1]))
        await worker.worker("w").tick()
        await until(hints, FeedHint(seq=1))
        # the database says it to its own listeners once it has them; until then a change is a hint that is lost
        with trio.fail_after(PATIENCE):
            heard = trio.Event()

            async def hear() -> None:
                await until(hints, FeedHint())
                heard.set()

            nursery.start_soon(hear)
            for person in (1, 2, 3, 4, 5, 21, 22, 31):
                await worker.db.execute(LEAVE, person=person)
                with trio.move_on_after(0.3):
                    await heard.wait()
                    break
            await heard.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"kind": "nats"}, "no server is given"),
        ({"kind": "postgres", "servers": ["nats://n1:4222"]}, "write nats"),
        ({"servers": ["nats://ent:secret@n1:4222"]}, "without a user"),
        ({"servers": ["http://n1:4222"]}, "nats://host:4222"),
        ({"servers": ["nats://n1"], "password": "x"}, "no username"),
        ({"servers": ["nats://n1"], "certificate_file": "x.pem"}, "belong together"),
        ({"prefix": "ent.*"}, "pattern"),
    ],
)
def test_a_bus_that_cannot_be_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        BusSettings.model_validate(given)


def test_auto_is_nats_as_soon_as_servers_are_given() -> None:
    assert BusSettings().chosen == "postgres"
    assert BusSettings(servers=("nats://n1:4222",)).chosen == "nats"
    assert subject_of((1, 7)) == "group.7"


async def test_certificates_that_cannot_be_read_are_told_at_the_start(town_dsn: str) -> None:
    bus = BusSettings.model_validate({"servers": ["tls://n1:4222"], "ca_file": "nowhere.pem"})
    settings = Settings(store=StoreSettings(dsn=SecretStr(town_dsn)), bus=bus)
    with pytest.raises(SettingsError, match=r"bus\.ca_file"):
        async with open_engine(settings):
            pass
