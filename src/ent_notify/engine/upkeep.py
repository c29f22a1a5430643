"""How long what kind of row is kept: ``engine.upkeep``, which a worker looks after while it runs."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

from ent_notify.flows.upkeep import Upkeep
from ent_notify.model.upkeep import Chore
from ent_notify.ports import FanoutObserver, UpkeepStore
from ent_notify.settings import Settings

KEPT_LONGER = timedelta(days=1)
"""How much longer changes are kept than a cursor is good: clocks of several machines differ."""
SEEN_KEPT = timedelta(days=30)
"""How long it is known how far somebody has seen the feed: no delivery waits longer."""
HOMEWORK_KEPT = timedelta(days=30)
"""How long after it was due homework may still be changed or ticked off."""
OVER_KEPT = timedelta(days=7)
"""How long lessons, and evenings of reminders, are kept once they are over."""

WRITTEN_KEPT = timedelta(days=2)
"""How long it is known to whom somebody has written: a day is asked for, and clocks of several machines differ."""


def upkeep_of(
    settings: Settings, store: UpkeepStore, observer: FanoutObserver, *also: Callable[[], Awaitable[int]]
) -> Upkeep:
    """The chores, with what the settings keep, and what else is looked after beside them."""
    kept = {
        Chore.CLIENT_WRITES: timedelta(days=settings.sync.writes_days),
        Chore.RETRACTIONS: timedelta(days=settings.sync.horizon_days) + KEPT_LONGER,
        Chore.SEEN: SEEN_KEPT,
        Chore.HOMEWORK: HOMEWORK_KEPT,
        Chore.REMINDED: OVER_KEPT,
        Chore.LESSONS: OVER_KEPT,
        Chore.TIMETABLE_DAYS: OVER_KEPT,
        Chore.LATELY_WRITTEN: WRITTEN_KEPT,
    }
    return Upkeep(store, observer, random.random, kept, also)
