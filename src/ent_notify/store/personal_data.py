"""Which tables and columns hold what about whom: ``personal_data.toml``, read once, and compared with a live schema."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ent_notify.errors import StoreError
from ent_notify.model.retention import Law
from ent_notify.store.database import Session

FILE = Path(__file__).with_name("personal_data.toml")


@dataclass(frozen=True, slots=True)
class Annotated:
    """One table: how long it is kept (a class, or words), why it is there, and what each column says of people."""

    name: str
    kept: str
    purpose: str
    people: tuple[str, ...]
    """Columns that hold the internal id of whose row it is."""
    personal: Mapping[str, str]
    """Columns that tell of people, each with its kind."""
    other: frozenset[str]

    @property
    def columns(self) -> frozenset[str]:
        """Every column that is annotated."""
        return self.other | frozenset(self.personal)


@dataclass(frozen=True, slots=True)
class PersonalData:
    """All annotations: tables in the file's order, purposes with what each is for and its law, kinds in words."""

    tables: Mapping[str, Annotated]
    purposes: Mapping[str, tuple[str, Law]]
    kinds: Mapping[str, str]


@cache
def personal_data() -> PersonalData:
    """The annotations of the house."""
    return read_annotations(FILE.read_text(encoding="utf-8"))


def read_annotations(text: str) -> PersonalData:
    """Read annotations. Raises StoreError for a purpose or a kind that is not described, or a column that is twice."""
    raw: dict[str, Any] = tomllib.loads(text)
    purposes = {
        name: (each["text"], Law(each["reason"], each["source"], each["date"])) for name, each in raw["purpose"].items()
    }
    tables = {}
    for name, each in raw["table"].items():
        table = Annotated(
            name,
            each["kept"],
            each["purpose"],
            tuple(each["people"]),
            each.get("personal", {}),
            frozenset(each["other"]),
        )
        if table.purpose not in purposes:
            raise StoreError(
                f"table {name}: purpose {table.purpose!r} is not described; known are {', '.join(purposes)}"
            )
        if unknown := set(table.personal.values()) - raw["kind"].keys():
            raise StoreError(
                f"table {name}: kind {sorted(unknown)} is not described; known are {', '.join(raw['kind'])}"
            )
        if twice := table.other & table.personal.keys():
            raise StoreError(f"table {name}: {', '.join(sorted(twice))} stands in both personal and other")
        tables[name] = table
    return PersonalData(tables, purposes, raw["kind"])


async def live_columns(session: Session) -> dict[str, list[str]]:
    """The columns of every table of our schema that is no part of another."""
    tables: dict[str, list[str]] = {}
    for row in await session.fetch("retention.columns"):
        tables.setdefault(row["table_name"], []).append(row["column_name"])
    return tables


def uncovered(live: Mapping[str, Sequence[str]], annotated: Iterable[Annotated]) -> list[str]:
    """What is to be changed in ``personal_data.toml`` so that it says what a schema holds; nothing: it does."""
    known = {table.name: table for table in annotated}
    changes = []
    for name, columns in live.items():
        table = known.get(name)
        if table is None:
            listed = ", ".join(f'"{column}"' for column in columns)
            changes.append(
                f'table {name} is not annotated; add\n[table.{name}]\nkept = "CLASS"\n'
                f'purpose = "PURPOSE"\npeople = []\n'
                f"other = [{listed}]\nand move each column that tells of people to personal = {{ column = KIND }}"
            )
            continue
        changes += [
            f"column {name}.{column} is not annotated; add it to [table.{name}], as personal with its kind, or to other"
            for column in columns
            if column not in table.columns
        ]
        changes += [
            f"column {name}.{column} is annotated and not there; take it out of [table.{name}]"
            for column in sorted(table.columns - set(columns))
        ]
    changes += [
        f"table {name} is annotated and not there; take out [table.{name}]" for name in known if name not in live
    ]
    return changes
