"""``export``, ``erase``, ``requests`` and ``hold``, as a data protection officer and their deputy call them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ent_notify.engine import open_engine
from ent_notify.settings import settings_from

from .conftest import Command

LATE = """
insert into ent_notify.rights_request (person_id, kind, actor, capacity, proof, received_at, deadline)
values (2, 'export', 'P2', 'self', 'session', now() - interval '20 days', now() - interval '13 days');
update ent_notify.person set hidden_at = now() - interval '86 days' where id = 6;
insert into ent_notify.hold (person_id, reason, asked_by, asked_at, set_by, set_at, review_at)
values (3, 'requisition', 'a', now() - interval '200 days', 'b', now() - interval '199 days',
        now() - interval '17 days');
"""
PROOF = ("--proof", "id card seen")


@pytest.fixture
def talk(town: str) -> int:
    """A conversation of P11 and the teacher P21."""

    async def put() -> int:
        async with open_engine(settings_from({"store": {"dsn": town}})) as engine:
            conversation, _ = await engine.start_conversation("P21", ["P11"], "Sortie", "Bonjour Gil")
            await engine.post(conversation, "P11", "Merci Lou")
            return conversation

    return trio.run(put)


def script(dsn: str, sql: str) -> None:
    async def put() -> None:
        async with open_engine(settings_from({"store": {"dsn": dsn}})) as engine:
            await engine.db.script(sql)

    trio.run(put)


def test_a_person_is_exported_and_erased_and_both_requests_are_listed(
    talk: int, command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "gil"
    done = command("export", "P11", folder, *PROOF, "--json")
    assert done.code == 0, done.err
    files = json.loads(done.out)["files"]
    assert {"person.jsonl", "messages.jsonl", "manifest.json", "README.txt"} <= files.keys()
    assert (folder.stat().st_mode & 0o077) == 0
    assert json.loads((folder / "messages.jsonl").read_text())["body"] == "Merci Lou"
    assert "not empty" in command("export", "P11", folder, *PROOF).err
    unknown = command("export", "nobody", tmp_path / "nobody", *PROOF)
    assert unknown.code == 1 and "give the id that the directory has" in unknown.err
    assert command("erase", "P11", *PROOF, "--as", "guardian", "--by", "P12", "--yes").code == 1
    erased = json.loads(command("erase", "P11", *PROOF, "--by", "DPO", "--yes", "--json").out)
    assert (erased["state"], erased["person"], erased["capacity"]) == ("done", None, "officer")
    assert command("requests", "--json").out.strip() == "[]"
    listed = json.loads(command("requests", "--all", "--json").out)
    assert [(each["kind"], each["state"], each["proof"]) for each in listed] == [
        ("export", "done", "id card seen"),
        ("erase", "done", "id card seen"),
    ]


def test_a_request_that_was_received_is_answered_or_refused(town: str, command: Command) -> None:
    async def receive() -> list[int]:
        from ent_notify.model.rights import Asked, Right

        async with open_engine(settings_from({"store": {"dsn": town}})) as engine:
            asked = Asked("P2", "self", "session")
            return [(await engine.data_rights.receive("P2", kind, asked)).id for kind in (Right.RESTRICT, Right.ERASE)]

    first, second = trio.run(receive)
    assert "session" in command("requests").out
    assert command("restrict", "P2", *PROOF, "--request", str(second)).code == 1  # that one asks for something else
    assert command("restrict", "P2", *PROOF, "--request", str(first)).code == 0
    assert command("requests", "--refuse", str(second)).code == 2
    assert command("requests", "--refuse", str(second), "--reason", "a procedure is under way").code == 0
    assert command("requests", "--refuse", str(second), "--reason", "again").code == 1
    states = {each["id"]: each["state"] for each in json.loads(command("requests", "--all", "--json").out)}
    assert states == {first: "done", second: "refused"}


def test_corrected_and_objected(town: str, command: Command) -> None:
    assert command("rectify", "P2", *PROOF).code == 2
    done = command("rectify", "P2", "--family-name", "Modèle", *PROOF, "--json")
    assert json.loads(done.out)["corrected"] == ["family_name"]
    assert command("object", "P2", "announcement", *PROOF).code == 0
    assert command("object", "P2", "nonsense", *PROOF).code == 1


def test_what_is_overdue_is_told_by_doctor_and_by_the_lists(town: str, command: Command) -> None:
    before = {each["check"]: each for each in json.loads(command("doctor", "--json").out)}
    assert before["deadlines"]["grade"] == "ok"
    script(town, LATE)
    after = {each["check"]: each for each in json.loads(command("doctor", "--json").out)}["deadlines"]
    assert after["grade"] == "fail"
    assert "1 requests are past" in after["says"] and "85 days" in after["says"] and "1 holds" in after["says"]
    assert "ent-notify requests" in after["remedy"] and "ent-notify hold list" in after["remedy"]
    late = command("requests")
    assert late.code == 1 and "overdue" in late.out
    assert command("hold", "list", "--due").code == 1


def test_a_hold_takes_two_to_set_and_two_to_lift_and_its_export_is_sealed(
    talk: int, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = json.loads(
        command("hold", "ask", "--conversation", str(talk), "--reason", "harassment", "--by", "Noa", "--json").out
    )["hold"]
    assert command("hold", "confirm", str(number), "--by", "Noa").code == 1
    unkeyed = command("hold", "export", str(number), tmp_path / "none", "--by", "Noa")
    assert unkeyed.code == 2 and "rights.seal_key_file" in unkeyed.err
    key = tmp_path / "seal.pem"
    key.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    monkeypatch.setenv("ENT_NOTIFY_RIGHTS__SEAL_KEY_FILE", str(key))
    early = command("hold", "export", str(number), tmp_path / "early", "--by", "Noa")
    assert early.code == 1 and "confirm it first" in early.err
    assert command("hold", "confirm", str(number), "--by", "Lou").code == 0
    held = command("erase", "P11", *PROOF, "--yes")
    assert held.code == 3 and "hold" in held.err
    folder = tmp_path / "sealed"
    assert command("hold", "export", str(number), folder, "--by", "Noa").code == 0
    bodies = [json.loads(line)["body"] for line in (folder / "messages.jsonl").read_text().splitlines()]
    assert bodies == ["Bonjour Gil", "Merci Lou"]
    assert command("hold", "check", folder).code == 0
    by_others = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "seal.pub", "-rawin", "-in", "manifest.json"]
    subprocess.run([*by_others, "-sigfile", "manifest.sig"], cwd=folder, check=True, capture_output=True)
    messages = folder / "messages.jsonl"
    messages.write_text(messages.read_text().replace("Merci", "Maudit"))
    (folder / "more.jsonl").write_text("{}")
    changed = command("hold", "check", folder, "--json")
    assert changed.code == 1
    assert json.loads(changed.out)["wrong"] == ["messages.jsonl is not what was sealed", "more.jsonl was not sealed"]
    (folder / "manifest.json").write_text((folder / "manifest.json").read_text().replace("harassment", "a mistake"))
    assert "not what was signed" in command("hold", "check", folder).err
    assert command("hold", "lift", str(number), "--by", "Noa").code == 1
    assert command("hold", "ask-lift", str(number), "--by", "Noa").code == 0
    assert command("hold", "lift", str(number), "--by", "Noa").code == 1
    assert command("hold", "review", str(number), "--by", "Noa").code == 0
    assert command("hold", "lift", str(number), "--by", "Lou").code == 0
    assert json.loads(command("hold", "list", "--json").out) == []
