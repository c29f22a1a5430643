"""School days: zones, public holidays, "the school day before", and what a host adds."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ent_notify.directory.school_years import calendar_of, known_enough
from ent_notify.errors import MalformedCalendar
from ent_notify.policy.calendar import SchoolCalendar, SchoolZone, own_calendar, zone_of

NANCY, METZ, STRASBOURG, LYON, PARIS = "0541234A", "0571234B", "0671234C", "0691234D", "0751234E"
AJACCIO, REUNION, POINTE_A_PITRE = "6201234F", "9741234G", "9711234H"


@pytest.mark.parametrize(
    ("uai", "zone"),
    [
        (NANCY, SchoolZone.B),
        (STRASBOURG, SchoolZone.B),
        (LYON, SchoolZone.A),
        (PARIS, SchoolZone.C),
        (AJACCIO, SchoolZone.CORSICA),
        (REUNION, SchoolZone.OVERSEAS),
    ],
)
def test_a_school_lies_in_the_zone_of_its_department(uai: str, zone: SchoolZone) -> None:
    assert zone_of(uai) is zone


def test_the_zones_leave_at_different_weeks_in_winter() -> None:
    # winter 2027: zone C first, then B and A, as the ministry's calendar has it
    days = [date(2027, 2, 8), date(2027, 2, 15), date(2027, 2, 22), date(2027, 3, 1)]
    open_weeks = {uai: [calendar_of(uai, 2027).is_school_day(day) for day in days] for uai in (NANCY, LYON, PARIS)}
    assert len({tuple(weeks) for weeks in open_weeks.values()}) == 3
    assert all(weeks.count(False) == 2 for weeks in open_weeks.values())


@pytest.mark.parametrize("uai", [METZ, STRASBOURG])
def test_alsace_and_moselle_have_two_public_holidays_more(uai: str) -> None:
    good_friday, second_christmas_day = date(2026, 4, 3), date(2028, 12, 26)
    assert not calendar_of(uai, 2026).is_school_day(good_friday)
    assert calendar_of(NANCY, 2026).is_school_day(good_friday)
    assert calendar_of(uai, 2028).closed[second_christmas_day]


def test_the_abolition_of_slavery_is_a_holiday_on_its_own_day_on_each_island() -> None:
    assert not calendar_of(REUNION, 2027).is_school_day(date(2027, 12, 20))
    assert not calendar_of(POINTE_A_PITRE, 2027).is_school_day(date(2027, 5, 27))
    assert calendar_of(REUNION, 2027).is_school_day(date(2027, 5, 27))


def test_the_day_before_passes_over_weekends_holidays_and_public_holidays() -> None:
    nancy = calendar_of(NANCY, 2026)
    assert nancy.day_before(date(2026, 9, 14)) == date(2026, 9, 11)  # a Monday
    assert nancy.day_before(date(2026, 11, 2)) == date(2026, 10, 16)  # after the holidays of Toussaint
    assert nancy.next_day(date(2026, 11, 10)) == date(2026, 11, 12)  # over Armistice day
    assert nancy.next_day(date(2026, 7, 3)) == date(2026, 9, 1)


def test_the_present_school_year_is_known_and_an_academy_of_its_own_is_not() -> None:
    today = date(2026, 11, 23)
    assert known_enough(calendar_of(NANCY, 2026), today)
    assert not known_enough(calendar_of(REUNION, 2026), today)
    assert not known_enough(calendar_of(NANCY, 2026), date(2035, 11, 1))


def test_a_host_extends_the_calendar_as_data() -> None:
    own = own_calendar(
        {
            "closed": [{"first": "2026-12-19", "last": "2027-01-24", "name": "Été austral"}, {"first": "2027-02-03"}],
            "opened": ["2026-10-10", "2026-12-19"],
            "weekdays": [1, 2, 4, 5],
            "known_until": "2027-08-31",
        }
    )
    reunion = calendar_of(REUNION, 2026).extended(own)
    assert not reunion.is_school_day(date(2027, 1, 12)) and not reunion.is_school_day(date(2027, 2, 3))
    assert reunion.is_school_day(date(2026, 10, 10)) and reunion.is_school_day(date(2026, 12, 19))
    assert not reunion.is_school_day(date(2026, 9, 9))  # a Wednesday
    assert known_enough(reunion, date(2026, 11, 23))


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ({"close": []}, "close"),
        ({"closed": [{"first": "2026-02-30"}]}, "2026-02-30"),
        ({"closed": [{"first": "2026-12-19", "last": "2026-12-01"}]}, "2026-12-01"),
        ({"closed": [{"first": "2026-01-01", "last": "2027-01-01"}]}, "150"),
        ({"closed": ["2026-12-19"]}, "closure"),
        ({"opened": "2026-12-19"}, "list"),
        ({"opened": [None]}, "list"),
        ({"weekdays": [0]}, "Monday"),
        ({"weekdays": ["1"]}, "Monday"),
        ({"known_until": 2027}, "2027"),
    ],
)
def test_wrong_calendars_are_refused_with_what_is_wrong(data: dict[str, Any], names: str) -> None:
    with pytest.raises(MalformedCalendar, match=names):
        own_calendar(data)


@given(
    closed=st.sets(st.dates(date(2026, 1, 1), date(2027, 12, 31)), max_size=200),
    weekdays=st.frozensets(st.integers(0, 6), min_size=1),
    day=st.dates(date(2026, 1, 1), date(2027, 12, 31)),
)
def test_nothing_lies_between_a_day_and_its_neighbours(closed: set[date], weekdays: frozenset[int], day: date) -> None:
    calendar = SchoolCalendar(closed=dict.fromkeys(closed, "x"), weekdays=weekdays)
    for found, step in ((calendar.next_day(day), 1), (calendar.day_before(day), -1)):
        if calendar.is_school_day(found):
            between = [day + timedelta(days=n * step) for n in range(1, abs((found - day).days))]
            assert not any(calendar.is_school_day(each) for each in between)
        else:  # a calendar that stays closed for months holds nothing back
            assert found == day + timedelta(days=step)
