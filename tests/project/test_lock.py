"""The lock: every requirement pinned and hashed, and nothing that says where it came from."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def entries() -> Iterator[tuple[Requirement, list[str]]]:
    """Each requirement of the lock with its hashes."""
    for block in re.split(r"\n(?=\S)", LOCK.strip()):
        lines = [line.rstrip(" \\").strip() for line in block.splitlines() if not line.startswith("#")]
        if lines:
            yield Requirement(lines[0]), [line for line in lines[1:] if line]


def test_every_requirement_is_pinned_and_hashed() -> None:
    found = list(entries())
    assert len(found) > 50
    for requirement, hashes in found:
        assert [each.operator for each in requirement.specifier] == ["=="], requirement
        assert hashes and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), requirement


def test_the_lock_names_no_place() -> None:
    assert "://" not in LOCK and "index" not in LOCK.lower().replace("multi-index", "") and " @ " not in LOCK


def test_the_lock_holds_everything_that_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [*project["project"]["dependencies"]]
    for extra in project["project"]["optional-dependencies"].values():
        asked += [each for each in extra if not each.startswith("ent-notify[")]
    for group in project["dependency-groups"].values():
        asked += group
    locked: dict[str, Version] = {}
    for requirement, _ in entries():
        (pin,) = requirement.specifier
        locked[canonicalize_name(requirement.name)] = Version(pin.version)
    for each in map(Requirement, asked):
        if each.marker is None or each.marker.evaluate():
            name = canonicalize_name(each.name)
            assert name in locked and each.specifier.contains(locked[name]), f"{each}: run make lock"
