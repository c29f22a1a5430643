"""The year in data: its holidays, how often what happens, and what the engine is told of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

from pydantic import SecretStr

from ent_notify.settings import RateSettings, RetentionSettings, Settings, StoreSettings, WorkerSettings

APP = "ent-mobile"
DAY = timedelta(days=1)
FIRST_DAY = date(2026, 9, 1)
LAST_DAY = date(2027, 7, 2)

CLOSED: tuple[tuple[date, date], ...] = (
    (date(2026, 10, 17), date(2026, 11, 1)),
    (date(2026, 11, 11), date(2026, 11, 11)),
    (date(2026, 12, 19), date(2027, 1, 3)),
    (date(2027, 2, 20), date(2027, 3, 7)),
    (date(2027, 3, 29), date(2027, 3, 29)),
    (date(2027, 4, 17), date(2027, 5, 2)),
    (date(2027, 5, 6), date(2027, 5, 8)),
    (date(2027, 5, 17), date(2027, 5, 17)),
    (date(2027, 7, 3), date(2027, 8, 31)),
)
"""Days without school, both ends included: zone B, arrêté of the school calendar 2026-2027, and public holidays. Here
by hand, and not from the libraries that the engine asks: who checks must not ask whom they check."""
GOOD_FRIDAY = date(2027, 3, 26)
"""A holiday in Alsace and Moselle alone (Code du travail, L3134-13)."""
FAR_ZONE = "Indian/Reunion"
"""The time zone of every second school: whoever lives there has another night."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How often something happens. Shares are of one day; a class and a person count on school days alone."""

    homework: float = 0.5
    """Of a class: homework is set."""
    homework_changes: float = 0.15
    """Of a class: homework that is not due yet is moved to another day."""
    homework_withdrawals: float = 0.08
    homework_done: float = 0.4
    """Of a pupil and a piece of work: it is ticked off."""
    timetable: float = 0.12
    """Of a class: a lesson of the next school day is cancelled, by many imports of the same file."""
    timetable_back: float = 0.3
    """Of such a change: it is taken back, before or after it was told."""
    absences: float = 0.03
    grades: float = 0.06
    announcements: float = 0.25
    """Of a school, on a day."""
    talks: float = 0.3
    """Of a class: a teacher opens a conversation with some guardians."""
    replies: float = 0.5
    """Of a conversation of the last days: somebody answers."""
    reading: float = 0.3
    """Of a person: they open their inbox, and read some of it."""
    syncing: float = 0.25
    """Of a person: a phone comes back after hours or days offline."""
    new_phones: float = 0.004
    dead_phones: float = 0.003
    dead_mailboxes: float = 0.001
    preferences: float = 0.005
    leavers: float = 0.002
    returns: float = 0.03
    """Of somebody who has left: they come back."""
    joiners: float = 0.25
    """Of a school, on a day: a pupil arrives, with a guardian."""
    moves: float = 0.002
    """Of a pupil: another class."""
    erasures: float = 0.04
    """On a day: somebody asks to be erased."""
    holds: float = 0.04
    """On a day: two people set a hold on somebody, for some weeks."""
    crashes: float = 0.5
    """On a day: a worker ends abruptly between a provider's word and its own note of it."""
    troubles: float = 0.5
    """On a day: one provider is ill for a while."""
    rollbacks: float = 0.5
    """On a day: a host's transaction that published is rolled back."""


@dataclass(frozen=True, slots=True)
class YearOptions:
    """A year: so many people, so many days from ``first`` on, all that happens drawn from ``seed``."""

    people: int = 2000
    days: int = 300
    seed: int = 7
    first: date = FIRST_DAY
    rates: Rates = field(default_factory=Rates)
    closely: int = 60
    """People whose whole inbox is compared each day, in turn; the others by counts."""


EMAIL_PER_SECOND = 200.0
APNS_PER_SECOND = 100.0
FCM_PER_SECOND = 150.0
INBOX_DAYS = 90
LEAVERS_DAYS = 75
MOST_ATTEMPTS = 8
"""Tries of one delivery that a provider answered badly; a crash may add one to them."""


def engine_settings(dsn: str) -> Settings:
    """The engine's settings for the year: as they come, but for rates low enough to be felt, and one sender a lane, so
    that the same seed makes the same year."""
    return Settings(
        store=StoreSettings(dsn=SecretStr(dsn)),
        worker=WorkerSettings(name="year", lanes=1, checkpoint_every=50, max_attempts=MOST_ATTEMPTS),
        rates=RateSettings(
            email_per_second=EMAIL_PER_SECOND,
            apns_per_second=APNS_PER_SECOND,
            fcm_per_second=FCM_PER_SECOND,
            notifications_per_day=500,
        ),
        retention=RetentionSettings(inbox_days=INBOX_DAYS, leavers_days=LEAVERS_DAYS, largest_share=1.0),
    )


def is_school_day(day: date, uai: str) -> bool:
    """Whether there is school."""
    if day == GOOD_FRIDAY and uai[:3] in ("057", "067", "068"):
        return False
    return day.weekday() < 5 and not any(first <= day <= last for first, last in CLOSED)


def next_school_day(day: date, uai: str) -> date:
    """The first school day after ``day``."""
    found = day + DAY
    while not is_school_day(found, uai):
        found += DAY
    return found


def evening_before(due: date, uai: str) -> date:
    """The day on whose evening pupils are reminded of what is due: the school day before, or the eve when that lies
    more than five days back (docs/alerts.md)."""
    found = due - DAY
    while not is_school_day(found, uai):
        found -= DAY
    return found if (due - found).days <= 5 else due - DAY
