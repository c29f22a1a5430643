"""A pause is looked at again when something is sent: a retry or a lane's rest does not carry it into the night."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ent_notify.model.delivery import ACCEPTED, Outgoing, Verdict, VerdictKind
from ent_notify.model.inbox import DeliveryExplained

from .conftest import Town

EVENING = datetime(2026, 9, 8, 17, 59, tzinfo=UTC)
"""A minute before the pause, in Paris."""
MORNING = datetime(2026, 9, 9, 5, 0, tzinfo=UTC)
GRADE = {"type": "GradePublished", "data": {"pupil": "P1", "subject": "Maths"}, "audience": {"person": "P12"}}
ABSENCE = {
    "type": "AbsenceRecorded",
    "data": {"pupil": "P1", "starts_at": "2026-09-08T08:00:00+02:00"},
    "audience": {"person": "P12"},
}


async def work_at(town: Town, when: datetime) -> int:
    """Mails sent so far, once a worker has worked at ``when``."""
    town.clock.advance(when - town.clock.now())
    await town.engine.worker().run_until_idle()
    return len(town.mail.sent)


def busy_once(town: Town) -> None:
    """The mail server asks for two minutes the first time."""
    tried: set[str] = set()

    def answer(item: Outgoing) -> Verdict:
        if item.dedup_id in tried:
            return ACCEPTED
        tried.add(item.dedup_id)
        return Verdict(VerdictKind.RETRY_AT, "smtp.451", 120)

    town.mail.answer = answer


async def test_a_retry_that_falls_into_the_pause_waits_for_its_end(town: Town) -> None:
    busy_once(town)
    town.clock.advance(EVENING - town.clock.now())
    published = await town.engine.publish(GRADE | {"key": "g"})
    assert await work_at(town, EVENING) == 1
    assert await work_at(town, EVENING + timedelta(minutes=5)) == 1
    (mail,) = [each for each in (await told(town, published.notification)) if each.channel == "email"]
    assert (mail.state, mail.reason, mail.until, mail.attempts) == ("retry", "in_pause", MORNING, 1)
    assert await work_at(town, MORNING - timedelta(seconds=1)) == 1
    assert await work_at(town, MORNING) == 2
    ledger = await town.engine.ledger(published.notification)
    assert ledger.adds_up
    assert (ledger.pending, ledger.held) == (0, 0)


async def test_an_urgent_one_is_tried_again_in_the_night(town: Town) -> None:
    busy_once(town)
    town.clock.advance(EVENING - town.clock.now())
    await town.engine.publish(ABSENCE | {"key": "a"})
    assert await work_at(town, EVENING) == 1
    assert await work_at(town, EVENING + timedelta(minutes=5)) == 2


async def test_what_a_resting_lane_kept_back_is_not_let_go_in_the_night(town: Town) -> None:
    town.clock.advance(EVENING - town.clock.now())
    await town.engine.db.script(
        f"update ent_notify.lane set paused_until = '{EVENING + timedelta(minutes=10)}' where name = 'email'"
    )
    await town.engine.publish_many([GRADE | {"key": "g"}, ABSENCE | {"key": "a"}])
    assert await work_at(town, EVENING) == 0
    assert await work_at(town, EVENING + timedelta(minutes=11)) == 1
    assert await work_at(town, MORNING) == 2


async def told(town: Town, notification: int) -> tuple[DeliveryExplained, ...]:
    return (await town.engine.explain(notification, "P12")).deliveries
