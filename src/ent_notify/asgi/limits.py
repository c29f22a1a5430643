"""A limit on what one person asks of one process: GCRA with a burst of half a minute's share."""

from __future__ import annotations

import math
from collections import OrderedDict

MOST_PEOPLE = 20_000
"""People remembered; whoever asked longest ago is forgotten first."""
BURST_SECONDS = 30.0


class PersonLimit:
    """Counts reads, or writes. ``per_minute`` is what is allowed on and on; half of that may come at once."""

    def __init__(self, per_minute: float) -> None:
        self._step = 60.0 / per_minute
        self._burst = max(BURST_SECONDS, self._step)
        self._due: OrderedDict[str, float] = OrderedDict()

    def take(self, person: str, now: float, count: int = 1) -> int | None:
        """Count so many at ``now`` (seconds): None when they may go on, else the seconds to wait.

        Where one may go on, all of them may; the next one then waits for longer.
        """
        due = max(self._due.get(person, now), now)
        if due + self._step - now > self._burst + 1e-9:
            return math.ceil(due + self._step - now - self._burst)
        self._due[person] = due + self._step * count
        self._due.move_to_end(person)
        if len(self._due) > MOST_PEOPLE:
            self._due.popitem(last=False)
        return None
