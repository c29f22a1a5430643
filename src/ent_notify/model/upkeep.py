"""What is forgotten once nobody can need it any more."""

from __future__ import annotations

from enum import StrEnum


class Chore(StrEnum):
    """A kind of rows that outlive their use."""

    TICKETS = "tickets"
    """Stream tickets that nobody took in time."""
    SESSIONS = "sessions"
    """Stream sessions that are over."""
    CLIENT_WRITES = "client_writes"
    """Client ids of messages that no device repeats any more."""
    RETRACTIONS = "retractions"
    """What was taken back before any cursor that is still good."""
    LATE_WORDS = "late_words"
    """What workers said of lost leases, where the chunk has been settled since."""
    TURNS = "turns"
    """Turns that every lane has passed: who has nothing waiting starts where the lane is."""
    SENDERS = "senders"
    """Senders whose limit is as if they had never sent."""
    SEEN = "seen"
    """How far somebody had seen the feed, so long ago that no delivery waits for it."""
    HOMEWORK = "homework"
    """Work that was due long ago, and who had done it."""
    REMINDED = "reminded"
    """Evenings whose reminders were computed long ago."""
    REMINDERS = "reminders"
    """What reminders spoke of that are over."""
    LESSONS = "lessons"
    """Lessons that are over."""
    TIMETABLE_DAYS = "timetable_days"
    """What was told of days that are over."""
    LATELY_WRITTEN = "lately_written"
    """To whom somebody wrote more than a day ago: they are new again."""
