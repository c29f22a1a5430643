"""Errors as RFC 9457 problems, and what each of our errors becomes.

What is not there and what is not yours get the same bytes: an answer never tells that something exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ent_notify.errors import (
    EntNotifyError,
    MalformedDevice,
    MalformedSync,
    NotAllowed,
    NotFound,
    PublishError,
    RequestRefused,
    StoreError,
)

CONTENT_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong in a request: where (a JSON pointer, or a parameter's name), and what to do."""

    at: str
    detail: str


class Problem(RequestRefused):
    """A refused request with a fault for each wrong field."""

    def __init__(
        self, status: int, title: str, detail: str, *, faults: Sequence[Fault] = (), retry_after: int | None = None
    ) -> None:
        super().__init__(status, title, detail, retry_after)
        self.faults = tuple(faults)

    def body(self) -> dict[str, Any]:
        """The problem's JSON."""
        return problem_body(self, self.faults)


def problem_body(refused: RequestRefused, faults: Sequence[Fault] = ()) -> dict[str, Any]:
    """RFC 9457's members; ``errors`` as its own example of an extension has them."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": refused.title,
        "status": refused.status,
        "detail": str(refused),
    }
    if faults:
        body["errors"] = [{"pointer": fault.at, "detail": fault.detail} for fault in faults]
    return body


def not_found() -> Problem:
    """The one answer for what is not there and for what is not yours."""
    return Problem(404, "Not found", "There is no such thing, or it is not yours.")


def unauthorized() -> Problem:
    """The one answer to a token that is missing, old or wrong; the operator's log says which."""
    return Problem(401, "Not authenticated", "Send a valid bearer token in the Authorization header.")


def malformed(detail: str, faults: Sequence[Fault] = (), *, status: int = 422) -> Problem:
    """A body or a parameter that cannot be taken as it is: 422, or 409 when that depends on what there is."""
    return Problem(status, "Not possible now" if status == 409 else "Malformed request", detail, faults=faults)


def problem_of(error: EntNotifyError) -> RequestRefused:
    """How each kind of our errors is said over HTTP."""
    if isinstance(error, RequestRefused):
        return error
    if isinstance(error, NotFound):
        return not_found()
    if isinstance(error, NotAllowed):
        return Problem(403, "Not allowed", f"{error}.")
    if isinstance(error, (PublishError, MalformedDevice, MalformedSync)):
        return malformed(f"{error}.")
    if isinstance(error, StoreError):
        return Problem(503, "Not ready", "The database does not answer at the moment; try again.", retry_after=5)
    return internal()


def internal() -> Problem:
    """What is our fault."""
    return Problem(500, "Internal error", "This request met a fault of ours.")
