"""What a gateway counts. One object per process, on the registry that it is given."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class GatewayMetrics:
    """Prometheus metrics of the gateway. Labels come from closed lists; none names a person or an address."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.streams = Gauge("ent_notify_gateway_streams", "Streams held now.", registry=registry)
        self.room = Gauge(
            "ent_notify_gateway_streams_most", "Streams that this process takes at most.", registry=registry
        )
        self.opened = Counter("ent_notify_gateway_streams_opened", "Streams opened.", registry=registry)
        self.closed = Counter(
            "ent_notify_gateway_streams_closed",
            "Streams ended, by reason: peer, slow, revoked, drained, store, silent.",
            ["reason"],
            registry=registry,
        )
        self.refused = Counter(
            "ent_notify_gateway_refused", "Requests refused, by HTTP status.", ["status"], registry=registry
        )
        self.dropped = Counter(
            "ent_notify_gateway_connections_dropped",
            "Connections closed at once, because too many wait for their request to end.",
            registry=registry,
        )
        self.frames = Counter("ent_notify_gateway_frames", "Live frames handed to sockets.", registry=registry)
        self.replayed = Counter(
            "ent_notify_gateway_frames_replayed", "Missed notifications replayed to streams.", registry=registry
        )
        self.feed_seq = Gauge("ent_notify_gateway_feed_seq", "Last feed sequence sent out.", registry=registry)
        self.feed_errors = Counter(
            "ent_notify_gateway_feed_errors", "Times that the feed or its hints could not be read.", registry=registry
        )
        self.delay = Histogram(
            "ent_notify_gateway_delay_seconds",
            "From publishing to the end of the send loop, by notification.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
            registry=registry,
        )
