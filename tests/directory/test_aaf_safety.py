"""Documents made to do harm: they are refused, nothing is fetched, memory and time stay small."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ent_notify.directory import aaf_xml, parse_export
from ent_notify.errors import SourceError
from ent_notify.model.people import FileError, PersonRecord, SourceItem
from ent_notify.testing.aaf_writer import add_request

REQUEST = add_request("PersRelEleve", "1", {"sn": ["VAL"]})


def export(folder: Path, prolog: str, body: str = REQUEST, *, root: str = "ficAlimMENESR") -> Path:
    path = folder / "ENT_Delta_20260901_PersRelEleve_0000.xml"
    path.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n{prolog}\n<{root}>\n{body}\n</{root}>\n')
    return path


def read(path: Path) -> list[SourceItem]:
    return list(parse_export(path))


@pytest.fixture
def tempting_server() -> Iterator[tuple[str, socket.socket]]:
    """A server that whoever fetches a DTD would connect to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield f"http://127.0.0.1:{server.getsockname()[1]}/ficAlimMENESR.dtd", server


def connections(server: socket.socket) -> int:
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return 0
    return 1


def test_billion_laughs_are_refused(tmp_path: Path) -> None:
    laughs = ['<!ENTITY l0 "ha">'] + [f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12)]
    path = export(tmp_path, f"<!DOCTYPE ficAlimMENESR [{''.join(laughs)}]>", REQUEST.replace("VAL", "&l11;"))
    with pytest.raises(SourceError, match="declares XML entities"):
        read(path)


def test_laughs_in_default_attributes_are_refused(tmp_path: Path) -> None:
    laughs = ['<!ENTITY l0 "ha">'] + [f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12)]
    path = export(tmp_path, f'<!DOCTYPE ficAlimMENESR [{"".join(laughs)}<!ATTLIST value x CDATA "&l11;">]>')
    with pytest.raises(SourceError):
        read(path)


def test_a_file_of_the_machine_is_not_read_into_a_value(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("canary-7319")
    prolog = f'<!DOCTYPE ficAlimMENESR [<!ENTITY s SYSTEM "{secret.as_uri()}">]>'
    with pytest.raises(SourceError, match="declares XML entities"):
        read(export(tmp_path, prolog, REQUEST.replace("VAL", "&s;")))


def test_parameter_entities_are_refused_and_not_fetched(
    tmp_path: Path, tempting_server: tuple[str, socket.socket]
) -> None:
    address, server = tempting_server
    with pytest.raises(SourceError, match="declares XML entities"):
        read(export(tmp_path, f'<!DOCTYPE ficAlimMENESR [<!ENTITY % p SYSTEM "{address}"> %p;]>'))
    assert connections(server) == 0


@pytest.mark.parametrize("form", ['SYSTEM "{}"', 'PUBLIC "-//MENESR//DTD AAF//FR" "{}"'])
def test_a_dtd_is_never_fetched(tmp_path: Path, tempting_server: tuple[str, socket.socket], form: str) -> None:
    address, server = tempting_server
    items = read(export(tmp_path, f"<!DOCTYPE ficAlimMENESR {form.format(address)}>"))
    assert [item.id for item in items if isinstance(item, PersonRecord)] == ["1"]
    assert connections(server) == 0


def test_a_dtd_beside_the_file_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "x.dtd").write_text('<!ENTITY town "from the DTD"><!ATTLIST value x CDATA "d">')
    path = export(tmp_path, '<!DOCTYPE ficAlimMENESR SYSTEM "x.dtd">', REQUEST.replace("VAL", "&town;"))
    [_, refused] = read(path)
    assert "from the DTD" not in repr(refused)
    assert "entity that nothing defines" in repr(refused)


def test_another_document_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="its root is 'html', not 'ficAlimMENESR'"):
        read(export(tmp_path, "", root="html"))


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 a zip", b"\x00\x01\x02", b"<?xml version='1.0'?>", b"nom;prenom\n"]
)
def test_what_is_not_xml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ENT_Complet_20260901_Eleve_0000.xml"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=re.escape(path.name)):
        read(path)


def test_an_endless_prolog_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no ficAlimMENESR element in its first"):
        read(export(tmp_path, f"<!-- {'x' * 2_000_000} -->"))


def test_a_request_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aaf_xml, "MAX_REQUEST", 200_000)
    endless = REQUEST + "<addRequest><attributes>" + '<attr name="x"><value>y</value></attr>' * 40_000
    items = read(export(tmp_path, "", endless))
    assert [item.id for item in items if isinstance(item, PersonRecord)] == ["1"]
    assert [item.reason for item in items if isinstance(item, FileError)] == [
        "no request ended within 200000 bytes: refused"
    ]


def test_depth_and_size_of_one_value_are_bounded(tmp_path: Path) -> None:
    deep = REQUEST + "<addRequest>" + "<a>" * 5_000 + "</a>" * 5_000 + "</addRequest>"
    [error] = [item for item in read(export(tmp_path, "", deep)) if isinstance(item, FileError)]
    assert "depth" in error.reason
    huge = REQUEST + add_request("PersRelEleve", "2", {"sn": ["x" * 11_000_000]})
    [error] = [item for item in read(export(tmp_path, "", huge)) if isinstance(item, FileError)]
    assert "line" in error.reason


def test_wrong_bytes_end_a_file_and_not_the_run(tmp_path: Path) -> None:
    path = export(tmp_path, "", REQUEST + REQUEST.replace("VAL", "NOM"))
    path.write_bytes(path.read_bytes().replace(b"NOM", b"\xff\xfe\xff"))
    items = read(path)
    assert any(isinstance(item, FileError) for item in items)
