"""The frame of the command line: help for an operator, sentences for errors, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from ent_notify.cli import cli
from ent_notify.errors import EntNotifyError, NotFound, SettingsError, TooManyRemovals

from .conftest import Command

CANARY = "zephyrine.canari@famille.example"


@pytest.fixture
def failing() -> Iterator[Callable[[BaseException], None]]:
    """Makes the command ``fail``, which raises what it is given."""
    raised: list[BaseException] = []

    @click.command()
    def fail() -> None:
        raise raised[0]

    cli.add_command(fail)
    yield raised.append
    del cli.commands["fail"]


@pytest.mark.parametrize("name", [*sorted(cli.commands)])
def test_each_help_is_written_for_an_operator(name: str, command: Command) -> None:
    ended = command(name, "--help")
    assert ended.code == 0 and ended.err == ""
    assert "Example" in ended.out and f"ent-notify {name}" in ended.out
    prose = ended.out.partition("Example")[0].split("\n\n")[1:]
    assert sum(len(paragraph) for paragraph in prose) > 80, "it says what the command does, in sentences"
    for option in cli.commands[name].params:
        if isinstance(option, click.Option):
            assert option.help, f"{name} {option.name} says nothing"


def test_the_list_has_a_line_for_each_command(command: Command) -> None:
    listed = command("--help").out.partition("Commands:")[2]
    for name in ("demo", "migrate", "generate", "import-aaf", "publish", "worker", "gateway", "campaign", "explain"):
        (line,) = [line for line in listed.splitlines() if line.startswith(f"  {name} ")]
        assert line.rstrip().endswith(".")


def test_nothing_at_all_shows_the_help(command: Command) -> None:
    ended = command()
    assert ended.code == 2 and "Commands:" in ended.out + ended.err


@pytest.mark.parametrize(
    "arguments", [("publis",), ("migrate", "--jsn"), ("campaign", "twelve"), ("explain", "12"), ("generate",)]
)
def test_a_wrong_command_line_is_told_and_ends_with_2(arguments: tuple[str, ...], command: Command) -> None:
    ended = command(*arguments)
    assert ended.code == 2 and "Error:" in ended.err and ended.out == ""


def test_a_wrong_setting_is_told_and_ends_with_2(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENT_NOTIFY_STORE__POOLSIZE", "3")
    for name in ("migrate", "doctor", "worker", "gateway", "campaign"):
        ended = command(name)
        assert ended.code == 2
        assert ended.err == (
            "ent-notify: ENT_NOTIFY_STORE__POOLSIZE (in the environment) is not a setting "
            "(did you mean ENT_NOTIFY_STORE__POOL_SIZE?); correct the name or take it out\n"
        )


def test_config_names_the_settings_file(command: Command, workplace: Path) -> None:
    (workplace / "other.toml").write_text("[store]\npool_size = 0\n")
    assert "store.pool_size = 0 (in other.toml)" in command("--config", "other.toml", "migrate").err
    assert "no settings file at nowhere.toml" in command("--config", "nowhere.toml", "migrate").err


def test_a_database_that_does_not_answer_is_told_and_ends_with_1(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENT_NOTIFY_STORE__DSN", "postgresql://ent@127.0.0.1:1/ent")
    monkeypatch.setenv("ENT_NOTIFY_STORE__PASSWORD", CANARY)
    ended = command("migrate")
    assert ended.code == 1 and ended.err.startswith("ent-notify: ") and "127.0.0.1" in ended.err
    assert CANARY not in ended.err and ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("there is no campaign 12; see `ent-notify campaign`"), 1),
        (SettingsError("store.dsn is wrong; correct it"), 2),
        (TooManyRemovals(600, 1_000, 0.05), 3),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_error_has_its_sentence_and_exit_code(
    error: BaseException, code: int, command: Command, failing: Callable[[BaseException], None]
) -> None:
    failing(error)
    ended = command("fail")
    assert ended.code == code
    assert ended.err.strip() == f"ent-notify: {error if isinstance(error, EntNotifyError) else 'stopped'}"


def test_an_error_from_within_a_nursery_is_found(command: Command, failing: Callable[[BaseException], None]) -> None:
    failing(BaseExceptionGroup("nursery", [ExceptionGroup("inner", [NotFound("no such thing; look again")])]))
    ended = command("fail")
    assert (ended.code, ended.err) == (1, "ent-notify: no such thing; look again\n")


def test_an_unforeseen_error_is_told_by_class_and_place_alone(
    command: Command, failing: Callable[[BaseException], None]
) -> None:
    failing(ValueError(CANARY))
    ended = command("fail")
    assert ended.code == 1 and CANARY not in ended.err
    assert "builtins.ValueError at " in ended.err and "--debug" in ended.err
    whole = command("--debug", "fail")
    assert whole.code == 1 and "Traceback" in whole.err and CANARY in whole.err


def test_a_reader_who_leaves_early_is_no_error() -> None:
    program = f"{sys.executable} -c 'from ent_notify.cli import main; main()' doctor --settings | head -n 1"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "# Settings\n", "")


def test_the_program_is_installed() -> None:
    script = Path(sys.executable).with_name("ent-notify")
    ended = subprocess.run(
        [script, "--version"], capture_output=True, text=True, timeout=60, check=True, env=os.environ
    )
    assert ended.stdout.startswith("ent-notify ")
