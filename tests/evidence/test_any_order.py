"""Whatever people and gateways do, in any order: nobody is pushed twice, and nobody goes without who saw nothing."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from random import Random

from tests.engine.conftest import Town

from ent_notify.errors import NotFound

from .eyes import GRACE, Eyes, note

PEOPLE = {11: 2, 12: 1, 21: 1}
"""Devices of each."""
NODES = (1, 2)
HISTORIES = 12
SEED = 20260908


def _deed(chance: Random) -> tuple[str, int, int]:
    deed = chance.choice(["look", "look", "away", "seen", "publish", "publish", "kill", "work", "tick", "time"])
    return deed, chance.choice([1, 3, 10]) if deed == "time" else chance.choice(sorted(PEOPLE)), chance.choice(NODES)


async def test_each_push_is_sent_once_or_was_seen(town: Town) -> None:
    for run in range(HISTORIES):
        chance = Random(SEED + run)
        deeds = [_deed(chance) for _ in range(12)]
        town.fcm.sent.clear()
        town.apns.sent.clear()
        try:
            await _live(town, run, deeds)
        except Exception as error:
            error.add_note(f"history {run}: {deeds}")
            raise


async def _live(town: Town, run: int, deeds: list[tuple[str, int, int]]) -> None:
    nodes = {node: Eyes(town, node + 10 * run) for node in NODES}
    seen: dict[int, int] = dict.fromkeys(PEOPLE, 0)
    published: list[tuple[int, int]] = []  # who, notification

    async def beat() -> None:
        for node in nodes.values():
            await node.beat()

    async def work() -> None:
        await town.engine.worker("w").run_until_idle()

    await beat()
    for turn, (deed, who, where) in enumerate(deeds):
        if deed == "look":
            await nodes[where].look(who)
        elif deed == "away":
            await nodes[where].look(who, visible=False)
        elif deed == "seen":
            seen[who] = await town.engine.feed.feed_head()
            await town.engine.evidence.saw(await town.engine.reader(f"P{who}"), seen[who])
        elif deed == "publish":
            new = await town.engine.publish(note(f"{run}:{turn}", who))
            published.append((who, new.notification))
        elif deed == "kill":  # nothing more is heard of it; another takes its place
            nodes[where] = Eyes(town, nodes[where].node + 1_000_000)
            await nodes[where].beat()
        elif deed == "work":
            await work()
        elif deed == "tick":
            await town.engine.worker("w").tick()
        else:
            town.clock.advance(timedelta(seconds=who))
            await beat()
        for _, notification in published:
            with suppress(NotFound):  # not relayed yet
                assert (await town.engine.ledger(notification)).adds_up
    town.clock.advance(GRACE)
    await work()
    town.clock.advance(GRACE)  # what was published last was looked at first just now
    await work()
    sent = [item.notification for item in (*town.fcm.sent, *town.apns.sent)]
    for who, notification in published:
        explained = await town.engine.explain(notification, f"P{who}")
        pushes = [each for each in explained.deliveries if each.channel == "push"]
        assert len(pushes) == PEOPLE[who]
        for each in pushes:
            assert each.state in ("accepted", "suppressed"), each
            if each.state == "suppressed":
                assert each.reason == "seen"
                place = await town.engine.inbox(await town.engine.reader(f"P{who}"))
                assert seen[who] >= next(e.seq for e in place if e.notification == notification)
        assert sent.count(notification) == sum(each.state == "accepted" for each in pushes)
