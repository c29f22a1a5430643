"""The allow-list of log fields: what is not named here, or does not look as it must, is never written.

Each field has a check that returns the value as it may be written, or ``REFUSED``. No check lets free text through:
numbers, instants, words of closed lists, names that a program gave, and people as keyed pseudonyms.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from enum import Enum
from ipaddress import ip_address
from typing import Any, Final

from ent_notify.model.delivery import Channel, Urgency, VerdictKind
from ent_notify.model.people import Provider
from ent_notify.observe.errors import describe_error

REFUSED: Final = object()
"""What a check answers when the value may not be written."""

Check = Callable[[Any], Any]

_LARGEST = 2**63
_NAME = re.compile(r"[a-z][a-z0-9_.:-]{0,39}")
_CODE = re.compile(r"[a-z0-9]{2,12}(\.[A-Za-z0-9_]{1,40}){0,3}")
_UAI = re.compile(r"[0-9]{7}[A-Z]")
_FILE = re.compile(r"ENT_[A-Za-z0-9_]{1,100}\.xml")
_VERSION = re.compile(r"[0-9]{1,5}(\.[0-9]{1,5}){0,3}")


# ------------------------------------------------------------------ pseudonyms


class _PseudonymKey:
    """The key of this process."""

    def __init__(self) -> None:
        self.value = secrets.token_bytes(32)


_key = _PseudonymKey()


def use_pseudonym_key(key: bytes | str | None) -> None:
    """Take ``key`` for pseudonyms from now on; None takes a random one. The same key gives the same pseudonyms."""
    if key is None:
        _key.value = secrets.token_bytes(32)
    else:
        _key.value = key.encode() if isinstance(key, str) else key


def pseudonym(person: int | str) -> str:
    """What stands for a person in logs: 64 bits of a keyed hash (HMAC-SHA256) of their internal or external id."""
    return pseudonym_under(_key.value, person)


def pseudonym_under(key: bytes, person: int | str) -> str:
    """The same under a key that outlives this process, for what is kept."""
    digest = hmac.new(key, str(person).encode(), hashlib.sha256)
    return f"p-{digest.hexdigest()[:16]}"


# ------------------------------------------------------------------ checks


def _number(value: Any) -> Any:
    if isinstance(value, Enum) and not isinstance(value, int):
        return REFUSED
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) < _LARGEST else REFUSED
    if isinstance(value, float) and math.isfinite(value):
        return round(value, 6)
    return REFUSED


def _instant(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat() if value.tzinfo is not None else REFUSED
    return value.isoformat() if isinstance(value, date) else REFUSED


def _matching(pattern: re.Pattern[str]) -> Check:
    def check(value: Any) -> Any:
        return str(value) if isinstance(value, str) and pattern.fullmatch(value) else REFUSED

    return check


def _one_of(words: Iterable[str]) -> Check:
    allowed = frozenset(words)

    def check(value: Any) -> Any:
        return str(value) if isinstance(value, str) and str(value) in allowed else REFUSED

    return check


def _urgency(value: Any) -> Any:
    return _URGENCIES.get(value, REFUSED) if isinstance(value, int) else REFUSED


def _person(value: Any) -> Any:
    return pseudonym(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else REFUSED


def _address(value: Any) -> Any:
    """``127.0.0.1:8701`` or ``[::1]:8701``: where one of our own servers listens."""
    if not isinstance(value, str):
        return REFUSED
    host, _, port = value.rpartition(":")
    try:
        host = str(ip_address(host.strip("[]")))
    except ValueError:
        return REFUSED
    return value if port.isdecimal() and len(port) <= 5 else REFUSED


def _error(value: Any) -> Any:
    if isinstance(value, BaseException):
        return describe_error(value)
    if isinstance(value, type) and issubclass(value, BaseException):
        return f"{value.__module__}.{value.__qualname__}"
    return REFUSED


_URGENCIES = {urgency.value: urgency.name.lower() for urgency in Urgency}
_PROVIDERS = [provider.value for provider in Provider] + ["smtp", ""]

FIELDS: Mapping[str, Check] = {
    # ids that name no person
    **dict.fromkeys(
        ("notification", "campaign", "chunk", "fence", "bucket", "seq", "conversation", "process"), _number
    ),
    # people, as pseudonyms
    "person": _person,
    # words of closed lists
    "channel": _one_of(channel.value for channel in Channel),
    "provider": _one_of(_PROVIDERS),
    "verdict": _one_of(kind.value for kind in VerdictKind),
    "urgency": _urgency,
    # names that a program or its operator gave
    **dict.fromkeys(("worker", "lane", "app", "source", "query", "setting", "peer_group", "state"), _matching(_NAME)),
    "type": _matching(re.compile(r"[A-Z][A-Za-z0-9]{1,39}")),
    "reason": _matching(_CODE),
    "signal": _matching(re.compile(r"SIG[A-Z]{2,6}")),
    "school": _matching(_UAI),
    "file": _matching(_FILE),
    "version": _matching(_VERSION),
    "address": _address,
    # quantities
    **dict.fromkeys(
        (
            "count", "size", "deliveries", "chunks", "campaigns", "people", "schools", "groups", "links", "accepted",
            "suppressed", "failed", "pending", "held", "planned", "rejected", "removed", "added", "changed", "attempt",
            "attempts", "connections", "frames", "rows", "bytes", "port", "status", "line", "seconds", "retry_after",
            "lag_seconds", "share", "allowed_share",
        ),
        _number,
    ),
    **dict.fromkeys(("due_at", "until", "since"), _instant),
    # errors: classes and places, never messages
    "error": _error,
}  # fmt: skip
"""Every field that a log line may hold, with its check."""
