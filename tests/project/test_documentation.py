"""Every block of Python, SQL, TOML and shell in the documentation is run, or read by what would read it."""

from __future__ import annotations

import os
import re
import shlex
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import trio
from sybil import Document, Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from ent_notify._island import open_island
from ent_notify.cli import cli
from ent_notify.settings import setting_rows
from ent_notify.store import open_database

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGES = {"python", "sql", "toml", "bash", "text", "json", "ini", "js", "mermaid"}


def run_sql(example: Example) -> None:
    async def run() -> None:
        async with open_island() as island, open_database(example.namespace["dsn"], island) as database:
            await database.script(str(example.parsed))

    trio.run(run)


def read_toml(example: Example) -> None:
    """Its names are settings."""
    known = {row.name for row in setting_rows()}
    for group, values in tomllib.loads(str(example.parsed)).items():
        for name, value in values.items():
            names = [f"{group}.NAME.{each}" for each in value] if isinstance(value, dict) else [f"{group}.{name}"]
            assert set(names) <= known, names


def read_shell(example: Example) -> None:
    """Each of our commands in it has the arguments that it takes; each make target is in the Makefile."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for line in str(example.parsed).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            assert words[1] in targets, line
        if words[:1] == ["ent-notify"]:
            command = cli.commands[words[1]]
            try:
                command.make_context(words[1], words[2:], parent=click.Context(cli))
            except click.BadParameter as wrong:
                assert "does not exist" in wrong.message, f"{line}: {wrong.message}"


SYBIL = Sybil(
    parsers=[
        PythonCodeBlockParser(),
        CodeBlockParser("sql", run_sql),
        CodeBlockParser("toml", read_toml),
        CodeBlockParser("bash", read_shell),
    ],
    path=str(ROOT),
)


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


@pytest.mark.parametrize("page", PAGES, ids=relative)
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
            assert (page.parent / target).exists(), f"{relative(page)} links to {target}"


def test_what_is_said_to_show_a_promise_is_there() -> None:
    page = (ROOT / "docs/promises.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[^`:]+)::(\w+)`", page)
    assert len(named) > 60
    missing = [f"{path}::{test}" for path, test in named if f"def {test}(" not in (ROOT / path).read_text("utf-8")]
    modules = re.findall(r"`python -m ([\w.]+)", page)
    missing += [name for name in modules if not (ROOT / f"{name.replace('.', '/')}.py").exists()]
    assert missing == []
    for row in page.splitlines():
        if row.startswith("| ") and not row.startswith("| Promise"):
            assert row.count("`") >= 2, f"nothing shows: {row}"


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
