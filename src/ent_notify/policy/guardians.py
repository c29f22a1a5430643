"""Whose business a pupil is: who is told by what the directory holds, and whether they were treated alike.

Every legal guardian (level 1 or 2) is told, each by themselves: no household is merged, and where a child sleeps
this week changes nothing. Separated parents with joint authority get the same information (Code civil, art. 372,
373-2; circular 94-149). A contact without authority is told nothing by itself, nor is who is restricted by a court.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

LEGAL_LEVELS = frozenset({1, 2})
OWN_REASONS = frozenset(
    {
        "opted_out",
        "no_address",
        "no_device",
        "address_dropped",
        "device_dropped",
        "read",
        "seen",
        "on_screen",
        "in_pause",
        "left",
    }
)
"""Why somebody did not get something on a channel that is theirs: their choice, or that they cannot be reached there.
Any other reason is ours, and then two guardians were not treated alike."""


class Standing(StrEnum):
    """Whether somebody is told of a pupil, and if not, why."""

    TOLD = "told"
    CONTACT_ONLY = "contact_only"
    """No legal guardian: the school may call them."""
    RESTRICTED = "restricted"
    """By a court's decision."""
    LEFT = "left"
    """Their account is gone."""


@dataclass(frozen=True, slots=True)
class Link:
    """What binds a guardian to a pupil, as the directory holds it."""

    legal_level: int
    restricted: bool = False
    left: bool = False


def standing_of(link: Link) -> Standing:
    """Whether this guardian is told of this pupil."""
    if link.left:
        return Standing.LEFT
    if link.restricted:
        return Standing.RESTRICTED
    return Standing.TOLD if link.legal_level in LEGAL_LEVELS else Standing.CONTACT_ONLY


@dataclass(frozen=True, slots=True)
class Received:
    """What one guardian got of one notification: whether it was for them at all; by channel, the state and reason."""

    addressed: bool
    channels: Mapping[str, tuple[str, str | None]]


def differences(received: Mapping[str, Received]) -> list[str]:
    """Where guardians who are all to be told were not treated alike, in sentences; none: they were.

    What somebody chose, and where they cannot be reached, is no difference; nor is what is still under way.
    """
    told = sorted(name for name, each in received.items() if each.addressed)
    left_out = sorted(received.keys() - set(told)) if told else []
    found = [f"{name} was not addressed, {', '.join(told)} was" for name in left_out]
    for channel in sorted({channel for name in told for channel in received[name].channels}):
        states = {name: received[name].channels[channel] for name in told if channel in received[name].channels}
        if not any(state == "accepted" for state, _ in states.values()):
            continue
        for name, (state, reason) in states.items():
            if state in ("suppressed", "failed", "not_planned") and reason not in OWN_REASONS:
                found.append(f"{name} got nothing by {channel} ({reason}), others did")
    return found


def closure(person: str, links: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Every identity of one human, by declared links alone, ``person`` included."""
    near: dict[str, set[str]] = {}
    for one, other in links:
        near.setdefault(one, set()).add(other)
        near.setdefault(other, set()).add(one)
    found, waiting = {person}, [person]
    while waiting:
        fresh = near.get(waiting.pop(), set()) - found
        found |= fresh
        waiting += fresh
    return frozenset(found)
