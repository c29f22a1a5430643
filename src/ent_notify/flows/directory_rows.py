"""Directory records, checked and packed into rows for staging."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from email_validator import EmailNotValidError, validate_email

from ent_notify.model.directory import MOST_REPORTED, Problem, Said, StagedRows
from ent_notify.model.people import (
    UNSET,
    BadRecord,
    FileError,
    FileStart,
    GroupRecord,
    PersonRecord,
    Removal,
    SchoolRecord,
    SchoolRemoval,
    SourceItem,
    Unset,
)

T = TypeVar("T")

LONGEST_TEXT = 200
"""Characters of an id, a name or a function; the longest name in an AAF has 38."""
LONGEST_LOCAL_PART = 64
"""Characters before the @ of a mail address (RFC 5321, 4.5.3.1.1)."""
_PLAIN_LOCAL_PART = re.compile(r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*")


class _Refused(Exception):
    """A record that cannot be taken, for the reason given."""


class Packer:
    """Reads records, checks them, and packs them into rows. One thread at a time."""

    def __init__(self, items: Iterator[SourceItem]) -> None:
        self.records = 0
        self.bad_records = 0
        self.problems: list[BadRecord] = []
        self.file_errors: list[FileError] = []
        self._items = items
        self._rows = StagedRows()
        self._schools: dict[str, int] = {}
        self._groups: dict[str, int] = {}
        self._files: list[str] = []
        self._file_starts: list[int] = []

    def pack(self, most: int) -> StagedRows | None:
        """The rows of the next ``most`` records; None when there are no more."""
        self._rows = StagedRows()
        taken = 0
        for item in islice(self._items, most):
            taken += 1
            try:
                self._take(item)
            except _Refused as refusal:
                identifier = getattr(item, "id", None) or getattr(item, "uai", None) or ""
                self._bad(BadRecord(file=self._file(self.records), id=identifier, reason=str(refusal)))
        return self._rows if taken else None

    def located(self, problem: Problem) -> BadRecord:
        """A problem found by the database, with the file that its record came from."""
        return BadRecord(file=self._file(problem.n), id=problem.id, reason=problem.reason, imported=problem.imported)

    def _take(self, item: SourceItem) -> None:
        match item:
            case PersonRecord():
                self.records += 1
                self._person(item)
            case GroupRecord():
                self.records += 1
                self._group_record(item)
            case SchoolRecord():
                self.records += 1
                self._school_record(item)
            case Removal():
                self.records += 1
                _text("id", item.id, required=True)
                self._rows.people.append((self.records, item.id, True, *(None,) * 7, 0, 0))
            case SchoolRemoval():
                self.records += 1
                if item.uai is None and item.join_id is None:
                    raise _Refused("the removal of a school needs its UAI or its join id")
                self._rows.schools.append((self.records, -1, item.uai, item.join_id, None, None, True))
            case BadRecord():
                self._bad(item)
            case FileStart():
                self._files.append(item.file)
                self._file_starts.append(self.records + 1)
            case FileError():
                self.file_errors.append(item)

    def _file(self, n: int) -> str:
        place = bisect_right(self._file_starts, n)
        return self._files[place - 1] if place else ""

    def _bad(self, bad: BadRecord) -> None:
        self.bad_records += 1
        if len(self.problems) < MOST_REPORTED:
            self.problems.append(bad)
        if bad.id and not bad.imported and _storable(bad.id):
            self._rows.bad.append((bad.id,))

    def _school(self, uai: str) -> int:
        number = self._schools.get(uai)
        if number is None:
            _text("school", uai, required=True)
            number = self._schools[uai] = len(self._schools)
            self._rows.schools.append((self.records, number, uai, None, None, None, None))
        return number

    def _group(self, identifier: str) -> int:
        number = self._groups.get(identifier)
        if number is None:
            _text("group", identifier, required=True)
            number = self._groups[identifier] = len(self._groups)
            self._rows.groups.append((self.records, number, identifier, None, None, None))
        return number

    def _school_record(self, school: SchoolRecord) -> None:
        name = _or_none(school.name)
        for field, value in (("name", name), ("join id", school.join_id)):
            _text(field, value)
        zone = _or_none(school.timezone)
        _zone(zone)
        number = self._school(school.uai)
        self._rows.schools.append((self.records, number, school.uai, school.join_id, name, zone, False))

    def _group_record(self, group: GroupRecord) -> None:
        _text("name", group.name)
        number, school = self._group(group.id), self._school(group.school)
        self._rows.groups.append((self.records, number, group.id, school, int(group.kind), group.name))

    def _person(self, person: PersonRecord) -> None:
        n, rows = self.records, self._rows
        _text("id", person.id, required=True)
        given, family = _or_none(person.given_name), _or_none(person.family_name)
        function, language = _or_none(person.function), _or_none(person.language)
        zone, email = _or_none(person.timezone), _or_none(person.email)
        for field, value in (
            ("given name", given),
            ("family name", family),
            ("function", function),
            ("language", language),
        ):
            _text(field, value)
        _zone(zone)
        said, kinds = Said(0), 0
        if person.function is not UNSET:
            said |= Said.FUNCTION
        if person.email is not UNSET:
            said |= Said.EMAIL
            email = self._email(person.id, email)
        members: list[tuple[int, int]] = []
        if person.groups is not UNSET:
            kinds = sum(1 << kind for kind in person.group_kinds)
            members = [(n, self._group(group)) for group in sorted(person.groups)]
        schools: list[tuple[int, int]] = []
        if person.schools is not UNSET:
            said |= Said.SCHOOLS
            schools = [(n, self._school(uai)) for uai in sorted(person.schools)]
        links: list[tuple[int, str, int, str, bool | None]] = []
        if person.guardians is not UNSET:
            said |= Said.GUARDIANS
            for link in person.guardians:
                _text("guardian", link.guardian, required=True)
                _text("kinship", link.kinship)
                if link.legal_level not in (0, 1, 2):
                    raise _Refused(f"guardian {link.guardian} has legal level {link.legal_level}: it is 0, 1 or 2")
                links.append((n, link.guardian, link.legal_level, link.kinship, _or_none(link.restricted)))
        profile = None if person.profile is UNSET else int(person.profile)
        rows.people.append(
            (n, person.id, False, profile, function, given, family, language, zone, email, int(said), kinds)
        )
        rows.members += members
        rows.attendance += schools
        rows.links += links

    def _email(self, person: str, email: str | None) -> str | None:
        if not email:
            return None
        try:
            return _address(email.strip())
        except EmailNotValidError as error:
            reason = f"its mail address was left out: {error}"
            self._bad(BadRecord(file=self._file(self.records), id=person, reason=reason, imported=True))
            return None


def _address(email: str) -> str:
    """``email`` as it can be written to, its domain in ASCII. Raises EmailNotValidError.

    The library judges every domain once, and every local part that is not of the plainest form.
    """
    local, _, domain = email.rpartition("@")
    if len(local) <= LONGEST_LOCAL_PART and _PLAIN_LOCAL_PART.fullmatch(local):
        return f"{local}@{_domain(domain)}"
    return _validated(email)


@lru_cache(maxsize=4096)
def _domain(domain: str) -> str:
    return _validated(f"{'x' * LONGEST_LOCAL_PART}@{domain}").rpartition("@")[2]


def _validated(email: str) -> str:
    valid = validate_email(email, check_deliverability=False, allow_smtputf8=False)
    return valid.ascii_email or valid.normalized


def _or_none(value: T | Unset) -> T | None:
    return None if isinstance(value, Unset) else value


def _text(field: str, value: str | None, *, required: bool = False) -> None:
    if required and not value:
        raise _Refused(f"its {field} is empty")
    if value is None:
        return
    if len(value) > LONGEST_TEXT:
        raise _Refused(f"its {field} is {len(value)} characters long; at most {LONGEST_TEXT} are taken")
    if not _storable(value):
        raise _Refused(f"its {field} {value!r} holds a character that cannot be stored (NUL, or half of a pair)")


def _storable(value: str) -> bool:
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def _zone(name: str | None) -> None:
    if name is not None and not _known_zone(name):
        raise _Refused(f"its time zone {name[:LONGEST_TEXT]!r} is not in the time zone database (Europe/Paris is)")


@lru_cache(maxsize=1024)
def _known_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
