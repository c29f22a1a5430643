"""Records into the directory: what a run changes, what it leaves alone, and what it refuses."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio

from ent_notify.directory import import_export, sync
from ent_notify.errors import SourceError, StoreError, TooManyRemovals
from ent_notify.flows.directory_rows import Packer
from ent_notify.model.directory import SyncProgress, SyncReport
from ent_notify.model.people import (
    BadRecord,
    FileError,
    FileStart,
    GroupKind,
    GroupRecord,
    GuardianLink,
    PersonRecord,
    Profile,
    Removal,
    SchoolRecord,
    SchoolRemoval,
    SourceItem,
)
from ent_notify.ports import DirectoryStore
from ent_notify.store import Database
from ent_notify.store.directory import PostgresDirectory
from ent_notify.store.sql import Query
from ent_notify.testing.region import generate_delta, generate_region

NOW = datetime(2026, 9, 1, 6, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
MUCH_LATER = NOW + timedelta(days=2)
ALL = 1.0
"""Every removal is allowed."""

CLASS = "0549901X/class/6A"
OTHER_CLASS = "0549901X/class/6B"
BASE: tuple[SourceItem, ...] = (
    SchoolRecord(uai="0549901X", name="Collège des Érables", join_id="7001"),
    SchoolRecord(uai="0549902Y", name="Lycée du Val", join_id="7002"),
    GroupRecord(id=CLASS, school="0549901X", kind=GroupKind.CLASS, name="6A"),
    GroupRecord(id=OTHER_CLASS, school="0549901X", kind=GroupKind.CLASS, name="6B"),
    GroupRecord(id="0549901X/group/ANG1", school="0549901X", kind=GroupKind.TEACHING_GROUP, name="ANG1"),
    GroupRecord(id="0549902Y/class/2NDE 1", school="0549902Y", kind=GroupKind.CLASS, name="2NDE 1"),
    PersonRecord(id="G1", profile=Profile.GUARDIAN, given_name="Maëlle", family_name="Val", email="maelle@example.org"),
    PersonRecord(id="G2", profile=Profile.GUARDIAN, given_name="Noé", family_name="Val", email=None),
    PersonRecord(
        id="T1",
        profile=Profile.TEACHER,
        function="ENS",
        given_name="Inès",
        family_name="Mont",
        schools=frozenset({"0549901X", "0549902Y"}),
        groups=frozenset({CLASS}),
    ),
    PersonRecord(
        id="P1",
        profile=Profile.PUPIL,
        given_name="Zoé",
        family_name="Val",
        schools=frozenset({"0549901X"}),
        groups=frozenset({CLASS, "0549901X/group/ANG1"}),
        guardians=(
            GuardianLink(guardian="G1", legal_level=1, kinship="1"),
            GuardianLink(guardian="G2", legal_level=2, kinship="2"),
        ),
    ),
)
TABLES = ("school", "people_group", "person", "membership", "guardian_link")


async def run(database: Database, records: Iterable[SourceItem], now: datetime = NOW, **options: Any) -> SyncReport:
    settings: dict[str, Any] = {"source": "host", "complete": False, "allowed_removals": ALL} | options
    return await sync(PostgresDirectory(database), records, now=now, **settings)


def ask(sql: str, *parameters: str) -> Query:
    """A query of a test's own."""
    return Query("test.query", "", sql, parameters)


async def person(database: Database, external_id: str) -> dict[str, Any]:
    [row] = await database.fetch(ask("select * from person where external_id = $1", "id"), id=external_id)
    return dict(row.items())


async def groups(database: Database, external_id: str, now: datetime) -> dict[str, datetime]:
    """The groups that somebody is in at ``now``, and since when."""
    rows = await database.fetch(
        ask(
            "select g.external_id, m.valid_from from membership m join people_group g on g.id = m.group_id "
            "join person p on p.id = m.person_id "
            "where p.external_id = $1 and m.valid_from <= $2 and m.valid_until > $2",
            "id",
            "now",
        ),
        id=external_id,
        now=now,
    )
    return {row["external_id"]: row["valid_from"] for row in rows}


async def links(database: Database, pupil: str) -> dict[str, tuple[int, str, bool]]:
    rows = await database.fetch(
        ask(
            "select g.external_id, l.legal_level, l.kinship, l.restricted from guardian_link l "
            "join person p on p.id = l.pupil_id join person g on g.id = l.guardian_id where p.external_id = $1",
            "id",
        ),
        id=pupil,
    )
    return {row["external_id"]: (row["legal_level"], row["kinship"], row["restricted"]) for row in rows}


async def row_versions(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Where every row lies and which transactions wrote or locked it: equal means that nothing was touched."""
    return {
        table: [
            tuple(row.values())
            for row in await database.fetch(
                ask(f"select ctid::text, xmin::text::bigint, xmax::text::bigint, t::text from {table} t order by ctid")
            )
        ]
        for table in TABLES
    }


async def contents(database: Database) -> dict[str, list[str]]:
    """What every table says."""
    return {
        table: [row[0] for row in await database.fetch(ask(f"select t::text from {table} t order by 1"))]
        for table in TABLES
    }


def without(*ids: str) -> list[SourceItem]:
    return [item for item in BASE if not (isinstance(item, PersonRecord) and item.id in ids)]


def with_pupil(**changes: Any) -> list[SourceItem]:
    pupil = BASE[-1]
    assert isinstance(pupil, PersonRecord)
    return [*BASE[:-1], replace(pupil, **changes)]


async def test_a_first_run_makes_people_groups_and_links(database: Database) -> None:
    report = await run(database, BASE)
    assert (report.added, report.changed, report.unchanged, report.hidden) == (4, 0, 0, 0)
    assert (report.schools, report.groups, report.records) == (2, 4, 10)
    assert (report.memberships_started, report.links_added, report.bad_records) == (6, 2, 0)
    assert set(await groups(database, "P1", NOW)) == {CLASS, "0549901X/group/ANG1", "0549901X/pupils"}
    assert set(await groups(database, "T1", NOW)) == {CLASS, "0549901X/teachers", "0549902Y/teachers"}
    assert await groups(database, "G1", NOW) == {}  # guardians are reached through their pupils
    assert await links(database, "P1") == {"G1": (1, "1", False), "G2": (2, "2", False)}
    zoe = await person(database, "P1")
    assert (zoe["profile"], zoe["given_name"], zoe["source"], zoe["created_at"]) == (1, "Zoé", "host", NOW)
    assert (zoe["language"], zoe["timezone"], zoe["hidden_at"]) == ("fr", "Europe/Paris", None)
    kinds = await database.fetch(ask("select external_id, kind from people_group where kind <= 3 order by 1"))
    assert [(row[0].partition("/")[2], row[1]) for row in kinds] == [("pupils", 1), ("staff", 3), ("teachers", 2)] * 2


async def test_a_second_run_touches_no_row(database: Database) -> None:
    await run(database, BASE, complete=True)
    before = await row_versions(database)
    report = await run(database, BASE, LATER, complete=True)
    assert (report.added, report.changed, report.unchanged, report.memberships_started) == (0, 0, 4, 0)
    assert await row_versions(database) == before


async def test_one_change_touches_one_row(database: Database) -> None:
    await run(database, BASE)
    before = await row_versions(database)
    report = await run(database, with_pupil(family_name="Val-Mont"), LATER)
    assert (report.changed, report.unchanged) == (1, 3)
    after = await row_versions(database)
    changed = {table for table in TABLES if before[table] != after[table]}
    assert changed == {"person"}
    assert len(set(after["person"]) - set(before["person"])) == 1


async def test_what_a_record_does_not_mention_is_kept(database: Database) -> None:
    await run(database, BASE)
    report = await run(database, [PersonRecord(id="P1", language="en")], LATER)
    assert report.changed == 1
    zoe = await person(database, "P1")
    assert (zoe["language"], zoe["given_name"], zoe["profile"]) == ("en", "Zoé", 1)
    assert set(await groups(database, "P1", LATER)) == {CLASS, "0549901X/group/ANG1", "0549901X/pupils"}
    assert set(await links(database, "P1")) == {"G1", "G2"}


async def test_a_change_of_class_ends_one_membership_and_starts_another(database: Database) -> None:
    await run(database, BASE)
    only_classes = PersonRecord(id="P1", groups=frozenset({OTHER_CLASS}), group_kinds=frozenset({GroupKind.CLASS}))
    report = await run(database, [only_classes], LATER)
    assert (report.memberships_started, report.memberships_ended) == (1, 1)
    assert await groups(database, "P1", LATER) == {
        OTHER_CLASS: LATER,
        "0549901X/group/ANG1": NOW,
        "0549901X/pupils": NOW,
    }
    assert CLASS in await groups(database, "P1", LATER - timedelta(seconds=1))
    await run(database, BASE, MUCH_LATER)
    assert (await groups(database, "P1", MUCH_LATER))[CLASS] == MUCH_LATER  # back, from now on


async def test_a_change_of_school(database: Database) -> None:
    await run(database, BASE)
    before = await person(database, "P1")
    moved = {"schools": frozenset({"0549902Y"}), "groups": frozenset({"0549902Y/class/2NDE 1"})}
    await run(database, with_pupil(**moved), LATER)
    assert set(await groups(database, "P1", LATER)) == {"0549902Y/class/2NDE 1", "0549902Y/pupils"}
    assert (await person(database, "P1"))["id"] == before["id"]
    assert set(await links(database, "P1")) == {"G1", "G2"}


async def test_a_complete_run_hides_whoever_is_missing_and_who_returns_is_whole_again(database: Database) -> None:
    await run(database, BASE, complete=True)
    before, belonged = await person(database, "P1"), await groups(database, "P1", LATER)
    report = await run(database, without("P1"), LATER, complete=True)
    assert (report.hidden, report.unchanged) == (1, 3)
    assert (await person(database, "P1"))["hidden_at"] == LATER
    assert await groups(database, "P1", LATER) == {}
    again = await run(database, without("P1"), MUCH_LATER, complete=True)
    assert again.hidden == 0
    assert (await person(database, "P1"))["hidden_at"] == LATER
    report = await run(database, BASE, MUCH_LATER, complete=True)
    assert (report.returned, report.changed, report.added) == (1, 0, 0)
    after = await person(database, "P1")
    assert (after["id"], after["hidden_at"]) == (before["id"], None)
    assert await groups(database, "P1", MUCH_LATER) == belonged != {}


async def test_an_incremental_run_hides_only_whom_it_removes(database: Database) -> None:
    await run(database, BASE)
    report = await run(database, [Removal(id="P1"), Removal(id="nobody")], LATER)
    assert (report.hidden, report.bad_records) == (1, 0)
    assert (await person(database, "G1"))["hidden_at"] is None


async def test_too_many_removals_stop_the_run_and_change_nothing(database: Database) -> None:
    await run(database, BASE)
    before = await contents(database)
    records = [*without("P1", "G1"), replace_school()]
    with pytest.raises(TooManyRemovals) as refusal:
        await run(database, records, LATER, complete=True, allowed_removals=0.25)
    assert (refusal.value.removals, refusal.value.present) == (2, 4)
    with pytest.raises(TooManyRemovals):
        await run(database, [Removal(id="P1"), Removal(id="G1")], LATER, allowed_removals=0.25)
    assert await contents(database) == before
    assert (await run(database, records, LATER, complete=True, allowed_removals=0.5)).hidden == 2


def replace_school() -> SchoolRecord:
    return SchoolRecord(uai="0549901X", name="Another name")


async def test_sources_do_not_touch_one_another(database: Database) -> None:
    await run(database, BASE, complete=True)
    other = PersonRecord(id="X1", profile=Profile.STAFF, function="DIR", given_name="A", family_name="B")
    thief = PersonRecord(id="G1", profile=Profile.STAFF, given_name="A", family_name="B")
    report = await run(database, [other, thief, Removal(id="G2")], LATER, source="town", complete=True)
    assert (report.added, report.hidden, report.bad_records) == (1, 0, 2)
    assert {problem.id for problem in report.problems} == {"G1", "G2"}
    assert report.problems[0].reason == "this id belongs to the source host"
    assert (await person(database, "G1"))["given_name"] == "Maëlle"


async def test_a_new_address_forgets_that_the_old_one_bounced(database: Database) -> None:
    await run(database, BASE)
    await database.execute(
        ask(
            "update person set email_dropped_at = $1, email_drop_reason = 'smtp.5.1.1' where external_id = 'G1'", "now"
        ),
        now=NOW,
    )
    await run(database, BASE, LATER)
    assert (await person(database, "G1"))["email_dropped_at"] == NOW  # the same address is as bad as before
    await run(database, [PersonRecord(id="G1", email="m.val@example.net")], LATER)
    guardian = await person(database, "G1")
    assert (guardian["email"], guardian["email_dropped_at"], guardian["email_drop_reason"]) == (
        "m.val@example.net",
        None,
        None,
    )


async def test_a_bad_address_is_reported_and_left_out(database: Database) -> None:
    bad_mail = PersonRecord(id="G1", profile=Profile.GUARDIAN, given_name="A", family_name="B", email="a b@c")
    fine = PersonRecord(id="G2", profile=Profile.GUARDIAN, given_name="A", family_name="B", email=" A.b@ÉCOLE.example ")
    report = await run(database, [FileStart(file="x.xml"), bad_mail, fine])
    [problem] = report.problems
    assert (problem.file, problem.id, problem.imported) == ("x.xml", "G1", True)
    assert problem.reason.startswith("its mail address was left out: ")
    assert (await person(database, "G1"))["email"] is None
    assert (await person(database, "G2"))["email"] == "A.b@xn--cole-9oa.example"


async def test_references_to_nothing_are_reported_and_the_rest_is_imported(database: Database) -> None:
    records = [
        *BASE[:4],
        FileStart(file="pupils.xml"),
        PersonRecord(
            id="P9",
            profile=Profile.PUPIL,
            given_name="A",
            family_name="B",
            schools=frozenset({"0549901X", "0000000Z"}),
            groups=frozenset({CLASS, "0549901X/class/NONE"}),
            guardians=(GuardianLink(guardian="nobody", legal_level=1),),
        ),
        PersonRecord(id="P8", profile=Profile.PUPIL, given_name="A", family_name="B", schools=frozenset({"0000000Z"})),
        GroupRecord(id="0000000Z/class/A", school="0000000Z", kind=GroupKind.CLASS, name="A"),
        PersonRecord(id="P7", email=None),
    ]
    report = await run(database, records)
    assert report.added == 1
    assert {(problem.id, problem.reason, problem.imported) for problem in report.problems} == {
        ("P9", "it belongs to a school that is not in the directory: 0000000Z", True),
        ("P9", "group 0549901X/class/NONE is not in the directory", True),
        ("P9", "guardian nobody is not in the directory", True),
        ("P8", "it belongs to a school that is not in the directory: 0000000Z", False),
        ("0000000Z/class/A", "its school 0000000Z is not in the directory", False),
        ("P7", "it changes somebody who is not in the directory, and does not say who that is", False),
    }
    assert {problem.file for problem in report.problems} == {"pupils.xml"}
    assert set(await groups(database, "P9", NOW)) == {CLASS, "0549901X/pupils"}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (PersonRecord(id="", profile=Profile.PUPIL), "its id is empty"),
        (PersonRecord(id="x" * 201, profile=Profile.PUPIL), "201 characters long; at most 200"),
        (PersonRecord(id="P2", given_name="A\0B"), "character that cannot be stored"),
        (PersonRecord(id="P2", family_name="\ud800"), "character that cannot be stored"),
        (PersonRecord(id="P2", timezone="Mars/Olympus"), "not in the time zone database"),
        (PersonRecord(id="P2", guardians=(GuardianLink(guardian="G", legal_level=3),)), "it is 0, 1 or 2"),
        (Removal(id=""), "its id is empty"),
        (SchoolRemoval(), "needs its UAI or its join id"),
        (SchoolRecord(uai="", name="x"), "its school is empty"),
    ],
)
async def test_a_malformed_record_is_refused_and_the_run_goes_on(
    database: Database, record: SourceItem, reason: str
) -> None:
    report = await run(database, [record, *BASE])
    assert report.added == 4
    [problem] = report.problems
    assert reason in problem.reason
    assert not problem.imported


async def test_whoever_a_bad_record_names_is_not_removed_for_being_absent(database: Database) -> None:
    await run(database, BASE, complete=True)
    bad = BadRecord(file="x.xml", id="P1", reason="its class is a fish")
    broken = PersonRecord(id="T1", given_name="\0")
    report = await run(database, [*without("P1", "T1", "G2"), bad, broken], LATER, complete=True)
    assert (report.hidden, report.bad_records) == (1, 2)
    assert (await person(database, "G2"))["hidden_at"] == LATER
    assert (await person(database, "P1"))["hidden_at"] is (await person(database, "T1"))["hidden_at"] is None


async def test_a_complete_run_with_an_unreadable_file_removes_nobody(database: Database) -> None:
    await run(database, BASE, complete=True)
    error = FileError(file="x.xml", reason="line 7: cut short")
    report = await run(database, [*without("P1", "T1"), error], LATER, complete=True)
    assert (report.hidden, report.removals_withheld, report.file_errors) == (0, True, (error,))


async def test_a_restriction_set_by_the_host_outlives_a_source_that_knows_nothing_of_it(database: Database) -> None:
    await run(database, BASE)
    restricted = (
        GuardianLink(guardian="G1", legal_level=1, kinship="1"),
        GuardianLink(guardian="G2", legal_level=2, kinship="2", restricted=True),
    )
    assert (await run(database, [PersonRecord(id="P1", guardians=restricted)], LATER)).links_changed == 1
    assert (await run(database, BASE, MUCH_LATER)).links_changed == 0
    assert (await links(database, "P1"))["G2"] == (2, "2", True)
    only_one = (GuardianLink(guardian="G1", legal_level=1, kinship="1"),)
    assert (await run(database, [PersonRecord(id="P1", guardians=only_one)], MUCH_LATER)).links_removed == 0
    assert (await links(database, "P1"))["G2"] == (2, "2", True)
    lifted = (*only_one, GuardianLink(guardian="G2", legal_level=1, kinship="2", restricted=False))
    await run(database, [PersonRecord(id="P1", guardians=lifted)], MUCH_LATER)
    assert (await links(database, "P1"))["G2"] == (1, "2", False)
    assert (await run(database, [PersonRecord(id="P1", guardians=())], MUCH_LATER)).links_removed == 2


async def test_several_records_of_one_person_are_taken_in_order_field_by_field(database: Database) -> None:
    await run(
        database,
        [
            *BASE,
            PersonRecord(id="P1", given_name="Zoé-Lou", groups=frozenset({OTHER_CLASS}), group_kinds=_CLASSES),
            PersonRecord(id="P1", email="zoe@example.org", guardians=(GuardianLink(guardian="G2", legal_level=1),)),
            Removal(id="T1"),
            Removal(id="G1"),
            PersonRecord(id="G1", profile=Profile.GUARDIAN, given_name="Back", family_name="Again"),
        ],
    )
    zoe = await person(database, "P1")
    assert (zoe["given_name"], zoe["family_name"], zoe["email"]) == ("Zoé-Lou", "Val", "zoe@example.org")
    assert set(await groups(database, "P1", NOW)) == {OTHER_CLASS, "0549901X/group/ANG1", "0549901X/pupils"}
    assert await links(database, "P1") == {"G2": (1, "", False)}
    assert (await person(database, "G1"))["given_name"] == "Back"
    assert await database.fetch(ask("select id from person where external_id = 'T1'")) == []


_CLASSES = frozenset({GroupKind.CLASS})


async def test_a_closed_school_ends_its_groups_and_keeps_its_people(database: Database) -> None:
    await run(database, BASE)
    report = await run(database, [SchoolRemoval(join_id="7001")], LATER)
    assert (report.schools, report.memberships_ended, report.hidden) == (1, 5, 0)
    assert await groups(database, "P1", LATER) == {}
    assert set(await groups(database, "T1", LATER)) == {"0549902Y/teachers"}
    assert (await run(database, [SchoolRemoval(uai="0549901X")], MUCH_LATER)).schools == 0
    await run(database, BASE, MUCH_LATER)
    [school] = await database.fetch(ask("select closed_at from school where uai = '0549901X'"))
    assert school["closed_at"] is None
    assert CLASS in await groups(database, "P1", MUCH_LATER)


async def test_a_school_changes_name_and_join_id(database: Database) -> None:
    await run(database, BASE)
    records = [SchoolRecord(uai="0549902Y", join_id="7001"), SchoolRecord(uai="0549901X", name="Neuf", join_id="7003")]
    assert (await run(database, records, LATER)).schools == 2
    assert await PostgresDirectory(database).schools_by_join_id() == {"7001": "0549902Y", "7003": "0549901X"}
    names = await database.fetch(ask("select distinct name from people_group where kind <= 3 order by 1"))
    assert [row["name"] for row in names] == ["Lycée du Val", "Neuf"]


async def test_new_people_live_in_their_schools_time_zone(database: Database) -> None:
    records = [replace_zone(item) if isinstance(item, SchoolRecord) else item for item in BASE]
    await run(database, records)
    zones = {external_id: (await person(database, external_id))["timezone"] for external_id in ("P1", "T1", "G1")}
    assert zones == dict.fromkeys(zones, "Indian/Reunion")


def replace_zone(school: SchoolRecord) -> SchoolRecord:
    return replace(school, timezone="Indian/Reunion")


async def test_ids_follow_schools_and_classes(database: Database, tmp_path: Path) -> None:
    generate_region(tmp_path, 6_000, seed=3)
    await import_export(PostgresDirectory(database), tmp_path, now=NOW)
    spread = await database.fetch(
        ask(
            "select max(m.person_id) - min(m.person_id) as width, count(*) as size from membership m "
            "join people_group g on g.id = m.group_id join person p on p.id = m.person_id and p.profile = 1 "
            "where g.kind = 4 group by g.id"
        )
    )
    assert len(spread) > 80
    assert all(row["width"] < row["size"] * 4 for row in spread)
    families = await database.fetch(ask("select abs(pupil_id - guardian_id) as distance from guardian_link"))
    near = sum(row["distance"] < 200 for row in families)
    assert near > len(families) * 0.6  # but for siblings in other classes


async def test_a_failure_in_the_middle_changes_nothing(database: Database) -> None:
    await run(database, BASE)
    before = await contents(database)

    def breaking() -> Iterator[SourceItem]:
        yield from with_pupil(family_name="Changed")
        raise SourceError("the disk went away")

    with pytest.raises(SourceError, match="the disk went away"):
        await run(database, breaking(), LATER)
    await database.execute(ask("alter table guardian_link add constraint broken check (legal_level <> 2) not valid"))
    with pytest.raises(StoreError):
        await run(database, [*with_pupil(family_name="Changed"), *other_family()], LATER)
    assert await contents(database) == before


def other_family() -> list[SourceItem]:
    link = GuardianLink(guardian="G1", legal_level=2)
    return [PersonRecord(id="P5", profile=Profile.PUPIL, given_name="A", family_name="B", guardians=(link,))]


async def test_runs_wait_for_one_another(database: Database) -> None:
    async with trio.open_nursery() as nursery:
        for family_name in ("A", "B", "C"):
            nursery.start_soon(run, database, with_pupil(family_name=family_name))
    rows = await database.fetch(ask("select count(*) as people, count(distinct external_id) as ids from person"))
    assert tuple(rows[0].values()) == (4, 4)


async def test_a_cancelled_run_changes_nothing(database: Database) -> None:
    with trio.CancelScope() as scope:

        def cancelling() -> Iterator[SourceItem]:
            yield from BASE
            trio.from_thread.run_sync(scope.cancel)

        await run(database, cancelling())
    assert scope.cancelled_caught
    assert await database.fetch(ask("select id from person")) == []
    assert (await run(database, BASE)).added == 4


async def test_progress_is_told_batch_by_batch(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ent_notify.flows.directory.BATCH", 4)
    seen: list[SyncProgress] = []
    await run(database, BASE, on_progress=seen.append)
    assert [(progress.phase, progress.records) for progress in seen] == [
        ("reading", 4),
        ("reading", 8),
        ("reading", 10),
        ("merging", 10),
    ]


def test_a_run_holds_one_batch_in_memory() -> None:
    link = GuardianLink(guardian="G1", legal_level=1)
    pupil = PersonRecord(id="", profile=Profile.PUPIL, schools=frozenset({"0549901X"}), guardians=(link,))
    packer = Packer(replace(pupil, id=f"P{n}", groups=frozenset({f"0549901X/class/{n % 99}"})) for n in range(30_000))
    tracemalloc.start()
    try:
        while packer.pack(1_000) is not None:
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert packer.records == 30_000
    assert peak < 3 * 1024 * 1024  # all thirty thousand packed would take some 20 MiB


async def test_the_report_keeps_a_thousand_problems_and_counts_the_rest(database: Database) -> None:
    report = await run(database, [BadRecord(file="x", id=str(n), reason="no") for n in range(1_500)])
    assert (report.bad_records, len(report.problems)) == (1_500, 1_000)


async def test_postgres_fulfils_the_port(database: Database) -> None:
    store: DirectoryStore = PostgresDirectory(database)
    async with store.merging("host", NOW) as merge:
        assert (await merge.examine(complete=True)).present == 0


async def test_a_generated_region_and_its_days(database: Database, tmp_path: Path) -> None:
    store = PostgresDirectory(database)
    summary = generate_region(tmp_path / "complete", 1_000, seed=5)
    first = await import_export(store, tmp_path / "complete", now=NOW)
    assert (first.directory.added, first.directory.bad_records) == (1_000, 0)
    assert first.export.records["Eleve"] == summary.pupils
    before = await row_versions(database)
    again = await import_export(store, tmp_path / "complete", now=NOW + timedelta(hours=1))
    assert (again.directory.unchanged, again.directory.hidden) == (1_000, 0)
    assert await row_versions(database) == before

    day = generate_delta(tmp_path / "day", 1_000, seed=5)
    report = (await import_export(store, tmp_path / "day", now=LATER)).directory
    assert (report.added, report.hidden, report.bad_records) == (
        len(day.added_pupils) + len(day.added_guardians),
        len(day.removed),
        0,
    )
    for pupil, old_uai, new_uai, new_class in day.moved:
        assert set(await groups(database, pupil, LATER)) == {f"{new_uai}/pupils", f"{new_uai}/class/{new_class}"}
        assert f"{old_uai}/pupils" in await groups(database, pupil, LATER - timedelta(seconds=1))
    for guardian, mail in day.new_mails.items():
        assert (await person(database, guardian))["email"] == mail
    for pupil, class_name in day.other_class.items():
        assert any(group.endswith(f"/class/{class_name}") for group in await groups(database, pupil, LATER))
    for gone in day.removed:
        assert (await person(database, gone))["hidden_at"] == LATER
    before = await row_versions(database)
    await import_export(store, tmp_path / "day", now=MUCH_LATER)
    assert await row_versions(database) == before


async def test_a_foreign_export_goes_in_and_its_report_is_plain_values(database: Database) -> None:
    store = PostgresDirectory(database)
    folder = Path(__file__).parent / "data"
    report = await import_export(store, folder / "foreign", now=NOW)
    assert (report.directory.added, report.directory.schools, report.directory.removals_withheld) == (9, 2, False)
    plain = report.to_json()
    assert plain["directory"]["at"] == "2026-09-01T06:00:00+00:00"
    assert plain["export"]["ignored_attributes"]["ENTEleveQuotientDeLuneAstrale"] == 1
    [mail] = [problem for problem in report.directory.problems if problem.id == "820002"]
    assert mail.file == "ENT_Complet_20260901_PersRelEleve_0000.xml"
    delta = await import_export(store, folder / "foreign_delta", now=LATER, allowed_removals=0.2)
    assert (delta.directory.hidden, delta.directory.bad_records) == (1, 2)
    assert (await person(database, "820001"))["email"] is None


async def test_a_truncated_complete_export_removes_nobody(database: Database, tmp_path: Path) -> None:
    store = PostgresDirectory(database)
    generate_region(tmp_path, 200, seed=1)
    await import_export(store, tmp_path, now=NOW)
    path = tmp_path / "ENT_Complet_20260901_Eleve_0000.xml"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = (await import_export(store, tmp_path, now=LATER)).directory
    assert (report.hidden, report.removals_withheld) == (0, True)
    assert report.file_errors[0].file == path.name
