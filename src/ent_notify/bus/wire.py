"""A hint as bytes: the feed's sequence and a few subjects, in JSON. Never a text, never a name.

``{"seq": 812, "subjects": ["group.17", "people.3"]}``; ``{"subjects": ["people.3"], "readers": [3017], "news": false}``
says who has read something, and nothing else. A bare number is a sequence alone (what the relay notifies), and nothing
at all is "look".
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson

from ent_notify.model.feed import FeedHint

MOST_BYTES = 4_096
"""A longer hint is none of ours."""
_MOST_SUBJECTS = 256
MOST_READERS = 256
"""People of one hint; whoever says more of them says several."""


def encode(hint: FeedHint) -> bytes:
    """The bytes of ``hint``."""
    said: dict[str, Any] = {}
    if hint.seq is not None:
        said["seq"] = hint.seq
    if hint.subjects is not None:
        said["subjects"] = sorted(hint.subjects)
    if hint.readers:
        said["readers"] = sorted(hint.readers)[:MOST_READERS]
    if not hint.news:
        said["news"] = False
    return orjson.dumps(said)


def decode(data: bytes | str) -> FeedHint:
    """The hint that ``data`` says. Whatever cannot be read means "look": a hint can do no more than that."""
    if len(data) <= MOST_BYTES:
        with suppress(orjson.JSONDecodeError):
            said = orjson.loads(data or b"{}")
            return FeedHint(seq=_seq(said)) if not isinstance(said, dict) else _from(said)
    return FeedHint()


def _from(said: dict[str, Any]) -> FeedHint:
    subjects = said.get("subjects")
    if (
        not isinstance(subjects, list)
        or len(subjects) > _MOST_SUBJECTS
        or not all(isinstance(s, str) for s in subjects)
    ):
        subjects = None
    readers = _readers(said.get("readers"))
    return FeedHint(
        seq=_seq(said.get("seq")),
        subjects=None if subjects is None else frozenset(subjects),
        readers=readers,
        news=not (said.get("news") is False and readers),
    )


def _readers(value: object) -> frozenset[int]:
    if not isinstance(value, list) or len(value) > MOST_READERS:
        return frozenset()
    return frozenset(person for person in value if type(person) is int and 0 <= person < 2**31)


def _seq(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None
