"""What the fake providers share: a script of behaviours, a bounded record of requests, exact counters.

A script is consulted once for each request that passed validation, in this order: behaviours queued for that
device (``next(..., device=...)``), behaviours queued for anybody (``next(...)``), the standing one for that device
(``always(..., device=...)``), the standing one for everybody (``always(...)``), a share of devices (``share``),
and if none is there the request is accepted.
"""

from __future__ import annotations

import zlib
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from ent_notify.testing.behaviours import Behaviour, Drop, GoAway, Limit, Reset, Silence, Slow, Starve


@dataclass(frozen=True, slots=True)
class Accept:
    """The provider takes the message and says so."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The provider's documented error ``reason`` (for APNs a reason, for FCM an error code).

    ``retry_after`` adds that header, in seconds. ``timestamp`` is when APNs learnt that a token is gone (now if left
    out). ``status`` is for an error that is not in the documentation.
    """

    reason: str
    retry_after: int | None = None
    timestamp: datetime | None = None
    field: str | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """The phone shows the message, and then the wire does ``then``: an accepted send whose answer is lost."""

    then: Behaviour


Step = Accept | Refuse | Shown | Behaviour
"""What one request meets. ``Slow``, ``Limit``, ``Starve`` and ``GoAway`` may wrap an Answer of their own."""

RequestT = TypeVar("RequestT")


class Script(Generic[RequestT]):
    """The behaviours to come, and the record of what came. Base of the fakes.

    ``keep`` bounds the memory: the last ``keep`` requests, message ids and devices are remembered; counters are
    always exact.
    """

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.requests: deque[RequestT] = deque(maxlen=keep)
        """The last requests, oldest first."""
        self.visible: OrderedDict[str, dict[str, RequestT]] = OrderedDict()
        """What each phone would show: device, then collapse id (or message id), to the last accepted request."""
        self.counts: Counter[str] = Counter()
        """Requests by outcome: ``accepted``, each error by its name, ``reset``, ``drop``, ``silence``, ``goaway``."""
        self.received = 0
        self.replaced = 0
        """Accepted messages that took the place of one shown already on that device (while it is remembered)."""
        self.decide: Callable[[RequestT], Step | None] | None = None
        """For what no queue can say: asked first; None means no opinion."""
        self._queued: dict[str | None, deque[Step]] = {}
        self._standing: dict[str | None, Step] = {}
        self._shares: list[tuple[float, Step]] = []

    def next(self, *steps: Step, device: str | None = None) -> None:
        """Queue ``steps``, one for each request to come (to ``device``, if given)."""
        self._queued.setdefault(device, deque()).extend(steps)

    def always(self, step: Step | None, *, device: str | None = None) -> None:
        """Until further notice, every request (to ``device``, if given) meets ``step``; None ends that."""
        if step is None:
            self._standing.pop(device, None)
        else:
            self._standing[device] = step

    def share(self, fraction: float, step: Step) -> None:
        """A fixed ``fraction`` of devices, chosen by a hash of the token, meets ``step``."""
        self._shares.append((fraction, step))

    def step_for(self, device: str, request: RequestT) -> Step:
        """What this request meets."""
        if self.decide is not None and (decided := self.decide(request)) is not None:
            return decided
        if self._queued:
            for key in (device, None):
                queue = self._queued.get(key)
                if queue:
                    return queue.popleft()
        if self._standing:
            for key in (device, None):
                if key in self._standing:
                    return self._standing[key]
        if self._shares:
            point = zlib.crc32(device.encode()) / 2**32
            for fraction, step in self._shares:
                if point < fraction:
                    return step
                point -= fraction
        return _ACCEPT

    def show(self, device: str, place: str, request: RequestT) -> None:
        """Put an accepted message on the phone's screen."""
        shown = self.visible.get(device)
        if shown is None:
            shown = self.visible[device] = {}
            if len(self.visible) > self.keep:
                self.visible.popitem(last=False)
        if place in shown:
            self.replaced += 1
        shown[place] = request

    def summary(self) -> dict[str, int]:
        """The counters, as a process of its own prints them."""
        return {"received": self.received, "replaced": self.replaced, **dict(sorted(self.counts.items()))}


_ACCEPT = Accept()

_OUTCOMES: dict[type, str] = {Reset: "reset", GoAway: "goaway", Drop: "drop", Silence: "silence"}


def outcome_of(behaviour: Behaviour) -> str:
    """The counter's name for what the wire does."""
    while isinstance(behaviour, (Slow, Limit, Starve)):
        behaviour = behaviour.then
    return _OUTCOMES.get(type(behaviour), "answer")


def epoch_milliseconds(instant: datetime) -> int:
    """Milliseconds since 1970, as APNs writes its timestamps."""
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
