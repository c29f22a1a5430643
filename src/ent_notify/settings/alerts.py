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
