"""``generate`` and ``import-aaf``: made-up people, into a real database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Command


def test_generate_says_what_it_wrote(command: Command, workplace: Path) -> None:
    ended = command("generate", "region", "--people", "400", "--seed", "7")
    assert ended.code == 0 and "400 people" in ended.out
    assert len(list((workplace / "region").glob("ENT_Complet_*.xml"))) == 4
    summary = json.loads(command("generate", "again", "--people", "400", "--seed", "7", "--json").out)
    assert summary["people"] == 400
    for file in (workplace / "region").iterdir():
        assert file.read_bytes() == (workplace / "again" / file.name).read_bytes(), "the same seed, the same bytes"


def test_too_few_people_are_refused(command: Command) -> None:
    ended = command("generate", "region", "--people", "3")
    assert ended.code == 2 and "--people 40 or more" in ended.err


def test_an_import_says_what_it_did_and_then_that_nothing_changed(
    store: str, command: Command, workplace: Path
) -> None:
    command("generate", "region", "--people", "400")
    first = command("import-aaf", "region")
    assert first.code == 0 and "complete export of aaf" in first.out
    assert "\x1b" not in first.out + first.err and "reading" not in first.err, "no bar where there is no terminal"
    again = command("import-aaf", "region", "--json", "report.json")
    assert again.code == 0
    report = json.loads((workplace / "report.json").read_text())["directory"]
    assert (report["added"], report["changed"], report["hidden"], report["unchanged"]) == (0, 0, 0, 400)
    assert json.loads(command("import-aaf", "region", "--json", "-").out)["directory"]["unchanged"] == 400


def test_an_import_that_would_remove_too_many_asks_with_3(store: str, command: Command, workplace: Path) -> None:
    command("generate", "large", "--people", "800")
    command("generate", "small", "--people", "400")
    assert command("import-aaf", "large").code == 0
    asked = command("import-aaf", "small")
    assert asked.code == 3
    assert "nothing was changed" in asked.err and "--allow-removals" in asked.err
    allowed = command("import-aaf", "small", "--allow-removals", "--json", "-")
    assert allowed.code == 0 and json.loads(allowed.out)["directory"]["hidden"] >= 400


def test_bad_records_are_told_with_file_id_and_reason(store: str, command: Command, workplace: Path) -> None:
    command("generate", "region", "--people", "400")
    file = next((workplace / "region").glob("*_Eleve_0000.xml"))
    file.write_bytes(file.read_bytes().replace(b"$1$1$1$1$0", b"$1$1$7$1$0", 1).replace(b'"sn"', b'"surnom"', 1))
    ended = command("import-aaf", "region")
    assert ended.code == 0
    assert "could not be taken" in ended.err and file.name in ended.err
    assert "unknown attributes, left aside: 1 (such as surnom)" in ended.out


@pytest.mark.parametrize("content", [None, "<html/>"])
def test_what_is_no_export_is_refused(content: str | None, store: str, command: Command, workplace: Path) -> None:
    (workplace / "region").mkdir()
    if content is not None:
        (workplace / "region" / "page.xml").write_text(content)
    ended = command("import-aaf", "region")
    assert ended.code == 1 and ended.err.startswith("ent-notify: ")
    assert command("import-aaf", "nowhere").code == 2
