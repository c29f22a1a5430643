"""kill -9 in the middle of a campaign: nothing is lost, repeats stay within the bound, the ledger adds up."""

from __future__ import annotations

import signal
from pathlib import Path

from ent_notify.engine import connect_channels, open_engine
from ent_notify.model.audience import Everyone
from ent_notify.model.events import Announcement
from ent_notify.store.embedded import EmbeddedServer

from .conftest import PEOPLE, SENDERS, WINDOW, finish, open_region, open_servers, open_worker


async def test_a_killed_workers_campaign_is_finished_by_another(
    region: str, postgres: EmbeddedServer, tmp_path: Path
) -> None:
    async with (
        open_region(region, postgres, "killed_worker") as dsn,
        open_servers(dsn, tmp_path) as servers,
        open_engine(servers.settings()) as engine,
        connect_channels(engine),
    ):
        event = Announcement(key="a", title="T", body="B", audience=Everyone()).to_json() | {"urgency": "urgent"}
        campaign = (await engine.publish(event)).notification
        async with open_worker(servers, "victim") as victim:
            while sum((await servers.received()).values()) < PEOPLE / 5:
                assert victim.returncode is None, "the worker ended by itself"
            victim.send_signal(signal.SIGKILL)
            await victim.wait()
        before = await engine.ledger(campaign)
        assert before.pending > 0, "the campaign was over before the worker was killed"
        assert before.adds_up

        await finish(engine)

        ledger = await engine.ledger(campaign)
        parts = {part.provider or part.channel: part for part in (await engine.ledgers(1))[0][1]}
        assert ledger.adds_up
        assert (ledger.pending, ledger.held, ledger.failed) == (0, 0, {})
        assert parts["web"].accepted == PEOPLE
        distinct, received = await servers.distinct(), await servers.received()
        for lane in ("email", "apns", "fcm"):
            assert distinct[lane] == parts[lane].accepted, f"{lane}: lost or invented"
            assert received[lane] - distinct[lane] <= WINDOW * SENDERS, f"{lane}: repeats beyond the window"
