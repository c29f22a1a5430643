"""From the requests of an AAF export to directory records. What becomes of what is told in ``aaf``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ent_notify.directory.aaf_words import (
    FUNCTIONS,
    LEGAL_LEVELS,
    NOT_STORED,
    OVERSEAS,
    READ,
    Category,
    leading_function,
)
from ent_notify.directory.aaf_xml import Request
from ent_notify.model.people import (
    UNSET,
    BadRecord,
    DirectoryRecord,
    GroupKind,
    GroupRecord,
    GuardianLink,
    PersonRecord,
    Profile,
    Removal,
    SchoolRecord,
    SchoolRemoval,
    SourceItem,
    Unset,
)

_UAI = re.compile(r"[0-9A-Z]{7}[A-Z]")
_CATEGORIES = {category.value: category for category in Category}


@dataclass(slots=True)
class ParseReport:
    """What a reading met, counted as it goes: read it when the records are exhausted.

    ``ignored_attributes``: unknown ones, by name. ``left_out_attributes``: known ones that are not stored, on
    purpose. ``ignored_categories``: records of kinds that are not imported. ``bytes_read`` of ``bytes_total`` is the
    progress.
    """

    bytes_total: int = 0
    files: list[str] = field(default_factory=list)
    left_aside: tuple[str, ...] = ()
    records: Counter[str] = field(default_factory=Counter)
    bad_records: int = 0
    ignored_attributes: Counter[str] = field(default_factory=Counter)
    left_out_attributes: Counter[str] = field(default_factory=Counter)
    ignored_categories: Counter[str] = field(default_factory=Counter)
    bytes_read: int = 0

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "bytes": self.bytes_read,
            "files": self.files,
            "left_aside": list(self.left_aside),
            "records": dict(self.records),
            "bad_records": self.bad_records,
            "ignored_attributes": dict(self.ignored_attributes),
            "left_out_attributes": dict(self.left_out_attributes),
            "ignored_categories": dict(self.ignored_categories),
        }


class _Refused(Exception):
    """This record cannot be taken, for the reason given."""


class _Said:
    """What one request says, and what comes of it.

    An addRequest says everything (what it leaves out is empty), a modifyRequest what it mentions.
    """

    __slots__ = ("_attributes", "problems", "records", "whole")

    def __init__(self, request: Request) -> None:
        self._attributes = request.attributes
        self.whole = request.action == "addRequest"
        self.records: list[DirectoryRecord] = []
        self.problems: list[str] = []

    def mentions(self, *names: str) -> bool:
        return self.whole or any(name in self._attributes for name in names)

    def values(self, *names: str) -> list[str]:
        return [value for name in names for value in self._attributes.get(name, ())]

    def first(self, name: str) -> str:
        values = self._attributes.get(name)
        return values[0] if values else ""

    def text(self, name: str) -> str | Unset:
        return _blanks(self.first(name)) if self.mentions(name) else UNSET

    def mail(self) -> str | Unset | None:
        return (self.first("mail") or None) if self.mentions("mail") else UNSET


class Translator:
    """From requests to records; remembers the schools and the groups met, nothing of the people."""

    def __init__(self, schools: dict[str, str], prefix: str, report: ParseReport) -> None:
        self._schools = schools
        self._prefix = prefix
        self._report = report
        self._groups: set[str] = set()

    def translate(self, file: str, request: Request) -> Iterator[SourceItem]:
        """The records of one request, and what was wrong with it."""
        category = _CATEGORIES.get(request.category)
        if category is None:
            self._report.ignored_categories[request.category or "(none)"] += 1
            return
        self._count_attributes(category, request)
        said = _Said(request)
        identifier = self._prefix + request.id if request.id else ""
        try:
            identifier = self._identifier(category, request)
            self._read(category, request, identifier, said)
        except _Refused as refusal:
            self._report.bad_records += 1
            yield BadRecord(file=file, id=identifier, reason=f"line {request.line}: {refusal}")
            return
        self._report.records[category.value] += 1
        yield from said.records
        for problem in said.problems:
            self._report.bad_records += 1
            yield BadRecord(file=file, id=identifier, reason=f"line {request.line}: {problem}", imported=True)

    def _count_attributes(self, category: Category, request: Request) -> None:
        read = READ[category]
        for name in request.attributes:
            if name not in read:
                known = name in NOT_STORED
                (self._report.left_out_attributes if known else self._report.ignored_attributes)[name] += 1

    def _identifier(self, category: Category, request: Request) -> str:
        if request.defect is not None:
            raise _Refused(request.defect)
        key = "ENTStructureJointure" if category is Category.SCHOOL else "ENTPersonJointure"
        join = next(iter(request.attributes.get(key, ())), "")
        if request.id and join and join != request.id:
            raise _Refused(f"its identifier is {request.id!r} and its {key} {join!r}: which one is it?")
        if not (request.id or join):
            raise _Refused(f"it has neither an identifier nor {key}")
        return self._prefix + (request.id or join)

    def _read(self, category: Category, request: Request, identifier: str, said: _Said) -> None:
        if request.action == "deleteRequest":
            if category is Category.SCHOOL:
                said.records.append(SchoolRemoval(uai=self._schools.get(identifier), join_id=identifier))
            else:
                said.records.append(Removal(id=identifier))
            return
        match category:
            case Category.SCHOOL:
                self._school(identifier, said)
            case Category.GUARDIAN:
                self._guardian(identifier, said)
            case Category.STAFF:
                self._staff(identifier, said)
            case Category.PUPIL:
                self._pupil(identifier, said)

    def _school(self, identifier: str, said: _Said) -> None:
        uai = (said.first("ENTStructureUAI") or said.first("ENTEtablissementUAI")).upper()
        if not uai and not said.whole:
            uai = self._schools.get(identifier, "")
        if not _UAI.fullmatch(uai):
            raise _Refused(f"a school needs a UAI of eight characters, the last a letter; this one says {uai!r}")
        self._schools[identifier] = uai
        said.records.append(
            SchoolRecord(
                uai=uai,
                name=said.text("ENTStructureNomCourant") or (uai if said.whole else UNSET),
                join_id=identifier,
                timezone=OVERSEAS.get(uai[:3], UNSET),
            )
        )
        for kind, attribute in (
            (GroupKind.CLASS, "ENTStructureClasses"),
            (GroupKind.TEACHING_GROUP, "ENTStructureGroupes"),
        ):
            for value in said.values(attribute):
                if name := _blanks(value.partition("$")[0]):
                    self._group(uai, kind, name, said)

    def _guardian(self, identifier: str, said: _Said) -> None:
        said.records.append(
            PersonRecord(
                id=identifier,
                profile=Profile.GUARDIAN,
                given_name=said.text("givenName"),
                family_name=said.text("sn"),
                email=said.mail(),
            )
        )

    def _staff(self, identifier: str, said: _Said) -> None:
        groups, kinds = self._groups_of(
            said,
            classes=("ENTAuxEnsClasses", "ENTAuxEnsClassesMatieres"),
            teaching_groups=("ENTAuxEnsGroupes", "ENTAuxEnsGroupesMatieres"),
        )
        profile: Profile | Unset = UNSET
        function: str | Unset | None = UNSET
        schools: frozenset[str] | Unset = UNSET
        if said.mentions("ENTPersonFonctions"):
            held = [parts for parts in map(_parts, said.values("ENTPersonFonctions")) if len(parts) > 1 and parts[1]]
            function = leading_function([parts[1].upper() for parts in held]) if held else None
            if function is not None:
                profile = FUNCTIONS.get(function, Profile.STAFF)
            elif said.mentions("PersEducNatPresenceDevantEleves"):
                teaches = said.first("PersEducNatPresenceDevantEleves").upper() == "O"
                profile = Profile.TEACHER if teaches else Profile.STAFF
            join_ids = [parts[0] for parts in held] + said.values("ENTPersonStructRattach")
            schools = self._schools_of(join_ids, groups, said)
        said.records.append(
            PersonRecord(
                id=identifier,
                profile=profile,
                function=function,
                given_name=said.text("givenName"),
                family_name=said.text("sn"),
                email=said.mail(),
                schools=schools,
                groups=groups if kinds else UNSET,
                group_kinds=kinds,
            )
        )

    def _pupil(self, identifier: str, said: _Said) -> None:
        groups, kinds = self._groups_of(said, classes=("ENTEleveClasses",), teaching_groups=("ENTEleveGroupes",))
        schools: frozenset[str] | Unset = UNSET
        if said.mentions("ENTPersonStructRattach"):
            schools = self._schools_of(said.values("ENTPersonStructRattach"), groups, said)
        guardians: tuple[GuardianLink, ...] | Unset = UNSET
        if said.mentions("ENTElevePersRelEleve"):
            guardians = self._links(said)
        said.records.append(
            PersonRecord(
                id=identifier,
                profile=Profile.PUPIL,
                given_name=said.text("givenName"),
                family_name=said.text("sn"),
                email=said.mail(),
                schools=schools,
                groups=groups if kinds else UNSET,
                group_kinds=kinds,
                guardians=guardians,
            )
        )

    def _schools_of(self, join_ids: list[str], groups: frozenset[str], said: _Said) -> frozenset[str]:
        """The UAIs of ``join_ids``, and of the schools of ``groups``: a pupil may follow lessons elsewhere."""
        known = {group.partition("/")[0] for group in groups}
        unknown = []
        for join_id in dict.fromkeys(join_ids):
            uai = self._schools.get(self._prefix + join_id)
            if uai is None:
                unknown.append(join_id)
            else:
                known.add(uai)
        if unknown and not known:
            raise _Refused(f"it belongs to a school that is not known: {', '.join(unknown)}")
        said.problems.extend(f"it belongs to a school that is not known: {join_id}" for join_id in unknown)
        return frozenset(known)

    def _groups_of(
        self, said: _Said, *, classes: tuple[str, ...], teaching_groups: tuple[str, ...]
    ) -> tuple[frozenset[str], frozenset[GroupKind]]:
        """The groups that the request names, and the kinds it speaks of."""
        ids: set[str] = set()
        kinds: set[GroupKind] = set()
        for kind, attributes in ((GroupKind.CLASS, classes), (GroupKind.TEACHING_GROUP, teaching_groups)):
            if not said.mentions(*attributes):
                continue
            kinds.add(kind)
            for value in said.values(*attributes):
                join_id, *rest = _parts(value)
                name = _blanks(rest[0]) if rest else ""
                uai = self._schools.get(self._prefix + join_id)
                if not name:
                    said.problems.append(f"{value!r} is not a group of a school (school$name)")
                elif uai is None:
                    said.problems.append(f"group {name!r} is of a school that is not known: {join_id}")
                else:
                    ids.add(self._group(uai, kind, name, said))
        return frozenset(ids), frozenset(kinds)

    def _group(self, uai: str, kind: GroupKind, name: str, said: _Said) -> str:
        group = f"{uai}/{'class' if kind is GroupKind.CLASS else 'group'}/{name}"
        if group not in self._groups:
            self._groups.add(group)
            said.records.append(GroupRecord(id=group, school=uai, kind=kind, name=name))
        return group

    def _links(self, said: _Said) -> tuple[GuardianLink, ...]:
        links: dict[str, GuardianLink] = {}
        for value in said.values("ENTElevePersRelEleve"):
            parts = _parts(value)
            if not parts[0]:
                said.problems.append(f"ENTElevePersRelEleve {value!r} names no guardian")
                continue
            legal = parts[3] if len(parts) > 3 else ""
            if legal not in LEGAL_LEVELS:
                said.problems.append(f"guardian {parts[0]}: legal responsibility {legal!r}, taken as a contact only")
            guardian = self._prefix + parts[0]
            links[guardian] = GuardianLink(
                guardian=guardian,
                legal_level=LEGAL_LEVELS.get(legal, 0),
                kinship=parts[1] if len(parts) > 1 else "",
            )
        return tuple(links.values())


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.split("$")]


def _blanks(text: str) -> str:
    """``text`` with each run of blanks made one space: names are compared and shown that way."""
    return " ".join(text.split())
