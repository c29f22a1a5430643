"""What a worker does for alerts, made from the settings."""

from __future__ import annotations

from ent_notify.engine.calendars import calendar_at
from ent_notify.flows.reminders import Reminders
from ent_notify.policy.reminders import Offset, ReminderRules
from ent_notify.ports import Clock
from ent_notify.settings import HomeworkSettings
from ent_notify.store.alerts import PostgresAlerts


def reminders_of(settings: HomeworkSettings, store: PostgresAlerts, clock: Clock) -> Reminders:
    """Reminders of homework and tests, as the settings have them."""
    rules = ReminderRules(
        work=tuple(Offset(days, settings.remind_at) for days in settings.remind_days),
        tests=tuple(Offset(days, settings.remind_at) for days in settings.test_days),
        day_begins=settings.day_begins,
    )
    return Reminders(store, calendar_at, clock, rules)
