"""AAF exports (annuaire académique fédérateur) as directory records.

``parse_export`` reads a folder or one file, complete or incremental, and yields the records of
``ent_notify.model.people`` in an order in which references resolve, with a ``BadRecord`` for each record, or part of
one, that cannot be taken. How the words of the export become ours:

=============================  =====================================================================================
EtabEducNat                    a SchoolRecord, and a GroupRecord for each class and teaching group it lists
PersRelEleve                   a guardian
PersEducNat                    a teacher or staff, by ``ENTPersonFonctions`` (see ``aaf_words.FUNCTIONS``)
Eleve                          a pupil with guardians; ``legal_level`` is the legal responsibility (1, 2, or 0: contact)
school$name                    group ``UAI/class/name`` or ``UAI/group/name``, created when first met
addRequest                     everything about somebody: what it does not say is empty
modifyRequest                  only what it names, replaced whole; the rest stays ``UNSET``
deleteRequest                  a Removal or SchoolRemoval
=============================  =====================================================================================

An AAF cannot say that a court restricts a guardian, so ``restricted`` stays ``UNSET`` and what the host set is kept.
A file that is cut short yields what it held, then a FileError: such a run removes nobody for being absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ent_notify.directory.aaf_files import Listing, list_export
from ent_notify.directory.aaf_records import ParseReport, Translator
from ent_notify.directory.aaf_words import READ
from ent_notify.directory.aaf_xml import read_requests
from ent_notify.model.people import FileError, FileStart, SourceItem

__all__ = ["Export", "ParseReport", "parse_export"]

_WANTED = frozenset().union(*READ.values())


class Export:
    """An export that can be iterated once. ``complete``: whoever it does not name has left. See parse_export."""

    def __init__(self, listing: Listing, schools: Mapping[str, str], prefix: str) -> None:
        self.complete = listing.complete
        self.report = ParseReport(bytes_total=listing.size, left_aside=listing.left_aside)
        self._listing = listing
        self._translator = Translator(dict(schools), prefix, self.report)

    def __iter__(self) -> Iterator[SourceItem]:
        yield from self._listing.gaps
        for file in self._listing.files:
            name = file.path.name
            self.report.files.append(name)
            yield FileStart(file=name)
            for request in read_requests(file.path, wanted=_WANTED, on_bytes=self._count_bytes):
                if isinstance(request, FileError):
                    yield request
                else:
                    yield from self._translator.translate(name, request)

    def _count_bytes(self, count: int) -> None:
        self.report.bytes_read += count


def parse_export(path: Path, *, schools: Mapping[str, str] | None = None, prefix: str = "") -> Export:
    """Open the AAF export at ``path``, a folder or one file.

    ``schools`` maps join ids (prefix included) to UAIs already known: an incremental export names schools that it
    does not describe. ``prefix`` goes before every id of the export: join ids are unique in one académie only, so a
    region that gathers several gives each its own. Raises SourceError when nothing there can be read safely.
    """
    return Export(list_export(path), schools or {}, prefix)
