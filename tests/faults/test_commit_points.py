"""A worker that dies at any point between two commits: nothing is lost; repeats are bounded, under the same ids."""

from __future__ import annotations

import pytest
from tests.engine.conftest import Town, open_town

from ent_notify.model.delivery import ACCEPTED, Outgoing, Verdict, VerdictKind

from .troubles import SENDERS, WINDOW, Killed, Once, announcement, finish, run_until_killed, sent, troubled

POINTS = [
    pytest.param("relay", False, id="before the relay"),
    pytest.param("relay", True, id="between relay and plan"),
    pytest.param("plan", False, id="before the plan is committed"),
    pytest.param("plan", True, id="after the plan"),
    pytest.param("claim", True, id="after the claim, before a send"),
    pytest.param("settle", False, id="after the provider accepted, before settling"),
    pytest.param("settle", True, id="after settling, before anything else"),
]


def check(lives: list[Town], accepted: dict[str, int]) -> None:
    """Every delivery reached its provider; repeats carry the same id, and are as many as windows were open."""
    for lane, ids in sent(*lives).items():
        assert len(set(ids)) == accepted[lane], f"{lane}: lost or invented"
        assert len(ids) - len(set(ids)) <= WINDOW * SENDERS, f"{lane}: repeats beyond the window"


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize(("call", "after"), POINTS)
async def test_a_worker_may_die_anywhere(town_dsn: str, call: str, after: bool, nth: int) -> None:
    if call in ("relay", "plan"):
        nth = 1  # there is one campaign
    async with open_town(town_dsn) as town:
        campaign = (await town.engine.publish(announcement())).notification
        trouble = Once(call, after=after, nth=nth, error=Killed())
        await run_until_killed(troubled(town.engine.worker("victim"), trouble))
        assert trouble.happened
    async with open_town(town_dsn, town.clock.now()) as successor:
        if call not in ("relay", "plan") or (call, after) == ("plan", True):
            before = await successor.engine.ledger(campaign)
            assert before.adds_up
            assert before.pending > 0, "the campaign was over before the worker died"
        await finish(successor)
        ledger = await successor.engine.ledger(campaign)
        assert ledger.adds_up
        # 13 inboxes (pupil 6 has left), 9 mails, 2 devices at Apple's and 3 at Google's
        assert (ledger.planned, ledger.accepted, ledger.pending) == (27, 27, 0)
        check([town, successor], {"mail": 9, "apns": 2, "fcm": 3})


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize(("call", "after"), POINTS[4:])
async def test_a_worker_may_die_anywhere_in_a_round_of_retries(town_dsn: str, call: str, after: bool, nth: int) -> None:
    async with open_town(town_dsn) as town:
        campaign = (await town.engine.publish(announcement())).notification
        town.mail.answer = lambda _: Verdict(VerdictKind.RETRY_AT, "smtp.451", retry_after=20_000)
        await troubled(town.engine.worker("first"), lambda *_: None).run_until_idle()
        assert (await town.engine.ledger(campaign)).pending == 9
        town.mail.sent.clear()
        town.mail.answer = odd_ones_fail
        due = await town.engine.next_due()
        assert due is not None
        town.clock.advance(due - town.clock.now())
        trouble = Once(call, after=after, nth=nth, error=Killed())
        worker = troubled(town.engine.worker("victim"), trouble)
        for _ in range(9):  # each of the nine has an hour of its own
            if trouble.happened:
                break
            town.clock.advance((await town.engine.next_due() or due) - town.clock.now())
            try:
                await worker.run_until_idle()
            except* Killed:
                assert trouble.happened
        assert trouble.happened
        assert (await town.engine.ledger(campaign)).adds_up
    async with open_town(town_dsn, town.clock.now()) as successor:
        successor.mail.answer = odd_ones_fail
        await finish(successor)
        ledger = await successor.engine.ledger(campaign)
        assert ledger.adds_up
        assert (ledger.accepted, ledger.failed, ledger.pending) == (27 - 4, {"smtp.550": 4}, 0)
        for_mail = [*town.mail.sent, *successor.mail.sent]
        assert {item.target for item in for_mail} == {2, 4, 11, 12, 14, 15, 21, 22, 31}
        assert len(for_mail) - 9 <= WINDOW * SENDERS


def odd_ones_fail(item: Outgoing) -> Verdict:
    return Verdict(VerdictKind.BAD_MESSAGE, "smtp.550") if item.target % 2 else ACCEPTED
