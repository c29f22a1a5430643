"""An AAF export as records: one that nobody here generated, and the small print of each kind of request."""

from __future__ import annotations

from pathlib import Path

import pytest

from ent_notify.directory import Export, parse_export
from ent_notify.directory.aaf_words import FUNCTIONS, NOT_STORED, READ, leading_function
from ent_notify.errors import SourceError
from ent_notify.model.people import (
    UNSET,
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
from ent_notify.testing.aaf_writer import add_request, delete_request, modify_request, write_file

FOREIGN = Path(__file__).parent / "data" / "foreign"
FOREIGN_DELTA = Path(__file__).parent / "data" / "foreign_delta"
KNOWN = {"7001": "0549901X", "7002": "9749902Y"}


def read(path: Path, **options: object) -> tuple[Export, list[SourceItem]]:
    export = parse_export(path, **options)  # type: ignore[arg-type]  # the tests' own options
    return export, list(export)


def people(items: list[SourceItem]) -> dict[str, PersonRecord]:
    return {item.id: item for item in items if isinstance(item, PersonRecord)}


def bad(items: list[SourceItem]) -> list[BadRecord]:
    return [item for item in items if isinstance(item, BadRecord)]


def one(folder: Path, *requests: str, name: str = "ENT_Delta_20260902_Eleve_0000.xml") -> list[SourceItem]:
    write_file(folder / name, requests)
    return [item for item in parse_export(folder, schools=KNOWN) if not isinstance(item, FileStart)]


def test_a_foreign_export_is_read_in_the_order_of_its_references() -> None:
    export, items = read(FOREIGN)
    assert export.complete
    assert [item.file for item in items if isinstance(item, FileStart)] == [
        f"ENT_Complet_20260901_{category}_0000.xml"
        for category in ("EtabEducNat", "PersRelEleve", "PersEducNat", "Eleve")
    ]
    assert export.report.left_aside == ("ENT_Complet_20260901_MefEducNat_0000.xml",)
    assert export.report.bytes_read == export.report.bytes_total


def test_a_stray_file_in_the_folder_is_left_aside_and_told(tmp_path: Path) -> None:
    write_file(tmp_path / "ENT_Delta_20260902_Eleve_0000.xml", [add_request("Eleve", "1", {"sn": ["VAL"]})])
    (tmp_path / "manifest.xml").write_text("<manifest/>")
    (tmp_path / "notes.xml").write_text("no XML at all")
    export, _ = read(tmp_path)
    assert export.report.files == ["ENT_Delta_20260902_Eleve_0000.xml"]
    assert export.report.to_json()["left_aside"] == ["manifest.xml", "notes.xml"]
    for stray in (tmp_path / "manifest.xml", tmp_path / "notes.xml"):
        with pytest.raises(SourceError, match=stray.name):  # asked for by its name, it is not passed over
            read(stray)
    (tmp_path / "ENT_Delta_20260902_PersRelEleve_0000.xml").write_text("<manifest/>")
    with pytest.raises(SourceError, match="PersRelEleve"):
        read(tmp_path)


def test_schools_of_a_foreign_export() -> None:
    _, items = read(FOREIGN)
    assert [item for item in items if isinstance(item, SchoolRecord)] == [
        SchoolRecord(uai="0549901X", name="CLG LE CŒUR DES ÉRABLES-ac-REGION", join_id="7001"),
        SchoolRecord(uai="9749902Y", name="LGT DES FILAOS", join_id="7002", timezone="Indian/Reunion"),
    ]
    assert [item.id for item in items if isinstance(item, GroupRecord)] == [
        "0549901X/class/6A",
        "0549901X/class/3 EU",
        "0549901X/group/6AGL1",
        "0549901X/group/CHORALE / ÉTÉ",
        "9749902Y/group/LATIN",
        "9749902Y/class/2NDE 3",
    ]


def test_people_of_a_foreign_export() -> None:
    _, items = read(FOREIGN)
    found = people(items)
    own = frozenset({GroupKind.CLASS, GroupKind.TEACHING_GROUP})
    assert found["810001"] == PersonRecord(
        id="810001",
        profile=Profile.PUPIL,
        given_name="Éloïse & Zoé",
        family_name="Ormeval d’Yvrebois",
        email=None,
        schools=frozenset({"0549901X", "9749902Y"}),
        groups=frozenset(
            {
                "0549901X/class/6A",
                "0549901X/group/6AGL1",
                "0549901X/group/CHORALE / ÉTÉ",
                "9749902Y/group/LATIN",
            }
        ),
        group_kinds=own,
        guardians=(
            GuardianLink(guardian="820001", legal_level=1, kinship="1"),
            GuardianLink(guardian="820002", legal_level=2, kinship="2"),
            GuardianLink(guardian="820003", legal_level=0, kinship="11"),
        ),
    )
    assert found["820001"] == PersonRecord(
        id="820001",
        profile=Profile.GUARDIAN,
        given_name="Maëlle",
        family_name="ORMEVAL",
        email="maelle.ormeval@example.org",
    )
    teacher = found["830001"]
    assert (teacher.profile, teacher.function) == (Profile.TEACHER, "ENS")
    assert teacher.email == "helene.hautecombe@ac-region.example"
    assert teacher.schools == frozenset({"0549901X", "9749902Y"})
    assert teacher.groups == frozenset({"0549901X/class/6A", "0549901X/class/3 EU"})
    assert (found["830002"].profile, found["830002"].function) == (Profile.STAFF, "DIR")  # a head who also teaches
    assert (found["830003"].profile, found["830003"].function) == (Profile.TEACHER, None)  # stands before pupils
    assert (found["830004"].profile, found["830004"].function) == (Profile.STAFF, "XYZ")  # an unknown function


def test_what_cannot_be_taken_is_reported_with_file_id_and_reason() -> None:
    _, items = read(FOREIGN)
    refused = {(item.id, item.reason.partition(": ")[2]) for item in bad(items) if not item.imported}
    assert refused == {
        ("7003", "a school needs a UAI of eight characters, the last a letter; this one says ''"),
        ("810002", "it belongs to a school that is not known: 9999"),
        ("810003", "its identifier is '810003' and its ENTPersonJointure '810004': which one is it?"),
        ("", "it has neither an identifier nor ENTPersonJointure"),
        ("810005", "givenName holds markup or an entity that nothing defines"),
    }
    in_part = {(item.id, item.reason) for item in bad(items) if item.imported}
    assert ("830001", "line 3: it belongs to a school that is not known: 9999") in in_part
    assert ("810006", "line 60: 'sans dollar' is not a group of a school (school$name)") in in_part
    assert ("810006", "line 60: ENTElevePersRelEleve '$1$1$1$1$0' names no guardian") in in_part
    assert all(item.file.startswith("ENT_Complet_20260901_") for item in bad(items))
    assert "810006" in people(items)


def test_unknown_attributes_are_counted_apart_from_those_left_out_on_purpose() -> None:
    report = read(FOREIGN)[0].report
    assert report.ignored_attributes == {"ENTStructureBudgetParticipatif": 1, "ENTEleveQuotientDeLuneAstrale": 1}
    assert report.left_out_attributes["ENTPersonDateNaissance"] == 1
    assert report.left_out_attributes["mobile"] == 1
    assert report.ignored_categories == {"PersMars": 1}
    assert report.records == {"EtabEducNat": 2, "PersRelEleve": 3, "PersEducNat": 4, "Eleve": 2}
    assert report.bad_records == 10


def test_a_foreign_incremental_export_speaks_only_of_what_it_names() -> None:
    export, items = read(FOREIGN_DELTA, schools=KNOWN)
    assert not export.complete
    assert Removal(id="820003") in items
    moved = people(items)["810001"]
    assert moved.schools == frozenset({"9749902Y"})
    assert moved.groups == frozenset({"9749902Y/class/2NDE 3"})
    assert moved.group_kinds == {GroupKind.CLASS}
    assert moved.given_name is moved.family_name is moved.guardians is moved.email is UNSET
    assert people(items)["820001"].email is None
    assert [item.reason for item in bad(items)] == ["line 13: operation 'add' on sn: only 'replace' is known"]


def test_a_change_of_classes_alone_keeps_school_and_other_groups(tmp_path: Path) -> None:
    [_, pupil] = one(tmp_path, modify_request("Eleve", "1", {"ENTEleveClasses": ["7001$5B"]}))
    assert isinstance(pupil, PersonRecord)
    assert pupil.groups == frozenset({"0549901X/class/5B"})
    assert pupil.group_kinds == {GroupKind.CLASS}
    assert pupil.schools is UNSET


def test_a_change_without_functions_leaves_profile_and_schools_alone(tmp_path: Path) -> None:
    [teacher] = one(tmp_path, modify_request("PersEducNat", "9", {"mail": ["nadia@example.org"]}))
    assert teacher == PersonRecord(id="9", email="nadia@example.org", group_kinds=frozenset())


def test_a_school_is_removed_by_its_join_id(tmp_path: Path) -> None:
    assert one(tmp_path, delete_request("EtabEducNat", "7001")) == [SchoolRemoval(uai="0549901X", join_id="7001")]


def test_a_school_may_change_its_name_without_repeating_its_uai(tmp_path: Path) -> None:
    renamed = one(tmp_path, modify_request("EtabEducNat", "7001", {"ENTStructureNomCourant": ["CLG NEUF"]}))
    assert renamed == [SchoolRecord(uai="0549901X", name="CLG NEUF", join_id="7001")]


def test_a_prefix_goes_before_every_id(tmp_path: Path) -> None:
    write_file(
        tmp_path / "ENT_Complet_20260901_EtabEducNat_0000.xml",
        [add_request("EtabEducNat", "5", {"ENTStructureUAI": ["0549901X"]})],
    )
    pupil = {"sn": ["A"], "ENTPersonStructRattach": ["5"], "ENTElevePersRelEleve": ["6$1$1$1$1$1"]}
    write_file(tmp_path / "ENT_Complet_20260901_Eleve_0000.xml", [add_request("Eleve", "7", pupil)])
    _, items = read(tmp_path, prefix="NM-")
    found = people(items)["NM-7"]
    assert found.schools == frozenset({"0549901X"})
    assert found.guardians == (GuardianLink(guardian="NM-6", legal_level=1, kinship="1"),)


def test_a_file_cut_short_yields_what_it_held_and_names_the_line(tmp_path: Path) -> None:
    requests = [add_request("PersRelEleve", str(number), {"sn": ["A"]}) for number in range(3)]
    path = tmp_path / "ENT_Complet_20260901_PersRelEleve_0000.xml"
    write_file(path, requests)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b"<addRequest>") + 40])
    _, items = read(tmp_path)
    assert sorted(people(items)) == ["0", "1"]
    [error] = [item for item in items if isinstance(item, FileError) and item.file == path.name]
    assert error.reason.startswith("line 20: cut short or malformed")


def test_a_missing_slice_and_a_missing_category_are_errors_of_a_complete_export(tmp_path: Path) -> None:
    for name in ("EtabEducNat_0000", "PersEducNat_0000", "Eleve_0000", "Eleve_0002"):
        write_file(tmp_path / f"ENT_Complet_20260901_{name}.xml", [])
    _, items = read(tmp_path)
    assert [item.file for item in items if isinstance(item, FileError)] == ["Eleve, slice 0001", "PersRelEleve"]


def test_one_file_of_a_complete_export_is_not_complete() -> None:
    export, items = read(FOREIGN / "ENT_Complet_20260901_PersRelEleve_0000.xml")
    assert not export.complete
    assert sorted(people(items)) == ["820001", "820002", "820003"]


def test_files_are_taken_by_content_when_their_name_says_nothing(tmp_path: Path) -> None:
    school = {"ENTStructureUAI": ["0549903Z"]}
    write_file(tmp_path / "b.xml", [add_request("EtabEducNat", "5", school)])
    write_file(tmp_path / "a.xml", [add_request("Eleve", "7", {"sn": ["A"], "ENTPersonStructRattach": ["5"]})])
    export, items = read(tmp_path)
    assert not export.complete
    assert people(items)["7"].schools == frozenset({"0549903Z"})


def test_the_newest_complete_export_counts_and_what_came_after_it(tmp_path: Path) -> None:
    for name in ("Complet_20260901", "Complet_20260908", "Delta_20260902", "Delta_20260909"):
        write_file(tmp_path / f"ENT_{name}_Eleve_0000.xml", [add_request("Eleve", name, {"sn": ["A"]})])
    _, items = read(tmp_path)
    assert list(people(items)) == ["Complet_20260908", "Delta_20260909"]


@pytest.mark.parametrize("encoding", ["UTF-8", "ISO-8859-15", "ISO-8859-1", "UTF-16"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    attributes = {"sn": ["Œuvre-Noué"], "givenName": ["Łukasz €"]}
    write_file(tmp_path / "x_Delta_PersRelEleve.xml", [add_request("PersRelEleve", "1", attributes)], encoding=encoding)
    guardian = people(read(tmp_path)[1])["1"]
    assert (guardian.family_name, guardian.given_name) == ("Œuvre-Noué", "Łukasz €")


def test_nothing_to_read_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no file or folder"):
        parse_export(tmp_path / "nowhere")
    with pytest.raises(SourceError, match="holds no AAF file"):
        parse_export(tmp_path)


def test_the_first_function_of_the_table_leads() -> None:
    assert leading_function(["ENS", "DIR"]) == "DIR"
    assert leading_function(["AED", "ENS"]) == "ENS"
    assert leading_function(["ZZZ", "YYY"]) == "YYY"
    assert {code for code, profile in FUNCTIONS.items() if profile is Profile.TEACHER} == {"ENS", "DOC"}


def test_no_attribute_is_both_read_and_left_out() -> None:
    assert not NOT_STORED & frozenset().union(*READ.values())
