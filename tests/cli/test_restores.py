"""A restored backup serves nobody before the ledger of erasures is replayed: from a dump, and in place."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import trio

from ent_notify.engine import Engine, open_engine
from ent_notify.errors import StoreRestored
from ent_notify.model.rights import Asked
from ent_notify.settings import settings_from
from ent_notify.store.embedded import EmbeddedServer, parse_address
from ent_notify.store.sql import Query
from ent_notify.testing.postgres import restore

from .conftest import TOWN, Command

OFFICER = Asked("DPO", "officer", "letter")
ERASED = ("P11", "P2")


def on(dsn: str, act: Callable[[Engine], Awaitable[None]], **retention: str) -> None:
    """Do something on an engine of its own; a new database gets its schema and the town."""

    async def work() -> None:
        settings = settings_from({"store": {"dsn": dsn}, "retention": retention})
        async with open_engine(settings, apply_migrations=True) as engine:
            await act(engine)

    trio.run(work)


async def people(engine: Engine) -> int:
    return int(await engine.db.fetchval(Query("test.people", "", "select count(*) from person", ())))


async def erase_both(engine: Engine) -> None:
    """One was on hold before (the backup has that hold), and it was lifted."""
    for hold in await engine.holds.standing():
        await engine.holds.ask_lift(hold.id, "Noa")
        await engine.holds.lift(hold.id, "Lou")
    for person in ERASED:
        done = await engine.data_rights.erase(person, OFFICER)
        assert done.state == "done"


async def hold_one(engine: Engine) -> None:
    hold = await engine.holds.ask(by="Noa", reason="requisition", person="P11")
    await engine.holds.confirm(hold, "Lou")


async def both_are_gone(engine: Engine) -> None:
    assert await people(engine) == 14 - len(ERASED)
    assert (await engine.retention.verify()).broken_at is None
    assert await engine.holds.standing() == []
    await engine.sync([])  # it serves again


def test_a_restored_dump_serves_nobody_before_the_ledger_is_replayed(
    town: str, postgres: EmbeddedServer, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(town, hold_one)
    dump = tmp_path / "backup.sql"
    dump.write_text(postgres.cluster.dump(urlsplit(town).path.strip("/")))
    on(town, erase_both)
    ledger = tmp_path / "erasures.jsonl"
    assert command("retention", "ledger", "export", "--output", ledger).code == 0
    assert len(ledger.read_text().splitlines()) == 1 + len(ERASED)
    assert not any(word in ledger.read_text() for word in (*ERASED, "Gil", "famille"))

    postgres.cluster.create_database("restored")
    try:
        postgres.cluster.run_script("restored", dump)
        monkeypatch.setenv("ENT_NOTIFY_STORE__DSN", postgres.dsn("restored"))
        for refused in (("worker",), ("gateway", "--port", "0"), ("retention", "plan"), ("explain", "1", "P1")):
            ended = command(*refused)
            assert ended.code == 1 and "retention ledger replay" in ended.err, refused
        doctor = {each["check"]: each for each in json.loads(command("doctor", "--json").out)}
        assert doctor["restore"]["grade"] == "fail"
        assert command("retention", "ledger", "replay").code == 2
        (tmp_path / "foreign.jsonl").write_text('{"ledger":"00"}\n')
        assert "another database" in command("retention", "ledger", "replay", tmp_path / "foreign.jsonl").err
        (tmp_path / "noise").write_text("nothing\n")
        assert "is no ledger" in command("retention", "ledger", "replay", tmp_path / "noise").err
        done = json.loads(command("retention", "ledger", "replay", ledger, "--json").out)
        assert done == {"lines": 2, "missing": 2, "erased": 2}
        on(postgres.dsn("restored"), both_are_gone)
        again = json.loads(command("retention", "ledger", "replay", ledger, "--json").out)
        assert again == {"lines": 2, "missing": 0, "erased": 0}
    finally:
        postgres.cluster.drop_database("restored")


def test_a_copy_whose_ledger_is_lost_serves_when_somebody_answers_for_it(
    town: str, postgres: EmbeddedServer, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(town, hold_one)
    name = urlsplit(town).path.strip("/")
    postgres.cluster.create_database("copied", template=name)
    try:
        monkeypatch.setenv("ENT_NOTIFY_STORE__DSN", postgres.dsn("copied"))
        assert command("retention", "runs").code == 1
        assert command("retention", "ledger", "replay", "--lost", " ").code == 1
        assert command("retention", "ledger", "replay", "--lost", "fire in the server room").code == 0
        assert command("retention", "runs").code == 0
        assert json.loads(command("retention", "verify", "--json").out)["receipts"] == 1
    finally:
        postgres.cluster.drop_database("copied")


def test_a_backup_that_is_restored_in_place_is_noticed_by_the_ledger_file(
    server_folder: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same server, the same database: only what is kept apart can tell."""
    ledger = tmp_path / "apart" / "erasures.jsonl"
    ledger.parent.mkdir()
    server = EmbeddedServer.join(parse_address(f"embedded://{quote(str(server_folder / 'own'))}?fsync=off"))
    try:
        kept = {"ledger_file": str(ledger)}

        async def begin(engine: Engine) -> None:
            await engine.db.script(TOWN)
            await hold_one(engine)

        on(server.dsn(), begin, **kept)
        server.cluster.backup("backup")
        on(server.dsn(), erase_both, **kept)
        assert len(ledger.read_text().splitlines()) == 1 + len(ERASED)  # kept apart at once
        restore(server, "backup")
        monkeypatch.setenv("ENT_NOTIFY_STORE__DSN", server.dsn())
        monkeypatch.setenv("ENT_NOTIFY_RETENTION__LEDGER_FILE", str(ledger))
        refused = command("worker")
        assert refused.code == 1 and "2 erasures that this database knows nothing of" in refused.err
        with pytest.raises(StoreRestored):  # a host that opens it, and so its API
            on(server.dsn(), both_are_gone, **kept)
        assert command("retention", "ledger", "replay").code == 0
        on(server.dsn(), both_are_gone, **kept)
        assert {each["check"]: each["grade"] for each in json.loads(command("doctor", "--json").out)}["restore"] == "ok"
    finally:
        server.leave()
