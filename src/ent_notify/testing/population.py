"""A region made from a seed: schools, classes, families, teachers, in true proportions, streamed school by school.

Proportions follow a French region of 1.5 million people: 800 schools, classes of about 28, 43% pupils, 52% guardians,
5% teachers and staff. In it are the cases that break naive systems: separated parents (two addresses, a second legal
level, or no legal right at all), siblings in different schools, a guardian with two identities, teachers in several
schools, guardians without mail. Nobody in it exists, and no address can receive mail.
"""

from __future__ import annotations

import random
import unicodedata
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from ent_notify.testing.names import FAMILY_NAMES, GIVEN_NAMES, MAIL_DOMAINS

PEOPLE_PER_SCHOOL = 1_500_000 / 800
CLASS_SIZE = 28
PUPIL_SHARE = 0.43
STAFF_SHARE = 0.05
WITHOUT_MAIL = 0.20
SEPARATED = 0.30
ELSEWHERE = 0.30
"""Share of families with several children that have one in another school."""
TWO_IDENTITIES = 0.05
"""Share of those where one parent is known twice, once for each school."""
TWO_SCHOOLS = 0.12
"""Share of teachers who also teach in the next school."""

_DEPARTMENTS = ("008", "010", "051", "052", "054", "055", "057", "067", "068", "088")
_UAI_LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
_STAFF = (("EDU", "EDUCATION"), ("AED", "ASSISTANT D'EDUCATION"), ("ADF", "ADMINISTRATION"), ("MDS", "MEDICO-SOCIAL"))
_SUBJECTS = ("MATHEMATIQUES", "LETTRES MODERNES", "ANGLAIS", "ESPAGNOL", "HISTOIRE-GEOGRAPHIE", "SVT", "EPS", "MUSIQUE")


@dataclass(slots=True)
class School:
    """A school's plan: everything about it that can be known without making its people."""

    index: int
    join_id: str
    uai: str
    name: str
    pupils: int
    staff: int
    classes: list[str]
    groups: dict[str, list[str]]
    """Class name to the teaching groups that its pupils choose from."""

    @property
    def group_names(self) -> list[str]:
        """Every teaching group, once."""
        return list(dict.fromkeys(name for names in self.groups.values() for name in names))


@dataclass(slots=True)
class Guardian:
    """A guardian. ``mail`` may be empty."""

    id: str
    given: str
    family: str
    mail: str
    address: str


@dataclass(slots=True)
class Link:
    """A pupil's guardian; ``legal`` is 1, 2 or 0 as in ``ENTElevePersRelEleve``."""

    guardian: str
    kinship: str
    legal: int


@dataclass(slots=True)
class Pupil:
    """A pupil, in one class and some teaching groups of one school."""

    id: str
    given: str
    family: str
    school: School
    class_name: str
    groups: list[str]
    links: list[Link]


@dataclass(slots=True)
class Duty:
    """A function in a school, with what is taught there."""

    school: School
    code: str
    label: str
    classes: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    head_of: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Staff:
    """A teacher (first duty ``ENS``) or another member of staff."""

    id: str
    given: str
    family: str
    mail: str
    duties: list[Duty]


@dataclass(slots=True)
class SchoolPeople:
    """Who comes with one school. A guardian comes with the first school of their children."""

    school: School
    guardians: list[Guardian]
    staff: list[Staff]
    pupils: list[Pupil]


@dataclass(slots=True)
class _Sibling:
    family: str
    links: list[Link]


class Region:
    """The plan of a region of exactly ``people`` people (40 or more), and an iterator over its schools.

    The same seed makes the same region. Iterating costs the memory of one school.
    """

    def __init__(self, people: int, seed: int) -> None:
        if people < 40:
            raise ValueError(f"a region of {people} people is too small for its proportions: ask for 40 or more")
        self.people = people
        self.seed = seed
        self.pupils = round(people * PUPIL_SHARE)
        self.staff = max(4, round(people * STAFF_SHARE))
        self.guardians = people - self.pupils - self.staff
        count = max(2, round(people / PEOPLE_PER_SCHOOL))
        rng = random.Random(f"{seed}/plan")
        weights = [0.6 + 0.8 * rng.random() for _ in range(count)]
        pupils = _shares(self.pupils, weights)
        staff = _shares(self.staff, weights)
        self.schools = [_plan(index, pupils[index], staff[index], rng) for index in range(count)]

    def __iter__(self) -> Iterator[SchoolPeople]:
        makers = _Families(self)
        staff_number = 0
        for school in self.schools:
            rng = random.Random(f"{self.seed}/{school.index}")
            staff = [self._member(rng, school, place, f"5{staff_number + place:08}") for place in range(school.staff)]
            staff_number += school.staff
            pupils, guardians = makers.of(school, rng)
            yield SchoolPeople(school, guardians, staff, pupils)

    def _member(self, rng: random.Random, school: School, place: int, identifier: str) -> Staff:
        given, family = rng.choice(GIVEN_NAMES), rng.choice(FAMILY_NAMES)
        mail = f"{_ascii(given)}.{_ascii(family)}.{identifier}@ac-region.example"
        if place == 0:
            duties = [Duty(school, "DIR", "DIRECTION")]
        elif place % 5 == 4:
            duties = [Duty(school, *_STAFF[place // 5 % len(_STAFF)])]
        else:
            duties = [_teaching(rng, school, rng.randint(3, 5))]
            duties[0].head_of = [name for index, name in enumerate(school.classes) if index % school.staff == place]
            if rng.random() < TWO_SCHOOLS or place == 1:
                duties.append(_teaching(rng, self.schools[(school.index + 1) % len(self.schools)], 1))
        return Staff(identifier, given, family, mail, duties)


class _Families:
    """Makes families, and remembers what must come out even over the whole region."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self._placed = 0  # children who have a family
        self._seated = 0  # pupils written
        self._made = 0  # guardians written
        self._elsewhere: deque[_Sibling] = deque()

    def of(self, school: School, rng: random.Random) -> tuple[list[Pupil], list[Guardian]]:
        seats = [school.classes[seat % len(school.classes)] for seat in range(school.pupils)]
        rng.shuffle(seats)
        pupils: list[Pupil] = []
        guardians: list[Guardian] = []
        last = school.index == len(self._region.schools) - 1
        waiting, self._elsewhere = self._elsewhere, deque()
        spare = 0 if last else self._region.schools[school.index + 1].pupils // 2
        number = 0
        while len(pupils) < len(seats):
            if waiting:
                sibling = waiting.popleft()
                pupils.append(self._pupil(rng, school, seats[len(pupils)], sibling.family, sibling.links))
                continue
            # The first families of the region are the special cases, so that the smallest region has them.
            special = number if school.index == 0 else -1
            children = 2 if special == 0 else rng.choices((1, 2, 3), (50, 38, 12))[0]
            away = children > 1 and len(self._elsewhere) < spare and (special == 0 or rng.random() < ELSEWHERE)
            here = min(children - away, len(seats) - len(pupils))
            name, links, parents = self._parents(rng, here + away, separated=special in (1, 2), contact=special == 2)
            guardians += parents
            if away:
                there = links
                if (special == 0 or rng.random() < TWO_IDENTITIES) and self._made < self._region.guardians and links:
                    twin = self._twin(parents[0])
                    guardians.append(twin)
                    there = [Link(twin.id, links[0].kinship, links[0].legal), *links[1:]]
                self._elsewhere.append(_Sibling(name, there))
            for _ in range(here):
                pupils.append(self._pupil(rng, school, seats[len(pupils)], name, links))
            number += 1
        if last:
            self._even_out(rng, pupils, guardians)
        return pupils, guardians

    def _parents(
        self, rng: random.Random, children: int, *, separated: bool, contact: bool
    ) -> tuple[str, list[Link], list[Guardian]]:
        region = self._region
        self._placed += children
        owed = region.guardians * self._placed / region.pupils - self._made
        count = min(2 if separated or owed >= 1.5 + rng.random() * 0.5 - 0.25 else 1, region.guardians - self._made)
        name = rng.choice(FAMILY_NAMES)
        separated = separated or rng.random() < SEPARATED
        parents = [self._guardian(rng, name)] if count else []
        links = [Link(parents[0].id, "1", 1)] if parents else []
        if count == 2:
            other = self._guardian(rng, rng.choice(FAMILY_NAMES) if separated else name)
            if not separated:
                other.address = parents[0].address
            legal = 1
            if separated:
                legal = 0 if contact or rng.random() < 0.1 else 2
            parents.append(other)
            links.append(Link(other.id, "2", legal))
        return name, links, parents

    def _guardian(self, rng: random.Random, family: str) -> Guardian:
        identifier = f"3{self._made:08}"
        self._made += 1
        given = rng.choice(GIVEN_NAMES)
        mail = ""
        if rng.random() >= WITHOUT_MAIL:
            mail = f"{_ascii(given)}.{_ascii(family)}.{identifier[1:]}@{rng.choice(MAIL_DOMAINS)}"
        return Guardian(identifier, given, family, mail, f"{rng.randint(1, 99)} RUE DES ÉRABLES")

    def _twin(self, guardian: Guardian) -> Guardian:
        identifier = f"3{self._made:08}"
        self._made += 1
        return Guardian(identifier, guardian.given, guardian.family, guardian.mail, guardian.address)

    def _pupil(self, rng: random.Random, school: School, class_name: str, family: str, links: list[Link]) -> Pupil:
        identifier = f"1{self._seated:08}"
        self._seated += 1
        choices = school.groups[class_name]
        groups = [rng.choice(choices[: len(choices) // 2]), rng.choice(choices[len(choices) // 2 :])]
        return Pupil(identifier, rng.choice(GIVEN_NAMES), family, school, class_name, groups, links)

    def _even_out(self, rng: random.Random, pupils: list[Pupil], guardians: list[Guardian]) -> None:
        """The few guardians that the proportions still owe become contacts of the last pupils."""
        place = 0
        while self._made < self._region.guardians:
            contact = self._guardian(rng, rng.choice(FAMILY_NAMES))
            guardians.append(contact)
            pupil = pupils[place % len(pupils)]
            pupil.links = [*pupil.links, Link(contact.id, "9", 0)]
            place += 1


def _shares(total: int, weights: list[float]) -> list[int]:
    """Split ``total`` by ``weights`` into integers of at least 2 that add up to it."""
    least = 2
    spread = total - least * len(weights)
    scale = spread / sum(weights)
    ends = [round(end * scale) for end in accumulate(weights)]
    ends[-1] = spread
    return [least + end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _plan(index: int, pupils: int, staff: int, rng: random.Random) -> School:
    department = _DEPARTMENTS[index % len(_DEPARTMENTS)]
    number = f"{department}{9000 + index // len(_DEPARTMENTS):04}"
    uai = number + _UAI_LETTERS[int(number) % len(_UAI_LETTERS)]
    lycee = index % 3 == 2
    levels = ("2NDE ", "1G", "TG") if lycee else ("6", "5", "4", "3")
    count = max(1, round(pupils / CLASS_SIZE))
    by_level: dict[str, list[str]] = {}
    for place in range(count):
        level = levels[place * len(levels) // count]
        mates = by_level.setdefault(level, [])
        mates.append(f"{level}{len(mates) + 1}" if lycee or len(mates) > 25 else f"{level}{chr(65 + len(mates))}")
    groups = {}
    for level, names in by_level.items():
        size = len(names)
        first = [f"{level.strip()} ANG{n}" for n in range(1, size + 1)]
        second = [f"{level.strip()} {tongue}{n}" for tongue in ("ESP", "ALL") for n in range(1, (size + 1) // 2 + 1)]
        half = min(len(first), len(second))
        for name in names:
            groups[name] = first[:half] + second[:half]
    name = f"{'LYCEE' if lycee else 'COLLEGE'} {rng.choice(FAMILY_NAMES).upper()}"
    classes = [name for names in by_level.values() for name in names]
    return School(index, str(1000 + index), uai, name, pupils, staff, classes, groups)


def _teaching(rng: random.Random, school: School, classes: int) -> Duty:
    taught = rng.sample(school.classes, min(classes, len(school.classes)))
    groups = [rng.choice(school.groups[taught[0]])]
    return Duty(school, "ENS", rng.choice(_SUBJECTS), taught, groups)


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.replace("Œ", "Oe"))
    return "".join(c for c in plain if c.isascii() and c.isalnum()).lower()
