"""Every log call in the source: a literal event name, and only fields of the allow-list, so that none is dropped."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from ent_notify.observe import FIELDS

SOURCE = Path(__file__).parents[2] / "src/ent_notify"
METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
EVENT = re.compile(r"[a-z]{2,20}(_[a-z]{1,20}){0,5}")


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def is_log(node: ast.expr) -> bool:
    """``log``, ``_log``, ``self._log``, ``log.bind(...)``."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr == "bind" and is_log(node.func.value)
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.lstrip("_") in ("log", "logger")


def calls() -> Iterator[tuple[str, ast.Call]]:
    for name, tree in modules():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr in METHODS | {"bind"} and is_log(node.func.value):
                yield f"{name}:{node.lineno}", node


def test_there_are_calls_to_look_at() -> None:
    assert sum(1 for _ in calls()) > 5


def test_every_event_is_a_literal_of_words() -> None:
    wrong = []
    for place, call in calls():
        assert isinstance(call.func, ast.Attribute)
        if call.func.attr == "bind":
            continue
        event = call.args[0] if len(call.args) == 1 else None
        if not (isinstance(event, ast.Constant) and isinstance(event.value, str) and EVENT.fullmatch(event.value)):
            wrong.append(place)
    assert wrong == []


def test_every_field_is_allowed() -> None:
    wrong = [
        f"{place} {keyword.arg}"
        for place, call in calls()
        for keyword in call.keywords
        if keyword.arg not in FIELDS and keyword.arg != "exc_info"
    ]
    assert wrong == []


def test_nothing_logs_but_through_observe() -> None:
    wrong = []
    for name, tree in modules():
        if name.startswith("observe/"):
            continue
        for node in ast.walk(tree):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if {each.partition(".")[0] for each in imported} & {"logging", "structlog"}:
                wrong.append(name)
    assert sorted(set(wrong) - {"cli/door.py"}) == [], "take get_logger from ent_notify.observe"
