"""How long a campaign will take: the queue of each lane, worked off at the lane's rate.

A lane serves what is ready in the order in which it becomes ready; what is queued already goes before the campaign.
That is the worst case: an urgent campaign passes what is less urgent (leave that out of the queue), and one of several
takes turns with the others. A lane without a limit is as fast as its workers are, and counts as immediate.

Sources: the bucket of ``ent_notify.policy.rate`` (HEADROOM, ``quarter_ramp``), whose sum over time this is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ent_notify.policy.rate import HEADROOM

QUARTER = 900.0
"""Seconds of a quarter of an hour, after which the ramp repeats itself."""
_SEGMENTS = ((0.0, 60.0), (60.0, 120.0), (120.0, 840.0), (840.0, 900.0))
"""Parts of a quarter in which the ramp is a straight line."""


@dataclass(frozen=True, slots=True)
class Batch:
    """``sends`` that become ready at ``ready_at``."""

    ready_at: datetime
    sends: int


@dataclass(frozen=True, slots=True)
class LaneLoad:
    """A lane as it stands, and what the campaign adds to it.

    ``per_second`` is its limit (None: none), ``ramped`` whether it is used less around full quarters of an hour,
    ``free_at`` when it can send again (the slots given, a pause), ``queued`` what goes before or beside the campaign.
    """

    name: str
    per_second: float | None
    ramped: bool
    free_at: datetime
    queued: Sequence[Batch]
    added: Sequence[Batch]
    pause_reason: str | None = None


@dataclass(frozen=True, slots=True)
class LaneForecast:
    """One lane's part: how many sends, from when until when (None: nothing to send), and how many go before them."""

    name: str
    sends: int
    ahead: int
    per_second: float | None
    starts_at: datetime | None
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """When a campaign would be through. ``ends_at`` is when the last send leaves (``now`` if there is none), ``takes``
    how long that is from now; retries and what is published later come on top. ``warnings`` are whole sentences."""

    now: datetime
    people: int
    deliveries: int
    held: int
    ends_at: datetime
    lanes: tuple[LaneForecast, ...]
    deadline: datetime | None = None
    warnings: tuple[str, ...] = ()

    @property
    def takes(self) -> timedelta:
        """From now until the last send."""
        return self.ends_at - self.now

    @property
    def makes_deadline(self) -> bool:
        """Whether the last send leaves by the deadline; True without one."""
        return self.deadline is None or self.ends_at <= self.deadline


def finish(start: datetime, sends: int, per_second: float | None, ramped: bool) -> datetime:
    """When the bucket of a lane is through with ``sends`` that begin at ``start``: its ``tat`` after the last one."""
    if per_second is None or sends == 0:
        return start
    rate = per_second * HEADROOM
    if not ramped:
        return start + timedelta(seconds=sends / rate)
    need = sends / rate  # seconds at the whole rate
    at = start.timestamp() % QUARTER
    passed = 0.0
    whole = math.floor(max(need - _share_until(at, QUARTER), 0) / _share_until(0, QUARTER))
    if whole:
        need -= whole * _share_until(0, QUARTER)
        passed += whole * QUARTER
    while True:
        for begin, end in _SEGMENTS:
            if at >= end:
                continue
            share = _share_until(at, end)
            if share >= need:
                return start + timedelta(seconds=passed + _seconds_for(need, at, begin))
            need -= share
            passed += end - at
            at = end
        at = 0.0


def forecast_lane(load: LaneLoad) -> LaneForecast:
    """Work off a lane's queue. Of batches that are ready at the same time those queued go first."""
    sends = sum(batch.sends for batch in load.added)
    order = [(max(batch.ready_at, load.free_at), 0, batch.sends) for batch in load.queued]
    order += [(max(batch.ready_at, load.free_at), 1, batch.sends) for batch in load.added if batch.sends]
    free = load.free_at
    ahead = waiting = 0
    starts: datetime | None = None
    ends: datetime | None = None
    for ready_at, ours, count in sorted(order):
        begin = max(free, ready_at)
        free = finish(begin, count, load.per_second, load.ramped)
        if ours:
            starts = begin if starts is None else starts
            ends = free
            ahead = waiting
        else:
            waiting += count
    return LaneForecast(load.name, sends, ahead, load.per_second, starts, ends)


def forecast(
    now: datetime,
    people: int,
    loads: Iterable[LaneLoad],
    deadline: datetime | None = None,
    unplanned: int = 0,
) -> Forecast:
    """The forecast of a campaign from its lanes. ``unplanned`` campaigns are published and not in any queue yet."""
    loads = list(loads)
    lanes = tuple(forecast_lane(load) for load in loads)
    ends_at = max((lane.ends_at for lane in lanes if lane.ends_at is not None), default=now)
    warnings = [
        _too_late(lane, deadline)
        for lane in lanes
        if deadline is not None and lane.ends_at is not None and lane.ends_at > deadline
    ]
    for load, lane in zip(loads, lanes, strict=True):
        if lane.sends and load.pause_reason is not None and load.free_at > now:
            warnings.append(
                f"{load.name} rests until {_clock(load.free_at)} ({load.pause_reason}), and may rest longer if it does "
                "not recover"
            )
    if unplanned:
        warnings.append(f"{unplanned} published campaigns are not planned yet, and not counted here")
    return Forecast(
        now=now,
        people=people,
        deliveries=sum(lane.sends for lane in lanes),
        held=sum(batch.sends for load in loads for batch in load.added if batch.ready_at > now),
        ends_at=max(ends_at, now),
        lanes=lanes,
        deadline=deadline,
        warnings=tuple(warnings),
    )


def _too_late(lane: LaneForecast, deadline: datetime) -> str:
    late = f"{lane.name} cannot make the deadline of {_clock(deadline)}: its last of {lane.sends:,} leaves at "
    late += f"{_clock(lane.ends_at or deadline)}"
    if lane.starts_at is not None and lane.starts_at >= deadline:
        return f"{late}, and its first at {_clock(lane.starts_at)}: publish it as urgent, or earlier"
    if lane.per_second is not None:
        return f"{late}, at {lane.per_second:g} a second behind {lane.ahead:,} others"
    return late


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _share_until(at: float, end: float) -> float:
    """Seconds at the whole rate that fit between two seconds of a quarter: the area under the ramp."""
    total = 0.0
    for begin, last in _SEGMENTS:
        low, high = max(at, begin), min(end, last)
        if low < high:
            total += (_level(begin, low) + _level(begin, high)) / 2 * (high - low)
    return total


def _level(segment: float, second: float) -> float:
    """The ramp at ``second``, read within the segment that begins at ``segment`` (at its end: its own last value)."""
    return 0.5 + (second - 60) / 120 if segment == 60.0 else 1.0 if segment == 120.0 else 0.5


def _seconds_for(need: float, at: float, segment: float) -> float:
    """How long from ``at``, within a segment, until ``need`` seconds at the whole rate have passed."""
    level = _level(segment, at)
    if segment != 60.0:
        return need / level
    # need = level x t + t^2 / 240
    return 120 * (math.sqrt(level * level + need / 60) - level)
