"""The reference of settings, taken from the groups themselves: for the generated page and for error messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import time
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from ent_notify.settings.groups import Settings

TABLE_ENTRY = "NAME"
"""What stands for the name of a table's entry, as in ``apns.NAME.key_file``."""


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting: dotted name, kind in words, default in words, whether it is a secret, what it does."""

    name: str
    group: str
    kind: str
    default: str
    secret: bool
    description: str


@cache
def setting_rows() -> tuple[SettingRow, ...]:
    """Every setting, in the order of the groups."""
    return tuple(row for name, info in Settings.model_fields.items() for row in _group_rows(name, info))


def _group_rows(group: str, info: FieldInfo) -> Iterator[SettingRow]:
    model, prefix = _model(info.annotation), group
    if get_origin(info.annotation) is not None:
        prefix = f"{group}.{TABLE_ENTRY}"
    for name, field in model.model_fields.items():
        kinds = set(_flat(field.annotation))
        yield SettingRow(
            name=f"{prefix}.{name}",
            group=group,
            kind=_kind(field, kinds),
            default=_default(field),
            secret=SecretStr in kinds,
            description=" ".join((field.description or "").split()),
        )


def _model(annotation: Any) -> type[BaseModel]:
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    raise TypeError(f"{annotation!r} holds no group")


def _flat(annotation: Any) -> Iterator[Any]:
    """The plain types inside ``X | None`` and ``Annotated[X, ...]``."""
    if get_origin(annotation) is Annotated:
        yield from _flat(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _flat(part)
    else:
        yield annotation


_WORDS: Mapping[Any, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    Path: "path",
    time: "time of day",
}


def _kind(field: FieldInfo, kinds: set[Any]) -> str:
    if isinstance(field.json_schema_extra, dict):
        return str(field.json_schema_extra["kind"])
    if SecretStr in kinds:
        return "secret"
    words = []
    for kind in sorted(kinds - {type(None)}, key=str):
        if get_origin(kind) is Literal:
            words.append(" or ".join(f"`{choice}`" for choice in get_args(kind)))
        elif get_origin(kind) is tuple:
            words.append("list of text")
        else:
            words.append(_WORDS[kind])
    bounds = [f"{sign} {value:,}" for rule in field.metadata for sign, value in _bounds(rule)]
    return ", ".join([" or ".join(words), *bounds])


def _bounds(rule: Any) -> Iterator[tuple[str, float]]:
    for attribute, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
        value = getattr(rule, attribute, None)
        if value is not None:
            yield sign, value


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()  # a default stands in the source: it is no secret
    if value is None or value in ("", ()):
        return "—"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def reference_page() -> str:
    """The page ``docs/reference/settings.md``, whole."""
    lines = [
        "# Settings",
        "",
        "Written from the code by `ent-notify doctor --settings`; a test holds it to the code.",
        "",
        "A setting is read from the environment, else from a TOML file, else its default holds. The file is the one",
        "that `--config` or `ENT_NOTIFY_CONFIG` names, else `ent-notify.toml` in the working folder. In TOML,",
        "`store.pool_size` stands as `pool_size` under `[store]`; in the environment it is",
        "`ENT_NOTIFY_STORE__POOL_SIZE`. A secret is given in the environment, or in a file that its companion",
        "`..._file` names (a relative path starts from the folder of the TOML file that holds it); TOML refuses it.",
        "`apns`, `fcm` and `webpush` are tables of named entries: `[apns.families]` in TOML,",
        "`ENT_NOTIFY_APNS__FAMILIES__TOPIC` in the environment.",
    ]
    for group, info in Settings.model_fields.items():
        rows = [row for row in setting_rows() if row.group == group]
        title = " ".join((_model(info.annotation).__doc__ or "").split())
        lines += ["", f"## {group}", "", title, "", "| Setting | Kind | Default | What it does |", "|---|---|---|---|"]
        lines += [f"| `{row.name}` | {row.kind} | {row.default} | {row.description} |" for row in rows]
    return "\n".join(lines) + "\n"
