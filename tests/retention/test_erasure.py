"""Erasing somebody: nothing of them is anywhere, unless a hold keeps it, and what others have stays."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest
from tests.engine.conftest import Town

from ent_notify.errors import NotAllowed, NotFound
from ent_notify.model.conversations import NewConversation, Shape
from ent_notify.model.delivery import Ledger
from ent_notify.model.rights import Asked
from ent_notify.store.sql import Query

DAY = timedelta(days=1)
CANARY = "Zqxcanary"
MARKS = f"""
update ent_notify.person set given_name = '{CANARY}given', family_name = '{CANARY}family',
    email = '{CANARY}@mail.example',
    function = '{CANARY}function' where id = 11;
update ent_notify.person set external_id = '{CANARY}id' where id = 11;
update ent_notify.device set token = '{CANARY}' || id where person_id = 11;
insert into ent_notify.stream_session (digest, person_id, tickets, opened_at, expires_at)
    values ('x', 11, '{{}}', '2026-09-08', '2027-09-08');
insert into ent_notify.client_write values (11, '{CANARY}', 'x', '{{"said": "{CANARY}"}}', '2026-09-08');
insert into ent_notify.sender values ('{CANARY}id', '2026-09-08');
"""
ME = Asked(f"{CANARY}id", "self", "session")


def ask(sql: str) -> Query:
    return Query("test.query", "", sql, ())


async def talk(town: Town) -> int:
    """A conversation of a teacher and 11, in which both have written."""
    engine = town.engine
    me, teacher = await engine.reader(f"{CANARY}id"), await engine.reader("P21")
    new = NewConversation(shape=Shape.GROUP, body=f"{CANARY} hello", subject=f"{CANARY} subject", to=("P21",))
    started, _ = await engine.conversations.open(me, new)
    await engine.conversations.post(started, teacher, "an answer")
    await engine.conversations.post(started, me, f"{CANARY} again")
    return started


async def plant(town: Town) -> int:
    """Traces of 11 in every place that there is; the conversation."""
    await town.engine.db.script(MARKS)
    conversation = await talk(town)
    data = {"title": "T", "body": "B"}
    to_me: dict[str, Any] = {"person": f"{CANARY}id"}
    for key, audience in {
        "me": to_me,
        "us": {"union": [to_me, {"person": "P12"}]},
        "not": {"minus": [{"everyone": True}, to_me]},
        "all": {"everyone": True},
    }.items():
        await town.engine.publish({"type": "Announcement", "key": key, "audience": audience, "data": data})
    await town.engine.publish(
        {"type": "Announcement", "key": "named", "audience": {"everyone": True},
         "data": {"title": "T", "body": "B", "sender": f"{CANARY}given {CANARY}family"}}
    )  # fmt: skip
    await town.engine.worker().run_until_idle()
    return conversation


async def ledgers_of(town: Town) -> list[Ledger]:
    """The accounts of what was for others, too."""
    kept = "select id from notification where idempotency_key in ('us', 'not', 'all', 'named') order by id"
    return [await town.engine.ledger(row["id"]) for row in await town.engine.db.fetch(ask(kept))]


RESIDUE = """
do $$
declare
    t record;
    hits bigint;
    found text := '';
begin
    for t in select c.relname, c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where n.nspname = 'ent_notify' and c.relkind = 'r' loop
        execute format('select count(*) from ent_notify.%I x where x::text ilike %L', t.relname, '%Zqxcanary%')
            into hits;
        if hits > 0 then found := found || t.relname || ' '; end if;
    end loop;
    create temp table if not exists residue (found text);
    delete from residue;
    insert into residue values (found);
end $$;
create table if not exists ent_notify.zz_residue as select found from residue;
"""


async def residue(town: Town) -> str:
    """The tables in which the canary sings."""
    async with town.engine.db.transaction() as tx:
        await tx.script(RESIDUE)
        found: str = await tx.fetchval(ask("select found from zz_residue"))
        await tx.script("drop table ent_notify.zz_residue; drop table residue;")
    return found.strip()


PROOFS = ("erasure", "rights_request", "rights_change", "audience")
"""Tables that may hold an internal number that is nobody's any more."""


async def numbers(town: Town, person: int) -> list[str]:
    """Where the internal number of somebody stands, in every column that is annotated as an id."""
    from ent_notify.store.personal_data import personal_data

    found = []
    for table in personal_data().tables.values():
        for column, kind in table.personal.items():
            if kind not in ("id", "behaviour") or table.name in (
                "erasure",
                "rights_request",
                "rights_change",
                "audience",
            ):
                continue
            types = await town.engine.db.fetchval(
                ask(
                    f"select format_type(atttypid, null) from pg_attribute where attrelid = '{table.name}'::regclass "
                    f"and attname = '{column}'"
                )
            )
            if kind == "behaviour" and types != "integer[]":
                continue
            if types == "integer[]" and (table.name, column) not in (("chunk", "targets"), ("participant", "gone")):
                where = f"{column} @> array[{person}]"
            elif types == "integer" and column not in ("id", "target", "group_id", "bucket", "ref"):
                where = f"{column} = {person}"
            else:
                continue
            if await town.engine.db.fetchval(ask(f"select count(*) from {table.name} where {where}")):
                found.append(f"{table.name}.{column}")
    return found


async def test_nothing_of_an_erased_person_is_anywhere(town: Town) -> None:
    conversation = await plant(town)
    before = await residue(town)
    assert {"person", "message", "message_words", "device", "notification", "client_write", "sender"} <= set(
        before.split()
    )
    assert "participant.person_id" in await numbers(town, 11)
    ledgers = await ledgers_of(town)
    done = await town.engine.data_rights.erase(f"{CANARY}id", ME)
    assert done.state == "done"
    assert await residue(town) == ""
    assert await numbers(town, 11) == []
    devices = await town.engine.db.fetchval(ask("select devices from erasure where person_id = 11"))
    packed = "select count(*) from chunk h join lane l on l.id = h.lane_id where "
    assert await town.engine.db.fetchval(ask(packed + "l.channel = 'email' and h.targets @> array[11]")) == 0
    assert len(devices) == 2
    assert await town.engine.db.fetchval(ask(packed + f"l.channel = 'push' and h.targets && array{devices}")) == 0
    after = await ledgers_of(town)
    assert after == ledgers
    messages = await town.engine.conversations.messages(conversation, await town.engine.reader("P21"))
    assert [(each.body, each.recalled_at is not None) for each in messages] == [
        ("", True),
        ("an answer", False),
        ("", True),
    ]
    assert (await town.engine.retention.verify()).receipts == 1
    with pytest.raises(NotFound):
        await town.engine.reader(f"{CANARY}id")


async def test_what_was_under_way_is_found_by_the_second_look(town: Town) -> None:
    """A worker that had loaded a window tells of it after the erasure."""
    await plant(town)
    await town.engine.data_rights.erase(f"{CANARY}id", ME)
    await town.engine.db.script(
        "insert into ent_notify.outcome select id, 11, campaign_id, 11, 3, 'smtp.550', 1, null, now()"
        " from ent_notify.chunk where targets is not null order by id limit 1"
    )
    assert "outcome.person_id" in await numbers(town, 11)
    town.clock.advance(timedelta(minutes=4))
    while await town.engine.retention.step():
        pass
    assert await numbers(town, 11) == []
    assert await town.engine.db.fetchval(ask("select count(*) from outcome where target = 11 and person_id = 0")) == 0
    assert await town.engine.db.fetchval(ask("select count(*) from erasure where swept_at is null")) == 0


async def test_who_is_erased_before_their_turn_is_withheld(town: Town) -> None:
    await town.engine.db.script(MARKS)
    data = {"title": "T", "body": "B"}
    event = {"type": "Announcement", "key": "all", "audience": {"everyone": True}, "urgency": "normal", "data": data}
    number = (await town.engine.publish(event)).notification
    await town.engine.worker().tick()
    await town.engine.data_rights.erase(f"{CANARY}id", ME)
    await town.engine.worker().run_until_idle()
    assert not [each for each in town.mail.sent if CANARY in each.address]
    assert town.mail.sent
    ledger = await town.engine.ledger(number)
    assert ledger.suppressed["erased"] == 3  # an address and two devices
    assert ledger.planned == ledger.accepted + sum(ledger.suppressed.values())


async def test_a_hold_stops_erasure_and_retention_until_two_have_lifted_it(town: Town) -> None:
    conversation = await plant(town)
    holds = town.engine.holds
    hold = await holds.ask(by="head", reason="requisition 12", conversation=conversation, message=1)
    held = await town.engine.data_rights.erase(f"{CANARY}id", ME)
    assert held.state == "held"
    assert "hold" in held.note
    assert "message" in (await residue(town)).split()
    with pytest.raises(NotAllowed, match="somebody else"):
        await holds.confirm(hold, "head")
    await holds.confirm(hold, "officer")
    town.clock.advance(800 * DAY)
    plan = {each.kept.value: each for each in (await town.engine.retention.plan()).lines}
    assert (plan["messages"].items, plan["messages"].held) == (0, 3)
    begun = await town.engine.retention.begin(await town.engine.retention.plan(), confirmed=True)
    assert begun is not None
    await town.engine.retention.finish(begun.id)
    assert await town.engine.db.fetchval(ask("select count(*) from message")) == 3
    assert [each.id for each in await holds.overdue()] == [hold]
    await holds.ask_lift(hold, "officer")
    with pytest.raises(NotAllowed):
        await holds.lift(hold, "officer")
    assert await town.engine.data_rights.step() == 0
    await holds.lift(hold, "head")
    assert await town.engine.data_rights.step() == 1
    assert await residue(town) == ""
    assert [each.state for each in await town.engine.data_rights.requests(everything=True)] == ["done"]


async def test_a_hold_that_nobody_confirms_ends_after_a_week(town: Town) -> None:
    await town.engine.db.script(MARKS)
    await town.engine.holds.ask(by="head", reason="maybe", person=f"{CANARY}id")
    assert (await town.engine.data_rights.erase(f"{CANARY}id", ME)).state == "held"
    town.clock.advance(8 * DAY)
    assert await town.engine.data_rights.step() == 1
    assert await residue(town) == ""


@pytest.mark.parametrize(
    "asked",
    [Asked("P12", "self", "session"), Asked("P12", "guardian", "session"), Asked("P14", "guardian", "session"),
     Asked("P2", "self", " "), Asked("x", "friend", "session")],
)  # fmt: skip
async def test_who_may_not_ask_is_refused_and_nothing_is_done(town: Town, asked: Asked) -> None:
    with pytest.raises(NotAllowed):
        await town.engine.data_rights.erase("P2", asked)  # 12 is no guardian of 2, and 14 is restricted
    assert await town.engine.data_rights.requests(everything=True) == []
    await town.engine.data_rights.restrict("P2", Asked("P13", "guardian", "session"))
    (request,) = await town.engine.data_rights.requests(everything=True)
    assert (request.by, request.state, request.deadline - request.received_at) == ("P13", "done", 7 * DAY)


async def test_an_export_holds_everything_of_theirs_and_nothing_of_others(town: Town) -> None:
    await plant(town)
    files: dict[str, bytes] = {}
    async for name, block in town.engine.data_rights.export(f"{CANARY}id", ME):
        files[name] = files.get(name, b"") + block
    manifest = json.loads(files["manifest.json"])
    for name, said in manifest["files"].items():
        content = files.get(name, b"")
        assert (said["sha256"], said["lines"]) == (hashlib.sha256(content).hexdigest(), content.count(b"\n")), name
    (person,) = [json.loads(each) for each in files["person.jsonl"].splitlines()]
    assert person["email"] == f"{CANARY}@mail.example"
    bodies = [json.loads(each)["body"] for each in files["messages.jsonl"].splitlines()]
    assert bodies == [f"{CANARY} hello", f"{CANARY} again"]
    everything = b"".join(files.values()).decode()
    assert "an answer" not in everything  # what others wrote is theirs
    assert "t21@ecole.example" not in everything
    assert "g12@famille.example" not in everything
    titles = [
        json.loads(each)["data"]["title"] for each in files["inbox.jsonl"].splitlines() if "title" in each.decode()
    ]
    assert titles == ["T"] * 4
    family = [json.loads(each)["pupil"] for each in files["family.jsonl"].splitlines()]
    assert family == ["P1", "P5"]
    trail = await town.engine.data_rights.trail(f"{CANARY}id")
    assert [each["action"] for each in trail] == ["export"]
    assert CANARY not in str(trail)


async def test_the_trail_is_only_added_to(town: Town) -> None:
    await town.engine.data_rights.note("P31", "head", "override", "P1")
    for change in ("update audit set action = 'x'", "delete from audit"):
        with pytest.raises(NotAllowed, match="only added to"):
            await town.engine.db.execute(ask(change))
    assert len(await town.engine.data_rights.trail("P1")) == 1


async def test_rectified_and_objected(town: Town) -> None:
    await town.engine.data_rights.rectify("P2", Asked("P2", "self", "session"), email="new@eleve.example")
    assert await town.engine.db.fetchval(ask("select email from person where id = 2")) == "new@eleve.example"
    await town.engine.data_rights.object_to("P2", Asked("P2", "self", "session"), "announcement")
    await town.engine.publish(
        {"type": "Announcement", "key": "a", "audience": {"person": "P2"}, "data": {"title": "T", "body": "B"}}
    )
    await town.engine.worker().run_until_idle()
    assert town.mail.sent == []
    with pytest.raises(NotFound):
        await town.engine.data_rights.object_to("P2", Asked("P2", "self", "session"), "nonsense")
