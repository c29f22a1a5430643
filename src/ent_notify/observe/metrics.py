"""Prometheus metrics: one object, its own registry, labels from closed lists.

A label never holds an id, a name or an address: a value outside its list becomes ``other``. So the number of series is
bounded by the code, whatever happens to people, schools or campaigns.
"""

from __future__ import annotations

from collections import Counter as Counting
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    make_wsgi_app,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from ent_notify.model.delivery import Channel, Urgency, Verdict, VerdictKind
from ent_notify.model.directory import MergeCounts
from ent_notify.model.people import Provider
from ent_notify.model.receipts import Effect, Source
from ent_notify.model.steps import Step
from ent_notify.model.upkeep import Chore
from ent_notify.observe.logs import get_logger, log_statistics
from ent_notify.observe.reasons import OTHER, known_reason
from ent_notify.observe.tracing import Tracing

_CHANNELS = frozenset(channel.value for channel in Channel)
_PROVIDERS = frozenset({provider.value for provider in Provider} | {"smtp", ""})
_VERDICTS = frozenset(kind.value for kind in VerdictKind)

LABELS: Mapping[str, frozenset[str]] = {
    "channel": _CHANNELS | {OTHER},
    "provider": _PROVIDERS | {OTHER},
    "verdict": _VERDICTS | {OTHER},
    "urgency": frozenset(urgency.name.lower() for urgency in Urgency),
    "outcome": frozenset({"created", "repeated", "refused", "added", "changed", "unchanged", "removed"}),
    "record": frozenset({"person", "membership", "guardian_link"}),
    "chore": frozenset(chore.value for chore in Chore),
    "source": frozenset(source.value for source in Source),
    "effect": frozenset(effect.value for effect in Effect),
    "what": frozenset({"requests", "leavers", "holds"}),
    "kind": frozenset({"process", "postgres", "nats"}),
    "status": frozenset(str(status.value) for status in HTTPStatus if status >= HTTPStatus.BAD_REQUEST),
}
"""Every label that a metric of ours has, with its values, but ``reason``: of ``observe.reasons``, or a stream's end."""

_log = get_logger(__name__)

_SLOW = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)


def _among(words: frozenset[str], word: str) -> str:
    return word if word in words else OTHER


class _LogCollector(Collector):
    """What the log's allow-list kept out."""

    def collect(self) -> Iterator[Metric]:
        for name, value in log_statistics().items():
            yield CounterMetricFamily(f"ent_notify_log_{name}", f"Logs: {name.replace('_', ' ')}.", value=value)


class Metrics:
    """The metrics of one engine, and its traces when it is given ``tracing``. Methods take what happened; nothing here
    blocks or fails.

    A gateway registers its own in the same ``registry``.
    """

    def __init__(self, tracing: Tracing | None = None) -> None:
        self._tracing = tracing
        self.registry = CollectorRegistry()
        self.registry.register(_LogCollector())
        lane = ("channel", "provider")

        def counter(name: str, about: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"ent_notify_{name}", about, labels, registry=self.registry)

        def gauge(name: str, about: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"ent_notify_{name}", about, labels, registry=self.registry)

        def histogram(name: str, about: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"ent_notify_{name}", about, labels, registry=self.registry, buckets=buckets)

        self._published = counter("published", "Events published, by outcome.", ("outcome",))
        self._relayed = counter("relayed", "Notifications given their place in the feed.")
        self._planned = counter("planned_campaigns", "Campaigns planned.")
        self._plan_seconds = histogram("plan_seconds", "Time to plan one batch of campaigns.", (), _SLOW)
        self._chunks = counter("claimed_chunks", "Chunks claimed.", (*lane, "urgency"))
        self._claimed = counter("claimed_deliveries", "Deliveries in claimed chunks.", lane)
        self._sent = counter("sends", "Sends, by verdict.", (*lane, "verdict", "reason"))
        self._cleared = counter(
            "clears", "Silent pushes that take read alerts away.", ("provider", "verdict", "reason")
        )
        self._send_seconds = histogram("send_seconds", "Time of one batch of sends.", lane, _SLOW)
        self._settled = counter("settled_chunks", "Chunks settled for good.", lane)
        self._lost = counter("leases_lost", "Settles refused because another worker held the lease.", lane)
        self._waits = histogram("rate_wait_seconds", "Waits for a slot under the rate limit.", lane, _SLOW)
        self._store_failures = counter("store_failures", "Calls of the worker that the database did not answer.")
        self._chunk_failures = counter("chunk_failures", "Chunks given up by an error of our own.", lane)
        self._send_failures = counter("send_failures", "Sends that a channel left by raising.", lane)
        self._text_failures = counter("text_failures", "Texts that could not be rendered.")
        self._forgotten = counter("forgotten_rows", "Rows dropped because nobody can need them any more.", ("chore",))
        self._receipts = counter("receipts", "Receipts taken, by what they did.", ("source", "effect"))
        self._pauses = counter("channel_pauses", "Times a channel was paused.", (*lane, "reason"))
        self._waiting = gauge("waiting_chunks", "Chunks that are due and not claimed.", lane)
        self._lag = gauge("lag_seconds", "Age of the oldest chunk that is due and not claimed.", lane)
        self._unplanned = gauge("unplanned_campaigns", "Campaigns that wait for their plan.")
        self._overdue = gauge("overdue", "What the law's deadlines should have seen done by now.", ("what",))
        self._imported = counter("imported_records", "Directory records taken in.", ("record", "outcome"))
        self._import_seconds = histogram("import_seconds", "Time of one directory import.", (), _SLOW)

    # ------------------------------------------------------------ publishing and planning

    def published(self, *, created: bool = True) -> None:
        """An event was published; ``created`` is false when its key had published it before."""
        self._published.labels("created" if created else "repeated").inc()

    def refused(self) -> None:
        """Events were refused: malformed, or for an unknown audience."""
        self._published.labels("refused").inc()

    def relayed(self, count: int) -> None:
        """The relay gave ``count`` notifications their place."""
        self._relayed.inc(count)

    def planned(self, campaigns: int, seconds: float) -> None:
        """One planning pass took ``seconds`` for ``campaigns``."""
        self._planned.inc(campaigns)
        self._plan_seconds.observe(seconds)

    # ------------------------------------------------------------ delivering

    def claimed(self, channel: str, provider: str, urgency: Urgency, deliveries: int) -> None:
        """A chunk of ``deliveries`` was claimed."""
        lane = _lane(channel, provider)
        self._chunks.labels(*lane, urgency.name.lower()).inc()
        self._claimed.labels(*lane).inc(deliveries)

    def sent(self, channel: str, provider: str, verdict: str, reason: str = "", count: int = 1) -> None:
        """``count`` sends ended in ``verdict`` (a VerdictKind) for ``reason``."""
        self._sent.labels(*_lane(channel, provider), _among(_VERDICTS, verdict), known_reason(reason)).inc(count)

    def verdicts(self, channel: str, provider: str, verdicts: Iterable[Verdict]) -> None:
        """A batch of sends ended in ``verdicts``."""
        for (kind, reason), count in Counting((verdict.kind, verdict.reason) for verdict in verdicts).items():
            self.sent(channel, provider, kind, reason, count)

    def cleared(self, provider: str, verdicts: Iterable[Verdict]) -> None:
        """Silent pushes that take read alerts away ended in ``verdicts``."""
        for (kind, reason), count in Counting((verdict.kind, verdict.reason) for verdict in verdicts).items():
            labels = _among(_PROVIDERS, provider), _among(_VERDICTS, kind.value), known_reason(reason)
            self._cleared.labels(*labels).inc(count)

    def send_took(self, channel: str, provider: str, seconds: float) -> None:
        """One batch of sends took ``seconds``."""
        self._send_seconds.labels(*_lane(channel, provider)).observe(seconds)

    def settled(self, channel: str, provider: str) -> None:
        """A chunk was settled for good."""
        self._settled.labels(*_lane(channel, provider)).inc()

    def lease_lost(self, channel: str, provider: str) -> None:
        """A settle touched no row: another worker holds the chunk."""
        self._lost.labels(*_lane(channel, provider)).inc()

    def rate_wait(self, channel: str, provider: str, seconds: float) -> None:
        """A chunk waited ``seconds`` for its slot."""
        self._waits.labels(*_lane(channel, provider)).observe(seconds)

    def receipt(self, source: Source, effect: Effect) -> None:
        """A bounce, a late answer or a device's word was taken in."""
        self._receipts.labels(source.value, effect.value).inc()

    def channel_paused(self, channel: str, provider: str, reason: str) -> None:
        """A channel was paused for everybody."""
        self._pauses.labels(*_lane(channel, provider), known_reason(reason)).inc()

    def store_failed(self, error: Exception) -> None:
        """The database refused or did not answer; the worker waits and asks again."""
        self._store_failures.inc()
        _log.warning("store_failed", error=error)

    def chunk_failed(self, channel: str, provider: str, error: Exception) -> None:
        """Work on a chunk ended in an error of our own; its lease runs out, and it is tried again."""
        self._chunk_failures.labels(*_lane(channel, provider)).inc()
        _log.error("chunk_failed", channel=channel, provider=provider, error=error)

    def send_failed(self, channel: str, provider: str, error: Exception) -> None:
        """A channel raised: what it was sending counts as unknown."""
        self._send_failures.labels(*_lane(channel, provider)).inc()
        _log.error("send_failed", channel=channel, provider=provider, error=error)

    def text_failed(self, event_type: str, error: Exception) -> None:
        """A text could not be rendered: the deliveries that need it fail."""
        self._text_failures.inc()
        _log.error("text_failed", type=event_type, error=error)

    def forgot(self, chore: Chore, rows: int) -> None:
        """Rows that nobody can need any more were dropped."""
        self._forgotten.labels(chore.value).inc(rows)

    def queue(self, channel: str, provider: str, waiting: int, lag_seconds: float) -> None:
        """How many chunks are due, and for how long the oldest has been."""
        lane = _lane(channel, provider)
        self._waiting.labels(*lane).set(waiting)
        self._lag.labels(*lane).set(lag_seconds)

    def unplanned(self, campaigns: int) -> None:
        """How many campaigns wait for their plan."""
        self._unplanned.set(campaigns)

    def overdue(self, requests: int, leavers: int, holds: int) -> None:
        """Requests past their deadline, leavers who should have been purged, holds that nobody looked at again."""
        for what, count in (("requests", requests), ("leavers", leavers), ("holds", holds)):
            self._overdue.labels(what).set(count)

    def stepped(
        self,
        step: Step,
        notifications: Sequence[int],
        began: datetime,
        ended: datetime,
        channel: str = "",
        provider: str = "",
    ) -> None:
        """A step on the way of some notifications was taken: traced, and counted elsewhere."""
        if self._tracing is not None:
            self._tracing.stepped(step, notifications, began, ended, channel, provider)

    # ------------------------------------------------------------ directory

    def imported(self, report: MergeCounts, seconds: float) -> None:
        """A directory run ended after ``seconds``."""
        for record, outcome, count in (
            ("person", "added", report.added),
            ("person", "changed", report.changed + report.returned),
            ("person", "unchanged", report.unchanged),
            ("person", "removed", report.hidden),
            ("membership", "added", report.memberships_started),
            ("membership", "removed", report.memberships_ended),
            ("guardian_link", "added", report.links_added),
            ("guardian_link", "changed", report.links_changed),
            ("guardian_link", "removed", report.links_removed),
        ):
            self._imported.labels(record, outcome).inc(count)
        self._import_seconds.observe(seconds)

    # ------------------------------------------------------------ reading

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format (``text/plain; version=0.0.4``)."""
        return generate_latest(self.registry)


def _lane(channel: str, provider: str) -> tuple[str, str]:
    return _among(_CHANNELS, channel), _among(_PROVIDERS, provider)


@contextmanager
def serve_metrics(metrics: Metrics, host: str, port: int, healthy: Callable[[], bool] = lambda: True) -> Iterator[int]:
    """Serve ``/metrics`` and ``/healthz`` on a thread while the context lasts; yields the port (``port`` 0 takes a free
    one). ``/healthz`` answers 503 while ``healthy`` (asked on that thread) says no."""
    server, thread = start_http_server(port, addr=host, registry=metrics.registry)
    pages = make_wsgi_app(metrics.registry)

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/healthz":
            page: Iterable[bytes] = pages(environ, start)
            return page
        well = healthy()
        start("200 OK" if well else "503 Service Unavailable", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"ok\n" if well else b"it has not gone round for too long\n"]

    server.set_app(answer)
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
