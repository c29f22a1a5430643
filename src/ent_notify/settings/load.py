"""Reads settings: the environment over a TOML file over the defaults; and says in sentences what is wrong with them.

No message here is pydantic's own, nothing is chained to it, and no value of a secret, of an unknown name or of a whole
table is ever repeated: a mistyped name may well carry a password.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource
from pydantic_settings.exceptions import SettingsError as EnvironmentUnreadable

from ent_notify.errors import SettingsError
from ent_notify.settings.groups import Settings
from ent_notify.settings.kinds import has_password
from ent_notify.settings.reference import SettingRow, setting_rows

ENV_PREFIX = "ENT_NOTIFY_"
CONFIG_VARIABLE = "ENT_NOTIFY_CONFIG"
CONFIG_NAME = "ent-notify.toml"

_Tree = dict[str, Any]
_MAX_SECRET_FILE = 64 * 1024


def load_settings(config: Path | None = None) -> Settings:
    """The settings of this process.

    The TOML file is ``config``, else the one that ``ENT_NOTIFY_CONFIG`` names, else ``ent-notify.toml`` in the working
    folder if there is one. A variable ``ENT_NOTIFY_GROUP__NAME`` overrides it. Raises ``SettingsError``.
    """
    file = _config_file(config)
    from_file = _read_toml(file) if file else {}
    sources = [_Source("the environment", _read_environment(), Path.cwd(), environment=True)]
    if file is not None:
        sources.append(_Source(str(file), from_file, file.resolve().parent))
    return _settle(sources)


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Settings from plain values, ``{"store": {"dsn": "embedded:"}}``, as a host keeps them; nothing else is read.

    Secrets may be among them, or in the files that they name. Raises ``SettingsError``.
    """
    return _settle([_Source("the values given", _plain(values), Path.cwd(), environment=True)])


@dataclass(frozen=True, slots=True)
class _Source:
    """One place that settings came from. ``folder`` is what its relative paths start from."""

    title: str
    tree: _Tree
    folder: Path
    environment: bool = False
    """Whether it may hold secrets."""

    def holds(self, path: tuple[str, ...]) -> bool:
        return _get(self.tree, path, missing := object()) is not missing

    def name(self, path: tuple[str, ...]) -> str:
        """How this source's reader writes a setting."""
        if self.title == "the environment":
            return ENV_PREFIX + "__".join(path).upper()
        return ".".join(path)


def _settle(sources: list[_Source]) -> Settings:
    """Merge (the first source wins), fetch secrets from their files, validate. Raises SettingsError."""
    troubles = [trouble for source in sources for trouble in _misplaced(source)]
    merged: _Tree = {}
    for source in reversed(sources):
        merged = _over(merged, source.tree)
    troubles += _fetch_secrets(merged, sources)
    if troubles:
        raise SettingsError(_report(troubles))
    try:
        return Settings(**merged)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=True, include_input=True)
        report = _report(dict.fromkeys(_sentence(detail, sources) for detail in wrong))
    raise SettingsError(report)


def _report(troubles: Mapping[str, Any] | list[str]) -> str:
    lines = list(troubles)
    return lines[0] if len(lines) == 1 else f"{len(lines)} settings are wrong:\n" + "\n".join(f"- {s}" for s in lines)


# ------------------------------------------------------------------ reading


def _config_file(config: Path | None) -> Path | None:
    if config is not None:
        told = config
    elif named := os.environ.get(CONFIG_VARIABLE):
        told = Path(named)
    else:
        here = Path(CONFIG_NAME)
        return here if here.is_file() else None
    if not told.is_file():
        how = "given" if config is not None else f"named by {CONFIG_VARIABLE}"
        raise SettingsError(f"there is no settings file at {told} ({how}); correct the path, or write the file")
    return told


def _read_toml(file: Path) -> _Tree:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file} cannot be read ({error.strerror}); give this user the right to read it") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file} is not UTF-8 text; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file} is not TOML: {error}; correct that place") from None


def _read_environment() -> _Tree:
    groups = sorted(Settings.model_fields)
    for variable in sorted(os.environ):
        upper = variable.upper()
        if not upper.startswith(ENV_PREFIX) or upper == CONFIG_VARIABLE:
            continue
        if upper == f"{ENV_PREFIX}STORE__DSN" and not os.environ[variable].strip():
            raise SettingsError(
                f"{variable} (in the environment) is empty: give postgresql://user@host:5432/database, or "
                "embedded: for a PostgreSQL of our own; or unset it"
            )
        group, _, rest = upper.removeprefix(ENV_PREFIX).partition("__")
        if group.lower() not in groups or not rest:
            written = upper.removeprefix(ENV_PREFIX).lower().replace("__", ".")
            raise SettingsError(
                f"{variable} (in the environment) is not a setting{_nearest(written, as_variable=True)}; "
                f"unset it, or write {ENV_PREFIX}GROUP__NAME with one of the groups {', '.join(groups)}"
            )
    reader = EnvSettingsSource(
        Settings,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        case_sensitive=False,
        env_ignore_empty=True,
        env_parse_none_str="none",
    )
    try:
        return _plain(reader())
    except EnvironmentUnreadable as error:
        # The text of that error names the field and not the value; its cause, which we drop, holds the value.
        place = str(error).partition('"')[2].partition('"')[0]
    raise SettingsError(f"the environment's value for {place or 'a setting'} cannot be read; write a plain value")


def _plain(tree: Mapping[str, Any]) -> _Tree:
    return {str(key): _plain(value) if isinstance(value, Mapping) else value for key, value in tree.items()}


def _over(below: _Tree, above: _Tree) -> _Tree:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _over(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def _get(tree: Any, path: tuple[str, ...], missing: Any = None) -> Any:
    for key in path:
        if not isinstance(tree, dict) or key not in tree:
            return missing
        tree = tree[key]
    return tree


# ------------------------------------------------------------------ secrets


def _leaves(tree: _Tree, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _row(path: tuple[str, ...]) -> SettingRow | None:
    """The documented setting at ``path``; a table's entry name stands as NAME."""
    rows = _rows()
    return rows.get(path) or (rows.get((path[0], "NAME", *path[2:])) if len(path) > 2 else None)


def _misplaced(source: _Source) -> Iterator[str]:
    """A sentence for each secret that stands where it may not."""
    if source.environment:
        return
    for path, value in _leaves(source.tree):
        row = _row(path)
        if row is None or not row.secret:
            continue
        name = ".".join(path)
        if path == ("store", "dsn"):
            if isinstance(value, str) and has_password(value):
                yield (
                    f"{name} carries a password, which may not stand in {source.title}; take it out and give "
                    f"store.password_file, or {ENV_PREFIX}STORE__PASSWORD in the environment"
                )
            continue
        yield (
            f"{name} is a secret and may not stand in {source.title}; take it out and give {name}_file, "
            f"or {ENV_PREFIX}{'__'.join(path).upper()} in the environment"
        )


def _fetch_secrets(merged: _Tree, sources: list[_Source]) -> list[str]:
    """Put the content of each ``<secret>_file`` in its secret's place; a sentence for each that cannot be."""
    troubles = []
    for path, value in list(_leaves(merged)):
        secret = (*path[:-1], path[-1].removesuffix("_file"))
        row = _row(secret)
        if not path[-1].endswith("_file") or row is None or not row.secret or value is None:
            continue
        source = next(source for source in sources if source.holds(path))
        name = f"{source.name(path)} ({_from(source)})"
        rival = next((s for s in sources if s.holds(secret) and _get(s.tree, secret) is not None), None)
        if rival is not None:
            troubles.append(f"both {name} and {rival.name(secret)} are given; keep one of the two")
            continue
        file = source.folder / str(value)
        try:
            with file.open("rb") as opened:
                content = opened.read(_MAX_SECRET_FILE + 1)
            text = content.decode("utf-8").strip()
        except OSError as error:
            troubles.append(f"{name} names {file}, which cannot be read ({error.strerror}); correct the path or rights")
            continue
        except UnicodeDecodeError:
            troubles.append(f"{name} names {file}, which is not text; give the file that holds the secret as text")
            continue
        if not text or len(content) > _MAX_SECRET_FILE:
            fault = "empty" if not text else "over 64 KiB"
            troubles.append(f"{name} names {file}, which is {fault}; give the right one")
            continue
        _get(merged, path[:-1])[secret[-1]] = text
        _get(merged, path[:-1])[path[-1]] = file
    return troubles


# ------------------------------------------------------------------ sentences


def _from(source: _Source) -> str:
    return f"in {source.title}"


def _sentence(detail: ErrorDetails, sources: list[_Source]) -> str:
    """One validation error in words: which setting, from where, with which value, what to do."""
    path = tuple(str(part) for part in detail["loc"] if part != "[key]")
    known = _row(path)
    # Inside a list, the location ends with an index: name the setting itself.
    while known is None and len(path) > 1 and path[-1].isdigit():
        path = path[:-1]
        known = _row(path)
    source = next((s for s in sources if s.holds(path)), None)
    where = f" ({_from(source)})" if source else ""
    name = source.name(path) if source else ".".join(path)
    kind = detail["type"]
    if kind == "extra_forbidden":
        near = _nearest(".".join(path), as_variable=source is not None and source.title == "the environment")
        return f"{name}{where} is not a setting{near}; correct the name or take it out"
    if kind == "missing":
        group = next((s for s in sources if s.holds(path[:-1])), sources[-1])
        return f"{'.'.join(path)} is missing ({_from(group)}); give it: {_what(known)}"
    if kind == "value_error":
        return f"{name}{_value(detail, known)}{where} is wrong: {detail['ctx']['error']}"
    if known is None:
        return f"{name}{where} is wrong: {_expectation(detail)}"
    return f"{name}{_value(detail, known)}{where} is wrong: {_expectation(detail)}. It is: {_what(known)}"


def _expectation(detail: ErrorDetails) -> str:
    """What was expected: pydantic's words for it, which hold bounds and choices but no input (see hide_input)."""
    text = detail["msg"]
    return text[:1].lower() + text[1:]


def _value(detail: ErrorDetails, row: SettingRow | None) -> str:
    value = detail["input"]
    if row is None or row.secret or not isinstance(value, (str, int, float, bool)):
        return ""
    return f" = {value!r}"


def _what(row: SettingRow | None) -> str:
    return row.description if row is not None else "see the reference of settings"


def _nearest(name: str, *, as_variable: bool = False) -> str:
    """`` (did you mean store.dsn?)`` when a known name is near."""
    parts = name.split(".")
    generic = name
    if len(parts) > 2 and any(row.name.startswith(f"{parts[0]}.NAME.") for row in setting_rows()):
        generic = ".".join([parts[0], "NAME", *parts[2:]])
    known = [row.name for row in setting_rows()] + ([] if as_variable else list(Settings.model_fields))
    near = difflib.get_close_matches(generic, known, n=1, cutoff=0.6)
    if not near:
        return ""
    found = near[0].replace("NAME", parts[1]) if generic != name else near[0]
    return f" (did you mean {ENV_PREFIX + found.replace('.', '__').upper() if as_variable else found}?)"


@cache
def _rows() -> Mapping[tuple[str, ...], SettingRow]:
    return {tuple(row.name.split(".")): row for row in setting_rows()}
