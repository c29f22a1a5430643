"""The people of the year: a small region of the generator's, held in memory as plain sets."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from ent_notify.model.people import (
    UNSET,
    DirectoryRecord,
    GroupKind,
    GroupRecord,
    GuardianLink,
    PersonRecord,
    Profile,
    SchoolRecord,
)
from ent_notify.testing.population import Region
from ent_notify.testing.year.settings import FAR_ZONE

MARK = "zq"
"""Begins a word that stands in everything that is somebody's: it may be nowhere once they are erased, and never in a
push, a log or a metric."""


def mark_of(number: str) -> str:
    """The word of one person, which is their external id, too; no word is the beginning of another."""
    return f"{MARK}{number}x"


@dataclass(slots=True)
class Someone:
    """A person as the outside world knows them."""

    id: str
    profile: Profile
    given: str
    zone: str
    email: str | None
    schools: frozenset[str]
    groups: set[str] = field(default_factory=set)
    """Own groups (classes and teaching groups), and those of their schools."""
    links: dict[str, int] = field(default_factory=dict)
    """A pupil's guardians, with their legal level."""
    left_at: datetime | None = None
    phones: set[str] = field(default_factory=set)
    """Tokens that are theirs."""
    off: set[tuple[str, str]] = field(default_factory=set)
    """(category, channel) that they want nothing of."""
    was_in: set[str] = field(default_factory=set)

    @property
    def here(self) -> bool:
        return self.left_at is None

    @property
    def local(self) -> ZoneInfo:
        return ZoneInfo(self.zone)

    def own_groups(self) -> frozenset[str]:
        return frozenset(group for group in self.groups if group.count("/") > 1)

    def record(self) -> PersonRecord:
        """What a directory says of them."""
        links = tuple(GuardianLink(guardian=who, legal_level=level) for who, level in self.links.items())
        return PersonRecord(
            id=self.id,
            profile=self.profile,
            given_name=self.given,
            family_name=f"Nom {self.id}",
            email=self.email,
            timezone=self.zone,
            schools=self.schools,
            groups=self.own_groups(),
            guardians=links if self.profile is Profile.PUPIL else UNSET,
        )


@dataclass(slots=True)
class Town:
    """Everybody, and every group, as they stand."""

    people: dict[str, Someone] = field(default_factory=dict)
    schools: dict[str, str] = field(default_factory=dict)
    """UAI to time zone."""
    classes: dict[str, str] = field(default_factory=dict)
    """Class to UAI."""
    teaching: dict[str, str] = field(default_factory=dict)
    """Teaching group to UAI."""
    numbers: int = 0

    def members(self, group: str, *, away: bool = False) -> list[Someone]:
        """Who is in a group now; ``away``: those too who have left and may come back."""
        return [each for each in self.people.values() if group in each.groups and (away or each.here)]

    def guards(self, guardian: str, pupil: str) -> bool:
        """Whether somebody is a legal guardian of a pupil."""
        return pupil in self.people and self.people[pupil].links.get(guardian, 0) in (1, 2)

    def school_of(self, group: str) -> str:
        return group.split("/", 1)[0]

    def records(self) -> list[DirectoryRecord]:
        """The whole directory."""
        schools = [SchoolRecord(uai=uai, name=f"Ecole {uai}", timezone=zone) for uai, zone in self.schools.items()]
        groups = [
            GroupRecord(id=group, school=uai, kind=kind, name=group.split("/")[-1])
            for kind, known in ((GroupKind.CLASS, self.classes), (GroupKind.TEACHING_GROUP, self.teaching))
            for group, uai in known.items()
        ]
        return [*schools, *groups, *(each.record() for each in self.people.values())]


def make_town(people: int, seed: int) -> Town:
    """The people of a region of the generator's, from a seed."""
    town = Town()
    region = Region(people, seed)
    for index, part in enumerate(region):
        uai, zone = part.school.uai, FAR_ZONE if index % 2 else "Europe/Paris"
        town.schools[uai] = zone
        for name in part.school.classes:
            town.classes[f"{uai}/class/{name}"] = uai
        for name in part.school.group_names:
            town.teaching[f"{uai}/group/{name}"] = uai
        for guardian in part.guardians:
            who = mark_of(guardian.id)
            mail = f"{who}@{guardian.mail.split('@')[1]}" if guardian.mail else None
            town.people[who] = Someone(who, Profile.GUARDIAN, guardian.given, zone, mail, frozenset({uai}))
        for pupil in part.pupils:
            who = mark_of(pupil.id)
            mine = {f"{uai}/pupils", f"{uai}/class/{pupil.class_name}"}
            mine |= {f"{uai}/group/{name}" for name in pupil.groups}
            links = {mark_of(link.guardian): link.legal for link in pupil.links}
            made = Someone(who, Profile.PUPIL, pupil.given, zone, None, frozenset({uai}), mine, links)
            town.people[who] = made
        for member in part.staff:
            teaches = member.duties[0].code == "ENS"
            where = frozenset(duty.school.uai for duty in member.duties)
            who = mark_of(member.id)
            mine = {f"{school}/{'teachers' if teaches else 'staff'}" for school in where}
            for duty in member.duties:
                mine |= {f"{duty.school.uai}/class/{name}" for name in duty.classes}
            profile = Profile.TEACHER if teaches else Profile.STAFF
            mail = f"{who}@ac-region.example"
            town.people[who] = Someone(who, profile, member.given, zone, mail, where, mine)
    town.numbers = region.people
    return town
