"""When an idle worker looks again: after a quarter of a second if no hint wakes it, and when a chunk becomes due."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from tests.engine.conftest import RecordingChannel, Town

from ent_notify.model.delivery import ACCEPTED, Outgoing, Verdict, VerdictKind
from ent_notify.store.sql import Query

from .troubles import TroubledStore, announcement, running, small

UNHEARD = Query(
    "test.publish_unheard",
    "",
    "select ent_notify.publish($1, $2) "
    "from (select set_config('ent_notify.wake', 'off', true) as wake) quiet where wake = 'off'",
    ("event", "now"),
)


async def test_a_lost_hint_costs_the_quarter_of_a_second_of_a_look(town: Town) -> None:
    worker = small(town.engine.worker())
    store = worker.store
    assert isinstance(store, TroubledStore)
    async with running(town, worker) as clock:
        await clock.sleep(10)
        began = clock.now()

        async def publish() -> int:
            await town.engine.db.transact([(UNHEARD, {"event": announcement(), "now": began})])
            return 1

        await store.waited_for(publish)()
        while not town.mail.sent:
            await clock.sleep(0.01)
        assert clock.now() - began <= timedelta(seconds=0.3)


async def test_a_retry_is_sent_when_it_is_due_and_not_at_the_look_after(town: Town) -> None:
    tries: list[datetime] = []

    class Hurried(RecordingChannel):
        async def send(self, contents: Any, batch: Sequence[Outgoing]) -> list[Verdict]:
            tries.append(clock.now())
            await super().send(contents, batch)
            return [Verdict(VerdictKind.RETRY_AT, "smtp.451", 90.1) if len(tries) == 1 else ACCEPTED] * len(batch)

    town.engine.use_mail(Hurried())
    worker = small(town.engine.worker())
    async with running(town, worker) as clock:
        await town.engine.publish(announcement(audience={"person": "P11"}))
        while not tries:
            await clock.sleep(1)
        while (due := await town.engine.next_due()) is None:
            await clock.sleep(1)
        while len(tries) < 2:
            await clock.sleep(1)
    assert due <= tries[1] < due + timedelta(seconds=0.01)
