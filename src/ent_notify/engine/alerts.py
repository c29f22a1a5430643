"""What a worker does for alerts, made from the settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from ent_notify.engine.calendars import calendar_at
from ent_notify.flows.reminders import Reminders
from ent_notify.flows.timetable import TimetableAlerts
from ent_notify.policy.reminders import Offset, ReminderRules
from ent_notify.policy.timetable import TimetableRules
from ent_notify.ports import Clock
from ent_notify.settings import HomeworkSettings, Settings, TimetableSettings
from ent_notify.store.alerts import PostgresAlerts
from ent_notify.store.timetable import PostgresTimetable


def reminders_of(settings: HomeworkSettings, store: PostgresAlerts, clock: Clock) -> Reminders:
    """Reminders of homework and tests, as the settings have them."""
    rules = ReminderRules(
        work=tuple(Offset(days, settings.remind_at) for days in settings.remind_days),
        tests=tuple(Offset(days, settings.remind_at) for days in settings.test_days),
        day_begins=settings.day_begins,
    )
    return Reminders(store, calendar_at, clock, rules)


def timetable_alerts_of(settings: TimetableSettings, store: PostgresTimetable, clock: Clock) -> TimetableAlerts:
    """Alerts about timetables, as the settings have them."""
    rules = TimetableRules(
        settle=timedelta(seconds=settings.settle_seconds),
        horizon=timedelta(days=settings.horizon_days),
        eve=settings.eve,
        urgent=timedelta(minutes=settings.urgent_minutes),
    )
    return TimetableAlerts(store, calendar_at, clock, rules)


def alert_errands(
    settings: Settings, alerts: PostgresAlerts, timetable: PostgresTimetable, clock: Clock
) -> tuple[Callable[[], Awaitable[int]], ...]:
    """A worker's errands for alerts."""
    return (
        reminders_of(settings.homework, alerts, clock).step,
        timetable_alerts_of(settings.timetable, timetable, clock).step,
    )
