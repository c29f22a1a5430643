"""What is read at run time travels with the package."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import ent_notify

ROOT = Path(ent_notify.__file__).parents[2]


def test_the_wheel_holds_every_template(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("ent_notify/words/")}
    words = ROOT / "src" / "ent_notify" / "words"
    files = [path for path in words.rglob("*") if path.suffix in (".j2", ".toml", ".py")]
    assert len(files) > 15
    assert packed == {f"ent_notify/words/{path.relative_to(words).as_posix()}" for path in files}
