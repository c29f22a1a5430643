"""What a directory run carries and reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntFlag
from typing import Literal

from ent_notify.model.people import BadRecord, FileError

MOST_REPORTED = 1_000
"""Bad records that a report holds in full; beyond that they are only counted."""


class Said(IntFlag):
    """Which fields that may be empty a person record mentions (stored as smallint while a run is staged)."""

    FUNCTION = 1
    EMAIL = 2
    SCHOOLS = 4
    GUARDIANS = 8


_Text = str | None
PersonRow = tuple[int, str, bool, int | None, _Text, _Text, _Text, _Text, _Text, _Text, int, int]


@dataclass(slots=True)
class StagedRows:
    """Some thousand records as rows, each list for one staging table, in that table's order of columns.

    ``n`` is the place of a record in the run; ``s`` and ``g`` number the schools and groups that the run mentions.
    """

    schools: list[tuple[int, int, str | None, str | None, str | None, str | None, bool | None]] = field(
        default_factory=list
    )
    """(n, s, uai, join id, name, time zone, closed): ``closed`` None: only mentioned."""
    groups: list[tuple[int, int, str, int | None, int | None, str | None]] = field(default_factory=list)
    """(n, g, external id, s, kind, name): ``kind`` None: only mentioned."""
    people: list[
        tuple[
            int, str, bool, int | None, str | None, str | None, str | None, str | None, str | None, str | None, int, int
        ]
    ] = field(default_factory=list)
    """(n, external id, removed, profile, function, given name, family name, language, time zone, mail, said, kinds):
    ``said`` is a Said, ``kinds`` has bit k set when the record lists all groups of kind k."""
    members: list[tuple[int, int]] = field(default_factory=list)
    """(n, g)."""
    attendance: list[tuple[int, int]] = field(default_factory=list)
    """(n, s): who belongs to which school."""
    links: list[tuple[int, str, int, str, bool | None]] = field(default_factory=list)
    """(n of the pupil, guardian's external id, legal level, kinship, restricted)."""
    bad: list[tuple[str]] = field(default_factory=list)
    """(external id): people named by bad records, who must not be removed for being absent."""


@dataclass(frozen=True, slots=True)
class Removals:
    """How many people a run would remove, of how many that are present now."""

    removals: int
    present: int


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that only the database could tell: a reference to nothing, somebody of another source."""

    n: int
    id: str
    reason: str
    imported: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeCounts:
    """What a merge did. People: ``added + changed + returned + unchanged`` were in the run and taken."""

    added: int
    changed: int
    returned: int
    unchanged: int
    hidden: int
    schools: int
    groups: int
    memberships_started: int
    memberships_ended: int
    links_added: int
    links_changed: int
    links_removed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport(MergeCounts):
    """What a directory run did.

    ``schools`` and ``groups`` count those added, changed or closed. ``bad_records`` counts every record, or part of
    one, that could not be taken; ``problems`` holds the first thousand of them. ``file_errors`` are files that are
    missing or could not be read to their end: a complete run then hides nobody for being absent, and
    ``removals_withheld`` says so.
    """

    source: str
    complete: bool
    at: datetime
    records: int
    bad_records: int
    problems: tuple[BadRecord, ...]
    file_errors: tuple[FileError, ...]
    removals_withheld: bool


@dataclass(frozen=True, slots=True)
class SyncProgress:
    """Where a run is: ``records`` taken so far. Merging comes after the last record and takes about as long."""

    phase: Literal["reading", "merging"]
    records: int


OnProgress = Callable[[SyncProgress], None]
