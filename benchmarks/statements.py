"""Named statements of ``benchmarks/sql/*.sql``: ``-- name: x`` and what follows, for psycopg."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent / "sql"


def load(file: str) -> dict[str, bytes]:
    """The statements of ``sql/FILE.sql`` by name, as psycopg takes them."""
    text = (FOLDER / f"{file}.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)[1:]
    return {name: body.strip().encode() for name, body in zip(parts[::2], parts[1::2], strict=True)}
