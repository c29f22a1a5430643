"""Tests that need a program of others are skipped without it on a desk, and fail without it in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
CONFIGURATION = Path(__file__).parents[2] / "pyproject.toml"


@pytest.mark.parametrize(
    ("name", "ci", "outcome"),
    [
        ("nats-server", "", "1 skipped"),
        ("nats-server", "true", "nats-server is not installed, and CI runs every test"),
        ("nats", "", "unknown peer 'nats': known are chromium, nats-server, nginx, postfix"),
    ],
)
def test_a_missing_peer(tmp_path: Path, name: str, ci: str, outcome: str) -> None:
    shutil.copy(CONFTEST, tmp_path / "conftest.py")
    (tmp_path / "test_it.py").write_text(f"import pytest\n@pytest.mark.peer({name!r})\ndef test_it(): pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(CONFIGURATION), "--rootdir", str(tmp_path), "-q", str(tmp_path)],
        env={**os.environ, "PATH": str(tmp_path), "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in done.stdout
