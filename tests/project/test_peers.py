"""Tests that need what not every machine has are skipped without it on a desk, and fail without it in CI."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
CONFIGURATION = Path(__file__).parents[2] / "pyproject.toml"


UNICORN = """
PEERS["unicorn"] = Peer(lambda: False, "breed one")
"""


@pytest.mark.parametrize(
    ("name", "ci", "outcome"),
    [
        ("unicorn", "", "unicorn is not here: breed one"),
        ("unicorn", "true", "unicorn is not here, and CI runs every test: breed one"),
        ("unicorns", "", "unknown peer 'unicorns': known are c-compiler, chromium, linux, namespaces, nats-server, "),
    ],
)
def test_a_missing_peer(tmp_path: Path, name: str, ci: str, outcome: str) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8") + UNICORN, encoding="utf-8")
    (tmp_path / "test_it.py").write_text(f"import pytest\n@pytest.mark.peer({name!r})\ndef test_it(): pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(CONFIGURATION), "--rootdir", str(tmp_path), "-q", str(tmp_path)],
        env={**os.environ, "CI": ci, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in done.stdout


def test_nothing_is_skipped_in_another_way() -> None:
    ways = re.compile(r"skipif|pytest\.skip|mark\.skip\b|importorskip|unittest\.skip|SkipTest")
    here = Path(__file__).parents[1]
    skipping = {
        str(file.relative_to(here))
        for file in here.rglob("*.py")
        if file != Path(__file__) and ways.search(file.read_text(encoding="utf-8"))
    }
    assert skipping == {"conftest.py"}
