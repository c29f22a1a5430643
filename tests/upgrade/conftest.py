"""The previous release's code, unpacked, and a schema that is wider than anybody's."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PREVIOUS = 19
"""The newest migration that the previous release knows. There is none yet: it is the state of this project that
`.ci/keep_release.py` has kept, and each release takes its place."""
WIDEN = (HERE / "widen.sql").read_text(encoding="utf-8")
"""Whatever a later release may add without asking: to each table a column, at each turn."""


class Previous:
    """The previous release: its code in a folder of its own, run by this environment's Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def command(self, *arguments: str) -> list[str]:
        """Its command line."""
        return [sys.executable, "-c", "from ent_notify.cli import main; main()", *arguments]

    def environ(self, *more: Path) -> dict[str, str]:
        """The environment in which its code is the one that is imported."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return kept | {"PYTHONPATH": os.pathsep.join(map(str, (self.folder, *more)))}

    def run(self, program: str, *arguments: str, more: tuple[Path, ...] = ()) -> str:
        """What a program prints that imports it."""
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env=self.environ(*more),
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Previous:
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(HERE / "previous.tar.xz") as kept:
        kept.extractall(folder, filter="data")
    return Previous(folder)
