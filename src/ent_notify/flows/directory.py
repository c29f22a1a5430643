"""How records become the directory: checked and packed in a thread, staged in batches, merged in one transaction."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import trio

from ent_notify.errors import TooManyRemovals
from ent_notify.flows.directory_rows import Packer
from ent_notify.model.directory import MOST_REPORTED, OnProgress, SyncProgress, SyncReport
from ent_notify.model.people import SourceItem
from ent_notify.ports import DirectoryStore

BATCH = 10_000
"""Records that are packed, and staged, together: what a run holds in memory."""
ALLOWED_REMOVALS = 0.05
"""Share of a source's present people that a run may remove unasked."""


async def sync(
    store: DirectoryStore,
    records: Iterable[SourceItem],
    *,
    source: str,
    complete: bool,
    now: datetime,
    allowed_removals: float = ALLOWED_REMOVALS,
    on_progress: OnProgress | None = None,
) -> SyncReport:
    """Make the directory say what ``records`` say; running it twice changes nothing the second time.

    ``complete``: people of this ``source`` who are not in ``records`` have left, and are hidden. A run that would
    hide more than the share ``allowed_removals`` of the source's present people raises TooManyRemovals. ``records``
    is read once, in a worker thread, ``BATCH`` records at a time. Whatever is raised, nothing was changed.
    """
    packer = Packer(iter(records))
    async with store.merging(source, now) as merge:
        while (rows := await trio.to_thread.run_sync(packer.pack, BATCH)) is not None:
            await merge.stage(rows)
            if on_progress is not None:
                on_progress(SyncProgress("reading", packer.records))
        if on_progress is not None:
            on_progress(SyncProgress("merging", packer.records))
        withheld = complete and bool(packer.file_errors)
        found = await merge.examine(complete=complete and not withheld)
        if found.removals > allowed_removals * found.present:
            raise TooManyRemovals(found.removals, found.present, allowed_removals)
        count, problems = await merge.problems(MOST_REPORTED)
        counts = await merge.apply()
    reported = packer.problems + [packer.located(problem) for problem in problems]
    return SyncReport(
        source=source,
        complete=complete,
        at=now,
        records=packer.records,
        bad_records=packer.bad_records + count,
        problems=tuple(reported[:MOST_REPORTED]),
        file_errors=tuple(packer.file_errors),
        removals_withheld=withheld,
        **{name: getattr(counts, name) for name in counts.__slots__},
    )
