"""``campaign`` with its acts, and ``forecast``, on a real database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from ent_notify.engine import open_engine
from ent_notify.settings import settings_from

from .conftest import Command, fan_out

HOMEWORK = {
    "type": "HomeworkAssigned",
    "key": "hw-1",
    "data": {"group": "0540001A/class/6A", "subject": "Mathématiques", "title": "Exercice 3", "due": "2030-09-18"},
}
BY = ("--by", "M. Petit", "--reason", "wrong date")


@pytest.fixture
def number(town: str, command: Command, workplace: Path) -> str:
    """A campaign whose mails wait for a worker that can send them."""
    (workplace / "event.json").write_text(json.dumps(HOMEWORK | {"urgency": "urgent"}))
    published = json.loads(command("publish", "event.json", "--json").out)
    trio.run(fan_out, town)
    return str(published["notification"])


def test_an_operator_pauses_resumes_and_cancels(number: str, command: Command) -> None:
    paused = command("campaign", number, "--pause", *BY)
    assert paused.code == 0
    assert paused.out.startswith(f"campaign {number} is paused\n")
    assert "M. Petit" in paused.out and "wrong date" in paused.out
    again = command("campaign", number, "--pause", *BY)
    assert again.out.startswith(f"campaign {number} is paused already; nothing was changed\n")
    ledger = json.loads(command("campaign", number, "--json").out)
    assert (ledger["state"], ledger["held"], ledger["pending"]) == ("paused", 8, 0)

    control = json.loads(command("campaign", number, "--resume", "--json").out)
    assert (control["state"], control["changed"], control["in_hand"]) == ("running", True, 0)
    assert control["actions"][1]["by"]  # the login
    assert command("campaign", number, "--cancel", *BY, "--wait").code == 0
    shown = command("campaign", number)
    assert "cancelled" in shown.out
    refused = command("campaign", number, "--resume", *BY)
    assert refused.code == 1 and "new key" in refused.err


def test_an_operator_recalls_and_sees_who_had_read(number: str, town: str, command: Command) -> None:
    async def read() -> None:
        async with open_engine(settings_from({"store": {"dsn": town}})) as engine:
            await engine.mark_all_read(await engine.reader("P11"), 1)

    trio.run(read)
    assert command("campaign", number, "--readers").out == "P11\n"
    recalled = command("campaign", number, "--recall", *BY)
    assert recalled.out.startswith(f"campaign {number} is recalled\n")
    assert f"campaign {int(number) + 1} replaces the pushes that were shown" in recalled.out
    assert json.loads(command("campaign", number, "--readers", "--json").out)["readers"] == ["P11"]
    assert json.loads(command("campaign", number, "--json").out)["event"] == "HomeworkAssigned"


def test_a_worker_that_holds_something_is_told_of(number: str, town: str, command: Command) -> None:
    async def claim() -> None:
        async with open_engine(settings_from({"store": {"dsn": town}})) as engine:
            await engine.db.script(
                "update ent_notify.chunk set state = 2, leased_by = 'w' where size = 4 and state = 0"
            )

    trio.run(claim)
    told = command("campaign", number, "--cancel", *BY).out
    assert "workers hold 4 deliveries of it" in told
    assert f"ent-notify campaign {number} --wait" in told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("campaign", "--cancel"), "say which campaign"),
        (("campaign", "--readers"), "say which campaign"),
        (("campaign", "1", "--cancel", "--readers"), "two calls"),
        (("forecast", "event.json", "--deadline", "tomorrow"), "not an instant"),
        (("forecast", "event.json", "--deadline", "2030-09-08T10:00:00"), "not an instant"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_done(
    town: str, command: Command, workplace: Path, arguments: tuple[str, ...], words: str
) -> None:
    (workplace / "event.json").write_text(json.dumps(HOMEWORK))
    ended = command(*arguments)
    assert ended.code == 2 and words in ended.err


def test_an_unknown_campaign(town: str, command: Command) -> None:
    for arguments in (("--pause",), ("--recall",), ("--readers",), ("--wait",)):
        ended = command("campaign", "999", *arguments)
        assert ended.code == 1 and "no campaign 999" in ended.err


def test_a_forecast_before_anything_is_published(town: str, command: Command, workplace: Path) -> None:
    (workplace / "event.json").write_text(json.dumps(HOMEWORK | {"urgency": "urgent"}, indent=1))
    ended = command("forecast", "event.json")
    assert ended.code == 0
    assert ended.out.startswith("7 people, 8 deliveries; the last leaves at ")
    assert "email" in ended.out and "push:apns:fr.ent" in ended.out
    assert json.loads(command("campaign", "--json").out) == []

    async def slow_down() -> None:
        async with open_engine(settings_from({"store": {"dsn": town}})) as engine:
            await engine.set_rate("email", 0.001)

    trio.run(slow_down)
    late = command("forecast", "event.json", "--deadline", "2026-09-08T10:00:00+02:00", "--json")
    assert late.code == 3
    told = json.loads(late.out)
    assert told["deliveries"] == 8
    assert any("email cannot make the deadline" in warning for warning in told["warnings"])
    shown = command("forecast", "event.json", "--deadline", "2026-09-08T10:00:00+02:00")
    assert shown.code == 3 and "warning: email cannot make the deadline" in shown.out


def test_a_forecast_is_of_one_event(town: str, command: Command, workplace: Path) -> None:
    (workplace / "events.jsonl").write_text("\n".join([json.dumps(HOMEWORK)] * 2))
    ended = command("forecast", "events.jsonl")
    assert ended.code == 1 and "holds 2" in ended.err
    (workplace / "event.json").write_text(json.dumps(HOMEWORK | {"type": "Nope"}))
    ended = command("forecast", "event.json")
    assert ended.code == 1 and "Nope" in ended.err
