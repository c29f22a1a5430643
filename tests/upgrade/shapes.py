"""What released code relies on in a schema, read from the server's own catalogue, and what of it a migration breaks.

Widening is allowed: tables, columns that may be left out, indexes, functions. Everything else breaks code that is still
running, and belongs into a later release, which declares ``-- oldest-code: N``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ent_notify.store import Database
from ent_notify.store.sql import Query

_TABLES = """
select c.relname::text as name, c.relkind::text as kind from pg_class c
where c.relnamespace = 'ent_notify'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S') and not c.relispartition
"""
_COLUMNS = """
select c.relname::text as relation, a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type,
       a.attnotnull and not (a.atthasdef or a.attidentity <> '' or a.attgenerated <> '') as needed,
       a.attnotnull as never_null, a.attidentity = 'a' or a.attgenerated <> '' as unwritable
from pg_attribute a join pg_class c on c.oid = a.attrelid
where c.relnamespace = 'ent_notify'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
  and a.attnum > 0 and not a.attisdropped
"""
_ROUTINES = """
select p.proname::text as name, pg_get_function_identity_arguments(p.oid) as arguments,
       pg_get_function_result(p.oid) as result, p.pronargs - p.pronargdefaults as least
from pg_proc p where p.pronamespace = 'ent_notify'::regnamespace
"""
_RULES = """
select c.conrelid::regclass::text as relation, c.contype::text as kind, pg_get_constraintdef(c.oid) as rule
from pg_constraint c join pg_class r on r.oid = c.conrelid
where c.connamespace = 'ent_notify'::regnamespace and c.contype <> 'n' and not r.relispartition
union
select i.indrelid::regclass::text, 'u',
       'unique ' || regexp_replace(pg_get_indexdef(i.indexrelid), '^.* USING ', '')
from pg_index i join pg_class r on r.oid = i.indrelid
where r.relnamespace = 'ent_notify'::regnamespace and i.indisunique and not r.relispartition
  and not exists (select from pg_constraint c where c.conindid = i.indexrelid)
"""
_LABELS = """
select t.typname::text as type, e.enumlabel::text as label from pg_enum e join pg_type t on t.oid = e.enumtypid
where t.typnamespace = 'ent_notify'::regnamespace
"""


@dataclass(frozen=True)
class Column:
    """A column: its type, and what a row without it, or with null in it, meets."""

    type: str
    needed: bool
    never_null: bool
    unwritable: bool


@dataclass(frozen=True)
class Shape:
    """A schema, as code that runs on it sees it."""

    tables: Mapping[str, str]
    columns: Mapping[tuple[str, str], Column]
    routines: Mapping[tuple[str, str], tuple[str, int]]
    rules: frozenset[tuple[str, str, str]]
    labels: frozenset[tuple[str, str]]


async def read_shape(database: Database) -> Shape:
    """The shape of our schema in ``database``."""

    async def rows(sql: str) -> list[tuple[object, ...]]:
        return [tuple(row.values()) for row in await database.fetch(Query("test.shape", "", sql, ()))]

    return Shape(
        {str(name): str(kind) for name, kind in await rows(_TABLES)},
        {(str(each[0]), str(each[1])): Column(str(each[2]), *map(bool, each[3:])) for each in await rows(_COLUMNS)},
        {(str(each[0]), str(each[1])): (str(each[2]), int(str(each[3]))) for each in await rows(_ROUTINES)},
        frozenset((str(each[0]), str(each[1]), str(each[2])) for each in await rows(_RULES)),
        frozenset((str(each[0]), str(each[1])) for each in await rows(_LABELS)),
    )


def broken(before: Shape, after: Shape) -> Iterator[str]:
    """A sentence for each thing that code which knows ``before`` may trip over in ``after``."""
    for table, kind in before.tables.items():
        if after.tables.get(table) != kind:
            yield f"{table} is gone, or is no {kind} any more"
    for (table, name), column in after.columns.items():
        old = before.columns.get((table, name))
        if old is None:
            if table in before.tables and column.needed:
                yield f"{table}.{name} is new, and a row that leaves it out is refused: give it a default"
            continue
        if column.type != old.type:
            yield f"{table}.{name} was {old.type} and is {column.type}"
        if column.never_null and not old.never_null:
            yield f"{table}.{name} may be null no more"
        if (column.needed and not old.needed) or (column.unwritable and not old.unwritable):
            yield f"{table}.{name} cannot be left out, or written, as before"
    for table, name in before.columns.keys() - after.columns.keys():
        if table in after.tables:
            yield f"{table}.{name} is gone"
    for (name, arguments), (result, least) in before.routines.items():
        now = after.routines.get((name, arguments))
        if now is None:
            yield f"{name}({arguments}) is gone, or its arguments have other names"
        elif now[0] != result or now[1] > least:
            yield f"{name}({arguments}) answers {now[0]}, or wants more arguments"
    names = {name for name, _ in before.routines}
    for name, arguments in after.routines.keys() - before.routines.keys():
        if name in names:
            yield f"{name}({arguments}) stands beside another {name}: a call may fit both"
    for table, kind, rule in before.rules - after.rules:
        if kind in ("p", "u") and table in after.tables:
            yield f"{table}: {rule} is gone, which `on conflict` may name"
    for table, _, rule in after.rules - before.rules:
        if table in before.tables:
            yield f"{table}: {rule} is new, and refuses rows that were taken"
    for kind, label in before.labels - after.labels:
        yield f"{kind}: {label} is gone"
