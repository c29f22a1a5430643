"""Dashboard, alerts and runbooks name metrics and labels that there are; labels are those stated, and bounded."""

from __future__ import annotations

import importlib
import json
import re
from math import prod
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from ent_notify.bus import ProcessBus
from ent_notify.gateway.metrics import GatewayMetrics
from ent_notify.observe import Metrics, watch_bus
from ent_notify.observe.metrics import LABELS

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "examples/deploy/monitoring"
RUNBOOKS = ROOT / "docs/runbooks"
MOST_SERIES = 500
"""Of one metric and one reason, if every combination of its labels' values came."""


def registry() -> CollectorRegistry:
    metrics = Metrics()
    GatewayMetrics(metrics.registry)
    watch_bus(metrics.registry, ProcessBus().statistics)
    return metrics.registry


def labels_of(known: CollectorRegistry) -> dict[str, tuple[str, ...]]:
    """Each metric's labels, whether or not it has a value yet."""
    found: dict[str, tuple[str, ...]] = {}
    for collector, names in known._collector_to_names.items():
        declared: tuple[str, ...] | None = getattr(collector, "_labelnames", None)
        for family in collector.collect():
            own = (
                declared if declared is not None else tuple(sorted({each for s in family.samples for each in s.labels}))
            )
            for name in {family.name, f"{family.name}_total", *names}:
                found[name] = own
    return found


METRICS = labels_of(registry())
RULES: list[dict[str, Any]] = importlib.import_module("yaml").safe_load((MONITORING / "alerts.yml").read_text("utf-8"))[
    "groups"
][0]["rules"]
PANELS: list[dict[str, Any]] = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))["panels"]
QUERIES = [(rule["alert"], rule["expr"]) for rule in RULES]
QUERIES += [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]


@pytest.mark.parametrize(("where", "query"), QUERIES, ids=[where for where, _ in QUERIES])
def test_every_query_names_metrics_and_labels_that_there_are(where: str, query: str) -> None:
    names = set(re.findall(r"\bent_notify_\w+", query))
    assert names or query.startswith("up{")
    assert names <= METRICS.keys(), names - METRICS.keys()
    allowed = {label for name in names for label in METRICS[name]} | {"le", "job"}
    used = {each for group in re.findall(r"by \(([^)]*)\)", query) for each in re.split(r",\s*", group)}
    used |= set(re.findall(r"(\w+)(?:=~|!=|=)\"", query))
    assert used <= allowed, used - allowed
    for label, operator, value in re.findall(r"(\w+)(=~|!=|=)\"([^\"]*)\"", query):
        if label in LABELS:
            assert set(value.split("|") if operator == "=~" else [value]) <= set(LABELS[label])


def test_each_alert_has_its_runbook_and_each_runbook_its_alert() -> None:
    pages = {rule["annotations"]["runbook_url"]: rule["alert"] for rule in RULES}
    listed = (RUNBOOKS / "index.md").read_text(encoding="utf-8")
    for page, alert in pages.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        assert f"Alert `{alert}`" in text
        assert "## What to do" in text
        assert f"[{alert}]({Path(page).name})" in listed
    there = {page.relative_to(ROOT).as_posix() for page in RUNBOOKS.glob("*.md") if page.name != "index.md"}
    assert there == set(pages)


def test_every_label_is_stated_with_its_values_and_bounded() -> None:
    page = (ROOT / "docs/reference/observability.md").read_text(encoding="utf-8")
    used = {label for labels in METRICS.values() for label in labels}
    assert used == {*LABELS, "reason"}
    assert "| `reason` | " in page  # a word of a closed list, or a reply code: tests/observe/test_metrics.py
    for label, values in LABELS.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{label}` | ")]
        if len(values) <= 20:
            assert set(re.findall(r"`(\w*)`", row.split("|")[2])) == set(values) - {""}, label
        else:
            assert f"{len(values)} " in row, f"{label}: {len(values)} values"
    for name, labels in METRICS.items():
        assert prod(len(LABELS[label]) for label in labels if label != "reason") <= MOST_SERIES, name
