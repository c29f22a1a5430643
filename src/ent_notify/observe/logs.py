"""Structured logs: one event name and allow-listed fields, as one JSON object a line.

::

    log = get_logger(__name__)
    log.info("chunk_settled", campaign=12, chunk=340, accepted=998)

An event name is a literal of words joined by underscores, and says what happened. The library hands its lines to
``logging`` under ``ent_notify.*``, so a host sends them where it likes (the record's ``ent_notify`` attribute is the
same line as a mapping). Our own programs call ``configure_logging``, which also takes in what other libraries log and
every uncaught exception: of those, only the place and the class are written, for their texts may hold anything.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Protocol, TextIO, cast

import orjson
import structlog

from ent_notify.observe.errors import describe_error
from ent_notify.observe.fields import FIELDS, REFUSED, use_pseudonym_key

UNNAMED = "unnamed_event"
"""What stands in the place of an event name that is not one."""

_EVENT = re.compile(r"[a-z]{2,20}(_[a-z]{1,20}){0,5}")
_LOGGER = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,60}")
_RESERVED = frozenset({"event", "exc_info", "positional_args", "stack_info"})


class Logger(Protocol):
    """What modules log with. ``error`` and ``exception`` take ``exc_info``; ``bind`` returns a logger with fields."""

    def bind(self, **fields: Any) -> Logger: ...
    def debug(self, event: str, **fields: Any) -> Any: ...
    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...
    def error(self, event: str, **fields: Any) -> Any: ...
    def exception(self, event: str, **fields: Any) -> Any: ...


class _Statistics:
    """How much the allow-list kept out, since the process began."""

    def __init__(self) -> None:
        self.fields_dropped = 0
        self.events_unnamed = 0
        self.lines_failed = 0


_statistics = _Statistics()


def log_statistics() -> Mapping[str, int]:
    """``fields_dropped``: fields not allowed; ``events_unnamed``: event names refused; ``lines_failed``: lines that
    could not be written."""
    return {
        "fields_dropped": _statistics.fields_dropped,
        "events_unnamed": _statistics.events_unnamed,
        "lines_failed": _statistics.lines_failed,
    }


def get_logger(name: str) -> Logger:
    """The logger of a module; ``name`` is its ``__name__``."""
    return cast(
        Logger,
        structlog.wrap_logger(
            logging.getLogger(name),
            processors=[structlog.stdlib.filter_by_level, _allow, _hand_over],
            wrapper_class=structlog.stdlib.BoundLogger,
            context_class=dict,
            cache_logger_on_first_use=True,
        ),
    )


def _allow(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep what the allow-list knows, in the form that it gives; count the rest."""
    event = line.get("event")
    if not (isinstance(event, str) and _EVENT.fullmatch(event)):
        event = UNNAMED
        _statistics.events_unnamed += 1
    kept: dict[str, Any] = {"event": event}
    dropped = 0
    for name, value in line.items():
        if name in _RESERVED or value is None:
            continue
        check = FIELDS.get(name)
        shown = REFUSED if check is None else check(value)
        if shown is REFUSED:
            dropped += 1
        else:
            kept[name] = shown
    error = _raised(line.get("exc_info"))
    if error is not None and "error" not in kept:
        kept["error"] = describe_error(error)
    if dropped:
        kept["dropped"] = dropped
        _statistics.fields_dropped += dropped
    return kept


def _raised(told: Any) -> BaseException | None:
    if isinstance(told, BaseException):
        return told
    if isinstance(told, tuple):
        return told[1] if len(told) > 1 and isinstance(told[1], BaseException) else None
    return sys.exception() if told else None


def _hand_over(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> tuple[tuple[str], dict[str, Any]]:
    """To ``logging``: the line as JSON for its message, and as a mapping beside it."""
    return (orjson.dumps(line).decode(),), {"extra": {"ent_notify": dict(line)}}


# ------------------------------------------------------------------ our own programs


class _LineFormatter(logging.Formatter):
    """Any record as one line: ours with their fields, others' with their place alone."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"at": at, "level": record.levelname.lower(), "logger": _known(record.name)}
        ours = getattr(record, "ent_notify", None)
        if isinstance(ours, Mapping):
            line |= ours
        else:
            line |= {"event": "library_message", "place": f"{_known(record.module)}:{record.lineno}"}
            error = _raised(record.exc_info)
            if error is not None:
                line["error"] = describe_error(error)
        return orjson.dumps(line).decode()


def _known(name: str) -> str:
    return name if _LOGGER.fullmatch(name) else "other"


class _LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines; one that cannot be written is counted, where ``logging`` would print what it held."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        _statistics.lines_failed += 1


def configure_logging(
    level: str = "info", *, pseudonym_key: bytes | str | None = None, stream: TextIO | None = None
) -> None:
    """Write all logs of this process as JSON lines to ``stream`` (default: the standard error), from ``level`` up.

    For our own programs, not for a host. What other libraries log is written from ``warning`` up, by place alone; so
    are warnings, and uncaught exceptions of the main program, of threads and of finalizers.
    """
    use_pseudonym_key(pseudonym_key)
    handler = _LineHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(_LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("ent_notify").setLevel(level.upper())
    logging.captureWarnings(True)
    log = get_logger("ent_notify.observe")
    sys.excepthook = lambda _kind, error, _traceback: log.error("uncaught_error", error=error)
    threading.excepthook = lambda told: log.error("uncaught_error_in_thread", error=told.exc_value)
    sys.unraisablehook = lambda told: log.error("error_in_finalizer", error=told.exc_value)
