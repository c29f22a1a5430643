"""``conversations``: proofs written down, and what senders see."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import trio

from ent_notify.engine import open_engine
from ent_notify.model.acknowledgement import Ask, Matter
from ent_notify.model.conversations import NewConversation, Shape
from ent_notify.settings import settings_from

from .conftest import Command


@pytest.fixture
def signed(town: str) -> int:
    """A conversation whose first message Gil has acknowledged."""

    async def work() -> int:
        async with open_engine(settings_from({"store": {"dsn": town}})) as engine:
            new = NewConversation(shape=Shape.GROUP, subject="S", body="B", to=("P11", "P31"), ask=Ask())
            number, seq = await engine.conversations.open(await engine.reader("P21"), new)
            await engine.acknowledgements.give(Matter.message(number, seq), await engine.reader("P11"))
            return number

    return trio.run(work)


def test_a_proof_in_json_and_in_csv_has_one_digest(command: Command, signed: int, tmp_path: Path) -> None:
    message = ("conversations", "proof", "--conversation", str(signed), "--message", "1")
    found = json.loads(command(*message).out)
    assert [(each["person"], each["child"]) for each in found["given"]] == [("P11", None)]
    assert found["standing"]["asked"] == 2
    file = tmp_path / "proof.csv"
    said = command(*message, "--csv", "--output", file)
    assert said.err == f"sha256 {found['digest']}\n"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == found["digest"]


@pytest.mark.parametrize(
    "options", [(), ("--conversation", "1"), ("--conversation", "1", "--message", "1", "--notification", "1")]
)
def test_a_proof_is_of_one_thing(command: Command, options: tuple[str, ...]) -> None:
    assert command("conversations", "proof", *options).code == 2


def test_a_proof_of_what_nobody_asked_is_none(command: Command, signed: int) -> None:
    ended = command("conversations", "proof", "--notification", "99")
    assert (ended.code, "nothing is asked" in ended.err) == (1, True)


def test_a_school_says_what_senders_see_and_takes_it_back(command: Command, signed: int) -> None:
    reading = ("conversations", "reading", "--school", "0540001A")
    assert command(*reading, "--track", "yes").out == "0540001A: track yes, names as the project says\n"
    assert json.loads(command(*reading, "--json").out) == {"track": True, "names": None}
    assert command(*reading, "--track", "project", "--names", "no").out.endswith("the project says, names no\n")
    assert command("conversations", "reading").out == "project: track by default, names by default\n"
    assert command("conversations", "reading", "--school", "nowhere", "--track", "no").code == 1
