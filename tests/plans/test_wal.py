"""What a campaign writes to the log, from its plan to its last settlement, beside a row for each recipient.

The rows hold the same ledger: those of mail and push are written when planned and again when settled, those of the
inbox once. Nothing is measured in time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import psycopg
import pytest
import trio
from pydantic import SecretStr

from ent_notify.engine import Engine, open_engine
from ent_notify.model.audience import Everyone
from ent_notify.model.delivery import ACCEPTED, MailContent, Outgoing, Verdict, WakeUp
from ent_notify.model.events import Announcement
from ent_notify.policy.pause import PauseHours
from ent_notify.settings import Settings, StoreSettings
from ent_notify.store.embedded import EmbeddedServer
from ent_notify.store.sql import Query

from .conftest import POPULATION

PEOPLE = 20_000
WRITTEN = Query("wal", "", "select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint", ())

ROWS = """
create table public.delivery (
    campaign_id bigint, channel smallint, target int, state smallint not null, settled_at timestamptz,
    primary key (campaign_id, channel, target)
);
"""
PLAN_ROWS = """
insert into public.delivery (campaign_id, channel, target, state)
select c.campaign_id, c.lane_id, u.target, 0 from ent_notify.chunk c cross join lateral unnest(c.targets) u (target)
union all
select c.campaign_id, c.lane_id, p.id, 1 from ent_notify.chunk c cross join ent_notify.person p where c.targets is null;
"""
SETTLE_ROWS = "update public.delivery set state = 1, settled_at = now() where state = 0;"


class Taking:
    """A channel that takes everything."""

    def __init__(self) -> None:
        self.taken = 0

    async def send(
        self, contents: Mapping[str, MailContent] | Mapping[str, WakeUp], batch: Sequence[Outgoing]
    ) -> list[Verdict]:
        await trio.lowlevel.checkpoint()
        self.taken += len(batch)
        return [ACCEPTED for _ in batch]

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@pytest.fixture
async def people(postgres: EmbeddedServer) -> AsyncIterator[Engine]:
    """An engine on a directory of 20,000 people."""
    postgres.cluster.create_database("wal")
    settings = Settings(store=StoreSettings(dsn=SecretStr(postgres.dsn("wal"))))
    try:
        async with open_engine(settings, apply_migrations=True) as engine:
            seeded = f"set bench.people = '{PEOPLE}'; set bench.seed = '20260901';"
            await engine.db.script(seeded + POPULATION.read_text(encoding="utf-8"))
            with psycopg.connect(postgres.dsn("wal"), autocommit=True) as connection:
                connection.execute("vacuum (freeze, analyze)")  # what reading marks on new pages is no campaign's log
            yield engine
    finally:
        postgres.cluster.drop_database("wal")


async def test_a_campaign_writes_a_fiftieth_of_a_row_for_each_recipient(people: Engine) -> None:
    engine, channel = people, Taking()
    engine.use_mail(channel)
    await engine.use_push("apns", "fr.example.ent", channel)
    await engine.use_push("fcm", "fr.example.ent", channel)
    number = (await engine.publish(Announcement(key="a", title="T", body="B", audience=Everyone()))).notification

    async def written() -> int:
        return int(await engine.db.fetchval(WRITTEN))

    began = await written()
    await engine.worker(pause=PauseHours(enabled=False)).run_until_idle()
    ours = await written() - began

    ledger = await engine.ledger(number)
    assert ledger.accepted == ledger.planned == PEOPLE + channel.taken
    assert channel.taken > PEOPLE  # a mail or a push, or several, for each

    await engine.db.script(ROWS)
    began = await written()
    await engine.db.script(PLAN_ROWS)
    await engine.db.script(SETTLE_ROWS)
    rows = await written() - began
    assert ours * 50 <= rows, f"{ours / ledger.planned:.2f} bytes a delivery, rows {rows / ledger.planned:.0f}"
