"""Writes AAF files: one category after another in slices, complete or incremental, in either encoding.

The form follows the real exports: a DOCTYPE that names a DTD beside the file, a comment with the version, one request
a person, empty values for what is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import IO, Literal
from xml.sax.saxutils import escape, quoteattr

Attributes = Mapping[str, Sequence[str]]
SLICE = 40_000
"""Requests in a file."""

_HEAD = """<?xml version="1.0" encoding="{encoding}"?>
<!DOCTYPE ficAlimMENESR SYSTEM "ficAlimMENESR.dtd">
<!-- {version} -->
<ficAlimMENESR>
"""
_VERSION = "ent_notify generator 1"
_REPLACE = ' operation="replace"'
_TAIL = "</ficAlimMENESR>\n"


def add_request(category: str, identifier: str, attributes: Attributes) -> str:
    """An addRequest: somebody, or a school, as a whole. ``category`` is ``Eleve``, ``EtabEducNat``..."""
    return (
        f"<addRequest>\n{_operational(category)}<identifier><id>{escape(identifier)}</id></identifier>\n"
        f"<attributes>\n{_attributes('attr', '', attributes)}</attributes>\n</addRequest>\n"
    )


def modify_request(category: str, identifier: str, attributes: Attributes) -> str:
    """A modifyRequest: each attribute given is replaced."""
    return (
        f"<modifyRequest>\n{_operational(category)}<identifier><id>{escape(identifier)}</id></identifier>\n"
        f"<modifications>\n{_attributes('modification', _REPLACE, attributes)}</modifications>\n"
        "</modifyRequest>\n"
    )


def delete_request(category: str, identifier: str) -> str:
    """A deleteRequest."""
    return (
        f"<deleteRequest>\n{_operational(category)}<identifier><id>{escape(identifier)}</id></identifier>\n"
        "</deleteRequest>\n"
    )


def write_file(path: Path, requests: Iterable[str], *, encoding: str = "UTF-8") -> None:
    """Write one whole file. A character that ``encoding`` lacks becomes a numeric reference."""
    with path.open("w", encoding=encoding, errors="xmlcharrefreplace", newline="\n") as file:
        file.write(_HEAD.format(encoding=encoding, version=_VERSION))
        file.writelines(requests)
        file.write(_TAIL)


class AafWriter:
    """Writes the slices of one category, opening the next file when one is full. A context manager.

    ``kind`` and ``date`` go into the names: ``ENT_Complet_20260901_Eleve_0000.xml``. Every second slice is in
    ISO-8859-15, as in exports that were gathered from several places.
    """

    def __init__(
        self, folder: Path, kind: Literal["Complet", "Delta"], date: str, category: str, *, slice_size: int = SLICE
    ) -> None:
        self.files = 0
        self._stem = f"{folder}/ENT_{kind}_{date}_{category}"
        self._slice_size = slice_size
        self._room = slice_size
        self._file = self._next_file()

    def __enter__(self) -> AafWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish_file()

    def write(self, request: str) -> None:
        """Write one request."""
        if self._room == 0:
            self._finish_file()
            self._file = self._next_file()
        self._room -= 1
        self._file.write(request)

    def _next_file(self) -> IO[str]:
        encoding = "UTF-8" if self.files % 2 == 0 else "ISO-8859-15"
        path = Path(f"{self._stem}_{self.files:04}.xml")
        file = path.open("w", encoding=encoding, errors="xmlcharrefreplace", newline="\n")
        file.write(_HEAD.format(encoding=encoding, version=_VERSION))
        self.files += 1
        self._room = self._slice_size
        return file

    def _finish_file(self) -> None:
        self._file.write(_TAIL)
        self._file.close()


_quoted = lru_cache(maxsize=1024)(quoteattr)  # the names of attributes are few


def _operational(category: str) -> str:
    name = "categorieStructure" if category == "EtabEducNat" else "categoriePersonne"
    return (
        f'<operationalAttributes><attr name="{name}"><value>{escape(category)}</value></attr></operationalAttributes>\n'
    )


def _attributes(tag: str, more: str, attributes: Attributes) -> str:
    lines = []
    for name, values in attributes.items():
        inner = "".join(f"<value>{escape(value)}</value>" for value in values) or "<value/>"
        lines.append(f"<{tag} name={_quoted(name)}{more}>{inner}</{tag}>\n")
    return "".join(lines)
