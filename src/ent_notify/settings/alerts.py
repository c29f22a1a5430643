"""Settings of what reminds and alerts."""

from __future__ import annotations

from datetime import time

from pydantic import Field

from ent_notify.settings.base import Group


class HomeworkSettings(Group):
    """Reminders of homework and tests, in each school's own time zone."""

    remind_at: time = time(18, 0)
    """Local time of reminders."""
    remind_days: tuple[int, ...] = Field(default=(1,), max_length=5)
    """How many school days before work is due pupils are reminded of it; empty: never."""
    test_days: tuple[int, ...] = Field(default=(3, 1), max_length=5)
    """The same for tests."""
    day_begins: time = time(8, 0)
    """Local time at which a day's work is due, unless it says so itself: no reminder leaves after it."""


class TimetableSettings(Group):
    """Alerts about timetables."""

    settle_seconds: float = Field(default=60, ge=0, le=3600)
    """How long the changes of a day are gathered before they are told in one."""
    horizon_days: int = Field(default=14, ge=1, le=60)
    """Changes further ahead are the timetable itself and not told; cancellations are, when they come near."""
    eve: time = time(17, 0)
    """Local time, on the school day before, at which changes that were known earlier are told aloud."""
    urgent_minutes: int = Field(default=120, ge=0, le=720)
    """So near to the lesson an alert waits for nothing, a pause included."""
