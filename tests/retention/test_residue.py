"""What erasing has to reach beyond the tables of one's own, and what it leaves: cases, acts, memory, files, the log."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
import trio
from tests.engine.conftest import TOWN, RecordingChannel, Town, open_town

from ent_notify._island import open_island
from ent_notify.clock import SystemClock
from ent_notify.engine import open_engine
from ent_notify.errors import NotAllowed, NotFound
from ent_notify.model.delivery import MailContent, Outgoing, Verdict, VerdictKind, WakeUp
from ent_notify.model.rights import Asked
from ent_notify.model.safety import Decision, ReportReason
from ent_notify.settings import settings_from
from ent_notify.store import migrate, open_database
from ent_notify.store.embedded import EmbeddedServer, parse_address
from ent_notify.store.sql import Query

from .test_erasure import CANARY, ME, plant, residue

OFFICER = Asked("DPO", "officer", "letter")
SCRUB = Path(__file__).parents[2] / "examples/postgresql/scrub.sql"
OFFICE = """
set search_path = ent_notify;
insert into person (id, external_id, source, profile, function, given_name, family_name, created_at)
overriding system value values (32, 'P32', 'test', 4, 'EDU', 'Rosa', 'Exemple', '2026-09-01');
update person set function = 'DIR' where id = 31;
insert into membership (group_id, person_id, valid_from)
select id, 32, '2026-09-01' from people_group where external_id = '0540001A/staff';
"""


def ask(sql: str) -> Query:
    return Query("test.query", "", sql, ())


async def exported(town: Town, person: str, asked: Asked) -> dict[str, list[dict[str, object]]]:
    """An export's lines, by file."""
    files: dict[str, bytes] = {}
    async for name, block in town.engine.data_rights.export(person, asked):
        files[name] = files.get(name, b"") + block
    return {name: [json.loads(line) for line in text.splitlines()] for name, text in files.items() if "jsonl" in name}


async def test_a_guardian_is_given_no_other_guardian_and_no_line_to_the_office(town: Town) -> None:
    await town.engine.db.script(OFFICE)
    await town.engine.safety.call_office(await town.engine.reader("P1"), "J'ai peur chez moi")
    await town.engine.start_conversation("P1", ["P21"], "Devoir", "Bonjour Lou")
    own = await exported(town, "P1", Asked("P1", "self", "session"))
    assert {each["body"] for each in own["messages.jsonl"]} == {"J'ai peur chez moi", "Bonjour Lou"}
    assert {each["guardian"] for each in own["family.jsonl"]} == {"P11", "P12"}
    for guardian, other in (("P11", "P12"), ("P12", "P11")):  # separated, and treated alike
        theirs = await exported(town, "P1", Asked(guardian, "guardian", "session"))
        assert [each["body"] for each in theirs["messages.jsonl"]] == ["Bonjour Lou"]
        assert [each["guardian"] for each in theirs["family.jsonl"]] == [guardian]
        assert other not in str(theirs) and "peur" not in str(theirs)
        assert not {"drafts.jsonl", "blocks.jsonl", "reports.jsonl", "restraints.jsonl"} & theirs.keys()


async def test_an_open_case_keeps_whom_it_is_about_and_its_end_lets_them_go(town: Town) -> None:
    engine = town.engine
    await engine.db.script(OFFICE)
    conversation, _ = await engine.start_conversation("P21", ["P11"], "Sortie", "Un mot méchant")
    case = await engine.safety.report(await engine.reader("P11"), conversation, 1, ReportReason.THREAT, "aidez-moi")
    held = await engine.data_rights.erase("P21", OFFICER)
    assert held.state == "held"
    assert await engine.db.fetchval(ask("select count(*) from evidence where author_id = 21")) == 1
    moderator = await engine.safety.moderator(await engine.reader("P31"))
    await engine.safety.decide(moderator, case, Decision.DISMISS, "nothing in it")
    assert await engine.data_rights.step() == 1
    assert await engine.db.fetchval(ask("select count(*) from person where id = 21")) == 0
    assert await engine.db.fetchval(ask("select count(*) from evidence")) == 0


async def test_who_moderated_and_was_moderated_goes_out_of_the_acts_which_end_with_their_time(town: Town) -> None:
    engine = town.engine
    await engine.db.script(OFFICE)
    moderator = await engine.safety.moderator(await engine.reader("P31"))
    await engine.safety.quarantine(moderator, "P1", "hijacked")
    acts = ask("select done_by, about from safety_audit order by id")
    assert [tuple(row.values()) for row in await engine.db.fetch(acts)] == [("P31", "P1")]
    await engine.data_rights.erase("P1", OFFICER)
    await engine.data_rights.erase("P31", OFFICER)
    assert [tuple(row.values()) for row in await engine.db.fetch(acts)] == [("—", "—")]
    town.clock.advance(timedelta(days=366))
    plan = {each.kept.value: each for each in (await engine.retention.plan()).lines}
    begun = await engine.retention.begin(await engine.retention.plan(), confirmed=True)
    assert begun is not None
    assert plan["audit"].items >= 1
    await engine.retention.finish(begun.id)
    assert await engine.db.fetch(acts) == []


class Stopped(RecordingChannel):
    """Takes a batch into its hands and holds it until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.taken, self.go_on = trio.Event(), trio.Event()

    async def send(
        self, contents: Mapping[str, MailContent] | Mapping[str, WakeUp], batch: Sequence[Outgoing]
    ) -> list[Verdict]:
        self.taken.set()
        await self.go_on.wait()
        return await super().send(contents, batch)


async def test_what_a_running_fan_out_has_in_its_hands_is_found_when_it_is_told(town: Town) -> None:
    """Erased while a window with them is on its way: what is told of it afterwards names them no more."""
    channel = Stopped()
    channel.answer = lambda _: Verdict(VerdictKind.BAD_MESSAGE, "smtp.550")
    town.engine.use_mail(channel)
    await plant_without_work(town)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(town.engine.worker().run_until_idle)
        await channel.taken.wait()
        await town.engine.data_rights.erase(f"{CANARY}id", ME)
        channel.go_on.set()
    town.clock.advance(timedelta(minutes=4))
    while await town.engine.retention.step():
        pass
    assert await residue(town) == ""
    for table, column in (("outcome", "person_id"), ("participant", "person_id"), ("message", "author_id")):
        assert await town.engine.db.fetchval(ask(f"select count(*) from {table} where {column} = 11")) == 0, table
    packed = "select count(*) from chunk h join lane l on l.id = h.lane_id where l.channel = 'email' and "
    assert await town.engine.db.fetchval(ask(packed + "h.targets @> array[11]")) == 0


async def plant_without_work(town: Town) -> None:
    from .test_erasure import MARKS, talk

    await town.engine.db.script(MARKS)
    await talk(town)
    data = {"title": "T", "body": "B"}
    event = {"type": "Announcement", "key": "all", "audience": {"everyone": True}, "urgency": "urgent", "data": data}
    await town.engine.publish(event)


def test_no_file_of_the_server_has_them_after_the_documented_steps(
    server_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Tables, indexes, statistics, the write-ahead log and the server's own log, byte by byte; and what we logged."""
    folder = server_folder / "residue"
    server = EmbeddedServer.join(parse_address(f"embedded://{quote(str(folder))}?fsync=off&max_wal_size=64MB"))

    def singing() -> list[str]:
        canary = re.compile(CANARY.encode(), re.IGNORECASE)
        files = [file for file in folder.rglob("*") if file.is_file() and "pginstall" not in file.parts]
        return sorted({file.relative_to(folder).parts[1 if file.is_relative_to(folder / "data") else 0]
                       for file in files if canary.search(file.read_bytes())})  # fmt: skip

    async def live() -> None:
        async with open_island() as island, open_database(server.dsn(), island, check_schema=False) as database:
            await migrate(database, now=SystemClock().now())
            await database.script(TOWN)
        async with open_town(server.dsn()) as town:
            await plant(town)
            await town.engine.db.script("analyze; checkpoint;")
            assert await residue(town) != ""
            await town.engine.data_rights.erase(f"{CANARY}id", ME)
            assert await residue(town) == ""

    async def scrub() -> None:
        lines = [line for line in SCRUB.read_text(encoding="utf-8").splitlines() if not line.startswith("--")]
        async with open_engine(settings_from({"store": {"dsn": server.dsn()}})) as engine:
            for step in filter(str.strip, "\n".join(lines).split(";")):
                await engine.db.script(step)

    try:
        trio.run(live)
        assert {"base", "pg_wal"} <= set(singing())  # what was deleted lies in the files still
        trio.run(scrub)
        assert singing() == []
    finally:
        server.leave()
    said = capfd.readouterr()
    assert CANARY not in said.out + said.err


async def test_what_was_published_a_moment_before_has_no_place_yet_and_is_found(town: Town) -> None:
    audience = {"union": [{"person": "P11"}, {"person": "P12"}]}
    data = {"title": "T", "body": "B"}
    published = await town.engine.publish({"type": "Announcement", "key": "a", "audience": audience, "data": data})
    await town.engine.data_rights.erase("P11", OFFICER)
    said = await town.engine.db.fetchval(ask("select audience::text || clauses::text from notification"))
    assert "P11" not in said and "P12" in said and "11]" not in said
    await town.engine.worker().run_until_idle()
    assert (await town.engine.explain(published.notification, "P12")).person == "P12"


async def test_reading_anothers_words_takes_two_and_lasts_an_hour(town: Town) -> None:
    glass = town.engine.break_glass
    conversation, _ = await town.engine.start_conversation("P21", ["P11"], "Sortie", "Bonjour")
    with pytest.raises(NotFound):
        await glass.ask(999, "Noa", "danger")
    with pytest.raises(NotAllowed):
        await glass.ask(conversation, "Noa", " ")
    number = await glass.ask(conversation, "Noa", "danger")
    for refused in (glass.read(number, "Noa"), glass.open(number, "Noa")):  # not opened; not by who asked
        with pytest.raises(NotAllowed):
            await refused
    await glass.open(number, "Lou")
    assert [each.author for each in await glass.read(number, "Lou")] == ["P21"]
    with pytest.raises(NotAllowed):
        await glass.read(number, "somebody else")
    town.clock.advance(timedelta(hours=1))
    for late in (glass.read(number, "Noa"), glass.open(number, "Lou")):
        with pytest.raises(NotAllowed):
            await late
    assert [each["action"] for each in await town.engine.data_rights.trail("P21")] == [
        "read conversation", "allow to read", "ask to read",
    ]  # fmt: skip
