"""Metrics of the bus: read from its own counts whenever they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ent_notify.model.subjects import BusStatistics

_GAUGES = (
    ("connected", "Whether hints can be sent and heard now; without, gateways poll."),
    ("subjects", "Subjects that this process listens to."),
)
_COUNTERS = (
    ("sent", "Hints sent."),
    ("lost", "Hints that could not be sent; their readers poll."),
    ("received", "Hints that came."),
    ("ignored", "Hints that came and concerned nobody here."),
    ("reconnects", "Times that a lost connection was made again."),
)


class _BusCollector(Collector):
    def __init__(self, statistics: Callable[[], BusStatistics]) -> None:
        self._statistics = statistics

    def collect(self) -> Iterator[Metric]:
        now = self._statistics()
        for name, about in _GAUGES:
            gauge = GaugeMetricFamily(f"ent_notify_bus_{name}", about, labels=["kind"])
            gauge.add_metric([now.kind], float(getattr(now, name)))
            yield gauge
        for name, about in _COUNTERS:
            counter = CounterMetricFamily(f"ent_notify_bus_{name}", about, labels=["kind"])
            counter.add_metric([now.kind], getattr(now, name))
            yield counter


def watch_bus(registry: CollectorRegistry, statistics: Callable[[], BusStatistics]) -> None:
    """Serve what a bus counts in ``registry``. Only the bus's kind is a label."""
    registry.register(_BusCollector(statistics))
