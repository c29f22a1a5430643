"""Which acknowledgements may be asked for, when they are met, when reminders come, and what a proof says."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ent_notify.errors import MalformedMessage
from ent_notify.model.acknowledgement import Ask, Given, Quorum
from ent_notify.policy.acknowledgement import (
    LONGEST_DEADLINE,
    MOST_REMINDERS,
    SHORTEST_REMINDER,
    check_ask,
    is_met,
    lines,
    next_reminder,
    version_of,
)

NOW = datetime(2026, 9, 8, 8, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
people = st.frozensets(st.integers(1, 6), max_size=4)
spans = st.timedeltas(SHORTEST_REMINDER, timedelta(days=30))
asks = st.builds(
    Ask,
    deadline=st.none() | st.timedeltas(timedelta(minutes=1), timedelta(days=90)).map(lambda t: NOW + t),
    remind_every=spans,
)


@given(people, people)
def test_one_guardian_is_enough_and_all_are_all_who_may_answer(asked: frozenset[int], answered: frozenset[int]) -> None:
    assert is_met(Quorum.ONE_GUARDIAN, asked, answered) is (len(answered) > 0)
    assert is_met(Quorum.ALL_GUARDIANS, asked, answered) is (len(asked) > 0 and all(p in answered for p in asked))
    assert is_met(Quorum.EACH, asked, answered) is is_met(Quorum.ALL_GUARDIANS, asked, answered)


@given(people, people, st.sampled_from(Quorum), st.integers(1, 6))
def test_another_answer_never_unmeets(
    asked: frozenset[int], answered: frozenset[int], quorum: Quorum, more: int
) -> None:
    if is_met(quorum, asked, answered):
        assert is_met(quorum, asked, answered | {more})


@given(asks)
def test_reminders_are_a_period_apart_end_before_the_deadline_and_are_few(ask: Ask) -> None:
    assert ask.remind_every is not None
    reminders = []
    at = next_reminder(ask, NOW, NOW)
    while at is not None:
        reminders.append(at)
        at = next_reminder(ask, NOW, at)
    assert len(reminders) <= MOST_REMINDERS
    assert reminders == [NOW + ask.remind_every * (number + 1) for number in range(len(reminders))]
    if ask.deadline is not None:
        assert all(each < ask.deadline for each in reminders)
    if len(reminders) < MOST_REMINDERS:
        assert ask.deadline is not None
        assert NOW + ask.remind_every * (len(reminders) + 1) >= ask.deadline


@given(asks, st.timedeltas(timedelta(), timedelta(days=60)))
def test_after_a_long_stop_one_reminder_comes_and_not_those_of_the_stop(ask: Ask, stopped: timedelta) -> None:
    at = next_reminder(ask, NOW, NOW + stopped)
    assert at is None or NOW + stopped < at <= NOW + stopped + (ask.remind_every or HOUR)


def test_without_a_period_nobody_is_reminded() -> None:
    assert next_reminder(Ask(), NOW, NOW) is None


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (Ask(deadline=NOW), "deadline"),
        (Ask(deadline=NOW + LONGEST_DEADLINE + HOUR), "deadline"),
        (Ask(remind_every=timedelta(minutes=59)), "once an hour"),
        (Ask(quorum=Quorum.ONE_GUARDIAN), "guardians of a group"),
    ],
)
def test_what_cannot_be_asked_is_refused(ask: Ask, says: str) -> None:
    with pytest.raises(MalformedMessage, match=says):
        check_ask(ask, NOW, guardians=False)


def test_what_can_be_asked_is_not() -> None:
    check_ask(
        Ask(quorum=Quorum.ALL_GUARDIANS, deadline=NOW + HOUR, remind_every=SHORTEST_REMINDER), NOW, guardians=True
    )
    check_ask(Ask(), NOW, guardians=False)


givens = st.lists(
    st.builds(
        Given,
        person=st.text(min_size=1),
        name=st.text(),
        child=st.none() | st.text(min_size=1),
        given_at=st.timedeltas(timedelta(), timedelta(days=365)).map(lambda after: NOW + after),
        version=st.text().map(version_of),
    ),
    max_size=5,
)


@given(givens, st.randoms())
def test_a_proof_does_not_depend_on_the_order_and_says_everything(rows: list[Given], dice: object) -> None:
    mixed = list(rows)
    dice.shuffle(mixed)  # type: ignore[attr-defined]  # hypothesis's Random
    assert sorted(lines(mixed)) == sorted(lines(rows))
    read = list(csv.DictReader(io.StringIO(lines(rows), newline="")))
    assert sorted(row["version"] for row in read) == sorted(each.version for each in rows)
    assert not any(cell[:1] in ("=", "+", "-", "@") for row in read for cell in row.values())


def test_a_version_is_the_sha256_of_the_text() -> None:
    assert version_of("é") == "4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c"
