"""``migrate``, ``publish``, ``campaign`` and ``explain`` on a real database."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
import trio

from .conftest import Command, fan_out

HOMEWORK = {
    "type": "HomeworkAssigned",
    "key": "hw-1",
    "data": {"group": "0540001A/class/6A", "subject": "Mathématiques", "title": "Exercice 3", "due": "2030-09-18"},
}
CLOSED = {
    "type": "Announcement",
    "key": "closed-1",
    "audience": {"school": "0540001A"},
    "data": {"title": "Fermeture", "body": "Le collège est fermé lundi."},
}


def test_migrate_says_what_it_applied_and_then_nothing(
    empty_dsn: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENT_NOTIFY_STORE__DSN", empty_dsn)
    assert command("campaign").code == 1
    first = command("migrate")
    assert first.code == 0 and "0001_house" in first.out
    assert "up to date" in command("migrate").out
    assert json.loads(command("migrate", "--json").out)["applied"] == []
    assert command("campaign").code == 0


def test_one_event_over_several_lines(town: str, command: Command, workplace: Path) -> None:
    (workplace / "event.json").write_text(json.dumps(HOMEWORK, indent=2, ensure_ascii=False))
    assert command("publish", "event.json").out == "published 1 event\n"
    again = command("publish", "event.json")
    assert (again.code, again.out) == (0, "published 0 events; 1 had been published before\n")


def test_many_events_one_on_a_line(town: str, command: Command, workplace: Path) -> None:
    lines = [json.dumps(HOMEWORK | {"key": f"hw-{number}"}) for number in range(1_200)]
    (workplace / "events.jsonl").write_text("\n\n".join(lines))
    assert command("publish", "events.jsonl").out == "published 1200 events\n"


def test_the_standard_input_and_json(town: str, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BytesIO((json.dumps(HOMEWORK) + "\n" + json.dumps(CLOSED)).encode())

    monkeypatch.setattr(sys, "stdin", Input)
    ended = command("publish", "-", "--json")
    assert ended.code == 0
    numbers = [json.loads(line) for line in ended.out.splitlines()]
    assert [each["created"] for each in numbers] == [True, True]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", None),
        ("[1]", "line 1 is not a JSON object but a list"),
        ("null", "line 1 is not a JSON object but null"),
        (json.dumps(CLOSED | {"data": {"title": "a", "body": "b\x00c"}}), "NUL"),
        ('{"type": "HomeworkAssigned"', "line 1, column"),
        (json.dumps(HOMEWORK) + "\n{oops\n", "line 2, column 2 is not JSON"),
        ('{\n"type":\n]}', "line 3, column 1 is not JSON"),
        (json.dumps(HOMEWORK | {"type": "HomeworkForgotten"}), "HomeworkForgotten"),
        (json.dumps(CLOSED | {"audience": {"school": "0999999Z"}}), "0999999Z"),
    ],
)
def test_an_event_that_cannot_be_taken_is_told_and_nothing_is_written(
    text: str, words: str | None, town: str, command: Command, workplace: Path
) -> None:
    (workplace / "event.json").write_text(text)
    ended = command("publish", "event.json")
    assert ended.code == (0 if words is None else 1)
    assert (words or "") in ended.err
    assert json.loads(command("campaign", "--json").out) == []


def test_a_file_that_is_not_there_is_told(command: Command) -> None:
    ended = command("publish", "nowhere.json")
    assert ended.code == 2 and "nowhere.json" in ended.err


def test_the_ledger_is_shown_for_people_and_for_programs(town: str, command: Command, workplace: Path) -> None:
    (workplace / "event.json").write_text(json.dumps(HOMEWORK))
    number = json.loads(command("publish", "event.json", "--json").out)["notification"]
    early = command("campaign", str(number))
    assert early.code == 1 and f"no campaign {number}" in early.err
    trio.run(fan_out, town)
    shown = command("campaign", str(number))
    assert shown.code == 0 and "HomeworkAssigned" in shown.out
    ledger = json.loads(command("campaign", str(number), "--json").out)
    assert ledger["campaign"] == number and ledger["event"] == "HomeworkAssigned"
    assert ledger["planned"] == (
        ledger["accepted"] + ledger["held"] + ledger["pending"]
        + sum(ledger["suppressed"].values()) + sum(ledger["failed"].values())
    )  # fmt: skip
    assert [each["campaign"] for each in json.loads(command("campaign", "--json").out)] == [number]
    nothing = command("campaign", "999")
    assert nothing.code == 1 and "999" in nothing.err


def test_explain_says_who_is_addressed_and_who_is_not(town: str, command: Command, workplace: Path) -> None:
    (workplace / "event.json").write_text(json.dumps(HOMEWORK))
    number = str(json.loads(command("publish", "event.json", "--json").out)["notification"])
    trio.run(fan_out, town)
    assert "P1 is in the audience of notification" in command("explain", number, "P1").out
    assert "P5 is not in the audience of notification" in command("explain", number, "P5").out
    told = json.loads(command("explain", number, "P1", "--json").out)
    assert told["addressed"] is True and told["person"] == "P1"
    nobody = command("explain", number, "P999")
    assert nobody.code == 1 and nobody.err.startswith("ent-notify: ")


def test_a_byte_order_mark_is_no_part_of_the_event(town: str, command: Command, workplace: Path) -> None:
    (workplace / "event.json").write_text(json.dumps(HOMEWORK), encoding="utf-8-sig")
    assert command("publish", "event.json").out == "published 1 event\n"


@pytest.mark.parametrize("encoding", ["iso-8859-15", "utf-16"])
def test_another_encoding_is_named_for_what_it_is_not(
    encoding: str, town: str, command: Command, workplace: Path
) -> None:
    (workplace / "event.json").write_text(json.dumps(HOMEWORK, ensure_ascii=False), encoding=encoding)
    ended = command("publish", "event.json")
    assert ended.code == 1
    assert ended.err == "ent-notify: line 1 is not UTF-8; save the file as UTF-8 and publish it again\n"


@pytest.mark.parametrize("words", [("campaign", str(2**63)), ("explain", str(2**63), "P1"), ("campaign", "0")])
def test_a_number_beyond_all_campaigns_is_a_wrong_word(words: tuple[str, ...], command: Command) -> None:
    ended = command(*words)
    assert ended.code == 2 and "is not in the range" in ended.err
