"""From an export on disk to the directory: what ``ent-notify import-aaf`` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import trio

from ent_notify.directory.aaf import ParseReport, parse_export
from ent_notify.flows.directory import ALLOWED_REMOVALS, sync
from ent_notify.model.directory import SyncProgress, SyncReport
from ent_notify.ports import DirectoryStore


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """Where an import is: records taken, and the share of the export's bytes that was read (0 to 1)."""

    phase: Literal["reading", "merging"]
    records: int
    share: float


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import read (``export``) and what it did (``directory``)."""

    export: ParseReport
    directory: SyncReport

    def to_json(self) -> dict[str, Any]:
        """The report as plain values: ``{"export": {...}, "directory": {...}}``, times in ISO 8601."""
        did = asdict(self.directory)
        did["at"] = self.directory.at.isoformat()
        return {"export": self.export.to_json(), "directory": did}


async def import_export(
    store: DirectoryStore,
    path: Path,
    *,
    source: str = "aaf",
    prefix: str = "",
    now: datetime,
    allowed_removals: float = ALLOWED_REMOVALS,
    on_progress: Callable[[ImportProgress], None] | None = None,
) -> ImportReport:
    """Import the AAF export at ``path``, a folder or one file, complete or incremental.

    ``source`` names who owns these people: a complete export hides those of its source that it does not name.
    ``prefix`` goes before every id (one for each académie). Raises SourceError for an export that cannot be read at
    all and TooManyRemovals above the share ``allowed_removals``; nothing was changed then.
    """
    known = await store.schools_by_join_id()
    export = await trio.to_thread.run_sync(partial(parse_export, path, schools=known, prefix=prefix))

    def pass_on(progress: SyncProgress) -> None:
        if on_progress is not None:
            share = export.report.bytes_read / max(export.report.bytes_total, 1)
            on_progress(ImportProgress(progress.phase, progress.records, share))

    done = await sync(
        store,
        export,
        source=source,
        complete=export.complete,
        now=now,
        allowed_removals=allowed_removals,
        on_progress=pass_on,
    )
    return ImportReport(export.report, done)
