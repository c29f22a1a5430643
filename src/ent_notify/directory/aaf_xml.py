"""The XML of an AAF export, read as a stream: one request at a time, in bounded memory, trusting nothing.

No DTD is loaded, nothing is fetched, no entity is expanded: a document that declares entities is refused before its
first request is looked at. lxml does the parsing, within libxml2's own limits (10 MB a text, 256 levels).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

from lxml import etree

from ent_notify.errors import SourceError
from ent_notify.model.people import FileError

ROOT = "ficAlimMENESR"
CHUNK = 256 * 1024
MAX_PROLOG = 1024 * 1024
"""Bytes before the root element; a real export has some hundred."""
MAX_REQUEST = 16 * 1024 * 1024
"""Bytes without the end of a request; a real one has some thousand."""

Action = Literal["addRequest", "modifyRequest", "deleteRequest"]
_ACTIONS = ("addRequest", "modifyRequest", "deleteRequest")


@dataclass(frozen=True, slots=True)
class Request:
    """One request: ``attributes`` maps each name to its values, without outer blanks; an empty value is not kept,
    nor are the values of an attribute that nobody wants.

    ``defect`` says why the request cannot be trusted, if so.
    """

    action: Action
    category: str
    id: str
    attributes: dict[str, list[str]]
    line: int
    defect: str | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """What the beginning of a file says: its first request's action and category (``""`` when it has none)."""

    action: str = ""
    category: str = ""


def read_head(path: Path) -> Head:
    """Look at the beginning of ``path``. Raises SourceError: unreadable, not XML, not an AAF, unsafe."""
    parser = _parser(("start", "end"), None)
    action, seen_root, fed = "", False, 0
    with _open(path) as file:
        while fed < MAX_PROLOG and (chunk := file.read(16 * 1024)):
            fed += len(chunk)
            broken = _feed(parser, chunk)
            for event, element in _events(parser):
                if not seen_root:
                    seen_root = True
                    _check_root(path, element)
                elif event == "start" and not action:
                    action = str(element.tag)
                elif event == "end" and element.tag == "operationalAttributes":
                    return Head(action, _category(element))
                elif event == "end" and element.tag == ROOT:
                    return Head()
            if broken is not None:
                if seen_root:
                    break  # what is wrong there is told when the file is read
                raise SourceError(f"{path.name} is not XML: {broken.msg}. Ask for the export again.") from broken
    if not seen_root:
        raise SourceError(f"{path.name} holds no {ROOT} element in its first {fed} bytes: it is not an AAF export.")
    return Head(action)


def read_requests(
    path: Path, *, wanted: Container[str], on_bytes: Callable[[int], None]
) -> Iterator[Request | FileError]:
    """Yield the requests of ``path`` in order. A file that is cut or malformed ends with a FileError naming the line.

    ``wanted``: the attributes whose values are read. ``on_bytes`` is told of each block that was read, in bytes.
    Raises SourceError when the file cannot be opened.
    """
    parser = _parser(("end",), _ACTIONS)
    pending = 0
    with _open(path) as file:
        while True:
            chunk = file.read(CHUNK)
            on_bytes(len(chunk))
            broken = _feed(parser, chunk) if chunk else _close(parser)
            pending += len(chunk)
            for _, element in _events(parser):
                pending = 0
                yield _request(element, wanted)
                _forget(element)
            if broken is not None:
                line = broken.lineno or 0
                yield FileError(file=path.name, reason=f"line {line}: cut short or malformed ({broken.msg})")
                return
            if not chunk:
                return
            if pending > MAX_REQUEST:
                yield FileError(file=path.name, reason=f"no request ended within {MAX_REQUEST} bytes: refused")
                return


def _events(parser: etree.XMLPullParser) -> Iterator[tuple[str, etree._Element]]:
    return cast(Iterator[tuple[str, etree._Element]], parser.read_events())


def _parser(events: tuple[Literal["start", "end"], ...], tags: tuple[str, ...] | None) -> etree.XMLPullParser:
    return etree.XMLPullParser(
        events,
        tag=tags,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        no_network=True,
        resolve_entities=False,
        huge_tree=False,
        recover=False,
        remove_comments=True,
        remove_pis=True,
    )


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error


def _feed(parser: etree.XMLPullParser, chunk: bytes) -> etree.XMLSyntaxError | None:
    try:
        parser.feed(chunk)
    except etree.XMLSyntaxError as error:
        return error
    return None


def _close(parser: etree.XMLPullParser) -> etree.XMLSyntaxError | None:
    try:
        parser.close()
    except etree.XMLSyntaxError as error:
        return error
    return None


def _check_root(path: Path, root: etree._Element) -> None:
    dtd: Any = root.getroottree().docinfo.internalDTD
    if dtd is not None and dtd.entities():
        raise SourceError(
            f"{path.name} declares XML entities, which no AAF export does: it was not read. "
            "Find out where the file comes from."
        )
    if root.tag != ROOT:
        raise SourceError(f"{path.name} is not an AAF export: its root is {str(root.tag)[:80]!r}, not {ROOT!r}.")


def _request(element: etree._Element, wanted: Container[str]) -> Request:
    category, identifier, defect = "", "", None
    attributes: dict[str, list[str]] = {}
    for part in element:
        tag = part.tag
        if tag == "operationalAttributes":
            category = _category(part)
        elif tag == "identifier":
            identifier = (part.findtext("id") or "").strip()
        elif tag in ("attributes", "modifications"):
            for attribute in part:
                name = attribute.get("name")
                if name is None:
                    continue
                if attribute.get("operation", "replace") != "replace":
                    defect = f"operation {attribute.get('operation')!r} on {name}: only 'replace' is known"
                values = attributes.setdefault(name, [])
                if name not in wanted:
                    continue
                for value in attribute:
                    if len(value):
                        defect = f"{name} holds markup or an entity that nothing defines"
                    text = value.text
                    if text is not None and (text := text.strip()):
                        values.append(text)
    action: Action = str(element.tag)  # type: ignore[assignment]  # the parser lets only _ACTIONS through
    line = cast(int | None, element.sourceline) or 0
    return Request(action, category, identifier, attributes, line, defect)


def _category(operational: etree._Element) -> str:
    for attribute in operational:
        if attribute.get("name") in ("categoriePersonne", "categorieStructure"):
            return (attribute.findtext("value") or "").strip()
    return ""


def _forget(element: etree._Element) -> None:
    """Free an element that was read, and everything before it: this is what bounds the memory."""
    element.clear()
    parent = element.getparent()
    while parent is not None and element.getprevious() is not None:
        del parent[0]
