"""Acknowledgements: which may be asked for, when they are met, who is reminded when, and what a proof says."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta

from ent_notify.errors import MalformedMessage
from ent_notify.model.acknowledgement import Ask, Given, Quorum

SHORTEST_REMINDER = timedelta(hours=1)
MOST_REMINDERS = 10
"""Reminders of one request: whoever has not answered by then is asked in another way."""
LONGEST_DEADLINE = timedelta(days=400)
"""A school year, and some more."""
_COLUMNS = ("person", "name", "child", "given_at", "version")


def check_ask(ask: Ask, now: datetime, *, guardians: bool) -> None:
    """Raises MalformedMessage unless ``ask`` can be asked. ``guardians``: whether guardians of groups or pupils are
    addressed as such."""
    if ask.deadline is not None and not now < ask.deadline <= now + LONGEST_DEADLINE:
        raise MalformedMessage(
            f"the deadline {ask.deadline.isoformat()} is not within {LONGEST_DEADLINE.days} days from now; give another"
        )
    if ask.remind_every is not None and ask.remind_every < SHORTEST_REMINDER:
        raise MalformedMessage(f"reminders come at most once an hour, not every {ask.remind_every}; remind less often")
    if ask.quorum is not Quorum.EACH and not guardians:
        raise MalformedMessage(
            "a quorum of guardians is asked for each child: address the guardians of a group, or of a pupil"
        )


def next_reminder(ask: Ask, asked_at: datetime, now: datetime) -> datetime | None:
    """When those who are missing are reminded next, after ``now``; None: never any more. The first reminder comes one
    period after it was asked, the others a period apart, however late the one before was."""
    if ask.remind_every is None:
        return None
    number = max((now - asked_at) // ask.remind_every, 0) + 1
    at = asked_at + number * ask.remind_every
    if number > MOST_REMINDERS or (ask.deadline is not None and at >= ask.deadline):
        return None
    return at


def is_met(quorum: Quorum, asked: Collection[int], given: Collection[int]) -> bool:
    """Whether one child (or one person, for themselves) is waited for no more: ``asked`` are those who may answer now,
    ``given`` those who have. One guardian who answered while they might is enough for ONE_GUARDIAN, also after their
    right has ended."""
    if quorum is Quorum.ONE_GUARDIAN:
        return bool(given)
    return bool(asked) and set(asked) <= set(given)


def lines(given: Iterable[Given]) -> str:
    """What was given as CSV (RFC 4180), in the order of time; instants are UTC, to the microsecond."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for each in sorted(given, key=lambda g: (g.given_at, g.person, g.child or "")):
        at = each.given_at.astimezone(UTC).isoformat(timespec="microseconds")
        writer.writerow((_safe(each.person), _safe(each.name), _safe(each.child or ""), at, each.version))
    return text.getvalue()


def version_of(text: str) -> str:
    """The version of a text: its SHA-256 in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def _safe(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula (OWASP, CSV injection)."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
