"""Safety, pure: who may moderate what, how many people each role may write to, what an area is, and what is said to
those who are stopped.

Sources: the attack of March 2024 (hijacked pupil accounts wrote to more than 150 schools; the ministry left writing to
all to the direction), and the map of the French academies (Code de l'éducation, D. 222-2), whose departments stand at
the beginning of a UAI.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from ent_notify.errors import ContactRefused, MalformedRules, NotAllowed, Suspended, TooManyRecipients
from ent_notify.model.people import Profile
from ent_notify.model.safety import Area, Decision, Level, Moderator, Tier

# ------------------------------------------------------------------ who may moderate


class Act(StrEnum):
    """What a moderator may do beside deciding a case."""

    SEE = "see"
    REPORTERS = "reporters"
    RELEASE = "release"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"
    RECALL_ALL = "recall-all"
    AUDIT = "audit"


RIGHTS: dict[Act | Decision, Level] = {
    Act.SEE: Level.OFFICE,
    Decision.DISMISS: Level.OFFICE,
    Decision.REMOVE: Level.OFFICE,
    Decision.WARN: Level.OFFICE,
    Decision.RESTRICT: Level.OFFICE,
    Decision.QUARANTINE: Level.OFFICE,
    Act.REPORTERS: Level.DIRECTION,
    Act.RELEASE: Level.DIRECTION,
    Act.FREEZE: Level.DIRECTION,
    Act.UNFREEZE: Level.DIRECTION,
    Act.RECALL_ALL: Level.DIRECTION,
    Act.AUDIT: Level.DIRECTION,
}
"""From which level on each act is allowed, in the moderator's own schools."""


def check_right(moderator: Moderator, act: Act | Decision, schools: Iterable[str]) -> None:
    """Raises NotAllowed unless ``moderator`` may do ``act`` where one of ``schools`` (UAIs) is concerned."""
    if moderator.level < RIGHTS[act]:
        raise NotAllowed(
            f"{act.value} is for the {RIGHTS[act].name.lower()} of the school, and not for its "
            f"{moderator.level.name.lower()}; ask them"
        )
    if moderator.level < Level.PROJECT and moderator.schools.isdisjoint(schools):
        raise NotAllowed(f"{act.value} here is for another school's moderators, or the project's; ask them")


def check_area(moderator: Moderator, act: Act, area: Area) -> None:
    """Raises NotAllowed unless ``moderator`` may freeze ``area``: a direction its own school, the project anything."""
    if area.school is None and moderator.level < Level.PROJECT:
        raise NotAllowed(f"only the project freezes {area.name}; a direction freezes its school: school:UAI")
    check_right(moderator, act, () if area.school is None else (area.school,))


# ------------------------------------------------------------------ how many people somebody may write to


@dataclass(frozen=True, slots=True)
class Allowance:
    """``most``: people that one message may go to. ``burst``: people to whom somebody may write who were not written to
    within a day; used up, it is full again after the ``refill`` of all limits."""

    most: int
    burst: int


@dataclass(frozen=True, slots=True)
class Limits:
    """The allowances of each role, who moderates, and how many strikes stop a sender. In any window of a length L at
    most ``burst * (1 + L / refill)`` people are written to anew."""

    by_profile: dict[Profile, Allowance] = field(
        default_factory=lambda: {
            Profile.PUPIL: Allowance(150, 150),
            Profile.GUARDIAN: Allowance(200, 200),
            Profile.TEACHER: Allowance(600, 2_000),
            Profile.STAFF: Allowance(2_000, 6_000),
        }
    )
    direction: Allowance = Allowance(20_000, 60_000)
    functions: tuple[str, ...] = ("DIR",)
    """Functions of the direction."""
    office: tuple[str, ...] = ("EDU", "AED", "ASE", "SUR")
    """Functions of the pupil-life office."""
    project: tuple[str, ...] = ()
    """Ids of the project's moderators."""
    refill: timedelta = timedelta(hours=12)
    strikes: int = 25
    """Strikes that do not stop a sender yet; one is forgotten every 25th of an hour."""

    def of(self, profile: Profile, function: str | None) -> Allowance:
        """What somebody may."""
        if profile is Profile.STAFF and function in self.functions:
            return self.direction
        return self.by_profile[profile]

    def level(self, person: str, profile: Profile, function: str | None) -> Level | None:
        """How far somebody's rights to moderate go; None: they moderate nothing."""
        if person in self.project:
            return Level.PROJECT
        if profile is not Profile.STAFF or function is None:
            return None
        if function in self.functions:
            return Level.DIRECTION
        return Level.OFFICE if function in self.office else None


def strikes_of(error: NotAllowed) -> int:
    """How much a refusal speaks against an account: no page offers whom one may not write to, and nobody writes to
    hundreds by hand."""
    if isinstance(error, TooManyRecipients):
        return 10
    return 1 if isinstance(error, ContactRefused) else 0


def too_many(said: str, allowance: Allowance, refill: timedelta) -> TooManyRecipients:
    """The error for what ``take_recipients`` said."""
    if said == "most":
        return TooManyRecipients(
            f"this goes to more than the {allowance.most} people that one message of yours may go to; write to fewer, "
            "or ask the school's direction to write"
        )
    return TooManyRecipients(
        f"you have written to as many people as you may for now ({allowance.burst} in "
        f"{refill.total_seconds() / 3600:g} hours); go on later, or with those to whom you wrote today"
    )


# ------------------------------------------------------------------ what is said to those who are stopped

SUSPENSIONS = {
    "quarantined": "you cannot write for the moment: something unusual was seen on your account; the pupil-life office "
    "or the direction of your school will help you",
    "restricted": "for now you may write to one teacher or member of staff at a time; the pupil-life office of your "
    "school can tell you more",
    "frozen_1": "for now only the direction may write here; what you wrote is kept, and goes out after that",
    "frozen_2": "for now only teachers and staff may write here; what you wrote is kept, and goes out after that",
    "frozen_3": "messaging can only be read here for now; what you wrote is kept, and goes out after that",
}
"""What ``why_not_write`` answers, and how it is said."""


def suspended(said: str) -> Suspended:
    """The error for what ``why_not_write`` said."""
    return Suspended(SUSPENSIONS[said])


def frozen_tier(said: str | None) -> Tier | None:
    """Who may still write, if ``why_not_write`` said that it is frozen."""
    return Tier(int(said[-1])) if said is not None and said.startswith("frozen_") else None


# ------------------------------------------------------------------ areas

_DEPARTMENTS = """
aix-marseille 004 005 013 084; amiens 002 060 080; besancon 025 039 070 090; bordeaux 024 033 040 047 064;
clermont-ferrand 003 015 043 063; corse 620 720; creteil 077 093 094; dijon 021 058 071 089;
grenoble 007 026 038 073 074;
guadeloupe 971; guyane 973; lille 059 062; limoges 019 023 087; lyon 001 042 069; martinique 972; mayotte 976;
montpellier 011 030 034 048 066; nancy-metz 054 055 057 088; nantes 044 049 053 072 085; nice 006 083;
normandie 014 027 050 061 076 975; orleans-tours 018 028 036 037 041 045; paris 075; poitiers 016 017 079 086;
reims 008 010 051 052; rennes 022 029 035 056; reunion 974; strasbourg 067 068;
toulouse 009 012 031 032 046 065 081 082;
versailles 078 091 092 095
"""
ACADEMIES: dict[str, tuple[str, ...]] = {
    name: tuple(departments) for line in _DEPARTMENTS.split(";") for name, *departments in [line.split()]
}
"""The departments of each academy, as the first three characters of a UAI write them."""

_UAI = re.compile(r"\d{7}[A-Z]")


def area_of(text: str) -> Area:
    """``project``, ``academy:NAME``, ``school:UAI`` or a UAI alone. Raises MalformedRules, which says what there is."""
    kind, _, name = text.strip().partition(":")
    if _UAI.fullmatch(text.strip().upper()):
        kind, name = "school", text.strip()
    if kind == "project" and not name:
        return Area("project", ("",))
    if kind == "academy" and name.lower() in ACADEMIES:
        return Area(f"academy:{name.lower()}", ACADEMIES[name.lower()])
    if kind == "school" and _UAI.fullmatch(name.upper()):
        return Area(f"school:{name.upper()}", (name.upper(),))
    if kind == "academy":
        raise MalformedRules(f"there is no academy {name!r}; there are {', '.join(ACADEMIES)}")
    raise MalformedRules(f"{text!r} is nothing that can be frozen; write project, academy:NAME or school:UAI")
