"""Metrics: what is counted, and that no label can grow beyond its list."""

from __future__ import annotations

import ast
import re
import urllib.error
import urllib.request
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ent_notify.model.delivery import ACCEPTED, Channel, Urgency, Verdict, VerdictKind
from ent_notify.model.directory import MergeCounts
from ent_notify.model.receipts import Effect, Source
from ent_notify.observe import Metrics, get_logger, serve_metrics
from ent_notify.observe.reasons import known_reason
from ent_notify.policy.mail_verdicts import Phase, smtp_verdict
from ent_notify.policy.push_verdicts import apns_verdict, fcm_verdict
from ent_notify.ports import EngineObserver

SOURCE = Path(__file__).parents[2] / "src/ent_notify"


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"ent_notify_{name}", labels)


def test_the_way_of_an_alert_is_counted() -> None:
    metrics = Metrics()
    metrics.published()
    metrics.published(created=False)
    metrics.refused()
    metrics.relayed(3)
    metrics.planned(2, 0.2)
    metrics.claimed("push", "apns", Urgency.BULK, 1_000)
    metrics.verdicts("push", "apns", [ACCEPTED, ACCEPTED, Verdict(VerdictKind.DROP_TARGET, "apns.Unregistered")])
    metrics.send_took("push", "apns", 0.4)
    metrics.settled("push", "apns")
    metrics.lease_lost("push", "apns")
    metrics.rate_wait("push", "apns", 1.5)
    metrics.channel_paused("push", "fcm", "fcm.QUOTA_EXCEEDED")
    metrics.receipt(Source.BOUNCE, Effect.MOVED)
    metrics.queue("push", "apns", 12, 3.5)
    metrics.unplanned(4)
    lane = {"channel": "push", "provider": "apns"}
    assert value(metrics, "published_total", outcome="created") == 1
    assert value(metrics, "published_total", outcome="repeated") == 1
    assert value(metrics, "published_total", outcome="refused") == 1
    assert value(metrics, "relayed_total") == 3
    assert value(metrics, "planned_campaigns_total") == 2
    assert value(metrics, "plan_seconds_count") == 1
    assert value(metrics, "claimed_chunks_total", **lane, urgency="bulk") == 1
    assert value(metrics, "claimed_deliveries_total", **lane) == 1_000
    assert value(metrics, "sends_total", **lane, verdict="accepted", reason="") == 2
    assert value(metrics, "sends_total", **lane, verdict="drop_target", reason="apns.Unregistered") == 1
    assert value(metrics, "send_seconds_sum", **lane) == 0.4
    assert value(metrics, "settled_chunks_total", **lane) == 1
    assert value(metrics, "leases_lost_total", **lane) == 1
    assert value(metrics, "rate_wait_seconds_sum", **lane) == 1.5
    assert value(metrics, "channel_pauses_total", channel="push", provider="fcm", reason="fcm.QUOTA_EXCEEDED") == 1
    assert value(metrics, "receipts_total", source="bounce", effect="moved") == 1
    assert value(metrics, "waiting_chunks", **lane) == 12
    assert value(metrics, "lag_seconds", **lane) == 3.5
    assert value(metrics, "unplanned_campaigns") == 4


def test_imports_are_counted() -> None:
    metrics = Metrics()
    counts = dict.fromkeys(MergeCounts.__slots__, 0) | {"added": 20_000, "changed": 3, "returned": 4, "hidden": 5}
    metrics.imported(MergeCounts(**counts), 12.0)
    assert value(metrics, "imported_records_total", record="person", outcome="added") == 20_000
    assert value(metrics, "imported_records_total", record="person", outcome="changed") == 7
    assert value(metrics, "imported_records_total", record="person", outcome="removed") == 5
    assert value(metrics, "import_seconds_sum") == 12.0


def test_metrics_are_what_an_engine_reports_to() -> None:
    observer: EngineObserver = Metrics()  # mypy holds the two together
    observer.refused()


def test_two_engines_of_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.relayed(5)
    assert value(other, "relayed_total") == 0


@given(st.lists(st.tuples(st.text(), st.text(), st.text(), st.text()), max_size=50))
def test_no_label_is_a_word_from_outside(words: list[tuple[str, str, str, str]]) -> None:
    metrics = Metrics()
    for channel, provider, verdict, reason in words:
        metrics.sent(channel, provider, verdict, reason)
        metrics.channel_paused(channel, provider, reason)
    allowed = (
        {"other", "", "apns", "fcm", "webpush", "smtp"} | {c.value for c in Channel} | {v.value for v in VerdictKind}
    )
    for family in metrics.registry.collect():
        for sample in family.samples:
            for label, shown in sample.labels.items():
                assert label in ("le", "urgency") or shown == known_reason(shown) or shown in allowed, shown


def test_the_number_of_series_does_not_follow_the_number_of_reasons() -> None:
    metrics = Metrics()
    for number in range(10_000):
        metrics.sent("push", f"provider{number}", f"verdict{number}", f"apns.Dupont{number}")
    samples = [s for family in metrics.registry.collect() for s in family.samples if s.name == "ent_notify_sends_total"]
    assert [(s.labels, s.value) for s in samples] == [
        ({"channel": "push", "provider": "other", "verdict": "other", "reason": "apns.other"}, 10_000)
    ]


def test_every_reason_of_the_push_policies_is_in_the_list() -> None:
    when = datetime(2026, 9, 1, tzinfo=UTC)
    statuses = (200, 400, 401, 403, 404, 405, 410, 413, 429, 500, 502, 503)
    apns = (
        "",
        "BadDeviceToken",
        "Unregistered",
        "ExpiredToken",
        "TooManyRequests",
        "BadTopic",
        "PayloadTooLarge",
        "New",
    )
    reasons = {
        apns_verdict(status, reason, timestamp, when).reason
        for status, reason, timestamp in product(statuses, apns, (None, 0, 4_000_000_000_000))
    }
    fcm = ("", "UNREGISTERED", "SENDER_ID_MISMATCH", "THIRD_PARTY_AUTH_ERROR", "QUOTA_EXCEEDED", "New")
    reasons |= {
        fcm_verdict(status, code, fields).reason
        for status, code, fields in product((*statuses, None), fcm, (frozenset[str](), frozenset({"message.token"})))
    }
    assert len(reasons) > 20
    assert {each for each in reasons if known_reason(each) != each} == set(), "add them to ent_notify.observe.reasons"


def test_every_reason_that_the_source_spells_is_in_the_list() -> None:
    word = re.compile(r"(apns|dsn|fcm|mail|push|smtp|webpush)\.(?!googleapis)[A-Za-z_]+(\.[a-z]+)?")
    reasons = {
        node.value
        for folder in ("channels", "flows", "policy")
        for path in (SOURCE / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and word.fullmatch(node.value)
    }
    sql = (SOURCE / "store/migrations/0004_sending.sql").read_text(encoding="utf-8")
    withheld = set(re.findall(r"then '([a-z_]+)'", sql))
    assert {"left", "read", "daily_cap"} <= withheld
    reasons |= withheld
    assert len(reasons) > 25
    assert {each for each in reasons if known_reason(each) != each} == set(), "add them to ent_notify.observe.reasons"


@pytest.mark.parametrize("phase", Phase)
def test_every_reason_of_the_mail_policy_is_in_the_list(phase: Phase) -> None:
    statuses = ("", "4.2.2", "4.7.0", "5.1.1", "5.3.4", "5.7.1", "5.7.30", "9.9.9")
    reasons = {
        smtp_verdict(phase, code, status).reason for code in (*range(400, 460), *range(500, 560)) for status in statuses
    }
    assert {each for each in reasons if known_reason(each) != each} == set(), "add them to ent_notify.observe.reasons"


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("smtp.5.1.1", "smtp.5.1.1"),
        ("smtp.450", "smtp.450"),
        ("smtp.5.1.31", "smtp.other"),
        ("smtp.zephyrine", "smtp.other"),
        ("unknown:fcm.NoAnswer", "unknown:fcm.NoAnswer"),
        ("unknown:unknown:fcm.NoAnswer", "unknown:other"),
        ("apns.Zephyrine", "apns.other"),
        ("zephyrine@famille.example", "other"),
    ],
)
def test_a_reason_is_one_of_the_list(reason: str, shown: str) -> None:
    assert known_reason(reason) == shown


def test_what_logs_keep_out_is_a_metric() -> None:
    metrics = Metrics()
    before = value(metrics, "log_fields_dropped_total")
    assert before is not None
    get_logger("ent_notify.tests").error("something_happened", name="Zéphyrine Canari")
    assert value(metrics, "log_fields_dropped_total") == before + 1


def test_metrics_are_served_while_asked_and_no_longer() -> None:
    metrics = Metrics()
    metrics.relayed(7)
    with serve_metrics(metrics, "127.0.0.1", 0) as port:
        url = f"http://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert b"ent_notify_relayed_total 7.0" in answer.read()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=10)


def test_the_health_page_says_whether_it_goes_round() -> None:
    well = [True]
    with serve_metrics(Metrics(), "127.0.0.1", 0, lambda: well[0]) as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            assert answer.read() == b"ok\n"
        well[0] = False
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            assert b"ent_notify_relayed_total" in answer.read()


def test_every_metric_says_what_it_is() -> None:
    families = list(Metrics().registry.collect())
    assert len(families) > 15
    assert [f.name for f in families if not f.documentation.endswith(".") or not f.name.startswith("ent_notify_")] == []
