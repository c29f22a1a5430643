"""A hint as bytes: the feed's sequence and a few subjects, in JSON. Never a text, never a name.

``{"seq": 812, "subjects": ["group.17", "people.3"]}``; ``{"subjects": ["people.3"], "readers": [3017], "news": false}``
says who has read something, and nothing else; ``{"talks": [[12, 3, "edited", [[3, 3017]]]], "news": false}`` what has
happened to which message of which conversation, for the holders of which audience keys. A bare number is a sequence
alone (what the relay notifies), and nothing at all is "look".
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson

from ent_notify.model.feed import FeedHint, Happened, TalkHint

MOST_BYTES = 4_096
"""A longer hint is none of ours."""
_MOST_SUBJECTS = 256
MOST_READERS = 256
"""People of one hint; whoever says more of them says several."""


MOST_KEYS = 128
"""Audience keys of one hint; whoever tells more of them says several."""


def encode(hint: FeedHint) -> bytes:
    """The bytes of ``hint``."""
    said: dict[str, Any] = {}
    if hint.seq is not None:
        said["seq"] = hint.seq
    if hint.subjects is not None:
        said["subjects"] = sorted(hint.subjects)
    if hint.readers:
        said["readers"] = sorted(hint.readers)[:MOST_READERS]
    if hint.talks:
        said["talks"] = [[t.conversation, t.seq, t.what, t.keys] for t in hint.talks]
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
    readers, talks = _readers(said.get("readers")), _talks(said.get("talks"))
    return FeedHint(
        seq=_seq(said.get("seq")),
        subjects=None if subjects is None else frozenset(subjects),
        readers=readers,
        news=not (said.get("news") is False and (readers or talks)),
        talks=talks,
    )


def _readers(value: object) -> frozenset[int]:
    if not isinstance(value, list) or len(value) > MOST_READERS:
        return frozenset()
    return frozenset(person for person in value if type(person) is int and 0 <= person < 2**31)


def _talks(value: object) -> tuple[TalkHint, ...]:
    try:
        talks = tuple(
            TalkHint(
                _number(number), _number(seq), Happened(what), tuple((_number(s), _number(ref)) for s, ref in keys)
            )
            for number, seq, what, keys in (value if isinstance(value, list) else ())
        )
    except (TypeError, ValueError):
        return ()
    return talks if sum(len(talk.keys) for talk in talks) <= MOST_KEYS else ()


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("this is no number of ours")
    return value


def _seq(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None
