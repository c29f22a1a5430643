"""Every block of the documentation is run, or read by what would read it; every link and name in it holds."""

from __future__ import annotations

import json
import os
import re
import runpy
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sybil import Document
from tests.project.page_blocks import LANGUAGES, ROOT, SYBIL

from ent_notify.cli import cli

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

GENERATED: dict[str, Callable[[], str]] = runpy.run_path(str(ROOT / ".ci/reference_pages.py"))["PAGES"]
"""Pages that are made when the site is built."""


@pytest.fixture
def workplace(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty folder, a fresh database, and the settings pointing at it."""
    for name in list(os.environ):
        if name.startswith("ENT_NOTIFY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ENT_NOTIFY_STORE__DSN", dsn)
    monkeypatch.chdir(tmp_path)
    yield dsn


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [page for page in PAGES if "```" in page.read_text("utf-8")], ids=relative)
def test_the_blocks_of_a_page_do_what_they_say(page: Path, workplace: str) -> None:
    document: Document = SYBIL.parse(page)
    document.namespace["dsn"] = workplace
    for example in document.examples():
        example.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_block_names_its_language(page: Path) -> None:
    fences = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) % 2 == 0
    assert set(fences[::2]) <= LANGUAGES, f"{page.name}: a block that nobody runs or reads"


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target and not target.startswith("mailto:"):
            there = (page.parent / target).resolve()
            made = there.is_relative_to(ROOT / "docs") and there.relative_to(ROOT / "docs").as_posix() in GENERATED
            assert made or there.exists(), f"{relative(page)} links to {target}"


def test_the_references_made_at_the_build_have_every_route_and_command() -> None:
    http, commands = (page() for page in GENERATED.values())
    described = json.loads((ROOT / "docs/reference/openapi.json").read_text(encoding="utf-8"))
    for path, methods in described["paths"].items():
        for method, route in methods.items():
            assert f"| `{method.upper()} {path}` | {route['summary']} |" in http
    anchors = set(re.findall(r"^## (\w+)$", http, re.MULTILINE))
    assert {name.lower() for name in anchors} >= set(re.findall(r"\]\(#(\w+)\)", http))
    for name in cli.commands:
        assert f"\n## {name}\n" in commands
    assert "\n## retention plan\n" in commands


@pytest.mark.parametrize(("name", "least"), [("promises.md", 60), ("explanation/security.md", 20)])
def test_what_is_said_to_show_a_promise_is_there(name: str, least: int) -> None:
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[^`:]+)::(\w+)`", page)
    assert len(named) > least
    missing = [f"{path}::{test}" for path, test in named if f"def {test}(" not in (ROOT / path).read_text("utf-8")]
    modules = re.findall(r"`python -m ([\w.]+)", page)
    missing += [name for name in modules if not (ROOT / f"{name.replace('.', '/')}.py").exists()]
    assert missing == []
    for row in page.splitlines():
        if row.startswith("| ") and not row.startswith(("| Promise", "| Threat")):
            assert row.count("`") >= 2, f"nothing shows: {row}"


def test_the_capacity_page_is_computed_from_what_was_measured() -> None:
    from benchmarks import capacity

    assert capacity.PAGE.read_text(encoding="utf-8") == capacity.page(capacity.read_figures())


def test_the_figures_for_chunks_are_those_measured() -> None:
    from benchmarks import capacity

    page = (ROOT / "docs/explanation/chunks.md").read_text(encoding="utf-8")
    figures = capacity.read_figures()
    results = json.loads(capacity.RESULTS.read_text(encoding="utf-8"))
    (plan,) = [each for each in results if each["name"].startswith("plan a campaign, against the same eligibility")]
    (rows,) = plan["peers"].values()
    assert f"| {plan['ours']:.2f} s | {rows:.1f} s |" in page
    (peer,) = {round(*each["peers"].values()) for each in results if each["name"].startswith("WAL per recipient")}
    assert f"| {figures.wal:.1f} bytes | {peer} bytes |" in page
    assert f"| {figures.wal_trouble:.1f} bytes | {peer} bytes |" in page


def test_the_picture_of_the_house_has_every_floor_and_room() -> None:
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (layers,) = [rule["layers"] for rule in rules if rule["type"] == "layers"]
    picture = (ROOT / "docs/house.svg").read_text(encoding="utf-8")
    rooms = {room for layer in layers for room in re.findall(r"\w+", layer)}
    assert rooms <= set(re.findall(r"\w+", picture)), rooms - set(re.findall(r"\w+", picture))


LISTED = ("decisions", "runbooks")
"""Folders whose pages are listed by a page of theirs."""


def test_every_page_is_in_the_navigation() -> None:
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    docs = ROOT / "docs"
    pages = [page.relative_to(docs).as_posix() for page in docs.rglob("*.md") if page.parent.name not in LISTED]
    assert [page for page in pages if f": {page}" not in site and f"- {page}" not in site] == []


def test_each_decision_is_listed() -> None:
    listed = (ROOT / "docs/decisions/index.md").read_text(encoding="utf-8")
    pages = [page.name for page in (ROOT / "docs/decisions").glob("*.md") if page.name != "index.md"]
    assert [name for name in pages if f"({name})" not in listed] == []


def test_every_metric_is_documented() -> None:
    from ent_notify.bus import ProcessBus
    from ent_notify.gateway.metrics import GatewayMetrics
    from ent_notify.observe import Metrics, watch_bus

    metrics = Metrics()
    GatewayMetrics(metrics.registry)
    watch_bus(metrics.registry, ProcessBus().statistics)
    page = (ROOT / "docs/reference/observability.md").read_text(encoding="utf-8")
    assert [family.name for family in metrics.registry.collect() if f"`{family.name}" not in page] == []


def test_every_log_field_is_documented() -> None:
    from ent_notify.observe import FIELDS

    page = (ROOT / "docs/reference/observability.md").read_text(encoding="utf-8")
    assert [name for name in FIELDS if f"`{name}`" not in page] == []


def test_no_page_is_wider_than_it_is_read() -> None:
    long = [
        f"{relative(page)}:{number}"
        for page in PAGES
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1)
        if len(line) > 120 and not line.startswith(("|", "{", "http")) and "](" not in line
    ]
    assert long == [], textwrap.shorten(str(long), 300)
