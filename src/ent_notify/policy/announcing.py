"""Whom a message is announced to: looked at when it is, whatever was allowed when it was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ent_notify.policy.contact import Facts, Rules

_IN_ONE_UNION = 4_000
"""Parts of one union, which takes 5000."""


@dataclass(frozen=True, slots=True)
class Addressee:
    """A person or a group, as an audience names it, and what the author has to do with them. ``facts`` None: nothing to
    decide (guardians are told of a conversation about their child)."""

    audience: dict[str, Any]
    facts: Facts | None


def audience_of(
    author: str, people: Sequence[Addressee], groups: Sequence[Addressee], silent: Sequence[str], rules: Rules
) -> dict[str, Any] | None:
    """The audience of one message; None: nobody. The author is never told of their own, nor are ``silent`` members of
    a group; who may not be written to (any more) is left out."""
    named = [each.audience for each in people if _may(each, rules)]
    whole = [each.audience for each in groups if _may(each, rules)]
    if not named and not whole:
        return None
    base = _union([*named, *whole])
    if not whole:
        return base
    return {"minus": [base, _union([{"person": person} for person in dict.fromkeys((author, *silent))])]}


def _may(each: Addressee, rules: Rules) -> bool:
    return each.facts is None or rules.decide(each.facts).allowed


def _union(parts: list[dict[str, Any]]) -> dict[str, Any]:
    if len(parts) <= _IN_ONE_UNION:
        return {"union": parts}
    return {"union": [_union(parts[at : at + _IN_ONE_UNION]) for at in range(0, len(parts), _IN_ONE_UNION)]}
