"""``take-bounce`` and ``undo-drops``, as a mail server and an operator call them."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import trio

from ent_notify.engine import open_engine
from ent_notify.model.delivery import ACCEPTED, MailContent, Outgoing, Verdict
from ent_notify.settings import settings_from

from .conftest import Command

KEY = "k" * 32
EVENT = {
    "type": "HomeworkAssigned",
    "key": "hw-1",
    "urgency": "urgent",
    "data": {"group": "0540001A/class/6A", "subject": "Maths", "title": "Exercice 3", "due": "2030-09-18"},
}


class Channel:
    """Takes every mail, and remembers it."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []

    async def send(self, contents: Mapping[str, MailContent], batch: Sequence[Outgoing]) -> list[Verdict]:
        await trio.lowlevel.checkpoint()
        self.sent += batch
        return [ACCEPTED for _ in batch]

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def mailed(dsn: str) -> list[Outgoing]:
    channel = Channel()
    async with open_engine(settings_from({"store": {"dsn": dsn}, "email": {"unsubscribe_key": KEY}})) as engine:
        engine.use_mail(channel)
        await engine.publish(EVENT)
        await engine.worker("test").run_until_idle()
    return channel.sent


@pytest.fixture
def bounce(town: str, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The notification of one of the mails that were sent."""
    monkeypatch.setenv("ENT_NOTIFY_EMAIL__UNSUBSCRIBE_KEY", KEY)
    mail = trio.run(mailed, town)[0]
    return (
        'MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary="B"\n\n'
        "--B\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; relais.example\n"
        f"Original-Envelope-Id: {mail.dedup_id}\n\n"
        f"Final-Recipient: rfc822; {mail.address}\nAction: failed\nStatus: 5.1.1\n\n--B--\n"
    ).encode()


def test_a_bounce_is_taken_from_the_standard_input(
    bounce: bytes, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Input:
        buffer = io.BytesIO(bounce)

    monkeypatch.setattr(sys, "stdin", Input)
    ended = command("take-bounce")
    assert (ended.code, ended.out) == (0, "failed 1, known before 0, delivered or delayed 0, not believed 0\n")
    assert json.loads(command("campaign", "1", "--json").out)["failed"] == {"dsn.5.1.1": 1}


def test_the_same_bounce_again_changes_nothing_and_drops_are_taken_back(
    bounce: bytes, command: Command, workplace: Path
) -> None:
    (workplace / "bounce.eml").write_bytes(bounce)
    assert json.loads(command("take-bounce", "bounce.eml", "--json").out)["failed"] == 1
    assert json.loads(command("take-bounce", "bounce.eml", "--json").out)["repeated"] == 1
    undone = command("undo-drops", "email", "--since", "2026-09-01")
    assert (undone.code, undone.out) == (0, "email: 1 drop taken back\n")
    assert json.loads(command("undo-drops", "email", "--since", "2026-09-01", "--json").out)["restored"] == 0


def test_an_unknown_lane_is_named(bounce: bytes, command: Command) -> None:
    wrong = command("undo-drops", "pigeon", "--since", "2026-09-01")
    assert wrong.code == 1
    assert "no lane 'pigeon'" in wrong.err and "email" in wrong.err


def test_without_a_key_the_command_says_what_to_give(
    bounce: bytes, command: Command, monkeypatch: pytest.MonkeyPatch, workplace: Path
) -> None:
    monkeypatch.delenv("ENT_NOTIFY_EMAIL__UNSUBSCRIBE_KEY")
    (workplace / "bounce.eml").write_bytes(bounce)
    wrong = command("take-bounce", "bounce.eml")
    assert wrong.code == 2
    assert "unsubscribe_key_file" in wrong.err
