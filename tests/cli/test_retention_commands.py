"""``retention`` and ``gdpr``, as an operator and a data protection officer call them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from ent_notify.engine import open_engine
from ent_notify.settings import settings_from

from .conftest import Command

OLD = """
insert into ent_notify.notification (idempotency_key, type, category, urgency, data, audience, clauses,
                                     published_at, expires_at)
select 'old' || n, 'Announcement', 'announcement', 2, '{}', '{}', '[]', now() - interval '100 days',
       now() - interval '95 days'
from generate_series(1, 3) n;
select ent_notify.relay(10);
"""


@pytest.fixture
def old(town: str) -> str:
    async def put() -> None:
        async with open_engine(settings_from({"store": {"dsn": town}})) as engine:
            await engine.db.script(OLD)

    trio.run(put)
    return town


def test_a_plan_then_that_and_no_more(old: str, command: Command) -> None:
    plan = command("retention", "plan", "--json")
    lines = {each["kept"]: each for each in json.loads(plan.out)["lines"]}
    assert (lines["inbox"]["items"], lines["messages"]["items"]) == (3, 0)
    assert "kept for 90 days" in command("retention", "plan").out
    ran = json.loads(command("retention", "run", "--json").out)
    assert (ran["state"], ran["removed"]["notification"]) == ("done", 3)
    assert "nothing was due" in command("retention", "run").out
    assert json.loads(command("retention", "runs", "--json").out)[1]["removed"]["notification"] == 3
    head = json.loads(command("retention", "verify", "--json").out)["head"]
    assert command("retention", "verify", "--head", head).code == 0
    assert command("retention", "verify", "--head", "00" * 32).code == 1


def test_too_much_ends_with_a_question(old: str, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENT_NOTIFY_RETENTION__FEW", "0")
    asked = command("retention", "run")
    assert asked.code == 3
    assert "--yes" in asked.err
    assert command("retention", "confirm", "1").code == 1
    assert json.loads(command("retention", "run", "--yes", "--json").out)["removed"]["notification"] == 3


def test_the_record_of_processing_is_written_to_a_file(old: str, command: Command, tmp_path: Path) -> None:
    page = tmp_path / "register.md"
    assert command("gdpr", "register", "--output", str(page)).code == 0
    assert page.read_text(encoding="utf-8") == command("gdpr", "register").out
