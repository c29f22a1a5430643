"""What the commands share: settings, running async code, showing data, and stopping on a signal.

Commands import the engine and its shells when they run, not when the program starts: ``--help`` stays instant.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson
import trio
from rich.console import Console
from rich.table import Table

from ent_notify.cli.manager import Manager
from ent_notify.errors import SettingsError
from ent_notify.observe import configure_logging, get_logger

if TYPE_CHECKING:
    from ent_notify.settings import Settings

PROGRAM = "ent-notify"
NUMBER = click.IntRange(1, 2**63 - 1)
"""The number of a campaign or a notification."""
GRACE_SECONDS = 2.0
"""Seconds that a process which is cancelled has to close what it opened."""
T = TypeVar("T")

_log = get_logger(__name__)


@dataclass(slots=True)
class Door:
    """What the options before the command said."""

    config: Path | None = None
    debug: bool = False

    def settings(self) -> Settings:
        """The settings of this process. Raises SettingsError."""
        from ent_notify.settings import load_settings

        return load_settings(self.config)

    def service_settings(self) -> Settings:
        """The settings of a service, with logs written as they say, to the standard error."""
        settings = self.settings()
        self.configure_logs(settings)
        return settings

    def configure_logs(self, settings: Settings) -> None:
        """Write logs as ``settings`` say."""
        key = settings.privacy.pseudonym_key
        configure_logging(settings.log.level, pseudonym_key=key.get_secret_value() if key else None)

    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run a command's coroutine to its end. What libraries log meanwhile is not for an operator's screen."""
        if not logging.getLogger().handlers:
            logging.getLogger().addHandler(logging.NullHandler())
        return trio.run(main)


pass_door = click.make_pass_decorator(Door, ensure=True)

json_flag = click.option("--json", "as_json", is_flag=True, help="Print JSON, for a program.")
always_json = click.option("--json", is_flag=True, expose_value=False, help="It is JSON in any case.")


def show_json(value: Any) -> None:
    """Print ``value`` (data classes, mappings, sequences, instants) as JSON."""
    click.echo(to_json(value))


def write_json(value: Any, file: Path) -> None:
    """Write ``value`` as JSON to ``file``; ``-`` is the standard output."""
    if str(file) == "-":
        show_json(value)
    else:
        file.write_text(to_json(value) + "\n", encoding="utf-8")


def check_writable(_context: click.Context, _parameter: click.Parameter, file: Path | None) -> Path | None:
    """Refuse a FILE that could not be written at the end of a long run, before it begins. ``-`` and None pass."""
    if file is not None and str(file) != "-":
        place = file if file.exists() else file.parent
        if file.is_dir() or not place.exists() or not os.access(place, os.W_OK):
            raise click.BadParameter(f"{str(file)!r} cannot be written; give a file in a folder that is yours to write")
    return file


def to_json(value: Any) -> str:
    """``value`` as indented JSON."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode()


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; numbers stand on the right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for position, column in enumerate(columns):
        numbers = bool(rows) and all(isinstance(row[position], int) for row in rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row))
    console().print(table)


def console(*, stderr: bool = False) -> Console:
    """A console on this process's present output, with no markup read into what is printed."""
    return Console(stderr=stderr, markup=False, highlight=False, soft_wrap=not sys.stdout.isatty())


@contextmanager
def listening(host: str, port: int, remedy: str) -> Iterator[None]:
    """What cannot listen on ``host``:``port`` is a wrong setting, said with what to do."""
    try:
        yield
    except OSError as error:
        why = (
            os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
        )  # a name's look-up has its own
        raise SettingsError(f"cannot listen on {host}:{port} ({why}); {remedy}") from None


def on_terminal() -> bool:
    """Whether somebody started this process by hand: it ends with the terminal, then."""
    return sys.stdin is not None and sys.stdin.isatty()


def _leave_after(seconds: float) -> None:
    """End the process then, if it is still there. It leaves what ``kill -9`` leaves, which others make good."""
    timer = threading.Timer(seconds, os._exit, [1])
    timer.daemon = True
    timer.start()


async def run_service(
    serve: Callable[[], Awaitable[None]],
    drain: Callable[[], None],
    *,
    drain_seconds: float,
    reload: Callable[[], Awaitable[None]] | None = None,
    manager: Manager | None = None,
) -> None:
    """Run ``serve`` until it returns. SIGTERM or SIGINT calls ``drain``; a second, or ``drain_seconds``, cancels.

    SIGHUP calls ``reload``, one at a time; on a terminal it ends the process, as it always did. ``manager`` is told.
    A send that its provider does not answer cannot be cancelled: GRACE_SECONDS later the process ends all the same.
    """
    async with trio.open_nursery() as nursery:

        async def stop_on_signal(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                task_status.started()
                told = await anext(signals)
                _log.info("service_stopping", signal=signal.Signals(told).name)
                if manager is not None:
                    manager.stopping()
                drain()
                with trio.move_on_after(drain_seconds):
                    await anext(signals)
                _log.warning("service_stopped_early")
                _leave_after(GRACE_SECONDS)
                nursery.cancel_scope.cancel()

        async def reload_on_signal(
            again: Callable[[], Awaitable[None]], task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
        ) -> None:
            with trio.open_signal_receiver(signal.SIGHUP) as signals:
                task_status.started()
                async for _ in signals:
                    if manager is not None:
                        manager.reloading()
                    await again()
                    if manager is not None:
                        manager.ready()

        await nursery.start(stop_on_signal)
        if reload is not None and not on_terminal():
            await nursery.start(reload_on_signal, reload)
        await serve()
        nursery.cancel_scope.cancel()
