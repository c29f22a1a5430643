"""OpenTelemetry traces: one for each notification, from publishing to the device's receipt.

The steps happen in different processes, hours apart, and nothing is stored to connect them: the ids of a trace are
derived from the project's domain and the notification's number, so that every process knows them. Whether a
notification is traced follows from its id as well: the same ones everywhere.

A span says which notification, which channel and provider, from when until when; it never names a person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ent_notify.errors import SettingsError
from ent_notify.model.steps import Step

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext, TracerProvider

    from ent_notify.settings import Settings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HALF = 2**64


class Tracing:
    """Makes the spans, with ``provider`` or the one that the host has set for the process.

    ``share`` of the notifications is traced. Raises SettingsError where OpenTelemetry is not installed.
    """

    def __init__(self, domain: str, share: float, provider: TracerProvider | None = None) -> None:
        try:
            from opentelemetry import trace
        except ImportError:
            raise SettingsError(
                "tracing.share is above 0, and OpenTelemetry is not installed; install ent-notify[otel]"
            ) from None
        self._api = trace
        self._tracer = trace.get_tracer("ent_notify", tracer_provider=provider)
        self._seed = domain.encode()
        self._below = int(share * _HALF)

    def root(self, notification: int) -> SpanContext | None:
        """What all spans of a notification have as their parent; None for one that is not traced."""
        digest = hashlib.sha256(b"%s\0%d" % (self._seed, notification)).digest()
        trace_id = int.from_bytes(digest[:16], "big")
        if trace_id % _HALF >= self._below:
            return None
        span_id = int.from_bytes(digest[16:24], "big")
        flags = self._api.TraceFlags(self._api.TraceFlags.SAMPLED)
        return self._api.SpanContext(trace_id or 1, span_id or 1, is_remote=True, trace_flags=flags)

    def stepped(
        self,
        step: Step,
        notifications: Sequence[int],
        began: datetime,
        ended: datetime,
        channel: str = "",
        provider: str = "",
    ) -> None:
        """A span for each of ``notifications`` that is traced. Publishing is linked to the host's own span."""
        api = self._api
        for notification in dict.fromkeys(notifications):
            root = self.root(notification)
            if root is None:
                continue
            attributes: dict[str, str | int] = {"ent_notify.notification": notification}
            attributes |= {"ent_notify.channel": channel} if channel else {}
            attributes |= {"ent_notify.provider": provider} if provider else {}
            current = api.get_current_span().get_span_context()
            span = self._tracer.start_span(
                f"ent_notify {step.value}",
                context=api.set_span_in_context(api.NonRecordingSpan(root)),
                kind=api.SpanKind.PRODUCER if step is Step.PUBLISH else api.SpanKind.CONSUMER,
                attributes=attributes,
                links=[api.Link(current)] if step is Step.PUBLISH and current.is_valid else [],
                start_time=_nanoseconds(began),
            )
            span.end(_nanoseconds(ended))


@contextmanager
def exported(settings: Settings) -> Iterator[Tracing | None]:
    """Tracing for a program of ours, sent by OTLP to where the environment says (``OTEL_EXPORTER_OTLP_ENDPOINT``), for
    as long as the context is open; None while ``tracing.share`` is 0. Raises SettingsError."""
    if not settings.tracing.share:
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise SettingsError(
            "tracing.share is above 0, and OpenTelemetry is not installed; install ent-notify[otel]"
        ) from None
    provider = TracerProvider(resource=Resource.create({"service.name": "ent_notify"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    try:
        yield Tracing(settings.project.domain, settings.tracing.share, provider)
    finally:
        provider.shutdown()


def _nanoseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1) * 1_000
