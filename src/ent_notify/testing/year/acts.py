"""What can happen in a year, as plain values: the script draws them, the driver does them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from ent_notify.model.people import Provider


@dataclass(frozen=True, slots=True)
class Publish:
    """An event (its wire form); ``again``: so many times more under the same key."""

    event: dict[str, object]
    again: int = 0


@dataclass(frozen=True, slots=True)
class RollBack:
    """An event that is published in a transaction that is then rolled back."""

    event: dict[str, object]


@dataclass(frozen=True, slots=True)
class SetTimetable:
    """The whole timetable of a class for some days, ``times`` times over: lessons as (id, subject, from, to)."""

    group: str
    first: date
    last: date
    lessons: tuple[tuple[str, str, datetime, datetime], ...]
    times: int = 1


@dataclass(frozen=True, slots=True)
class Read:
    """Somebody opens their inbox and reads every ``every``-th line of it; 0: all of it."""

    person: str
    every: int


@dataclass(frozen=True, slots=True)
class Sync:
    """A phone of somebody comes back: it asks for everything that it missed."""

    person: str


@dataclass(frozen=True, slots=True)
class OpenTalk:
    """A conversation is opened with some people."""

    talk: str
    author: str
    to: tuple[str, ...]
    body: str


@dataclass(frozen=True, slots=True)
class Say:
    """Somebody writes in a conversation."""

    talk: str
    author: str
    body: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Somebody leaves the directory."""

    person: str


@dataclass(frozen=True, slots=True)
class Return:
    """Somebody who left is there again."""

    person: str


@dataclass(frozen=True, slots=True)
class Join:
    """A new pupil, and a guardian of theirs."""

    pupil: str
    guardian: str
    group: str


@dataclass(frozen=True, slots=True)
class Move:
    """A pupil changes class."""

    person: str
    group: str


@dataclass(frozen=True, slots=True)
class Choose:
    """Somebody switches a category on a channel on or off."""

    person: str
    category: str
    channel: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class NewPhone:
    """A token is bound to somebody; whoever had it has it no more."""

    person: str
    provider: Provider
    token: str


@dataclass(frozen=True, slots=True)
class PhoneDies:
    """An app is taken off a phone: its provider knows, we do not."""

    token: str


@dataclass(frozen=True, slots=True)
class MailboxCloses:
    """An address exists no more: its mail server knows, we do not."""

    person: str


@dataclass(frozen=True, slots=True)
class Erase:
    """Somebody asks to be erased."""

    person: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Two people set a hold on somebody."""

    person: str


@dataclass(frozen=True, slots=True)
class Lift:
    """Two people lift a hold."""

    person: str


@dataclass(frozen=True, slots=True)
class Crash:
    """The worker will end abruptly once a provider has taken the ``after``-th batch from now on."""

    after: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """A provider is ill for some minutes: ``quota`` (429), ``down`` (503) or ``silent``, for one send in ``share``."""

    provider: str
    kind: str
    minutes: int
    share: int


Act = (
    Publish | RollBack | SetTimetable | Read | Sync | OpenTalk | Say | Leave | Return | Join | Move | Choose | NewPhone
    | PhoneDies | MailboxCloses | Erase | Hold | Lift | Crash | Trouble
)  # fmt: skip
