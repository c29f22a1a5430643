"""A recall in the middle of a running campaign: what is unsent never leaves, what was shown is replaced."""

from __future__ import annotations

import signal
from pathlib import Path

from ent_notify.engine import open_engine
from ent_notify.model.audience import Everyone
from ent_notify.model.events import Announcement
from ent_notify.store.embedded import EmbeddedServer
from ent_notify.store.sql import Query

from .conftest import PEOPLE, open_region, open_servers, open_worker

TEXTS = Query("test.texts", "", "select count(*) from notification where data::text like '%canari%'", ())


async def test_a_campaign_recalled_midway_stops_and_is_replaced(
    region: str, postgres: EmbeddedServer, tmp_path: Path
) -> None:
    async with (
        open_region(region, postgres, "recalled_midway") as dsn,
        open_servers(dsn, tmp_path) as servers,  # short leases: some are lost here
        open_engine(servers.settings()) as engine,
        open_worker(servers, "one") as one,
        open_worker(servers, "two") as two,
    ):
        event = Announcement(key="a", title="canari", body="B", audience=Everyone()).to_json() | {"urgency": "urgent"}
        campaign = (await engine.publish(event)).notification
        while sum((await servers.received()).values()) < PEOPLE / 5:
            assert (one.returncode, two.returncode) == (None, None), "a worker ended by itself"

        control = await engine.campaigns.recall(campaign, by="test", reason="wrong audience")
        assert (await engine.ledger(campaign)).adds_up
        assert (await engine.campaigns.wait_released(campaign)).in_hand == 0
        # A lease may have run out while its worker waited for the machine: the campaign is released, and yet that
        # worker has a word to say of its last window, which moves the account. After they have ended, nobody has.
        for worker in (one, two):
            worker.send_signal(signal.SIGTERM)
            assert await worker.wait() == 0
        stopped = await engine.ledger(campaign)
        mailed = (await servers.received())["email"]
        assert control.replacement is not None
        async with open_worker(servers, "three") as three:
            while not (replaced := await engine.ledger(control.replacement)).planned or replaced.pending:
                assert three.returncode is None, "a worker ended by itself"

        # the account of what was stopped is closed, and no mail has left since
        ledger, channels = (await engine.ledgers(2))[1]
        assert ledger == stopped
        assert (ledger.state, ledger.pending, ledger.held, ledger.adds_up) == ("recalled", 0, 0, True)
        assert ledger.suppressed["recalled"] > 0, "the campaign was over before it was recalled"
        parts = {part.provider or part.channel: part for part in channels}
        received, shown = await servers.received(), await servers.distinct()
        assert received["email"] == mailed
        assert shown["email"] == parts["email"].accepted  # (a window whose lease was lost was sent twice)

        # each phone that shows anything shows the replacement, under the same collapse id: one alert, not two
        assert (replaced.failed, replaced.adds_up) == ({}, True)
        now_shown = {part.provider: part.accepted for part in (await engine.ledgers(1))[0][1]}
        for provider in ("apns", "fcm"):
            assert received[provider] >= parts[provider].accepted + now_shown[provider]
            assert shown[provider] == now_shown[provider] >= parts[provider].accepted

        assert await engine.db.fetchval(TEXTS) == 0
