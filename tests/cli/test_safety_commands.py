"""`safety`: what an operator does when an account is hijacked."""

from __future__ import annotations

import io

import orjson
import pytest

from .conftest import Command


@pytest.fixture
def in_town(command: Command, town: str) -> Command:
    """Commands on the small town."""
    del town
    return command


WHY = ("--reason", "hijacked", "--by", "M. Petit")


def test_an_account_is_quarantined_taken_back_and_released(in_town: Command) -> None:
    told = in_town("safety", "quarantine", "P1", *WHY, "--yes")
    assert (told.code, told.out) == (0, "P1 is quarantined\n")
    again = in_town("safety", "quarantine", "P1", *WHY, "--yes")
    assert again.out == "P1 is quarantined already; nothing was changed\n"
    taken = in_town("safety", "recall-all", "P1", "--since", "2026-09-08T21:00:00+02:00", *WHY, "--yes", "--json")
    run = orjson.loads(taken.out)
    assert (run["person"], run["recalled"], run["since"]) == ("P1", 0, "2026-09-08T19:00:00+00:00")
    assert run["ended_at"] is not None
    released = in_town("safety", "quarantine", "P1", "--release", *WHY, "--json")
    assert orjson.loads(released.out) == {"person": "P1", "state": "released", "changed": True}
    assert orjson.loads(in_town("safety", "queue", "--json").out) == []


def test_a_school_is_frozen_and_thawed(in_town: Command) -> None:
    frozen = in_town("safety", "freeze", "0540001A", "--tier", "staff", *WHY, "--yes", "--json")
    assert orjson.loads(frozen.out) == {"area": "0540001A", "tier": "staff", "changed": True}
    assert in_town("safety", "unfreeze", "school:0540001A", *WHY).out == "school:0540001A is not frozen\n"
    assert "already" in in_town("safety", "unfreeze", "school:0540001A", *WHY).out


@pytest.mark.parametrize(
    ("line", "code", "complaint"),
    [
        (("freeze", "academy:metz", "--tier", "staff", *WHY, "--yes"), 1, "nancy-metz"),
        (("freeze", "school:0999999Z", "--tier", "staff", *WHY, "--yes"), 1, "no school"),
        (("quarantine", "nobody", *WHY, "--yes"), 1, "no person 'nobody'"),
        (("recall-all", "P1", "--since", "yesterday", *WHY, "--yes"), 2, "not an instant"),
        (("quarantine", "P1", "--yes"), 2, "--reason"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_done(
    in_town: Command, line: tuple[str, ...], code: int, complaint: str
) -> None:
    told = in_town("safety", *line)
    assert told.code == code
    assert complaint in told.err
    assert orjson.loads(in_town("safety", "queue", "--json").out) == []


def test_it_asks_first(in_town: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    told = in_town("safety", "quarantine", "P1", *WHY)
    assert (told.code, "quarantine P1?" in told.err) == (130, True)
    assert in_town("safety", "quarantine", "P1", *WHY, "--yes").out == "P1 is quarantined\n"
