"""Whatever an export says, reading it never crashes; what the writer writes, the reader finds again."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ent_notify.directory import parse_export
from ent_notify.directory.aaf_words import NOT_STORED, READ, Category
from ent_notify.directory.aaf_xml import Request, read_requests
from ent_notify.errors import SourceError
from ent_notify.flows.directory_rows import Packer
from ent_notify.model.people import BadRecord, PersonRecord
from ent_notify.testing.aaf_writer import add_request, delete_request, modify_request, write_file

CHARACTERS = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="￾￿")
TEXT = st.text(CHARACTERS, max_size=30)
ATTRIBUTE = st.sampled_from(sorted(frozenset().union(*READ.values()) | {"mobile", "ENTEleveINE", "inconnu"})) | TEXT
VALUE = (
    TEXT
    | st.lists(TEXT, max_size=7).map("$".join)
    | st.sampled_from(
        ["7001", "7001$6A", "7001$ENS$X$Y$Z", "7001$$", "$", "$$$$$$", "820001$1$1$1$1$0", "820001$1$1$9"]
    )
)
ATTRIBUTES = st.dictionaries(ATTRIBUTE, st.lists(VALUE, max_size=4), max_size=12)
CATEGORY = st.sampled_from([*(category.value for category in Category), "PersMars", ""])
ENCODING = st.sampled_from(["UTF-8", "ISO-8859-15", "UTF-16"])
REQUEST = st.one_of(
    st.builds(add_request, CATEGORY, TEXT, ATTRIBUTES),
    st.builds(modify_request, CATEGORY, TEXT, ATTRIBUTES),
    st.builds(delete_request, CATEGORY, TEXT),
)


def clean(values: list[str]) -> list[str]:
    """Values as XML gives them back: line ends made one, no outer blanks, empty ones dropped."""
    return [stripped for value in values if (stripped := value.strip())]


@given(attributes=ATTRIBUTES, identifier=TEXT, encoding=ENCODING)
def test_a_request_comes_back_as_it_was_written(
    attributes: dict[str, list[str]], identifier: str, encoding: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.xml"
        write_file(path, [add_request("Eleve", identifier, attributes)], encoding=encoding)
        [request] = read_requests(path, wanted=attributes, on_bytes=lambda _: None)
    assert isinstance(request, Request)
    assert (request.action, request.category, request.id) == ("addRequest", "Eleve", identifier.strip())
    assert request.attributes == {name: clean(values) for name, values in attributes.items()}
    assert request.defect is None


@given(requests=st.lists(REQUEST, max_size=8), encoding=ENCODING)
@settings(max_examples=200)
def test_no_export_crashes_the_reader_or_the_packer(requests: list[str], encoding: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ENT_Delta_20260901_Eleve_0000.xml"
        write_file(path, requests, encoding=encoding)
        export = parse_export(path, schools={"7001": "0549901X"})
        items = list(export)
    report = export.report
    assert sum(report.records.values()) + sum(report.ignored_categories.values()) + sum(
        isinstance(item, BadRecord) and not item.imported for item in items
    ) == len(requests)
    assert not set(report.ignored_attributes) & NOT_STORED
    packer = Packer(iter(items))
    while packer.pack(3) is not None:
        pass
    assert packer.records + sum(isinstance(item, BadRecord) for item in items) <= len(items)


@given(given_name=TEXT, family_name=TEXT, mail=TEXT, groups=st.lists(TEXT, max_size=3), encoding=ENCODING)
@example(given_name="  Anne   Lise ", family_name="d’Œuvre €", mail=" ", groups=["6A$x"], encoding="ISO-8859-15")
def test_a_pupil_keeps_names_and_groups(
    given_name: str, family_name: str, mail: str, groups: list[str], encoding: str
) -> None:
    attributes = {
        "sn": [family_name],
        "givenName": [given_name],
        "mail": [mail],
        "ENTPersonStructRattach": ["7001"],
        "ENTEleveGroupes": [f"7001${group}" for group in groups],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ENT_Delta_20260901_Eleve_0000.xml"
        write_file(path, [add_request("Eleve", "P1", attributes)], encoding=encoding)
        [pupil] = [item for item in parse_export(path, schools={"7001": "0549901X"}) if isinstance(item, PersonRecord)]
    assert pupil.given_name == " ".join(given_name.split())
    assert pupil.family_name == " ".join(family_name.split())
    assert pupil.email == (mail.strip() or None)
    names = {" ".join(group.partition("$")[0].split()) for group in groups} - {""}
    assert pupil.groups == frozenset({f"0549901X/group/{name}" for name in names})


@given(content=st.binary(max_size=400) | st.text(max_size=400).map(str.encode), cut=st.integers(0, 600))
def test_any_bytes_are_read_or_refused(content: bytes, cut: int) -> None:
    whole = add_request("PersRelEleve", "1", {"sn": ["VAL"]}).encode()
    head = b"<?xml version='1.0' encoding='UTF-8'?><ficAlimMENESR>"
    for document in (content, (head + whole + content)[:cut], head + content + whole):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ENT_Complet_20260901_PersRelEleve_0000.xml"
            path.write_bytes(document)
            try:
                list(parse_export(path))
            except SourceError as refusal:
                assert path.name in str(refusal)
