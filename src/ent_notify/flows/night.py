"""The pause, looked at again just before sending: a retry, a lane that rested, or a worker that came late may have
carried a delivery into it since it was planned."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ent_notify.model.delivery import Urgency
from ent_notify.model.fanout import IN_PAUSE, Claim, Target
from ent_notify.ports import FanoutStore

Ends = Callable[[datetime], Awaitable[Mapping[str, datetime]]]
"""The end of the pause under each of its names, as a plan asks for it; long past where none holds."""


@dataclass(slots=True)
class Night:
    """Holds back what is not urgent from whoever is in a pause. By day it asks the database nothing.

    ``ends`` is asked once a minute: pauses begin and end on whole minutes.
    """

    store: FanoutStore
    ends: Ends
    _minute: datetime | None = None
    _holding: Mapping[str, datetime] = field(default_factory=dict)

    async def hold_back(self, loaded: Sequence[tuple[Claim, Sequence[Target]]], now: datetime) -> None:
        """Withhold as IN_PAUSE, until its end, who is in one. Raises StoreError."""
        waiting = [
            (claim.campaign, target)
            for claim, targets in loaded
            if claim.urgency is not Urgency.URGENT
            for target in targets
            if target.withheld is None
        ]
        if not waiting or not (holding := await self._now(now)):
            return
        names = await self.store.pause_names([(campaign, target.person) for campaign, target in waiting])
        for (_, target), name in zip(waiting, names, strict=True):
            if name is not None and name in holding:
                target.withheld, target.until = IN_PAUSE, holding[name]

    async def _now(self, now: datetime) -> Mapping[str, datetime]:
        minute = now.replace(second=0, microsecond=0)
        if minute != self._minute:
            ends = await self.ends(now)
            self._holding = {name: end for name, end in ends.items() if end > now}
            self._minute = minute
        return self._holding
