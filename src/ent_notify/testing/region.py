"""A region as AAF files: what ``ent-notify generate`` writes, and the incremental export of a day in its life."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ent_notify.directory.aaf_words import FUNCTIONS
from ent_notify.model.people import Profile
from ent_notify.testing.aaf_writer import AafWriter, Attributes, add_request, delete_request, modify_request
from ent_notify.testing.names import FAMILY_NAMES, GIVEN_NAMES, TOWNS
from ent_notify.testing.population import Duty, Guardian, Link, Pupil, Region, School, SchoolPeople, Staff

COMPLETE_DATE = "20260901"


@dataclass(frozen=True, slots=True)
class RegionSummary:
    """What was written: counts of people, and of files."""

    people: int
    schools: int
    classes: int
    pupils: int
    guardians: int
    staff: int
    files: int


@dataclass(frozen=True, slots=True)
class DeltaSummary:
    """What a day changed, by external id. ``moved`` pupils change school: (pupil, old UAI, new UAI, new class)."""

    added_pupils: tuple[str, ...]
    added_guardians: tuple[str, ...]
    new_mails: dict[str, str]
    other_class: dict[str, str]
    moved: tuple[tuple[str, str, str, str], ...]
    removed: tuple[str, ...]


def generate_region(folder: Path, people: int, seed: int) -> RegionSummary:
    """Write the complete AAF export of a region of exactly ``people`` people into ``folder`` (made if need be).

    The same seed writes the same bytes. Streams: memory is that of one school. Raises ValueError under 40 people.
    """
    folder.mkdir(parents=True, exist_ok=True)
    region = Region(people, seed)
    classes = 0
    with ExitStack() as stack:
        schools, guardians, staff, pupils = writers = [
            stack.enter_context(AafWriter(folder, "Complet", COMPLETE_DATE, category))
            for category in ("EtabEducNat", "PersRelEleve", "PersEducNat", "Eleve")
        ]
        for group in region:
            classes += len(group.school.classes)
            schools.write(_school(group.school))
            for guardian in group.guardians:
                guardians.write(add_request("PersRelEleve", guardian.id, _guardian(guardian)))
            for member in group.staff:
                staff.write(add_request("PersEducNat", member.id, _staff(member)))
            for pupil in group.pupils:
                pupils.write(add_request("Eleve", pupil.id, _pupil(pupil)))
    return RegionSummary(
        people=people,
        schools=len(region.schools),
        classes=classes,
        pupils=region.pupils,
        guardians=region.guardians,
        staff=region.staff,
        files=sum(writer.files for writer in writers),
    )


def region_people(people: int, seed: int) -> Iterator[tuple[str, Profile]]:
    """Everybody in the region that generate_region writes, as (external id, profile): whom to make devices for."""
    for group in Region(people, seed):
        yield from ((guardian.id, Profile.GUARDIAN) for guardian in group.guardians)
        for member in group.staff:
            yield member.id, FUNCTIONS[member.duties[0].code]
        yield from ((pupil.id, Profile.PUPIL) for pupil in group.pupils)


def generate_delta(folder: Path, people: int, seed: int, *, day: int = 1) -> DeltaSummary:
    """Write the incremental export of day ``day`` (1 to 27) of the region that generate_region makes of this seed.

    About one pupil in a thousand, and at least one of each: joins (with a new guardian), changes class, changes
    school, leaves (with the guardians who then have no child left); as many guardians get a new mail address.
    """
    folder.mkdir(parents=True, exist_ok=True)
    region = Region(people, seed)
    rng = random.Random(f"{seed}/day {day}")
    schools = iter(region)
    here, there = next(schools), next(schools)
    count = max(1, min(people // 1000, len(here.pupils) // 8))
    only_here = [pupil for pupil in here.pupils if not _shared(pupil, here, there)]
    picked = rng.sample(only_here, min(3 * count, len(only_here) // 3 * 3))
    movers, changers, leavers = (picked[start::3] for start in range(3))
    day_of = _Day(rng, region, day)
    with ExitStack() as stack:
        pupils, guardians = (
            stack.enter_context(AafWriter(folder, "Delta", f"202609{day + 1:02}", category))
            for category in ("Eleve", "PersRelEleve")
        )
        added = [day_of.join(there.school, place) for place in range(count)]
        for pupil, guardian in added:
            guardians.write(add_request("PersRelEleve", guardian.id, _guardian(guardian)))
            pupils.write(add_request("Eleve", pupil.id, _pupil(pupil)))
        mails = {}
        for guardian in rng.sample(there.guardians, count):
            mails[guardian.id] = f"moved.{guardian.id}.{day}@example.net"
            guardians.write(modify_request("PersRelEleve", guardian.id, {"mail": [mails[guardian.id]]}))
        other_class = {}
        for pupil in changers:
            other_class[pupil.id] = rng.choice(pupil.school.classes)
            change = {"ENTEleveClasses": [f"{pupil.school.join_id}${other_class[pupil.id]}"]}
            pupils.write(modify_request("Eleve", pupil.id, change))
        moved = []
        for pupil in movers:
            target = rng.choice(there.school.classes)
            moved.append((pupil.id, here.school.uai, there.school.uai, target))
            pupils.write(modify_request("Eleve", pupil.id, _move(there.school, target)))
        removed = []
        for pupil in leavers:
            removed.append(pupil.id)
            pupils.write(delete_request("Eleve", pupil.id))
            for link in pupil.links:
                if _children(link.guardian, here) == 1:
                    removed.append(link.guardian)
                    guardians.write(delete_request("PersRelEleve", link.guardian))
    return DeltaSummary(
        added_pupils=tuple(pupil.id for pupil, _ in added),
        added_guardians=tuple(guardian.id for _, guardian in added),
        new_mails=mails,
        other_class=other_class,
        moved=tuple(moved),
        removed=tuple(removed),
    )


class _Day:
    """Makes the newcomers of a day, with ids that the region does not use."""

    def __init__(self, rng: random.Random, region: Region, day: int) -> None:
        self._rng = rng
        self._base = region.people + day * 1_000_000

    def join(self, school: School, place: int) -> tuple[Pupil, Guardian]:
        rng = self._rng
        number = f"{self._base + place:08}"
        family = rng.choice(FAMILY_NAMES)
        guardian = Guardian(f"3{number}", rng.choice(GIVEN_NAMES), family, f"new.3{number}@example.org", "1 RUE NEUVE")
        class_name = rng.choice(school.classes)
        links = [Link(guardian.id, "1", 1)]
        return Pupil(f"1{number}", rng.choice(GIVEN_NAMES), family, school, class_name, [], links), guardian


def _shared(pupil: Pupil, here: SchoolPeople, there: SchoolPeople) -> bool:
    """Has a guardian of the special families, whom tests look for by their place in the region."""
    ours = {link.guardian for link in pupil.links}
    return any(not ours.isdisjoint(link.guardian for link in other.links) for other in there.pupils) or any(
        not ours.isdisjoint(link.guardian for link in other.links) for other in here.pupils[:4] if other is not pupil
    )


def _children(guardian: str, group: SchoolPeople) -> int:
    return sum(any(link.guardian == guardian for link in pupil.links) for pupil in group.pupils)


def _school(school: School) -> str:
    classes = [f"{name}${name}" for name in school.classes]
    return add_request(
        "EtabEducNat",
        school.join_id,
        {
            "ENTStructureJointure": [school.join_id],
            "ENTStructureUAI": [school.uai],
            "ENTStructureNomCourant": [school.name],
            "ENTStructureTypeStruct": [school.name.partition(" ")[0]],
            "ENTServAcAcademie": ["REGION"],
            "ENTStructureClasses": classes,
            "ENTStructureGroupes": [f"{name}${name}" for name in school.group_names],
        },
    )


def _guardian(guardian: Guardian) -> Attributes:
    number = int(guardian.id) % 10_000
    return {
        "ENTPersonJointure": [guardian.id],
        "sn": [guardian.family],
        "givenName": [guardian.given],
        "mail": [guardian.mail] if guardian.mail else [],
        "mobile": [f"+33 6 39 98 {number // 100:02} {number % 100:02}"],  # numbers kept for fiction (Arcep)
        "ENTPersonAdresse": [guardian.address],
        "ENTPersonVille": [TOWNS[number % len(TOWNS)]],
    }


def _pupil(pupil: Pupil) -> Attributes:
    join_id = pupil.school.join_id
    number = int(pupil.id)
    return {
        "ENTPersonJointure": [pupil.id],
        "sn": [pupil.family],
        "givenName": [pupil.given],
        "ENTPersonDateNaissance": [f"{1 + number % 28:02}/{1 + number % 12:02}/{2008 + number % 7}"],
        "ENTEleveINE": [f"{number:010}X"],
        "ENTEleveStatutEleve": ["SCOLAIRE"],
        "ENTPersonStructRattach": [join_id],
        "ENTEleveClasses": [f"{join_id}${pupil.class_name}"],
        "ENTEleveGroupes": [f"{join_id}${name}" for name in pupil.groups],
        "ENTElevePersRelEleve": [
            f"{link.guardian}${link.kinship}${1 if link.legal == 1 else 0}${link.legal}$1$0" for link in pupil.links
        ],
    }


def _staff(member: Staff) -> Attributes:
    duties = member.duties
    return {
        "ENTPersonJointure": [member.id],
        "sn": [member.family],
        "givenName": [member.given],
        "mail": [member.mail],
        "ENTPersonStructRattach": [duties[0].school.join_id],
        "ENTPersonFonctions": [_function(duty) for duty in duties],
        "ENTAuxEnsClasses": [f"{duty.school.join_id}${name}" for duty in duties for name in duty.classes],
        "ENTAuxEnsGroupes": [f"{duty.school.join_id}${name}" for duty in duties for name in duty.groups],
        "ENTAuxEnsClassesPrincipal": [f"{duty.school.join_id}${name}" for duty in duties for name in duty.head_of],
        "PersEducNatPresenceDevantEleves": ["O" if duties[0].code == "ENS" else "N"],
    }


def _function(duty: Duty) -> str:
    group = "ENSEIGNEMENT" if duty.code == "ENS" else duty.label
    return f"{duty.school.join_id}${duty.code}${group}$X0000${duty.label}"


def _move(school: School, class_name: str) -> Attributes:
    return {
        "ENTPersonStructRattach": [school.join_id],
        "ENTEleveClasses": [f"{school.join_id}${class_name}"],
        "ENTEleveGroupes": [],
    }
