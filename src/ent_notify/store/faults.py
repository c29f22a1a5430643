"""What PostgreSQL and its driver complain of, as the house's errors.

Functions of our own schema refuse with SQLSTATE class ``EN``; their message is kept as it is, because it was written
for whoever published. Everything else becomes a StoreError with its SQLSTATE. See
https://www.postgresql.org/docs/current/errcodes-appendix.html for the codes.
"""

from __future__ import annotations

import asyncpg
from asyncpg.exceptions import TargetServerAttributeNotMatched

from ent_notify._island.postgres import BadRecord, ConnectionLost, NoConnection
from ent_notify.errors import (
    EntNotifyError,
    MalformedEvent,
    NotAllowed,
    NotFound,
    SenderLimited,
    StoreBusy,
    StoreError,
    StoreUnreachable,
    UnknownAudience,
)

OUR_REFUSALS: dict[str, type[EntNotifyError]] = {
    "EN001": UnknownAudience,
    "EN002": MalformedEvent,
    "EN003": NotFound,
    "EN004": NotAllowed,
    "EN005": SenderLimited,
}
"""SQLSTATE of ``raise exception ... using errcode`` in our functions, and the error it becomes."""

CONFLICTS = frozenset({"40001", "40P01"})
"""serialization_failure and deadlock_detected: nothing was written, the same unit may be tried again."""

_BUSY = frozenset({"53300", "53400", "55P03", "57014"})  # too many connections, limits, lock_not_available, timeouts
_GONE = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03"})  # shut down, crashed, starting up, idle too long
_REFUSED_AT_THE_DOOR = frozenset({"28000", "28P01", "3D000"})  # no such role, wrong password, no such database

DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    BadRecord,
    ConnectionLost,
    NoConnection,
    OSError,  # TimeoutError is one
)
"""What may come from the driver and the pool."""

_LOST = (ConnectionLost, OSError, asyncpg.PostgresConnectionError, TargetServerAttributeNotMatched)


def is_conflict(error: EntNotifyError) -> bool:
    """Whether ``error`` says that the unit lost against another transaction and may be tried again."""
    return isinstance(error, StoreError) and error.sqlstate in CONFLICTS


def translate(error: Exception, doing: str, where: str) -> EntNotifyError:
    """The house's error for the driver's ``error``, which came while ``doing`` with the server at ``where``."""
    translated = _translate(error, doing, where)
    if isinstance(translated, StoreError):
        translated.sqlstate = getattr(error, "sqlstate", None)
    return translated


def _translate(error: Exception, doing: str, where: str) -> EntNotifyError:
    if isinstance(error, NoConnection):
        return StoreBusy(
            f"{doing}: no connection to {where} came free in time ({error}); try again, or raise the pool size"
        )
    if isinstance(error, _LOST):
        return StoreUnreachable(
            f"{doing}: the connection to PostgreSQL at {where} failed: {_said(error)}; see that it runs there, or "
            "correct the setting store.dsn"
        )
    state = getattr(error, "sqlstate", None) or ""
    if state in OUR_REFUSALS:
        return OUR_REFUSALS[state](_said(error))
    if state in _GONE or state.startswith("08"):
        return StoreUnreachable(f"{doing}: PostgreSQL at {where} ended the connection: {_said(error)}")
    if state in _REFUSED_AT_THE_DOOR:
        return StoreUnreachable(
            f"{doing}: PostgreSQL at {where} let us not in: {_said(error)}; correct the user, the password or the "
            "database in the setting store.dsn"
        )
    if state in _BUSY or state in CONFLICTS:
        return StoreBusy(f"{doing}: PostgreSQL at {where} is busy: {_said(error)}; try again")
    more = "; ".join(text for text in (getattr(error, "detail", None), getattr(error, "hint", None)) if text)
    return StoreError(f"{doing}: {_said(error)}" + (f" ({more})" if more else ""))


def _said(error: Exception) -> str:
    """The error's own sentence, without the DETAIL and HINT that the driver appends."""
    said = error.args[0] if error.args and isinstance(error, asyncpg.PostgresError) else error
    return str(said).strip() or type(error).__name__
