"""What questions cost on half a year of 200,000 people: large tables are read by index, and only as far as needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from ent_notify.store.sql import Query

from .conftest import LARGE, NOW, Touched, Watch, sequential

LEASE, HORIZON, SLOT = timedelta(seconds=60), timedelta(seconds=5), timedelta(seconds=2)
GUARDIAN = 1000
EVERYBODY = 2000
"""The newest campaign, to everyone: some 600 chunks."""
SENT = 1750
"""A campaign to everyone that has been sent."""
CLASS = 1899
"""A campaign to one class, sent."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Chunks to ask about: mail and push ready to be sent, a mail chunk with retries, one that was sent."""

    mail: int
    push: int
    retries: int
    email_lane: int
    fcm_lane: int
    sent_target: int


SCENE = """
select l.id as email_lane, f.id as fcm_lane,
       (select min(id) from chunk where lane_id = l.id and state = 0 and campaign_id = 2000) as mail,
       (select min(id) from chunk where lane_id = f.id and state = 0 and campaign_id = 2000) as push,
       (select min(chunk_id) from outcome where state = 1) as retries,
       (select targets[1] from chunk where lane_id = l.id and campaign_id = 1750 order by id limit 1) as sent_target
from lane l, lane f where l.name = 'email' and f.provider = 'fcm'
"""
CHUNKS = "select count(*) from chunk where campaign_id = $1 or ($1 is null and campaign_id > 1950)"


async def scene(watch: Watch) -> Scene:
    row = await watch.database.fetchrow(Query("scene", "", SCENE, ()))
    assert row is not None
    return Scene(**dict(row))


def window(chunk: int, *, is_retry: bool = False) -> dict[str, Any]:
    return {"chunks": [chunk], "fences": [0], "of_retries": [is_retry], "firsts": [0], "lasts": [200], "now": NOW}


def claim(lane: int) -> dict[str, Any]:
    return {"lane_id": lane, "worker": "w", "now": NOW, "lease": LEASE, "horizon": HORIZON, "slot": SLOT, "most": 8}


def event(audience: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "Announcement", "key": "new", "audience": audience, "data": {"title": "T", "body": "B"}
    }  # fmt: skip


def receipt(kind: str, target: int, state: int, reason: str) -> dict[str, Any]:
    return {
        "sources": [kind], "notifications": [SENT], "channels": ["email"], "targets": [target],
        "states": [state], "reasons": [reason], "now": NOW,
    }  # fmt: skip


Parameters = Callable[[Scene], dict[str, Any]]

QUESTIONS: dict[str, tuple[str, int, Parameters]] = {
    # what is asked: (query, rows that it may fetch at most, its parameters)
    "explain: who is it": (
        "explaining.subject", 150, lambda s: {"notification": CLASS, "person": f"P{GUARDIAN}", "now": NOW}),
    "explain: one of everybody": (
        "explaining.deliveries", 60, lambda s: {"notification": EVERYBODY, "person_id": GUARDIAN}),
    "explain: one of a class": (
        "explaining.deliveries", 30, lambda s: {"notification": CLASS, "person_id": GUARDIAN}),
    "not reached": (
        "explaining.not_reached", 8_000,
        lambda s: {"campaign_id": SENT, "most": 100, "after_person": 0, "after_target": 0}),
    "not reached, a later page": (
        "explaining.not_reached", 1_000,
        lambda s: {"campaign_id": SENT, "most": 100, "after_person": 150_000, "after_target": 0}),
    "ledger of a class": ("explaining.ledgers", 60, lambda s: {"campaign_id": CLASS, "most": 1, "now": NOW}),
    "ledger of everybody": ("explaining.ledgers", 20_000, lambda s: {"campaign_id": SENT, "most": 1, "now": NOW}),
    "newest ledgers": ("explaining.ledgers", 4_000, lambda s: {"campaign_id": None, "most": 50, "now": NOW}),
    "inbox": ("inbox.page", 2_000, lambda s: {"person_id": GUARDIAN, "now": NOW, "before": 2**62, "most": 50}),
    "inbox, an old page": (
        "inbox.page", 2_000, lambda s: {"person_id": GUARDIAN, "now": NOW, "before": 700, "most": 50}),
    "missed": (
        "streams.missed", 2_000, lambda s: {"people": [GUARDIAN], "after": [1_900], "now": NOW, "most": 100}),
    "sync: how things stand": ("sync.state", 300, lambda s: {"person_id": GUARDIAN, "now": NOW}),
    "sync: what is new": (
        "sync.forward", 2_500, lambda s: {"person_id": GUARDIAN, "now": NOW, "after": 1_900, "most": 100}),
    "sync: of a phone that was long away": (
        "sync.forward", 4_000, lambda s: {"person_id": GUARDIAN, "now": NOW, "after": 300, "most": 100}),
    "sync: told again": (
        "sync.back", 2_500,
        lambda s: {"person_id": GUARDIAN, "now": NOW, "low": 0, "before": 1_990, "most": 100}),
    "sync: conversations": (
        "sync.conversations", 100,
        lambda s: {"person_id": GUARDIAN, "now": NOW, "since": 1, "after": 0, "most": 21, "most_messages": 20,
                   "most_bytes": 64_000}),
    "feed after": ("inbox.feed_after", 150, lambda s: {"after": 1_900, "most": 100}),
    "keys": ("streams.keys", 100, lambda s: {"people": [GUARDIAN], "now": NOW}),
    "mark all read": ("inbox.mark_all_read", 10, lambda s: {"person_id": GUARDIAN, "upto": 1_990}),
    "relay": ("fanout.relay", 10, lambda s: {"most": 10_000}),
    "unplanned": ("fanout.unplanned", 10, lambda s: {"most": 2_000}),
    "claim mail": ("fanout.claim", 20, lambda s: claim(s.email_lane)),
    "claim push": ("fanout.claim", 20, lambda s: claim(s.fcm_lane)),
    "promote": ("fanout.promote", 400, lambda s: {"now": NOW, "most": 10_000}),
    "next due": ("fanout.next_due", 5, lambda s: {}),
    "lanes": ("fanout.lanes", 20, lambda s: {}),
    "load mail": ("fanout.load_mail", 3_000, lambda s: window(s.mail)),
    "load mail, a retry": ("fanout.load_mail", 3_000, lambda s: window(s.retries, is_retry=True)),
    "load push": (
        "fanout.load_push", 9_000,
        lambda s: window(s.push) | {"day_start": NOW, "daily_cap": 40, "grace": timedelta(seconds=30)}),
    "publish to a class": (
        "publishing.publish", 20, lambda s: {"event": event({"group": "0540001B/class/3"}), "now": NOW}),
    "publish to a school": ("publishing.publish", 50, lambda s: {"event": event({"school": "0540001B"}), "now": NOW}),
    "publish to one person": ("publishing.publish", 20, lambda s: {"event": event({"person": "P7"}), "now": NOW}),
    "take a bounce": ("receipts.take", 60, lambda s: receipt("bounce", s.sent_target, 3, "dsn.5.1.1")),
    "take a late answer": ("receipts.take", 60, lambda s: receipt("late", s.sent_target, 4, "late")),
    "addresses": ("receipts.addresses", 10, lambda s: {"people": [7, 1000, 1001]}),
    "find a device": ("receipts.find_device", 10, lambda s: {"provider": "fcm", "token": "x", "person": "P7"}),
    "mails and bounces of five days": (
        "receipts.mail_answers", 30_000, lambda s: {"since": NOW - timedelta(days=20), "lane_id": s.email_lane}),
    "how a campaign stands": ("campaigns.control", 50, lambda s: {"campaign_id": CLASS}),
    "readers of everybody": (
        "campaigns.readers", 6_000, lambda s: {"campaign_id": EVERYBODY, "most": 100, "after": 0, "walk": 1_000}),
    "readers, a later page": (
        "campaigns.readers", 6_000, lambda s: {"campaign_id": EVERYBODY, "most": 100, "after": 150_000, "walk": 1_000}),
    "readers of a class": (
        "campaigns.readers", 6_000, lambda s: {"campaign_id": CLASS, "most": 100, "after": 0, "walk": 1_000}),
    "who had read what was recalled": (
        "campaigns.recalled_readers", 6_000, lambda s: {"campaign_id": CLASS, "most": 100, "after": 0}),
    "drop devices": (
        "fanout.drop_devices", 10, lambda s: {"now": NOW, "devices": [7], "reasons": ["apns.Unregistered"]}),
    "drop addresses": (
        "fanout.drop_addresses", 10,
        lambda s: {"now": NOW, "people": [7], "addresses": ["p7@mail7.invalid"], "reasons": ["dsn.5.1.1"]}),
    "take dropped devices back": (
        "fanout.restore_devices", 1_000, lambda s: {"since": NOW, "provider": "fcm", "app": "fr.example.ent"}),
    "take dropped addresses back": ("fanout.restore_addresses", 1_000, lambda s: {"since": NOW, "mail_lane": None}),
}  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS)
async def test_no_question_reads_a_large_table_from_end_to_end(watch: Watch, question: str) -> None:
    name, most, parameters = QUESTIONS[question]
    asked = parameters(await scene(watch))

    assert sequential(await watch.plan(name, **asked)) == set()

    touched = await watch.touched(name, **asked)
    assert touched.scanned.keys() & LARGE == set()  # not in a function that it calls either
    fetched = sum(count for table, count in touched.rows.items() if table in LARGE)
    assert fetched <= most, touched.rows


async def test_settling_a_window_touches_its_chunk_and_the_sparse_table(watch: Watch) -> None:
    chunk = (await scene(watch)).mail
    await watch.database.script(f"update ent_notify.chunk set state = 2, fence = 1 where id = {chunk}")
    touched = await watch.touched(
        "fanout.settle", chunks=[chunk], fences=[1], cursors=[200], accepted=[199], releases=[False], retried_chunks=[],
        retried_ok=[], outcome_chunks=[chunk], targets=[7], people=[7], states=[3], reasons=["smtp.550"], attempts=[1],
        retries=[None], now=NOW, lease=LEASE,
    )  # fmt: skip
    await watch.database.script(f"update ent_notify.chunk set state = 0, fence = 0 where id = {chunk}")
    assert touched.answer == [{"settle_windows": [chunk]}]
    assert touched.tables & LARGE <= {"chunk", "outcome"}
    assert touched.scanned.keys() & LARGE == set()


@pytest.mark.parametrize("campaign", [SENT, CLASS, None])
async def test_a_ledger_reads_chunk_rows_and_the_sparse_table_and_no_delivery(
    watch: Watch, campaign: int | None
) -> None:
    touched = await watch.touched("explaining.ledgers", campaign_id=campaign, most=50, now=NOW)
    assert touched.answer
    # not who it was for, nor the packed targets of a chunk
    assert touched.tables & (LARGE | {"toast of chunk"}) <= {"chunk", "outcome", "notification"}
    assert touched.rows["chunk"] == await chunks(watch, campaign)


async def chunks(watch: Watch, campaign: int | None) -> int:
    return int(await watch.database.fetchval(Query("chunks", "", CHUNKS, ("campaign",)), campaign=campaign))


async def page(watch: Watch, person: int, before: int = 2**62) -> Touched:
    return await watch.touched("inbox.page", person_id=person, now=NOW, before=before, most=50)


@pytest.mark.parametrize("person", [1, 500, 751, 1000, 1724, 1726, 1830, 1850, 94_000, 199_000])
async def test_a_page_costs_the_same_for_everybody_and_wherever_it_is(watch: Watch, person: int) -> None:
    """By index alone, and bounded by the reader's keys and the page's length: not by how much was ever published."""
    keys = await watch.touched("streams.keys", people=[person], now=NOW)
    bound = 3 * 50 * (len(keys.answer) + 2) + 200
    for before in (2**62, 1_500, 300):
        touched = await page(watch, person, before)
        assert touched.scanned.keys() & LARGE == set()
        assert sum(count for table, count in touched.rows.items() if table in LARGE) <= bound, touched.rows


async def test_the_page_has_one_plan_for_all_readers(watch: Watch) -> None:
    shapes = set()
    for person in (1, 1000, 1726, 1850):
        nodes = await watch.plan("inbox.page", person_id=person, now=NOW, before=2**62, most=50)
        shapes.add(tuple((node["Node Type"], node.get("Index Name")) for node in nodes))
    assert len(shapes) == 1
