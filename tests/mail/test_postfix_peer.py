"""The mail channel against Postfix's own receiver."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
import trio

from ent_notify.channels.email import EmailChannel
from ent_notify.channels.mime import Sender
from ent_notify.channels.smtp import Relay, TlsMode
from ent_notify.model.delivery import ACCEPTED, MailContent, Outgoing, VerdictKind

SINK = "/usr/sbin/smtp-sink"
pytestmark = pytest.mark.peer("postfix")


class FixedClock:
    def now(self) -> datetime:
        return datetime(2026, 9, 8, 6, 30, tzinfo=UTC)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


@pytest.fixture
def sink(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[int]:
    """smtp-sink on a free port, writing what it gets to ``tmp_path``, with the options of the test."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    user = ["-u", "root"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [SINK, *user, *getattr(request, "param", []), "-D", str(tmp_path / "mail."), f"127.0.0.1:{port}", "64"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield port
    finally:
        process.kill()
        process.wait()


async def channel_to(port: int) -> EmailChannel:
    with trio.fail_after(10):
        while True:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                break
            except OSError:
                await trio.sleep(0.01)
    return EmailChannel(Relay("127.0.0.1", port, TlsMode.NONE), Sender("Bureau", "a@b.example"), FixedClock())


def batch(count: int) -> list[Outgoing]:
    return [Outgoing(n, f"p{n}@c.example", "fr", str(UUID(int=n)), personal={"name": f"Nom {n}"}) for n in range(count)]


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.glob("mail.*")).replace(b"\r\n", b"\n")


CONTENT = {"fr": MailContent("Points", ".\n..\nBonjour {name}\n.fin", "<p>.</p>")}


# -p: no PIPELINING; -8: no 8BITMIME; -e: no ESMTP at all
@pytest.mark.parametrize("sink", [[], ["-p"], ["-e"]], indirect=True)
async def test_smtp_sink_takes_every_mail_whole(sink: int, tmp_path: Path) -> None:
    channel = await channel_to(sink)
    assert await channel.send(CONTENT, batch(30)) == [ACCEPTED] * 30
    await channel.aclose()
    text = await trio.to_thread.run_sync(everything_in, tmp_path)
    assert text.count(b"Message-ID: <") == 30
    for n in range(30):
        assert text.count(f".\n..\nBonjour Nom {n}\n.fin\n".encode()) == 1


# -f, -r: hard and soft refusals; -q: drop the connection; -Q: the same, after a 421
@pytest.mark.parametrize(
    ("sink", "kind"),
    [
        (["-f", "RCPT", "-B", "550 5.1.1 No such user"], VerdictKind.DROP_TARGET),
        (["-f", ".", "-B", "554 5.6.0 Not like this"], VerdictKind.BAD_MESSAGE),
        (["-r", "RCPT"], VerdictKind.RETRY_AT),
        (["-r", "."], VerdictKind.RETRY_AT),
        (["-q", "."], VerdictKind.UNKNOWN),
        (["-Q", "RCPT"], VerdictKind.RETRY_AT),
    ],
    indirect=["sink"],
)
async def test_smtp_sink_refuses(sink: int, kind: VerdictKind) -> None:
    channel = await channel_to(sink)
    verdicts = await channel.send(CONTENT, batch(3))
    await channel.aclose()
    assert [verdict.kind for verdict in verdicts] == [kind] * 3
