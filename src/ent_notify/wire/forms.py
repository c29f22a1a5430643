"""Bodies on the wire: JSON by orjson or msgpack, the same values in both; instants are RFC 3339 texts in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgpack  # type: ignore[import-untyped]  # ships no types
import orjson

from ent_notify.errors import MalformedSync

JSON = "application/json"
MSGPACK = "application/msgpack"
_NAMES = {JSON: JSON, MSGPACK: MSGPACK, "application/x-msgpack": MSGPACK, "application/vnd.msgpack": MSGPACK}


def chosen(accept: str) -> str:
    """The form that an ``Accept`` header asks for: msgpack when it names it before JSON, JSON otherwise."""
    for part in accept.lower().split(","):
        name = part.split(";")[0].strip()
        if name in _NAMES:
            return _NAMES[name]
    return JSON


def write_body(values: Mapping[str, Any], form: str) -> bytes:
    """``values`` (texts, numbers, booleans, lists, objects) in a form."""
    if form == MSGPACK:
        packed: bytes = msgpack.packb(values)
        return packed
    return orjson.dumps(values)


def read_body(body: bytes, content_type: str) -> Any:
    """The values of a body, JSON unless its type says msgpack. Raises MalformedSync when it cannot be read."""
    form = _NAMES.get(content_type.lower().split(";")[0].strip(), JSON)
    try:
        return msgpack.unpackb(body, max_ext_len=0) if form == MSGPACK else orjson.loads(body)
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise MalformedSync(f"the body is not {form}: {str(error)[:100]}") from None


def instant(at: datetime) -> str:
    """An instant such as ``2026-09-08T08:00:00.000000Z``."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
