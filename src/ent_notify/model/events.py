"""Typed events: what a host publishes. Each names its category, urgency, channels, life and default audience.

An event on the wire is ``{"type", "key", "audience", "data", "expires_at"?, "urgency"?, "sender"?, "replaces"?}``: the
same JSON whether it comes from ``engine.publish`` or from SQL (``select ent_notify.publish(...)``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from types import UnionType
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from ent_notify.model.audience import Audience
from ent_notify.model.delivery import Channel, Urgency

ALL_CHANNELS = (Channel.WEB, Channel.EMAIL, Channel.PUSH)
LESSON = timedelta(minutes=55)
"""How long a lesson lasts in a collège or lycée when nobody says."""
Items = tuple[Mapping[str, str], ...]
"""A list of at most 100 objects of text: several works, several changes of a day. Values whose name ends in ``_at`` are
instants."""
CLASS_AND_GUARDIANS: Mapping[str, Any] = {"union": [{"group": "$group"}, {"guardians_of": {"group": "$group"}}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events.

    ``key`` is the idempotency key, at most 200 characters: the same key publishes once, for ever. ``audience`` may be
    left out where the event has a natural one (the guardians of the absent pupil). ``replaces`` is the key of the
    version that this one takes the place of: what is unsent of that one never is, on a phone the new alert replaces the
    old one, and the inbox shows the new one alone.
    """

    category: ClassVar[str]
    urgency: ClassVar[Urgency] = Urgency.NORMAL
    channels: ClassVar[tuple[Channel, ...]] = ALL_CHANNELS
    life: ClassVar[timedelta] = timedelta(days=7)
    """How long after publishing it may still be sent; the inbox keeps it longer."""

    natural_audience: ClassVar[Mapping[str, Any] | None] = None
    """For whom it is when nobody says: an audience in JSON in which ``"$group"`` stands for the field ``group``."""

    ends_after: ClassVar[tuple[tuple[str, timedelta], ...]] = ()
    """When it is over, if not at the end of its ``life``: the first of these fields that is given, and so long
    after."""

    key: str
    audience: Audience | None = None
    expires_at: datetime | None = None
    replaces: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The wire form (see the module's docstring)."""
        envelope: dict[str, Any] = {
            "type": type(self).__name__,
            "key": self.key,
            "data": {
                name: _plain(value) for name in data_fields(type(self)) if (value := getattr(self, name)) is not None
            },
        }
        if self.audience is not None:
            envelope["audience"] = self.audience.to_json()
        if self.expires_at is not None:
            envelope["expires_at"] = self.expires_at.isoformat()
        if self.replaces is not None:
            envelope["replaces"] = self.replaces
        return envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeworkAssigned(Event):
    """Work to be done for a day. Default audience: the class and its guardians.

    ``homework`` is how later events name it (the event's key when left out). ``due_at``: the instant, where it is not
    simply the beginning of that day's lessons; no reminder leaves after it.
    """

    category: ClassVar[str] = "homework"

    natural_audience: ClassVar[Mapping[str, Any] | None] = CLASS_AND_GUARDIANS

    group: str
    subject: str
    title: str
    due: date
    due_at: datetime | None = None
    homework: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TestAnnounced(Event):
    """A test on a day: a kind of its own, with its own preference, and reminders that nobody can tick off.

    Its fields are those of HomeworkAssigned, and so are its changes and its withdrawal.
    """

    __test__: ClassVar[bool] = False  # (to pytest, a name that begins so is a test's)
    category: ClassVar[str] = "test"

    natural_audience: ClassVar[Mapping[str, Any] | None] = CLASS_AND_GUARDIANS

    group: str
    subject: str
    title: str
    due: date
    due_at: datetime | None = None
    homework: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeworkChanged(Event):
    """Work or a test is not what it was, or for another day. It says the whole of it anew, and takes the place of what
    was told before; reminders move with it."""

    category: ClassVar[str] = "homework"

    natural_audience: ClassVar[Mapping[str, Any] | None] = CLASS_AND_GUARDIANS

    homework: str
    group: str
    subject: str
    title: str
    due: date
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeworkWithdrawn(Event):
    """Work need not be done, or a test does not take place. No reminder speaks of it any more."""

    category: ClassVar[str] = "homework"

    natural_audience: ClassVar[Mapping[str, Any] | None] = CLASS_AND_GUARDIANS

    homework: str
    group: str
    subject: str
    due: date


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeworkDone(Event):
    """A pupil has done the work (``done`` False: has not, after all). It tells nobody and makes no notification: what
    publishing answers is that of the work, and whether anything was new. Its key is not kept."""

    category: ClassVar[str] = "homework"
    channels: ClassVar[tuple[Channel, ...]] = ()

    homework: str
    pupil: str
    done: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeworkReminder(Event):
    """What a pupil has still to do for a day, in one. Published by the engine itself, to pupil and guardians."""

    category: ClassVar[str] = "reminder"

    count: int
    subjects: str
    due: date
    works: Items
    tomorrow: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TestReminder(Event):
    """A test comes near. Published by the engine itself, to pupil and guardians."""

    __test__: ClassVar[bool] = False
    category: ClassVar[str] = "test"

    count: int
    subjects: str
    due: date
    works: Items
    tomorrow: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReminderWithdrawn(Event):
    """What a reminder becomes when all that it spoke of was withdrawn or moved: in the inbox alone, the change was
    told by itself. Published by the engine."""

    category: ClassVar[str] = "reminder"
    channels: ClassVar[tuple[Channel, ...]] = (Channel.WEB,)

    due: date


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonChanged(Event):
    """A lesson that is cancelled, moved, or elsewhere. It expires when the lesson is over: at ``ends_at``, or LESSON
    after the hour to which it is moved, or after its own."""

    category: ClassVar[str] = "timetable"
    urgency: ClassVar[Urgency] = Urgency.URGENT
    life: ClassVar[timedelta] = timedelta(days=2)

    natural_audience: ClassVar[Mapping[str, Any] | None] = CLASS_AND_GUARDIANS
    ends_after: ClassVar[tuple[tuple[str, timedelta], ...]] = (
        ("ends_at", timedelta()),
        ("moved_to", LESSON),
        ("starts_at", LESSON),
    )

    group: str
    subject: str
    change: str
    starts_at: datetime
    ends_at: datetime | None = None
    moved_to: datetime | None = None
    room: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimetableChanged(Event):
    """What is not as people expect it on one day of a class or group, in one. Published by the engine itself, from a
    timetable: today's and the next school day's changes.

    ``when`` is "today" or "tomorrow" as of publication. ``starts``, ``ends``: when the day begins or ends, if that is
    new; ``free``: no lesson is left; ``restored``: all is as it was, after all. For the keys of ``changes`` see
    ``policy.timetable.change_data``.
    """

    category: ClassVar[str] = "timetable"

    natural_audience: ClassVar[Mapping[str, Any] | None] = CLASS_AND_GUARDIANS

    group: str
    on: date
    changes: Items
    when: str | None = None
    starts: datetime | None = None
    ends: datetime | None = None
    free: bool | None = None
    restored: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimetableNoted(Event):
    """The same of a day further ahead: a line in the inbox, for the digest. It is said aloud on the eve."""

    category: ClassVar[str] = "timetable"
    urgency: ClassVar[Urgency] = Urgency.BULK
    channels: ClassVar[tuple[Channel, ...]] = (Channel.WEB,)
    life: ClassVar[timedelta] = timedelta(days=30)

    natural_audience: ClassVar[Mapping[str, Any] | None] = CLASS_AND_GUARDIANS

    group: str
    on: date
    changes: Items
    when: str | None = None
    starts: datetime | None = None
    ends: datetime | None = None
    free: bool | None = None
    restored: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsenceRecorded(Event):
    """A pupil is absent. Default audience: every legal guardian of that pupil, alike."""

    category: ClassVar[str] = "absence"
    urgency: ClassVar[Urgency] = Urgency.URGENT
    life: ClassVar[timedelta] = timedelta(days=2)
    natural_audience: ClassVar[Mapping[str, Any] | None] = {"guardians_of": {"person": "$pupil"}}

    pupil: str
    starts_at: datetime
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GradePublished(Event):
    """A grade is to be seen; its value stays in the gradebook."""

    category: ClassVar[str] = "grade"
    natural_audience: ClassVar[Mapping[str, Any] | None] = {
        "union": [{"person": "$pupil"}, {"guardians_of": {"person": "$pupil"}}]
    }

    pupil: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement(Event):
    """Information from a school or the project; its audience must be given."""

    category: ClassVar[str] = "announcement"
    urgency: ClassVar[Urgency] = Urgency.BULK

    title: str
    body: str
    sender: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagePosted(Event):
    """A message waits in a conversation. Published by the engine itself when somebody posts."""

    category: ClassVar[str] = "message"

    conversation: int
    subject: str
    sender: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgementDue(Event):
    """Somebody still has to acknowledge or sign something. Published by the engine itself, to those who are missing."""

    category: ClassVar[str] = "acknowledgement"

    title: str
    signature: bool
    conversation: int | None = None
    deadline: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn(Event):
    """What a recalled notification has become for its readers, and the push that takes its place on phones. Only a
    recall publishes it."""

    category: ClassVar[str] = "withdrawn"
    channels: ClassVar[tuple[Channel, ...]] = (Channel.PUSH,)
    life: ClassVar[timedelta] = timedelta(days=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModerationAlert(Event):
    """A case waits in the moderation queue. Published by the engine itself; it says nothing of whom it is about."""

    category: ClassVar[str] = "safety"
    urgency: ClassVar[Urgency] = Urgency.URGENT

    case: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModerationWarning(Event):
    """A moderator warns somebody of what they wrote. Published by the engine itself."""

    category: ClassVar[str] = "safety"

    note: str


BUILT_IN: tuple[type[Event], ...] = (
    HomeworkAssigned,
    TestAnnounced,
    HomeworkChanged,
    HomeworkWithdrawn,
    HomeworkDone,
    HomeworkReminder,
    TestReminder,
    ReminderWithdrawn,
    LessonChanged,
    TimetableChanged,
    TimetableNoted,
    AbsenceRecorded,
    GradePublished,
    Announcement,
    MessagePosted,
    AcknowledgementDue,
    Withdrawn,
    ModerationAlert,
    ModerationWarning,
)

_KINDS = {str: "string", int: "integer", bool: "boolean", date: "date", datetime: "datetime", Items: "items"}


def data_fields(event: type[Event]) -> dict[str, str]:
    """The event's own fields and their kinds: ``{"due": "date", "room": "string?"}`` (``?``: may be left out)."""
    base = {f.name for f in fields(Event)}
    hints = get_type_hints(event)
    return {f.name: _kind(event, f.name, hints[f.name]) for f in fields(event) if f.name not in base}


def _kind(event: type[Event], name: str, hint: Any) -> str:
    optional = get_origin(hint) is UnionType and type(None) in get_args(hint)
    plain = next(arg for arg in get_args(hint) if arg is not type(None)) if optional else hint
    if plain not in _KINDS:
        raise TypeError(
            f"{event.__name__}.{name} is {hint!r}; an event's field is one of "
            f"{', '.join(sorted(_KINDS.values()))}, or that with `| None`"
        )
    return _KINDS[plain] + ("?" if optional else "")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [{name: _plain(each) for name, each in item.items()} for item in value]
    return value.isoformat() if isinstance(value, (date, datetime)) else value
