"""How long what is kept: the figures, with their law and their bounds, and the instants that they make of a day.

Ages are compared as instants, never as numbers of an unknown unit; calendar figures (school years, months) are counted
in the project's time zone. An item goes when it is older than its cutoff: one that is exactly as old stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from zoneinfo import ZoneInfo

from ent_notify.model.retention import Kept, Law

CNIL_LOGS = Law(
    "access logs are kept for 6 to 12 months, 3 years where that is justified",
    "CNIL, délibération 2021-122",
    "2021-10-14",
)
ENT_ORDER = Law(
    "an account's data is deleted within 3 months of the end of the right to it (arrêté of 30 November 2006, art. 6)",
    "Arrêté du 30 novembre 2006, art. 6",
    "2006-11-30",
)
STORAGE_LIMIT = Law(
    "no longer than is necessary for the purpose (GDPR 5.1.e)",
    "Règlement (UE) 2016/679, art. 5.1.e",
    "2016-04-27",
)
CIVIL_LIMITATION = Law(
    "a personal action may be brought for five years (Code civil, art. 2224)",
    "Code civil, art. 2224",
    "2008-06-17",
)

LAWS: Mapping[Kept, Law] = MappingProxyType(
    {
        Kept.DELIVERY: STORAGE_LIMIT,
        Kept.INBOX: STORAGE_LIMIT,
        Kept.MESSAGES: STORAGE_LIMIT,
        Kept.DRAFTS: STORAGE_LIMIT,
        Kept.LEAVERS: ENT_ORDER,
        Kept.AUDIT: CNIL_LOGS,
        Kept.PROOFS: CIVIL_LIMITATION,
    }
)

SCHOOL_YEAR_STARTS = (9, 1)
"""Month and day: Code de l'éducation L. 521-1 leaves the day to each year's calendar; 1 September is never later."""
HELD_WHILE_ASKED = timedelta(days=7)
"""How long a hold that nobody has confirmed yet holds already."""
HOLD_REVIEW = timedelta(days=182)
"""A hold is looked at again every six months."""
ANSWER_WITHIN = timedelta(days=7)
"""What we promise for a request; the law gives a month (GDPR 12.3)."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How long each class is kept. Days, but for ``messages_years``: school years before the current one."""

    delivery_days: int = 30
    inbox_days: int = 90
    messages_years: int = 1
    drafts_days: int = 365
    leavers_days: int = 75
    audit_days: int = 365
    proofs_days: int = 1826


def school_year_start(now: datetime, zone: str, years_before: int = 0) -> datetime:
    """The first instant of the school year that ``now`` lies in, or of one before it, as it is in ``zone``."""
    local = now.astimezone(ZoneInfo(zone))
    year = local.year if (local.month, local.day) >= SCHOOL_YEAR_STARTS else local.year - 1
    start = datetime(year - years_before, *SCHOOL_YEAR_STARTS, tzinfo=ZoneInfo(zone))
    return start.astimezone(now.tzinfo)


def cutoff(kept: Kept, figures: Figures, now: datetime, zone: str) -> datetime:
    """What is older than this goes. ``now`` is aware; a day is 24 hours."""
    if now.tzinfo is None:
        raise ValueError(f"now is an aware instant, not {now.isoformat()}")
    if kept is Kept.MESSAGES:
        return school_year_start(now, zone, figures.messages_years)
    days = {
        Kept.DELIVERY: figures.delivery_days,
        Kept.INBOX: figures.inbox_days,
        Kept.DRAFTS: figures.drafts_days,
        Kept.LEAVERS: figures.leavers_days,
        Kept.AUDIT: figures.audit_days,
        Kept.PROOFS: figures.proofs_days,
    }
    return now - timedelta(days=days[kept])


def in_words(kept: Kept, figures: Figures) -> str:
    """A figure with its reason, as a plan and the record of processing say it."""
    if kept is Kept.MESSAGES:
        before = figures.messages_years
        span = "the current school year" + (f" and {before} before it" if before else "")
    else:
        span = f"{(_EPOCH - cutoff(kept, figures, _EPOCH, 'UTC')).days} days"
    return f"kept for {span}: {LAWS[kept].text}"


_EPOCH = datetime.fromisoformat("2026-09-01T00:00:00+00:00")
