"""The pause: held in the evening and at the week-end, in the reader's own time, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ent_notify.policy.pause import FRENCH_ZONES, PauseHours, held_until

HOURS = PauseHours()


def paris(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Paris")).astimezone(UTC)


@pytest.mark.parametrize(
    ("published", "released"),
    [
        ("2026-09-08T10:00", None),
        ("2026-09-08T19:59", None),
        ("2026-09-08T20:00", "2026-09-09T07:00"),
        ("2026-09-09T06:59", "2026-09-09T07:00"),
        ("2026-09-09T07:00", None),
        ("2026-09-11T20:00", "2026-09-14T07:00"),  # Friday evening: Monday
        ("2026-09-12T12:00", "2026-09-14T07:00"),
        ("2026-09-13T23:59", "2026-09-14T07:00"),
        ("2026-10-24T23:00", "2026-10-26T07:00"),  # the night that lasts an hour longer
        ("2027-03-27T23:00", "2027-03-29T07:00"),  # and the one that lacks an hour
    ],
)
def test_the_default_hours(published: str, released: str | None) -> None:
    assert held_until(paris(published), "Europe/Paris", HOURS) == (None if released is None else paris(released))


def minutes_on(minutes: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)


@given(
    now=st.integers(0, 730 * 24 * 60).map(minutes_on),
    zone=st.sampled_from(FRENCH_ZONES),
    weekend=st.booleans(),
)
def test_what_is_held_is_released_once_at_an_hour_that_is_no_pause(now: datetime, zone: str, weekend: bool) -> None:
    hours = PauseHours(weekend=weekend)
    release = held_until(now, zone, hours)
    if release is not None:
        assert now < release <= now + timedelta(days=3)
        assert held_until(release, zone, hours) is None
        assert release.astimezone(ZoneInfo(zone)).time() == time(7)


def test_readers_overseas_have_their_own_evening() -> None:
    noon_in_paris = paris("2026-09-08T20:30")
    assert held_until(noon_in_paris, "Europe/Paris", HOURS) is not None
    assert held_until(noon_in_paris, "America/Guadeloupe", HOURS) is None
    assert held_until(noon_in_paris, "Indian/Reunion", HOURS) is not None


def test_a_project_may_have_no_pause() -> None:
    assert held_until(paris("2026-09-08T23:00"), "Europe/Paris", PauseHours(enabled=False)) is None
