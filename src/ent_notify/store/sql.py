"""The named queries of ``queries/*.sql``, ready for PostgreSQL: ``:name`` parameters become ``$n``.

``area.query`` is the query ``query`` of ``queries/area.sql``. aiosql reads the files; the first sentence of the comment
under a query's name is its description, and every query has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from aiosql.adapters.asyncpg import AsyncPGAdapter
from aiosql.query_loader import QueryLoader

from ent_notify.errors import StoreError

FOLDER = Path(__file__).parent / "queries"


@dataclass(frozen=True, slots=True)
class Query:
    """One named query."""

    name: str
    description: str
    sql: str
    parameters: tuple[str, ...]
    """Names in the order of ``$1, $2, ...``."""

    def __str__(self) -> str:
        return self.name

    def bind(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        """``given`` in the query's order. Raises StoreError naming a parameter that is missing or too many."""
        try:
            ordered = tuple([given[name] for name in self.parameters])
        except KeyError as missing:
            raise StoreError(
                f"query {self.name} needs the parameter {missing.args[0]!r}; it takes {self._signature()}"
            ) from None
        if len(given) != len(ordered):
            surplus = sorted(set(given) - set(self.parameters))
            raise StoreError(f"query {self.name} has no parameter {', '.join(surplus)}; it takes {self._signature()}")
        return ordered

    def _signature(self) -> str:
        return ", ".join(self.parameters) or "none"


def read_queries(folder: Path) -> dict[str, Query]:
    """Every query of the ``.sql`` files in ``folder``, by its full name. Raises StoreError for a name given twice."""
    adapter: Any = AsyncPGAdapter()  # type: ignore[no-untyped-call]  # aiosql leaves its adapters untyped
    loader = QueryLoader(adapter, None, mandatory_parameters=False)
    queries: dict[str, Query] = {}
    for path in sorted(folder.glob("*.sql")):
        for read in loader.load_query_data_from_file(path, [path.stem], "utf-8"):
            name = read.query_name
            if name in queries:
                raise StoreError(f"two queries are named {name}: rename one of them in {path.name}")
            first, stop, _ = " ".join(read.doc_comments.split()).partition(". ")
            description = first + stop.strip()
            queries[name] = Query(name, description, read.sql.rstrip(";\n "), tuple(adapter.var_sorted[name]))
    return queries


@cache
def queries() -> dict[str, Query]:
    """The house's queries, read once."""
    return read_queries(FOLDER)


def query(name: str) -> Query:
    """The query called ``name``. Raises StoreError when there is none."""
    try:
        return queries()[name]
    except KeyError:
        raise StoreError(f"there is no query {name!r}; see the files of store/queries") from None
