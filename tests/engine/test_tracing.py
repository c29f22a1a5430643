"""Traces: one for each notification, from publishing to the device's receipt, and nobody in it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ent_notify.errors import SettingsError
from ent_notify.model.audience import Person
from ent_notify.model.events import Announcement
from ent_notify.model.people import Provider
from ent_notify.model.receipts import Seen
from ent_notify.model.steps import Step
from ent_notify.observe.tracing import Tracing, exported
from ent_notify.settings import Settings, TracingSettings

from .conftest import open_town

EXPORTER = InMemorySpanExporter()


@pytest.fixture(scope="module", autouse=True)
def provider() -> TracerProvider:
    """The process's own, as a host sets it: there can be one."""
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(EXPORTER))
    trace.set_tracer_provider(made)
    return made


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    EXPORTER.clear()
    yield EXPORTER
    EXPORTER.clear()


def trace_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.trace_id)


def attribute(span: ReadableSpan, name: str) -> object:
    return (span.attributes or {}).get(f"ent_notify.{name}")


async def test_one_trace_goes_from_publishing_to_the_devices_receipt(
    town_dsn: str, spans: InMemorySpanExporter, provider: TracerProvider
) -> None:
    tracing = TracingSettings(share=1)
    async with open_town(town_dsn, tracing=tracing) as town:
        event = Announcement(key="1", audience=Person("P1"), title="Zéphyrine", body="…")
        with provider.get_tracer("host").start_as_current_span("POST /announcements") as host:
            number = (await town.engine.publish(event)).notification
            await town.engine.publish(event)  # the same key: nothing new, and no span
        await town.engine.worker().run_until_idle()
    async with open_town(town_dsn, tracing=tracing) as town:  # another process, which knows nothing of the first
        assert await town.engine.receipts.seen("P1", Provider.APNS, "tok-1", number, Seen.SHOWN)

    ours = [span for span in spans.get_finished_spans() if span.name.startswith("ent_notify ")]
    assert ours[0].name == "ent_notify publish"
    assert {span.name.removeprefix("ent_notify ") for span in ours} == {step.value for step in Step}
    assert len({trace_id(span) for span in ours}) == 1
    assert len([span for span in ours if span.name == "ent_notify publish"]) == 1
    assert [link.context for link in ours[0].links] == [host.get_span_context()]
    (sent,) = [span for span in ours if span.name == "ent_notify send" and attribute(span, "provider") == "apns"]
    assert attribute(sent, "notification") == number
    assert all((span.end_time or 0) >= (span.start_time or 0) > 0 for span in ours)
    told = " ".join(span.to_json() for span in ours)
    for canary in ("P1", "tok-1", "Zéphyrine", "Ada"):
        assert canary not in told
    assert set(json.loads(sent.to_json())["attributes"]) == {
        "ent_notify.notification", "ent_notify.channel", "ent_notify.provider",
    }  # fmt: skip


@given(st.integers(1, 2**63 - 1), st.sampled_from([0.01, 0.5, 1.0]))
def test_every_process_chooses_the_same_notifications(number: int, share: float) -> None:
    here, there = (Tracing("ent.example", share) for _ in range(2))
    assert here.root(number) == there.root(number)
    assert here.root(number) != Tracing("other.example", 1).root(number)
    if share == 1:
        assert here.root(number) is not None


def test_about_the_share_is_traced() -> None:
    tracing = Tracing("ent.example", 0.25)
    kept = sum(tracing.root(number) is not None for number in range(1, 4_001))
    assert 850 < kept < 1_150


def test_nothing_is_traced_unless_it_is_asked_for(spans: InMemorySpanExporter, town_dsn: str) -> None:
    async def publish() -> None:
        async with open_town(town_dsn) as town:
            await town.engine.publish(Announcement(key="2", audience=Person("P1"), title="T", body="B"))

    trio.run(publish)
    assert spans.get_finished_spans() == ()
    with exported(Settings()) as tracing:
        assert tracing is None


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(SettingsError, match=r"install ent-notify\[otel\]"):
        Tracing("ent.example", 1)
    with (
        pytest.raises(SettingsError, match=r"install ent-notify\[otel\]"),
        exported(Settings(tracing=TracingSettings(share=1))),
    ):
        pass
