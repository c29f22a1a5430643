"""The figures as instants: units, zones, the school year, and what is exactly as old."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ent_notify.model.retention import Kept
from ent_notify.policy.retention import Figures, cutoff, in_words, school_year_start
from ent_notify.settings import RetentionSettings

INSTANTS = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - Hypothesis adds the zone
ZONES = st.sampled_from(
    ["Europe/Paris", "Indian/Reunion", "America/Guadeloupe", "Pacific/Noumea", "Pacific/Tahiti", "UTC"]
)


@given(INSTANTS, ZONES, st.integers(0, 2))
def test_a_school_year_starts_on_the_first_of_september_where_the_school_is(
    now: datetime, zone: str, before: int
) -> None:
    start = school_year_start(now, zone, before)
    local = start.astimezone(ZoneInfo(zone))
    assert (local.month, local.day, local.hour, local.minute) == (9, 1, 0, 0)
    assert start <= now
    years = {local.year + before, local.year + before + 1}
    assert now.astimezone(ZoneInfo(zone)).year in years
    assert now < school_year_start(start + timedelta(days=400), zone) or before > 0


def test_the_last_second_of_august_and_the_first_of_september_are_a_year_apart() -> None:
    midnight = datetime(2026, 8, 31, 22, 0, tzinfo=UTC)  # in Paris
    assert school_year_start(midnight, "Europe/Paris") == midnight
    assert school_year_start(midnight - timedelta(seconds=1), "Europe/Paris") == datetime(
        2025, 8, 31, 22, 0, tzinfo=UTC
    )
    assert cutoff(Kept.MESSAGES, Figures(), midnight, "Europe/Paris") == datetime(2025, 8, 31, 22, 0, tzinfo=UTC)
    assert school_year_start(midnight, "Pacific/Tahiti") == datetime(2025, 9, 1, 10, 0, tzinfo=UTC)


@given(INSTANTS, ZONES, st.sampled_from(list(Kept)), st.integers(-12, 14))
def test_a_cutoff_is_an_instant_whatever_zone_now_is_told_in(now: datetime, zone: str, kept: Kept, hours: int) -> None:
    told = now.astimezone(timezone(timedelta(hours=hours)))
    assert cutoff(kept, Figures(), told, zone) == cutoff(kept, Figures(), now, zone) <= now


@given(INSTANTS, st.integers(1, 2000))
def test_days_are_days(now: datetime, days: int) -> None:
    for kept in set(Kept) - {Kept.MESSAGES}:
        figures = Figures(**{f"{kept.value}_days": days})
        assert (now - cutoff(kept, figures, now, "Europe/Paris")).total_seconds() == days * 86_400
        assert f"kept for {days} days" in in_words(kept, figures)


def test_a_naive_now_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        cutoff(Kept.INBOX, Figures(), datetime(2026, 9, 1), "Europe/Paris")  # noqa: DTZ001 - that is what is refused


@pytest.mark.parametrize(
    "wrong",
    [{"inbox_days": 29}, {"delivery_days": 91}, {"leavers_days": 86}, {"audit_days": 100}, {"messages_years": 3},
     {"leavers_days": 80, "leavers_alarm_days": 80}, {"largest_share": 0}],
)  # fmt: skip
def test_a_figure_out_of_its_bounds_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        RetentionSettings(**wrong)  # type: ignore[arg-type]
