"""How values travel: JSON by orjson, instants always aware and in UTC.

The driver's own way with ``timestamptz`` has two traps: it takes a naive datetime for local time, and answers infinity
with a naive one. Here a naive datetime is refused, and infinity is the first or last instant of Python's calendar, in
UTC. Both directions are cached, since bulk rows repeat their instants; only UTC is, because elsewhere the two passes of
an autumn hour (``fold``) compare equal and are not.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import orjson

INFINITY = datetime.max.replace(tzinfo=UTC)
MINUS_INFINITY = datetime.min.replace(tzinfo=UTC)

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL's: src/include/datatype/timestamp.h
_MICROSECOND = timedelta(microseconds=1)
_INT64 = struct.Struct(">q")
_PLUS, _MINUS = _INT64.pack(2**63 - 1), _INT64.pack(-(2**63))


async def install(connection: Any) -> None:
    """Teach ``connection`` these codecs."""
    for name, encoder, decoder in (
        ("timestamptz", encode_instant, decode_instant),
        ("jsonb", encode_jsonb, decode_jsonb),
        ("json", orjson.dumps, orjson.loads),
    ):
        await connection.set_type_codec(name, schema="pg_catalog", format="binary", encoder=encoder, decoder=decoder)


def encode_instant(value: datetime) -> bytes:
    """Eight bytes: microseconds since 2000. Raises ValueError for a naive datetime."""
    if value.tzinfo is UTC:
        return _encode_cached(value)
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone: give an aware datetime, in UTC")
    return _encode(value)


def _encode(value: datetime) -> bytes:
    if value == INFINITY:
        return _PLUS
    if value == MINUS_INFINITY:
        return _MINUS
    return _INT64.pack((value - _EPOCH) // _MICROSECOND)


_encode_cached = lru_cache(4096)(_encode)


@lru_cache(4096)
def decode_instant(data: bytes) -> datetime:
    """The aware datetime, in UTC."""
    if data == _PLUS:
        return INFINITY
    if data == _MINUS:
        return MINUS_INFINITY
    return _EPOCH + timedelta(microseconds=_INT64.unpack(data)[0])


def encode_jsonb(value: Any) -> bytes:
    """A version byte, then the text."""
    return b"\x01" + orjson.dumps(value)


def decode_jsonb(data: bytes) -> Any:
    """The value after the version byte."""
    return orjson.loads(data[1:])
