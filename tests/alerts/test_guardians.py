"""Whose business a pupil is: the rule against what the database does with it, and the proof of equal treatment."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ent_notify.cli import cli
from ent_notify.errors import NotFound
from ent_notify.model.events import AbsenceRecorded, HomeworkAssigned
from ent_notify.model.people import GuardianLink, PersonRecord, Preference, Profile
from ent_notify.policy.guardians import Link, Received, Standing, closure, differences, standing_of

from .conftest import CLASS, Town, go_to, shown

NOW = datetime(2026, 9, 8, 8, 0, tzinfo=UTC)


def absence(pupil: str = "P1") -> AbsenceRecorded:
    return AbsenceRecorded(key=f"absence {pupil}", pupil=pupil, starts_at=NOW)


async def test_the_database_tells_exactly_those_whom_the_rule_names(town: Town) -> None:
    """Every kind of link, each with an account that is there and one that is gone."""
    kinds = [
        Link(level, restricted, left) for level, restricted, left in product((0, 1, 2), (False, True), (False, True))
    ]
    people = [
        PersonRecord(id=f"G{n}", profile=Profile.GUARDIAN, given_name="G", family_name=str(n))
        for n in range(len(kinds))
    ]
    links = tuple(
        GuardianLink(guardian=f"G{n}", legal_level=kind.legal_level, restricted=kind.restricted)
        for n, kind in enumerate(kinds)
    )
    await town.engine.db.script("alter table ent_notify.person alter column id restart with 1000")
    await town.engine.sync(
        [*people, PersonRecord(id="N", profile=Profile.PUPIL, given_name="N", family_name="N", guardians=links)]
    )
    for n, kind in enumerate(kinds):
        if kind.left:
            await town.engine.db.script(f"update ent_notify.person set hidden_at = '{NOW}' where external_id = 'G{n}'")
    published = await town.engine.publish(absence("N"))
    await go_to(town, NOW)
    found = await town.engine.guardians.treatment(published.notification, "N")
    standing = {f"G{n}": standing_of(kind) for n, kind in enumerate(kinds)}
    assert {each.guardian: each.standing for each in found.guardians} == standing
    for n, kind in enumerate(kinds):
        entries = [] if kind.left else await shown(town, f"G{n}")
        assert bool(entries) == (standing_of(kind) is Standing.TOLD)


async def test_both_guardians_are_told_each_for_themselves(town: Town) -> None:
    published = await town.engine.publish(absence())
    await go_to(town, NOW)
    found = await town.engine.guardians.treatment(published.notification, "P1")
    assert found.alike
    assert [(each.guardian, each.legal_level, each.addressed) for each in found.guardians] == [
        ("P11", 1, True),
        ("P12", 2, True),
    ]
    for each in found.guardians:
        mail = next(delivery for delivery in each.deliveries if delivery.channel == "email")
        assert mail.state == "accepted" and mail.at is not None


async def test_a_choice_of_ones_own_is_no_difference_and_who_is_not_told_is_shown_with_the_reason(town: Town) -> None:
    await town.engine.set_preferences([Preference(person="P12", category="absence", channel="email", enabled=False)])
    first = await town.engine.publish(absence("P1"))
    second = await town.engine.publish(absence("P2"))
    third = await town.engine.publish(absence("P3"))
    await go_to(town, NOW)
    found = await town.engine.guardians.treatment(first.notification, "P1")
    assert found.alike
    (mail,) = [each for each in found.guardians[1].deliveries if each.channel == "email"]
    assert (mail.state, mail.reason) == ("not_planned", "opted_out")
    for published, pupil, guardian, standing in (
        (second, "P2", "P14", "restricted"),
        (third, "P3", "P15", "contact_only"),
    ):
        treated = await town.engine.guardians.treatment(published.notification, pupil)
        (one,) = [each for each in treated.guardians if each.guardian == guardian]
        assert (one.standing, one.addressed) == (standing, False) and treated.alike


async def test_who_was_left_out_is_found(town: Town) -> None:
    """A notification whose audience a host chose itself, and forgot one of the two."""
    event = absence().to_json() | {"audience": {"person": "P11"}}
    published = await town.engine.publish(event)
    await go_to(town, NOW)
    found = await town.engine.guardians.treatment(published.notification, "P1")
    assert not found.alike and found.differences == ("P12 was not addressed, P11 was",)


async def test_identities_are_one_human_only_if_somebody_said_so(town: Town) -> None:
    assert await town.engine.guardians.identities("P11") == {"P11"}
    await town.engine.guardians.declare_same("P13", "P11", by="school office")
    await town.engine.guardians.declare_same("P11", "P13", by="school office")
    assert await town.engine.guardians.identities("P13") == {"P11", "P13"}
    children = await town.engine.guardians.children("P13")
    assert [(each.pupil, each.guardian, each.schools) for each in children] == [
        ("P1", "P11", ("0540001A",)),
        ("P2", "P13", ("0540001A",)),
        ("P5", "P11", ("0540002B",)),
    ]
    # nothing is merged: each identity reads what is for it
    await town.engine.publish(HomeworkAssigned(key="h", group=CLASS, subject="x", title="y", due=NOW.date()))
    await go_to(town, NOW)
    reader = await town.engine.reader("P13")
    (entry,) = await town.engine.inbox(reader)
    assert entry.children == ("Bo",)
    assert await town.engine.guardians.withdraw_same("P11", "P13")
    assert not await town.engine.guardians.withdraw_same("P11", "P13")
    assert await town.engine.guardians.identities("P13") == {"P13"}
    for one, other in (("P11", "P11"), ("P11", "nobody")):
        with pytest.raises(NotFound):
            await town.engine.guardians.declare_same(one, other, by="x")
    with pytest.raises(NotFound):
        await town.engine.guardians.treatment(1, "P11")  # no pupil
    with pytest.raises(NotFound):
        await town.engine.guardians.treatment(999, "P1")


def test_the_command_refuses_what_is_not_there(town_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENT_NOTIFY_STORE__DSN", town_dsn)
    result = CliRunner().invoke(cli, ["guardians", "999", "P1"])
    assert isinstance(result.exception, NotFound) and "999" in str(result.exception)


people = st.sampled_from("abcdef")


@given(st.lists(st.tuples(people, people), max_size=8), people)
def test_identities_are_those_that_links_reach(links: list[tuple[str, str]], person: str) -> None:
    found = closure(person, links)
    assert person in found
    for one, other in links:
        assert (one in found) == (other in found)
    assert len(found) <= 1 + len(links)


states = st.sampled_from(
    [
        ("accepted", None),
        ("suppressed", "opted_out"),
        ("not_planned", "no_address"),
        ("held", "pause"),
        ("pending", None),
    ]
)


@given(st.dictionaries(people, st.dictionaries(st.sampled_from(["email", "push"]), states), max_size=4))
def test_what_is_ones_own_or_under_way_is_no_difference(received: dict[str, dict[str, tuple[str, str | None]]]) -> None:
    assert differences({name: Received(True, channels) for name, channels in received.items()}) == []


@given(st.sampled_from(["failed", "suppressed"]), st.sampled_from(["rejected", "daily_cap", "expired"]))
def test_a_reason_of_ours_is_a_difference(state: str, reason: str) -> None:
    got = Received(True, {"email": ("accepted", None)})
    assert differences({"a": got, "b": Received(True, {"email": (state, reason)})})
    assert differences({"a": got, "b": Received(False, {})})
    assert not differences({"a": Received(False, {}), "b": Received(False, {})})  # it was for none of them
