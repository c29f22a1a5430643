"""Which files make an AAF export, and the order to read them in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ent_notify.directory.aaf_words import Category
from ent_notify.directory.aaf_xml import Head, read_head
from ent_notify.errors import SourceError
from ent_notify.model.people import FileError

_NAME = re.compile(
    r"(?P<project>.+?)_(?P<kind>Complet|Delta)(?:_(?P<date>\d{8}))?_(?P<category>[A-Za-z]+)(?:_(?P<slice>\d{1,6}))?\.xml",
    re.IGNORECASE,
)
_ORDER = {category.value.lower(): place for place, category in enumerate(Category)}


@dataclass(frozen=True, slots=True)
class ExportFile:
    """One file of an export. ``date`` is ``yyyymmdd`` or empty; ``slice`` is None when the name has none."""

    path: Path
    complete: bool
    date: str
    category: str
    slice: int | None

    @property
    def wanted(self) -> bool:
        """False for a category that is not imported (programmes, subjects and the like)."""
        return self.category.lower() in _ORDER


@dataclass(frozen=True, slots=True)
class Listing:
    """An export's files in reading order; ``complete``: it says who is there, so that the others have left."""

    files: tuple[ExportFile, ...]
    left_aside: tuple[str, ...]
    gaps: tuple[FileError, ...]
    complete: bool
    size: int


def list_export(path: Path) -> Listing:
    """List the files of a folder, or the one file, at ``path``.

    A file named ``..._Complet_...`` belongs to a complete export, any other is incremental. Of several complete
    exports the last date counts, and with it the incremental files of later dates. Schools are read before
    guardians, staff and pupils. Another ``.xml`` file in the folder, neither an AAF nor named like one, is left
    aside. Raises SourceError: nothing there, not an AAF, an unsafe document.
    """
    files = _xml_files(path)
    if path.is_dir():
        found = [file for each in files if (file := _look_or_leave(each))]
    else:
        found = [_look(each) for each in files]
    wanted = [file for file in found if file.wanted]
    if not wanted:
        raise SourceError(
            f"{path} holds no AAF file. Expected names like ENT_Complet_20260901_Eleve_0000.xml, "
            f"for {', '.join(Category)}."
        )
    newest = max((file.date for file in wanted if file.complete), default=None)
    if newest is not None:
        wanted = [
            file for file in wanted if (file.date == newest if file.complete else not file.date or file.date >= newest)
        ]
    wanted.sort(key=lambda file: (not file.complete, file.date, _ORDER[file.category.lower()], file.slice or 0))
    kept = {file.path for file in wanted}
    return Listing(
        files=tuple(wanted),
        left_aside=tuple(file.name for file in files if file not in kept),
        gaps=tuple(_gaps(wanted)),
        complete=newest is not None and path.is_dir(),
        size=sum(file.path.stat().st_size for file in wanted),
    )


def _xml_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise SourceError(f"There is no file or folder at {path}.")
    return sorted(file for file in path.iterdir() if file.suffix.lower() == ".xml" and file.is_file())


def _look_or_leave(path: Path) -> ExportFile | None:
    """None for a file that has nothing to do with the export; one with a name of the export must be what it says."""
    try:
        return _look(path)
    except SourceError:
        if _NAME.fullmatch(path.name):
            raise
        return None


def _look(path: Path) -> ExportFile:
    head: Head = read_head(path)
    match = _NAME.fullmatch(path.name)
    if match is None:
        return ExportFile(path, complete=False, date="", category=head.category, slice=None)
    number = match["slice"]
    return ExportFile(
        path,
        complete=match["kind"].lower() == "complet",
        date=match["date"] or "",
        category=head.category if head.category.lower() in _ORDER else match["category"],
        slice=None if number is None else int(number),
    )


def _gaps(files: list[ExportFile]) -> list[FileError]:
    """Slices are numbered from 0 without holes: a hole in a complete export is a file that got lost."""
    slices: dict[str, set[int]] = {}
    for file in files:
        if file.complete and file.slice is not None:
            slices.setdefault(file.category, set()).add(file.slice)
    lost = [
        FileError(file=f"{category}, slice {missing:04}", reason="missing from this complete export")
        for category, present in sorted(slices.items())
        for missing in range(max(present))
        if missing not in present
    ]
    if any(file.complete for file in files):
        whole = {file.category.lower() for file in files if file.complete}
        lost += [
            FileError(file=f"{category}", reason="this complete export has no such file")
            for category in Category
            if category.lower() not in whole
        ]
    return lost
