"""What holds for every command there is: JSON for programs, help for people, completion for shells."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete, get_completion_class

from ent_notify.cli import cli

from .conftest import Command

VARIABLE = "_ENT_NOTIFY_COMPLETE"
PROGRAM = str(Path(sys.executable).with_name("ent-notify"))


def walk(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from walk(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(walk(cli))
each_command = pytest.mark.parametrize("name", COMMANDS)


@each_command
def test_it_has_json_and_says_what_each_option_is_for(name: str) -> None:
    options = [each for each in COMMANDS[name].params if isinstance(each, click.Option)]
    assert "--json" in {opt for option in options for opt in option.opts}
    assert [option.name for option in options if not option.hidden and not option.help] == []
    short = COMMANDS[name].get_short_help_str(limit=200)
    assert short.endswith(".")


@each_command
def test_the_example_of_its_help_is_taken_by_it(name: str) -> None:
    command = COMMANDS[name]
    lines = (command.help or "").replace("\\\n", " ").splitlines()
    given = [line.split("|")[-1].strip() for line in lines if re.search(rf"  .*ent-notify .*{name}", line)]
    assert given, "an example says more than a page"
    for line in given:
        words = shlex.split(line.partition(" > ")[0] + '"' * (line.count('"') % 2))
        arguments = words[words.index(name.split()[-1]) + 1 :]
        try:
            command.make_context(name, arguments, parent=click.Context(cli))
        except click.BadParameter as wrong:
            assert any(why in wrong.message for why in ("does not exist", "No such file", "cannot be written")), line


def test_commands_that_write_json_write_json(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENT_NOTIFY_API__ISSUER", "https://ent.example")
    keys = json.loads(command("api", "keys", tmp_path / "k", "--json").out)
    assert keys["keys"] == 1
    token = json.loads(command("api", "token", "g1", "--key", keys["signs"], "--json").out)
    assert token["token"].count(".") == 2
    assert "tables" in json.loads(command("gdpr", "register", "--json").out)
    assert json.loads(command("api", "openapi", "--json").out)["openapi"] == "3.1.0"


@pytest.mark.parametrize(("shell", "word"), [("bash", "complete "), ("zsh", "compdef "), ("fish", "complete ")])
def test_shells_are_told_how_to_complete(shell: str, word: str) -> None:
    kind = get_completion_class(shell)
    assert kind is not None
    source = kind(cli, {}, "ent-notify", VARIABLE).source()
    assert word in source
    assert f"{VARIABLE}={shell}_complete" in source


def test_bash_takes_it_from_the_program_itself() -> None:
    script = f'eval "$({VARIABLE}=bash_source {PROGRAM})"; complete -p ent-notify'
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.rstrip().endswith(" ent-notify")


@pytest.mark.parametrize(
    ("words", "begun", "expected"),
    [([], "camp", "campaign"), (["safety"], "recall", "recall-all"), (["campaign"], "--rec", "--recall")],
)
def test_commands_and_options_are_completed(words: list[str], begun: str, expected: str) -> None:
    found = ShellComplete(cli, {}, "ent-notify", VARIABLE).get_completions(words, begun)
    assert expected in [each.value for each in found]


@pytest.mark.parametrize("terminal", [True, False])
def test_long_work_says_so_on_a_terminal_and_nowhere_else(
    terminal: bool, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    ended = command("generate", tmp_path / "region", "--people", "40", "--json")
    assert ended.code == 0
    assert ("writing a region" in ended.err) is terminal
    assert json.loads(ended.out)["people"] >= 40  # what turns is beside the data
