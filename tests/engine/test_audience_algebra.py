"""Whatever the expression: who is planned, who reads it, and what set algebra says are the same people."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ent_notify.model.audience import Audience, Everyone, Group, GuardiansOf, Minus, Person, School, Union
from ent_notify.model.events import Announcement
from ent_notify.model.people import Profile

from .conftest import Town, open_town

PROFILES = {
    Profile.PUPIL: {1, 2, 3, 4, 5},
    Profile.GUARDIAN: {11, 12, 13, 14, 15},
    Profile.TEACHER: {21, 22},
    Profile.STAFF: {31},
}
EVERYBODY = set().union(*PROFILES.values())
GUARDIANS = {1: {11, 12}, 2: {13}, 3: {12}, 4: {12}, 5: {11}}
SCHOOLS = {
    "0540001A": {Profile.PUPIL: {1, 2, 3, 4}, Profile.TEACHER: {21}, Profile.STAFF: {31}},
    "0540002B": {Profile.PUPIL: {5}, Profile.TEACHER: {21, 22}, Profile.STAFF: set()},
}
CLASSES = {"0540001A/class/6A": {1, 2, 3, 4}, "0540002B/class/5B": {5}}


def guardians(pupils: set[int]) -> set[int]:
    return set().union(*(GUARDIANS.get(pupil, set()) for pupil in pupils))


def members(audience: Audience) -> set[int]:
    """The model: plain sets."""
    match audience:
        case Everyone(profile):
            return EVERYBODY if profile is None else PROFILES[profile]
        case School(uai, profile):
            parts = SCHOOLS[uai] | {Profile.GUARDIAN: guardians(SCHOOLS[uai][Profile.PUPIL])}
            return set().union(*parts.values()) if profile is None else parts[profile]
        case Group(name):
            return CLASSES[name]
        case Person(name):
            return {int(name[1:])}
        case GuardiansOf(pupils):
            return guardians(members(pupils))
        case Union(parts):
            return set().union(*(members(part) for part in parts))
        case Minus(base, removed):
            return members(base) - members(removed)
    raise AssertionError(audience)


PUPILS = st.one_of(
    st.sampled_from([Group(name) for name in CLASSES]),
    st.sampled_from([School(uai, Profile.PUPIL) for uai in SCHOOLS]),
    st.sampled_from([Person(f"P{number}") for number in GUARDIANS]),
)
TERMS: st.SearchStrategy[Audience] = st.one_of(
    PUPILS,
    st.sampled_from([Person(f"P{number}") for number in sorted(EVERYBODY)]),
    st.builds(School, st.sampled_from(sorted(SCHOOLS)), st.none() | st.sampled_from(list(Profile))),
    st.builds(Everyone, st.none() | st.sampled_from(list(Profile))),
    st.builds(GuardiansOf, PUPILS),
    st.builds(GuardiansOf, st.lists(PUPILS, min_size=1, max_size=3).map(lambda parts: Union(tuple(parts)))),
)
UNIONS = TERMS | st.lists(TERMS, min_size=1, max_size=4).map(lambda parts: Union(tuple(parts)))
EXPRESSIONS = st.recursive(
    UNIONS,
    lambda inner: (
        st.builds(Minus, inner, UNIONS) | st.lists(inner, min_size=1, max_size=3).map(lambda p: Union(tuple(p)))
    ),
    max_leaves=8,
)


@given(expressions=st.lists(EXPRESSIONS, min_size=1, max_size=20))
@settings(max_examples=10, suppress_health_check=list(HealthCheck))
async def test_planned_read_and_addressed_are_the_models_people(town_dsn: str, expressions: list[Audience]) -> None:
    async with open_town(town_dsn) as town:
        await check(town, expressions)


async def check(town: Town, expressions: list[Audience]) -> None:
    prefix = len(await town.engine.ledgers(100_000))
    published = await town.engine.publish_many(
        [
            Announcement(key=f"{prefix}:{number}", title="T", body="B", audience=expression)
            for number, expression in enumerate(expressions)
        ]
    )
    worker = town.engine.worker()
    while await worker.tick():
        pass
    read: dict[int, set[int]] = {answer.notification: set() for answer in published}
    for number in sorted(EVERYBODY | {6}):
        for notification in await town.engine.count_entries([number], list(read)):
            read[notification].add(number)
    ledgers = {ledger.campaign: parts for ledger, parts in await town.engine.ledgers(len(expressions))}
    for answer, expression in zip(published, expressions, strict=True):
        expected = members(expression)
        assert read[answer.notification] == expected, expression
        web = sum(part.planned for part in ledgers[answer.notification] if part.channel == "web")
        assert web == len(expected), expression
    sender = town.engine.worker()
    sender.bounds = sender.bounds.with_daily_cap(1_000_000)  # the examples of a run share one day
    await sender.run_until_idle()
    for ledger, _ in await town.engine.ledgers(len(expressions)):
        assert ledger.adds_up
        assert ledger.pending == 0
        assert ledger.suppressed == {}  # the second look agrees with the first
