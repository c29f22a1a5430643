"""Contact rules as data: what a project or a school says, read with clear errors, and written back the same.

::

    {"allow": [{"from": "guardian", "to": "teacher", "when": ["teaches"]},
               {"from": "staff:DIR", "to": "guardian", "when": ["anywhere"]}],
     "forbid": [{"from": "pupil", "to": "pupil", "when": ["same_thread"]}],
     "groups": ["teacher", "staff"],
     "unblockable": ["teacher", "staff"]}

``"when": []`` in ``allow`` takes away what the layer below allows of that pair.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ent_notify.errors import MalformedRules
from ent_notify.model.people import Profile
from ent_notify.policy.contact import Layer, Matrix, Pair, Party, Relation

MOST_RULES = 200
"""Rules in one list of a layer: far more than there are pairs of profiles and functions."""
_FUNCTION = re.compile(r"\S{1,60}")
_FIELDS = ("allow", "forbid", "groups", "unblockable")


def layer_from(data: Mapping[str, Any]) -> Layer:
    """What ``data`` says. Raises MalformedRules, which names the place and what may stand there."""
    if not isinstance(data, Mapping):
        raise MalformedRules(f"contact rules are an object with {_listed(_FIELDS)}, not {data!r}")
    if unknown := sorted(set(data) - set(_FIELDS)):
        raise MalformedRules(f"contact rules have no {unknown[0]!r}; they have {_listed(_FIELDS)}")
    return Layer(
        allow=_matrix(data.get("allow", []), "allow"),
        forbid=_matrix(data.get("forbid", []), "forbid"),
        groups=_profiles(data.get("groups"), "groups"),
        unblockable=_profiles(data.get("unblockable"), "unblockable"),
    )


def layer_data(layer: Layer) -> dict[str, Any]:
    """A layer as data: ``layer_from`` reads the same layer back."""
    data: dict[str, Any] = {
        name: [
            {"from": str(writer), "to": str(recipient), "when": sorted(when)}
            for (writer, recipient), when in matrix.items()
        ]
        for name, matrix in (("allow", layer.allow), ("forbid", layer.forbid))
        if matrix
    }
    for name, profiles in (("groups", layer.groups), ("unblockable", layer.unblockable)):
        if profiles is not None:
            data[name] = [profile.name.lower() for profile in sorted(profiles)]
    return data


def _matrix(rules: Any, name: str) -> Matrix:
    if not isinstance(rules, list) or len(rules) > MOST_RULES:
        raise MalformedRules(f"{name!r} is a list of at most {MOST_RULES} rules, each with from, to and when")
    matrix: dict[Pair, frozenset[Relation]] = {}
    for place, rule in enumerate(rules):
        where = f"{name}[{place}]"
        if not isinstance(rule, Mapping) or set(rule) != {"from", "to", "when"}:
            raise MalformedRules(f"{where} is an object with from, to and when, not {rule!r}")
        pair = (_party(rule["from"], f"{where}.from"), _party(rule["to"], f"{where}.to"))
        if pair in matrix:
            raise MalformedRules(f"{where} speaks of {pair[0]} to {pair[1]} a second time; make one rule of the two")
        matrix[pair] = _relations(rule["when"], f"{where}.when", name)
    return matrix


def _party(text: Any, where: str) -> Party:
    name, colon, function = text.partition(":") if isinstance(text, str) else ("", "", "")
    if name.upper() not in Profile.__members__ or (colon and not _FUNCTION.fullmatch(function)):
        raise MalformedRules(
            f"{where} is {text!r}; write a profile ({_listed(_NAMES)}), with a function after a colon for some of them "
            "only, such as staff:DIR"
        )
    return Party(Profile[name.upper()], function if colon else None)


def _relations(given: Any, where: str, name: str) -> frozenset[Relation]:
    known = [each for each in Relation if each is not Relation.REPLY or name == "forbid"]
    if not isinstance(given, list) or any(each not in known for each in given):
        raise MalformedRules(f"{where} is {given!r}; write a list of {_listed(known)}")
    return frozenset(Relation(each) for each in given)


def _profiles(given: Any, where: str) -> frozenset[Profile] | None:
    if given is None:
        return None
    if not isinstance(given, list) or any(each not in _NAMES for each in given):
        raise MalformedRules(f"{where!r} is {given!r}; write a list of {_listed(_NAMES)}")
    return frozenset(Profile[each.upper()] for each in given)


_NAMES = tuple(profile.name.lower() for profile in Profile)


def _listed(names: Any) -> str:
    return ", ".join(map(str, names))
