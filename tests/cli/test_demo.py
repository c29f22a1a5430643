"""What ``demo`` refuses before it begins: an answer after ten minutes of work would be a bad joke."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from .conftest import Command


def test_a_port_that_is_taken(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        ended = command("demo", "--port", str(port), "--people", "200")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"ent-notify: port {port} of this machine cannot be had (Address already in use); ")


@pytest.mark.parametrize("file", ["nowhere/outcome.json", "."])
@pytest.mark.parametrize("words", [("demo", "--once", "--people", "200"), ("import-aaf", ".")])
def test_an_outcome_that_cannot_be_written(
    file: str, words: tuple[str, ...], command: Command, workplace: Path
) -> None:
    ended = command(*words, "--json", file)
    assert (ended.code, ended.out) == (2, "")
    assert f"'{file}' cannot be written" in ended.err
