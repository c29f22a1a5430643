"""Live notifications in Locust's report: each with its latency from the moment at which it was meant to be published.

There are millions, so that they are counted here and handed over by the second.
"""

from __future__ import annotations

import time
from collections import defaultdict

import orjson
from locust.stats import RequestStats, StatsEntry

from loadtests.holder import StreamEvent
from loadtests.plan import RunFolder

KIND = "LIVE"
_KEPT_SECONDS = 30.0
"""How long a notification's latency waits for somebody to say when it was meant; messages of people are never said."""


class FrameTally:
    """What the streams of one client process have heard."""

    def __init__(self, stats: RequestStats, folder: RunFolder) -> None:
        self._stats = stats
        self._folder = folder
        self._known = 0
        self._intended: dict[int, tuple[str, int]] = {}
        self._notifications: dict[int, int] = {}
        self._heard: defaultdict[int, list[int]] = defaultdict(list)
        self._since: dict[int, float] = {}

    def note(self, event: StreamEvent, at_ns: int) -> None:
        """A stream has heard ``event``."""
        seq = event.id or 0
        if seq not in self._notifications:
            self._notifications[seq] = orjson.loads(event.data)["notification"]
        self._heard[seq].append(at_ns)

    def settle(self) -> None:
        """Hand over to Locust what can be dated by now."""
        for row in self._folder.published(self._known):
            self._known += 1
            self._intended[row["notification"]] = (row["kind"], row["intended_ns"])
        now = time.monotonic()
        for seq in list(self._heard):
            found = self._intended.get(self._notifications[seq])
            if found is None and now - self._since.setdefault(seq, now) < _KEPT_SECONDS:
                continue
            times = self._heard.pop(seq)
            self._since.pop(seq, None)
            kind, intended = found or ("message", 0)
            self._log(f"to a reader: {kind}", [(at - intended) / 1e6 for at in times] if found else len(times))

    def _log(self, name: str, latencies: list[float] | int) -> None:
        batch = StatsEntry(None, name, KIND)
        if isinstance(latencies, int):
            _count(batch, latencies)
            batch.num_none_requests = latencies
        else:
            _count(batch, len(latencies))
            for latency in latencies:
                batch._log_response_time(round(max(latency, 0)))
        self._stats.entries[(name, KIND)].extend(batch)
        self._stats.total.extend(batch)


def _count(entry: StatsEntry, number: int) -> None:
    now = time.time()
    entry.num_requests = number
    entry.num_reqs_per_sec[int(now)] = number
    entry.last_request_timestamp = now
