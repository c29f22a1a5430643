"""Directory sources: who is in the project, from an AAF export (``import_export``) or from the host (``sync``)."""

from ent_notify.directory.aaf import Export, ParseReport, parse_export
from ent_notify.directory.imports import ImportProgress, ImportReport, import_export
from ent_notify.flows.directory import sync

__all__ = ["Export", "ImportProgress", "ImportReport", "ParseReport", "import_export", "parse_export", "sync"]
