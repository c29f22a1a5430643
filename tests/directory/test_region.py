"""The generated region: its proportions, its special cases, the same bytes from the same seed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ent_notify.directory import parse_export
from ent_notify.model.people import BadRecord, FileError, GroupRecord, PersonRecord, Profile, SchoolRecord
from ent_notify.testing.aaf_writer import AafWriter, add_request
from ent_notify.testing.population import Guardian, Pupil, Region, Staff
from ent_notify.testing.region import generate_delta, generate_region, region_people

RESERVED = (".example", "@example.org", "@example.net")


def everybody(region: Region) -> tuple[list[Guardian], list[Staff], list[Pupil]]:
    schools = list(region)
    return (
        [guardian for school in schools for guardian in school.guardians],
        [member for school in schools for member in school.staff],
        [pupil for school in schools for pupil in school.pupils],
    )


def digest(folder: Path) -> str:
    files = sorted(folder.iterdir())
    return hashlib.sha256(b"".join(file.name.encode() + file.read_bytes() for file in files)).hexdigest()


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate_region(tmp_path / name, 500, seed)
        generate_delta(tmp_path / f"{name} day", 500, seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")
    assert digest(tmp_path / "a day") == digest(tmp_path / "b day") != digest(tmp_path / "c day")


@given(people=st.integers(40, 5_000), seed=st.integers(0, 10))
@settings(max_examples=30, deadline=None)
def test_a_region_has_exactly_as_many_people_as_asked(people: int, seed: int) -> None:
    region = Region(people, seed)
    guardians, staff, pupils = everybody(region)
    assert len(guardians) + len(staff) + len(pupils) == people
    ids = [person.id for group in (guardians, staff, pupils) for person in group]
    assert len(set(ids)) == people
    known = {guardian.id for guardian in guardians}
    named = {link.guardian for pupil in pupils for link in pupil.links}
    assert named == known
    assert len(region.schools) >= 2


def test_a_region_of_too_few_people_is_refused() -> None:
    with pytest.raises(ValueError, match="40 or more"):
        Region(39, 1)


def test_proportions() -> None:
    region = Region(60_000, 7)
    guardians, staff, pupils = everybody(region)
    assert len(region.schools) == 32
    assert len(pupils) == 25_800
    assert 0.515 < len(guardians) / 60_000 < 0.525
    assert len(staff) == 3_000
    classes = Counter((pupil.school.uai, pupil.class_name) for pupil in pupils)
    assert 27 < sum(classes.values()) / len(classes) < 29
    assert 20 < min(classes.values()) <= max(classes.values()) < 36
    assert 0.18 < sum(not guardian.mail for guardian in guardians) / len(guardians) < 0.22
    teachers = [member for member in staff if member.duties[0].code == "ENS"]
    assert 0.10 < sum(len(member.duties) > 1 for member in teachers) / len(teachers) < 0.20
    heads = Counter(class_name for member in staff for duty in member.duties for class_name in duty.head_of)
    assert sum(heads.values()) > 0.7 * len(classes)
    assert all(guardian.mail.endswith(RESERVED) for guardian in guardians if guardian.mail)
    assert all(member.mail.endswith(RESERVED) for member in staff)


@pytest.mark.parametrize("people", [120, 3_000])
def test_the_special_cases_are_there(people: int) -> None:
    region = Region(people, 3)
    guardians, staff, pupils = everybody(region)
    by_id = {guardian.id: guardian for guardian in guardians}
    schools_of: dict[str, set[str]] = {}
    for pupil in pupils:
        for link in pupil.links:
            schools_of.setdefault(link.guardian, set()).add(pupil.school.uai)
    assert any(len(schools) > 1 for schools in schools_of.values())  # siblings in different schools
    assert {link.legal for pupil in pupils for link in pupil.links} == {0, 1, 2}
    apart = [
        pupil
        for pupil in pupils
        if len(pupil.links) == 2 and by_id[pupil.links[0].guardian].address != by_id[pupil.links[1].guardian].address
    ]
    assert apart  # separated parents
    humans = Counter((guardian.given, guardian.family, guardian.mail, guardian.address) for guardian in guardians)
    assert max(humans.values()) == 2  # two identities
    assert any(len(member.duties) > 1 for member in staff)  # a teacher in two schools
    assert any(not guardian.mail for guardian in guardians)


def test_a_generated_export_is_read_without_a_word_of_complaint(tmp_path: Path) -> None:
    summary = generate_region(tmp_path, 1_500, seed=2)
    export = parse_export(tmp_path)
    items = list(export)
    assert not [item for item in items if isinstance(item, BadRecord | FileError)]
    assert export.complete
    assert not export.report.ignored_attributes
    found = {(item.id, item.profile) for item in items if isinstance(item, PersonRecord)}
    assert found == set(region_people(1_500, seed=2))
    profiles = Counter(profile for _, profile in found)
    assert profiles[Profile.PUPIL] == summary.pupils
    assert profiles[Profile.GUARDIAN] == summary.guardians
    assert profiles[Profile.TEACHER] + profiles[Profile.STAFF] == summary.staff
    assert sum(isinstance(item, SchoolRecord) for item in items) == summary.schools
    assert sum(isinstance(item, GroupRecord) and "/class/" in item.id for item in items) == summary.classes


def test_a_day_has_one_of_each(tmp_path: Path) -> None:
    for day in (1, 2):
        delta = generate_delta(tmp_path / str(day), 150, seed=1, day=day)
        assert delta.added_pupils
        assert delta.new_mails
        assert delta.moved
        assert delta.removed
    assert {file.name for file in (tmp_path / "2").iterdir()} == {
        "ENT_Delta_20260903_Eleve_0000.xml",
        "ENT_Delta_20260903_PersRelEleve_0000.xml",
    }


def test_slices_alternate_between_encodings(tmp_path: Path) -> None:
    with AafWriter(tmp_path, "Delta", "20260901", "PersRelEleve", slice_size=2) as writer:
        for number in range(5):
            writer.write(add_request("PersRelEleve", str(number), {"sn": ["Œuvre"], "givenName": ["Łucja"]}))
    heads = [file.read_bytes().split(b'"')[3] for file in sorted(tmp_path.iterdir())]
    assert heads == [b"UTF-8", b"ISO-8859-15", b"UTF-8"]
    names = [(item.family_name, item.given_name) for item in parse_export(tmp_path) if isinstance(item, PersonRecord)]
    assert names == [("Œuvre", "Łucja")] * 5


PEAK = """
import resource, sys
from pathlib import Path
from ent_notify.directory import parse_export
from ent_notify.testing.region import generate_region
folder = Path(sys.argv[1])
generate_region(folder, int(sys.argv[2]), 1)
for _ in parse_export(folder):
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_writing_and_reading_stream(tmp_path: Path) -> None:
    """Thirty times the people, the same memory: the peak of the process (libxml2 included) grows by under 16 MiB."""

    def peak(people: int) -> int:
        command = [sys.executable, "-c", PEAK, str(tmp_path / str(people)), str(people)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert peak(30_000) - peak(1_000) < 16 * 1024
