"""Event data on its way into a template: dates become local, strings become harmless.

Event data is a host's: it is only ever a value in a template, never a template.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from ent_notify.errors import MalformedEvent
from ent_notify.model.events import BUILT_IN, data_fields

LINE_LIMIT = 120
"""Characters of one value in a headline. A subject of several values then stays far below RFC 5322's 998 octets."""

_BREAKS = re.compile("\r\n|[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")
# Control characters, lone surrogates, non-characters and bidirectional controls: none belongs in a host's text. The
# last could turn the sentence around a value back to front (Unicode TR36, section 2.10).
_UNWANTED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufff9-\ufffb\ufffe\uffff]"
)
_SURROGATES = re.compile("[\ud800-\udfff]")
_FIRST_STRONG_ISOLATE, _POP_ISOLATE = "\u2068", "\u2069"

FIELDS: Mapping[str, Mapping[str, str]] = {event.__name__: data_fields(event) for event in BUILT_IN}


def for_line(data: Mapping[str, Any], event_type: str, zone: ZoneInfo) -> dict[str, Any]:
    """The values for a headline: single lines of at most ``LINE_LIMIT`` characters."""
    return {name: _each(_line, value) for name, value in _typed(data, event_type, zone).items()}


def for_mail(data: Mapping[str, Any], event_type: str, zone: ZoneInfo, *, lines: bool) -> dict[str, Any]:
    """The values for a mail: as ``for_line`` if ``lines``, else whole; braces doubled, since a mail's text has places.

    Line breaks in a value are ``\\n``.
    """
    values = for_line(data, event_type, zone) if lines else _typed(data, event_type, zone)
    return {
        name: _each(lambda text: literal(text if lines else clean(text)) if isinstance(text, str) else text, value)
        for name, value in values.items()
    }


def literal(text: str) -> str:
    """``text`` written so that a MailContent takes it literally: ``{`` and ``}`` doubled."""
    return text.replace("{", "{{").replace("}", "}}")


def clean(text: str) -> str:
    """``text`` without control or direction characters, line breaks as ``\\n``; right-to-left text is isolated."""
    text = _BREAKS.sub("\n", _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text))
    text = _UNWANTED.sub("", text)
    if any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in text):
        return "\n".join(f"{_FIRST_STRONG_ISOLATE}{line}{_POP_ISOLATE}" if line else line for line in text.split("\n"))
    return text


def _each(change: Callable[[Any], Any], value: Any) -> Any:
    """``change`` of a value, or of every value in a list of items."""
    if isinstance(value, list):
        return [{name: change(each) for name, each in item.items()} for item in value]
    return change(value)


def _line(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = " ".join(_UNWANTED.sub("", _BREAKS.sub(" ", value)).split())
    if len(text) > LINE_LIMIT:
        text = text[: LINE_LIMIT - 1].rstrip() + "…"
    return clean(text)


def _typed(data: Mapping[str, Any], event_type: str, zone: ZoneInfo) -> dict[str, Any]:
    """Wire values as Python values, instants in ``zone``; an optional field that is not there is None.

    Raises MalformedEvent when a field is missing or cannot be read.
    """
    typed: dict[str, Any] = {}
    for name, kind in FIELDS.get(event_type, {}).items():
        value = data.get(name)
        if value is None:
            if not kind.endswith("?"):
                raise MalformedEvent(f"{event_type} has no {name}; give it a {kind} when you publish")
            typed[name] = None
            continue
        try:
            typed[name] = _read(value, kind.removesuffix("?"), zone)
        except (AttributeError, TypeError, ValueError, OverflowError):
            raise MalformedEvent(f"{event_type}.{name} is {value!r}; it has to be a {kind} in ISO 8601") from None
    return typed


def _read(value: Any, kind: str, zone: ZoneInfo) -> Any:
    if kind == "datetime":
        instant = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        if instant.tzinfo is None:
            raise ValueError("no time zone")
        return instant.astimezone(zone)
    if kind == "date":
        return value if type(value) is date else date.fromisoformat(value)
    if kind == "items":
        return [
            {name: _read(each, "datetime" if name.endswith("_at") else "string", zone) for name, each in item.items()}
            for item in value
        ]
    return value if isinstance(value, (int, bool)) else str(value)
