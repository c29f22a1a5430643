"""Acknowledgements and signatures: what is asked of whom, how it stands, and what proves it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum


class AskKind(IntEnum):
    """What is asked for (stored as smallint)."""

    ACKNOWLEDGEMENT = 1
    """« J'ai pris connaissance »."""
    SIGNATURE = 2
    """The same, said of the very text that was read: whoever signs names its version."""


class Quorum(IntEnum):
    """Who has to say it (stored as smallint)."""

    EACH = 1
    """Everybody who is addressed, for themselves."""
    ONE_GUARDIAN = 2
    """Of each child whose guardians are addressed, one guardian with authority."""
    ALL_GUARDIANS = 3
    """Of each child whose guardians are addressed, all guardians with authority."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for acknowledgements. ``remind_every``: how long after it was asked, and after each reminder, those who
    are missing are reminded; never after the ``deadline``."""

    kind: AskKind = AskKind.ACKNOWLEDGEMENT
    quorum: Quorum = Quorum.EACH
    deadline: datetime | None = None
    remind_every: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Matter:
    """What is acknowledged: a message of a conversation, or a notification. Make one by its class methods."""

    conversation: int | None = None
    seq: int | None = None
    notification: int | None = None

    @classmethod
    def message(cls, conversation: int, seq: int) -> Matter:
        """A message."""
        return cls(conversation=conversation, seq=seq)

    @classmethod
    def published(cls, notification: int) -> Matter:
        """A notification."""
        return cls(notification=notification)

    def __str__(self) -> str:
        if self.notification is not None:
            return f"notification {self.notification}"
        return f"message {self.seq} of conversation {self.conversation}"


@dataclass(frozen=True, slots=True)
class Slot:
    """One thing that a reader is asked for: for themselves (``child`` None), or for a child (an external id)."""

    child: str | None
    child_name: str | None
    given_at: datetime | None
    """When this reader gave it for the present text."""
    met: bool
    """Whether it waits for nobody any more: another guardian may have given it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a reader is asked for. ``version`` is the SHA-256 of the present text, in hexadecimal; None: it was taken
    back. ``changed``: the reader gave it for an earlier text."""

    kind: AskKind
    quorum: Quorum
    asked_at: datetime
    deadline: datetime | None
    version: str | None
    changed: bool
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a request stands: numbers, and no names. People are counted with quorum EACH, else children."""

    asked: int
    met: int
    unreachable: int
    """Children without any guardian who may answer for them: counted in ``asked``, and never met."""
    outdated: int
    """People who have acknowledged an earlier text only."""
    late: int
    """People who acknowledged the present text after the deadline."""

    @property
    def missing(self) -> int:
        """How many are still waited for."""
        return self.asked - self.met


@dataclass(frozen=True, slots=True)
class Answerer:
    """Somebody who is asked, with their name, for who may see names. ``child``: for whom (external id)."""

    person: str
    name: str
    child: str | None
    child_name: str | None
    given_at: datetime | None
    """When they gave it for the present text."""
    met: bool


@dataclass(frozen=True, slots=True)
class Given:
    """A line of a proof: who (external id) said it, for which child, when, and of which text."""

    person: str
    name: str
    child: str | None
    given_at: datetime
    version: str


@dataclass(frozen=True, slots=True)
class Proof:
    """Everything that was given, also of earlier texts. ``texts``: those that are known, by version. ``digest``: the
    SHA-256 of the lines as ``policy.acknowledgement.lines`` writes them, so that a changed copy is seen."""

    matter: str
    kind: AskKind
    quorum: Quorum
    asked_at: datetime
    deadline: datetime | None
    version: str | None
    texts: dict[str, str]
    standing: Standing
    given: tuple[Given, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class ReadingChoice:
    """What senders of a school, or of the project, see. None: as the project says, or by default (no, and yes)."""

    track: bool | None = None
    """Whether senders see who has read."""
    names: bool | None = None
    """Whether who asks for acknowledgements sees who has given them; else numbers alone."""
