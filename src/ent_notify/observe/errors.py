"""An exception as a log may show it: classes, codes and places. No message, no note, no local value, no source line.

A message often holds what the code was busy with: an address, a name, a row of the database.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any

_SQLSTATE = re.compile(r"[0-9A-Z]{5}")
_FRAMES = 12
_DEPTH = 4
_GROUP = 8


def describe_error(error: BaseException) -> Mapping[str, Any]:
    """``{"class", "code"?, "at": ["module:line function", ...], "cause"?, "group"?}``, innermost frame last.

    ``code`` is PostgreSQL's SQLSTATE or the system's errno name. Chains and groups are followed for a few steps.
    """
    return _describe(error, _DEPTH)


def _describe(error: BaseException, depth: int) -> dict[str, Any]:
    kind = type(error)
    shown: dict[str, Any] = {"class": f"{kind.__module__}.{kind.__qualname__}"}
    code = _code(error)
    if code is not None:
        shown["code"] = code
    shown["at"] = _places(error.__traceback__)
    if depth > 0:
        before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if before is not None:
            shown["cause"] = _describe(before, depth - 1)
        if isinstance(error, BaseExceptionGroup):
            shown["group"] = [_describe(part, depth - 1) for part in error.exceptions[:_GROUP]]
    return shown


def _code(error: BaseException) -> str | None:
    sqlstate = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str) and _SQLSTATE.fullmatch(sqlstate):
        return sqlstate
    if isinstance(error, OSError) and error.errno is not None:
        return errno.errorcode.get(error.errno)
    return None


def _places(traceback: TracebackType | None) -> list[str]:
    places = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        module = traceback.tb_frame.f_globals.get("__name__", "?")
        places.append(f"{module}:{traceback.tb_lineno} {code.co_qualname}")
        traceback = traceback.tb_next
    return places[-_FRAMES:]
