"""What somebody looks for among their messages, and what is found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

ALWAYS = datetime.min.replace(tzinfo=UTC)
NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of what was found ends: the last message on it. The next one begins below, whatever is written
    meanwhile."""

    posted_at: datetime
    conversation: int
    seq: int


NEWEST = Place(NEVER, 2**62, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is looked for; what is left out is not asked.

    ``words``: every one of them by its beginning or its stem, without case and accents. ``author`` and ``child`` are
    external ids; a child's conversations are those about it, and those that reach the reader as its guardian.
    ``since`` (from then on) and ``until`` (before then) are when a message was posted. ``label`` is the reader's own.
    """

    words: str = ""
    author: str | None = None
    child: str | None = None
    label: str | None = None
    since: datetime = ALWAYS
    until: datetime = NEVER


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that was found. ``excerpt``: where the first word of the question stands in it."""

    conversation: int
    seq: int
    subject: str
    author: str
    author_name: str
    excerpt: str
    posted_at: datetime
    edited_at: datetime | None


@dataclass(frozen=True, slots=True)
class Found:
    """A page of what was found, newest first; ``next`` is None when it is the last."""

    hits: tuple[Hit, ...]
    next: Place | None
