"""The pause (droit à la déconnexion): hours in which updates are held, never lost.

Default of the circular of 10 July 2025: 20:00 to 07:00, and from Friday 20:00 to Monday 07:00, in the reader's own
time zone. Urgent notifications do not ask this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

FRENCH_ZONES = (
    "Europe/Paris",
    "America/Guadeloupe",
    "America/Martinique",
    "America/Cayenne",
    "America/Miquelon",
    "America/St_Barthelemy",
    "America/Marigot",
    "Indian/Reunion",
    "Indian/Mayotte",
    "Pacific/Noumea",
    "Pacific/Tahiti",
    "Pacific/Wallis",
)
"""Time zones of French schools (IANA names)."""

_SATURDAY = 5


@dataclass(frozen=True, slots=True)
class PauseHours:
    """Nightly pause from ``start`` to ``end`` local time, and whether the whole week-end belongs to it."""

    start: time = time(20, 0)
    end: time = time(7, 0)
    weekend: bool = True
    enabled: bool = True


def held_until(now: datetime, zone: str, hours: PauseHours) -> datetime | None:
    """When what is published at ``now`` may go out to a reader in ``zone``; None: at once.

    A local end that does not exist (spring) is taken after the gap, one that exists twice (autumn) the first time.
    """
    if not hours.enabled:
        return None
    tz = ZoneInfo(zone)
    local = now.astimezone(tz)
    if not _in_pause(local, hours):
        return None
    day = local.date()
    for ahead in range(4):
        release = datetime.combine(day + timedelta(days=ahead), hours.end, tz).astimezone(UTC)
        if release > now and not _in_pause(release.astimezone(tz), hours):
            return release
    raise AssertionError(f"no release within four days of {now.isoformat()} in {zone}: {hours}")


def _in_pause(local: datetime, hours: PauseHours) -> bool:
    if hours.weekend and local.weekday() >= _SATURDAY:
        return True
    clock = local.time()
    if hours.start > hours.end:
        return clock >= hours.start or clock < hours.end
    return hours.start <= clock < hours.end
