"""Progress bars, for a terminal; elsewhere nothing is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from ent_notify.cli.door import console

if TYPE_CHECKING:
    from ent_notify.directory.imports import ImportProgress


@contextmanager
def working(what: str) -> Iterator[None]:
    """Something that turns beside ``what`` while the context lasts, on the standard error of a terminal."""
    screen = console(stderr=True)
    shown = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
        redirect_stdout=False,  # data goes where it went
        redirect_stderr=False,
    )
    with shown:
        shown.add_task(what, total=None)
        yield


class ImportBar:
    """How far an import is: the share that was read, then merging. On the standard error, beside the data."""

    def __init__(self) -> None:
        screen = console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description:7}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[records]:,} records"),
            TimeElapsedColumn(),
            console=screen,
            transient=True,
            disable=not screen.is_terminal,
        )
        self._task = self._bar.add_task("reading", total=1.0, records=0)

    def __enter__(self) -> ImportBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, progress: ImportProgress) -> None:
        """Where the run is."""
        total = 1.0 if progress.phase == "reading" else None  # merging: nobody can say how far it is
        self._bar.update(
            self._task, description=progress.phase, completed=progress.share, total=total, records=progress.records
        )
