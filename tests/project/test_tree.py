"""The tree itself: what may be committed, how large a module may be, and that each says what it is."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
MOST_LINES = 500


def committed() -> list[Path]:
    """Every file that git knows, or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [path for name in listed.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_module_says_what_it_is_and_is_not_too_long(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MOST_LINES
    docstring = ast.get_docstring(ast.parse(source))
    assert docstring, "a module begins with a docstring that names its role"
    assert docstring.split("\n\n")[0].rstrip().endswith((".", "::", ":", "!", "?")), "its first paragraph is a sentence"


# Written in pieces, so that this file does not hold what it looks for.
FORBIDDEN = {
    "a path of somebody's machine": re.compile(
        r"(?<![\w.-])/(?:work|root|home/[a-z]\w*)/" r"|/tmp/(?:v|venv)/" r"|/opt/(?:wheels|pypi)" r"|[A-Z]:\\Users\\"
    ),
    "a package registry": re.compile(
        r"pypi\." r"org|pythonhosted\." r"org|registry\." r"npmjs|--(?:extra-)?index-" r"url\s*=?\s*\S*://"
    ),
    "a private key": re.compile(r"-----BEGIN (?:EC |RSA )?PRIVATE " r"KEY-----\n[A-Za-z0-9+/=]{20}"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_committed_holds(what: str) -> None:
    found = [
        f"{relative(path)}: {match.group()}"
        for path in committed()
        if path.name != Path(__file__).name and (text := text_of(path)) is not None
        for match in [FORBIDDEN[what].search(text)]
        if match
    ]
    assert found == []


def test_nothing_large_is_committed() -> None:
    assert [relative(path) for path in committed() if path.stat().st_size > 2 * 1024 * 1024] == []


def test_sql_lives_in_sql_files() -> None:
    statement = re.compile(
        r"^\s*(select\s.+\sfrom|insert\s+into|update\s+\w+\s+set|delete\s+from|create\s+table)\b", re.I
    )
    found = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        found += [
            f"{relative(path)}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
            and statement.match(node.value)
        ]
    assert found == []


def test_every_query_is_described() -> None:
    bare = []
    for path in sorted((ROOT / "src").rglob("queries/*.sql")):
        lines = path.read_text(encoding="utf-8").splitlines()
        bare += [
            f"{relative(path)}: {line}"
            for line, after in zip(lines, [*lines[1:], ""], strict=True)
            if line.startswith("-- name:") and not re.match(r"-- \S.{10,}", after)
        ]
    assert bare == []


def test_ci_is_a_script_that_bash_reads() -> None:
    subprocess.run(["bash", "-n", str(ROOT / ".ci/run")], check=True)
