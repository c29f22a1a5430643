"""People and what binds them: the records that a directory source hands over.

External ids are text and belong to the host or the AAF; internal ids are integers and never leave the engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NewType

PersonId = NewType("PersonId", int)
DeviceId = NewType("DeviceId", int)

BUCKET_SIZE = 1_000
"""People in a bucket. A person's bucket never changes, so a chunk can be computed from an id."""


def bucket_of(person: PersonId) -> int:
    """The stable bucket of a person: ids 0-999 are bucket 0, and so on."""
    return person // BUCKET_SIZE


class Profile(IntEnum):
    """The four profiles of a French ENT (stored as smallint)."""

    PUPIL = 1
    GUARDIAN = 2
    TEACHER = 3
    STAFF = 4


class GroupKind(IntEnum):
    """What a group of people is (stored as smallint)."""

    SCHOOL_PUPILS = 1
    SCHOOL_TEACHERS = 2
    SCHOOL_STAFF = 3
    CLASS = 4
    TEACHING_GROUP = 5
    OTHER = 6


OWN_GROUPS = frozenset({GroupKind.CLASS, GroupKind.TEACHING_GROUP, GroupKind.OTHER})
"""The kinds of group that a record lists by id; the others follow from its schools and profile."""


class Provider(StrEnum):
    """Push providers."""

    APNS = "apns"
    FCM = "fcm"
    WEBPUSH = "webpush"


class Unset(IntEnum):
    """The type of UNSET: "this record does not mention that field" (as against "it is empty")."""

    UNSET = 0


UNSET = Unset.UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class SchoolRecord:
    """A school. ``uai`` is its national code (``0541234A``); ``join_id`` is how an AAF export refers to it.

    Its groups ``UAI/pupils``, ``UAI/teachers`` and ``UAI/staff`` come with it. A field left ``UNSET`` keeps what is
    known; a new school starts with its code as name, in ``Europe/Paris``.
    """

    uai: str
    name: str | Unset = UNSET
    join_id: str | None = None
    timezone: str | Unset = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRecord:
    """A class or another group of one school. ``id`` is the name an audience uses, for example
    ``0541234A/class/6A`` or ``0541234A/group/6A ANG1``."""

    id: str
    school: str
    kind: GroupKind
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardianLink:
    """One guardian of a pupil. ``legal_level``: 1 or 2 for a legal guardian, 0 for a contact only.

    ``restricted`` is a court's decision: nothing about this pupil goes to this guardian by itself. ``UNSET`` (the
    source does not speak of it, as an AAF never does) keeps what is known.
    """

    guardian: str
    legal_level: int
    kinship: str = ""
    restricted: bool | Unset = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRecord:
    """A person as a directory source sees them. A field left ``UNSET`` keeps what is known.

    ``groups`` is the whole set of group ids of that person (what is missing from it ends), or the whole set among
    ``group_kinds`` when the source speaks of some kinds only; ``schools`` is the whole set of UAIs where the profile
    holds; ``guardians`` the whole set of guardians (pupils only). A person who is not known yet needs a profile and
    both names (which may be empty).
    """

    id: str
    profile: Profile | Unset = UNSET
    given_name: str | Unset = UNSET
    family_name: str | Unset = UNSET
    function: str | Unset | None = UNSET
    email: str | Unset | None = UNSET
    language: str | Unset = UNSET
    timezone: str | Unset = UNSET
    schools: frozenset[str] | Unset = UNSET
    groups: frozenset[str] | Unset = UNSET
    group_kinds: frozenset[GroupKind] = OWN_GROUPS
    guardians: tuple[GuardianLink, ...] | Unset = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A person who has left: hidden at once, purged later by retention."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SchoolRemoval:
    """A school that has closed: its groups end, its people stay until they are removed themselves."""

    uai: str | None = None
    join_id: str | None = None


DirectoryRecord = SchoolRecord | GroupRecord | PersonRecord | Removal | SchoolRemoval


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRecord:
    """A record, or a part of one, that could not be taken. ``imported``: the rest of the record was.

    A person named by a bad record is never removed for being absent.
    """

    file: str
    id: str
    reason: str
    imported: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStart:
    """The records that follow come from this file (reports name it)."""

    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileError:
    """The rest of this file could not be read, or a file is missing: what was read counts, and nobody is removed
    for being absent."""

    file: str
    reason: str


SourceItem = DirectoryRecord | BadRecord | FileStart | FileError
"""What a directory source hands over, in order; hosts need only the records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRegistration:
    """A push token bound to a person (external id). ``language`` is the device's, when it says one."""

    person: str
    provider: Provider
    app: str
    token: str
    language: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """A person's choice for one category of events on one channel (both as the events name them)."""

    person: str
    category: str
    channel: str
    enabled: bool
