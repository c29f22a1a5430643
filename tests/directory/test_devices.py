"""Devices: one token, one person; a shared tablet follows whoever signed in last."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
from pydantic import SecretStr

from ent_notify.directory import sync
from ent_notify.engine import open_engine
from ent_notify.errors import MalformedDevice, NotFound
from ent_notify.model.people import DeviceRegistration, PersonRecord, Preference, Profile, Provider, Removal
from ent_notify.model.webpush import read_subscription
from ent_notify.settings import Settings, StoreSettings
from ent_notify.store import Database
from ent_notify.store.devices import DeviceCounts, PostgresDevices
from ent_notify.store.directory import PostgresDirectory
from ent_notify.store.sql import Query
from ent_notify.testing.devices import generate_devices, generate_preferences

NOW = datetime(2026, 9, 1, 6, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
PEOPLE = [PersonRecord(id=i, profile=Profile.GUARDIAN, given_name=i, family_name="Val") for i in ("A", "B", "C")]
APP = "example.ent.mobile"


def ask(sql: str, *parameters: str) -> Query:
    """A query of a test's own."""
    return Query("test.query", "", sql, parameters)


@pytest.fixture
async def devices(database: Database) -> PostgresDevices:
    await sync(PostgresDirectory(database), PEOPLE, source="host", complete=False, now=NOW)
    return PostgresDevices(database)


async def bindings(database: Database) -> list[tuple[Any, ...]]:
    rows = await database.fetch(
        ask(
            "select p.external_id, d.provider, d.token, d.registered_at, d.dropped_at, d.drop_reason "
            "from device d join person p on p.id = d.person_id order by d.id"
        )
    )
    return [tuple(row.values()) for row in rows]


def device(person: str, token: str, provider: Provider = Provider.FCM) -> DeviceRegistration:
    return DeviceRegistration(person=person, provider=provider, app=APP, token=token, language="fr")


async def test_a_shared_tablet_is_taken_over(database: Database, devices: PostgresDevices) -> None:
    first = await devices.register_device("A", Provider.APNS, APP, "tablet", "fr", NOW)
    second = await devices.register_device("B", Provider.APNS, APP, "tablet", None, LATER)
    assert first != second
    assert await bindings(database) == [
        ("A", "apns", "tablet", NOW, LATER, "taken over"),
        ("B", "apns", "tablet", LATER, None, None),
    ]


async def test_registering_again_refreshes_the_binding(database: Database, devices: PostgresDevices) -> None:
    first = await devices.register_device("A", Provider.FCM, APP, "phone", "fr", NOW)
    assert await devices.register_device("A", Provider.FCM, "example.other", "phone", "en", LATER) == first
    [row] = await database.fetch(ask("select app, language, registered_at from device"))
    assert tuple(row.values()) == ("example.other", "en", LATER)


async def test_the_same_token_of_two_providers_is_two_devices(database: Database, devices: PostgresDevices) -> None:
    await devices.register_device("A", Provider.FCM, APP, "token", "fr", NOW)
    await devices.register_device("B", Provider.APNS, APP, "token", "fr", NOW)
    assert [row[4] for row in await bindings(database)] == [None, None]


async def test_a_late_sign_out_does_not_cut_the_next_person_off(database: Database, devices: PostgresDevices) -> None:
    await devices.register_device("A", Provider.APNS, APP, "tablet", "fr", NOW)
    await devices.register_device("B", Provider.APNS, APP, "tablet", "fr", NOW)
    assert not await devices.drop_device("A", Provider.APNS, "tablet", LATER)
    assert (await bindings(database))[1][4] is None
    assert await devices.drop_device("B", Provider.APNS, "tablet", LATER)
    assert (await bindings(database))[1][4:] == (LATER, "signed out")
    assert not await devices.drop_device("B", Provider.APNS, "tablet", LATER)


async def test_nobody_who_is_not_there_gets_a_device(database: Database, devices: PostgresDevices) -> None:
    with pytest.raises(NotFound, match="'Z'"):
        await devices.register_device("Z", Provider.FCM, APP, "phone", "fr", NOW)
    removed = [Removal(id="A")]
    store = PostgresDirectory(database)
    await sync(store, removed, source="host", complete=False, now=NOW, allowed_removals=1)
    with pytest.raises(NotFound):
        await devices.register_device("A", Provider.FCM, APP, "phone", "fr", NOW)


async def test_many_at_once_leave_one_holder(database: Database, devices: PostgresDevices) -> None:
    async with trio.open_nursery() as nursery:
        for person in "ABCABCABC":
            nursery.start_soon(devices.register_device, person, Provider.APNS, APP, "tablet", "fr", NOW)
    held = [row for row in await bindings(database) if row[4] is None]
    assert len(held) == 1


async def test_a_bulk_registration_takes_over_and_takes_the_last_of_a_token(
    database: Database, devices: PostgresDevices
) -> None:
    await devices.register_device("A", Provider.FCM, APP, "t1", "fr", NOW)
    await devices.register_device("A", Provider.FCM, APP, "t2", "fr", NOW)
    records = [device("B", "t1"), device("A", "t2"), device("A", "t3"), device("C", "t3"), device("Z", "t4")]
    assert await devices.register_devices(records, LATER) == DeviceCounts(
        added=2, refreshed=1, taken_over=1, unknown_people=1
    )
    assert [(row[0], row[2]) for row in await bindings(database) if row[4] is None] == [
        ("A", "t2"),
        ("B", "t1"),
        ("C", "t3"),
    ]
    again = await devices.register_devices(records, LATER)
    assert again == DeviceCounts(added=0, refreshed=3, taken_over=0, unknown_people=1)


async def test_the_last_choice_of_a_preference_counts(database: Database, devices: PostgresDevices) -> None:
    off = Preference(person="A", category="homework", channel="email", enabled=False)
    on = Preference(person="A", category="homework", channel="email", enabled=True)
    assert await devices.set_preferences([on, off]) == 1
    assert await devices.set_preferences([off]) == 0
    assert await devices.set_preferences([on, Preference(person="Z", category="x", channel="y", enabled=False)]) == 1
    rows = await database.fetch(ask("select category, channel, enabled from preference"))
    assert [tuple(row.values()) for row in rows] == [("homework", "email", True)]


def test_generated_devices_have_the_real_form_and_do_not_depend_on_order() -> None:
    people = [(f"P{number}", Profile.PUPIL) for number in range(4_000)]
    made = list(generate_devices(people, seed=1))
    owners = {device.person for device in made}
    assert 0.46 < len(owners) / len(people) < 0.54
    assert len({device.token for device in made}) == len(made)
    for device in made:
        if device.provider is Provider.APNS:
            assert len(bytes.fromhex(device.token)) == 32
        else:
            assert len(device.token) == 163
            assert device.token[22:30] == ":APA91b" + device.token[29]
    key = lambda device: (device.person, device.token)  # noqa: E731
    assert sorted(generate_devices(people[::-1], seed=1), key=key) == sorted(made, key=key)
    # browsers come beside the phones, and change none of them
    more = list(generate_devices(people, seed=1, webpush="https://localhost:1"))
    browsers = [device for device in more if device.provider is Provider.WEBPUSH]
    assert [device for device in more if device.provider is not Provider.WEBPUSH] == made
    assert browsers
    assert {device.token for device in browsers} == {read_subscription(device.token).token for device in browsers}
    assert {device.token for device in generate_devices(people, seed=2)}.isdisjoint(device.token for device in made)


def test_generated_preferences_are_sparse_opt_outs() -> None:
    people = [(f"P{number}", Profile.GUARDIAN) for number in range(4_000)]
    made = list(generate_preferences(people, seed=1))
    assert 0.06 < len({choice.person for choice in made}) / len(people) < 0.10
    assert not any(choice.enabled for choice in made)


@pytest.mark.parametrize("token", ["", "a\0b", "half \ud83d"])
async def test_a_token_that_no_database_keeps_is_refused_in_words(dsn: str, token: str) -> None:
    """Before anything is written, alone or among many."""
    good = device("P1", "token")
    async with open_engine(Settings(store=StoreSettings(dsn=SecretStr(dsn)))) as engine:
        with pytest.raises(MalformedDevice, match=r"NUL or half a character; register what the provider gave"):
            await engine.register_device("P1", Provider.FCM, "fr.ent", token)
        with pytest.raises(MalformedDevice):
            await engine.register_devices([good, replace(good, token=token)])
        assert await bindings(engine.db) == []
        assert not await engine.drop_device("P1", Provider.FCM, token)
