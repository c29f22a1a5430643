"""The fake SMTP server: as strict as a real one, and exact in what it counts."""

from __future__ import annotations

import smtplib

import pytest
import trio

from ent_notify.testing.process import open_fake_process
from ent_notify.testing.scripting import Accept, Refuse
from ent_notify.testing.smtp import Drop, FakeSmtp, Features, Late, Phase, Say, Taken, open_fake_smtp

MAIL = "From: a@a.example\r\nMessage-ID: <1@a.example>\r\nSubject: x\r\n\r\ntexte\r\n.\r\n..suite\r\n"


async def talk(smtp: FakeSmtp, *lines: str) -> list[str]:
    """Say each line, wait for its reply, and return the last line of each reply."""
    stream = await trio.open_tcp_stream(smtp.host, smtp.port)
    replies: list[str] = []
    async with stream:
        buffer = b""
        for line in ("", *lines):
            if line:
                try:
                    await stream.send_all(line.encode() + b"\r\n")
                except trio.BrokenResourceError:
                    return [*replies[1:], ""]
            while True:
                head, found, rest = buffer.partition(b"\n")
                if found and head[3:4] == b" ":
                    buffer = rest
                    break
                if found:
                    buffer = rest
                    continue
                try:
                    data = await stream.receive_some()
                except trio.BrokenResourceError:
                    data = b""
                if not data:
                    return [*replies[1:], ""]
                buffer += data
            replies.append(head.decode().strip())
    return replies[1:]


def send_by_smtplib(smtp: FakeSmtp, *recipients: str) -> dict[str, str]:
    """Send one mail to each by the standard library's client; the replies to those who were refused."""
    refused = {}
    with smtplib.SMTP(smtp.host, smtp.port) as client:
        for recipient in recipients:
            try:
                client.sendmail("a@a.example", [recipient], MAIL)
            except smtplib.SMTPRecipientsRefused as problem:
                code, text = problem.recipients[recipient]
                refused[recipient] = f"{code} {text.decode()}"
    return refused


async def test_the_standard_librarys_client_is_served() -> None:
    async with open_fake_smtp() as smtp:
        smtp.next(Say("550 5.1.1 No such user"), recipient="b@b.example")
        refused = await trio.to_thread.run_sync(send_by_smtplib, smtp, "a@b.example", "b@b.example", "c@b.example")
        assert refused == {"b@b.example": "550 5.1.1 No such user"}
        assert smtp.accepted == 2
        assert smtp.distinct == 1
        assert [mail.recipients for mail in smtp.messages] == [("a@b.example",), ("c@b.example",)]
        assert smtp.messages[0].content == MAIL.encode()
        assert smtp.messages[0].message["Subject"] == "x"
        assert smtp.messages[0].message_id == "<1@a.example>"
        assert (smtp.counts["550"], smtp.counts["221"], smtp.counts["violations"]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        (["MAIL FROM:<a@a>"], "503"),
        (["EHLO x", "RCPT TO:<a@a>"], "503"),
        (["EHLO x", "MAIL FROM:<a@a>", "MAIL FROM:<a@a>"], "503"),
        (["EHLO x", "MAIL FROM:a@a"], "501"),
        (["EHLO x", "MAIL FROM:<a@a>", "RCPT TO:a"], "501"),
        (["EHLO x", "MAIL FROM:<a@a> NONSENSE=1"], "555"),
        (["EHLO x", "MAIL FROM:<a@a> BODY=8BITMIME"], "555"),
        (["EHLO x", "MAIL FROM:<a@a>", "RCPT TO:<é@a>"], "553"),
        (["EHLO x", "HELLO"], "500"),
        (["EHLO x", "STARTTLS"], "502"),
        (["EHLO x", "AUTH PLAIN AHUAcA=="], "504"),
    ],
)
async def test_what_breaks_the_protocol_is_refused_and_counted(said: list[str], reply: str) -> None:
    async with open_fake_smtp(features=Features(eight_bit=False)) as smtp:
        replies = await talk(smtp, *said)
        assert replies[-1].startswith(reply)
        assert all(earlier.startswith("250") for earlier in replies[:-1])
        assert smtp.counts["violations"] == 1


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        (["EHLO x", "MAIL FROM:<a@a> SIZE=11"], "552 5.3.4"),
        (["EHLO x", "MAIL FROM:<a@a>", "DATA"], "503 5.5.1 No valid"),
    ],
)
async def test_what_is_refused_without_blame(said: list[str], reply: str) -> None:
    async with open_fake_smtp(features=Features(size=10)) as smtp:
        assert (await talk(smtp, *said))[-1].startswith(reply)
        assert smtp.counts["violations"] == 0


async def test_pipelining_where_it_is_not_offered_is_a_violation() -> None:
    async with open_fake_smtp(features=Features(pipelining=False)) as smtp:
        await talk(smtp, "EHLO x\r\nMAIL FROM:<a@a>")
        assert smtp.counts["violations"] == 1


async def test_content_ahead_of_the_354_is_a_violation() -> None:
    async with open_fake_smtp() as smtp:
        replies = await talk(smtp, "EHLO x", "MAIL FROM:<a@a>", "RCPT TO:<b@b>", "DATA\r\ntexte")
        assert replies[-1] == ""
        assert smtp.counts["violations"] == 1


async def test_a_bare_line_feed_in_content_is_a_violation() -> None:
    async with open_fake_smtp() as smtp:
        await talk(smtp, "EHLO x", "MAIL FROM:<a@a>", "RCPT TO:<b@b>", "DATA", "a\nb\r\n.")
        assert (smtp.accepted, smtp.counts["violations"]) == (1, 1)


async def test_scripts() -> None:
    transaction = ("EHLO x", "MAIL FROM:<a@a>", "RCPT TO:<b@b>")
    async with open_fake_smtp() as smtp:
        smtp.next(Say("450 4.2.0 un"), Say("450 4.2.0 deux"), recipient="*@b")
        smtp.first(Say("451 4.7.1 gris"))
        assert [(await talk(smtp, *transaction))[-1][:9] for _ in range(4)] == [
            "450 4.2.0", "450 4.2.0", "451 4.7.1", "250 2.1.5",
        ]  # fmt: skip
        smtp.always(Late(0.001, Say("421 4.3.2 fin")), phase="mail")
        assert (await talk(smtp, *transaction))[-2:] == ["421 4.3.2 fin", ""]
        smtp.forget()
        smtp.next(Taken(Drop()), phase=Phase.FINAL)
        assert (await talk(smtp, *transaction, "DATA", "x\r\n."))[-1] == ""
        assert (smtp.accepted, smtp.counts["drops"]) == (1, 1)
        smtp.decide = lambda phase, recipient: Say("554 5.7.1 non") if phase is Phase.CONNECT else None
        assert await talk(smtp) == []
        assert smtp.counts["554"] == 1


async def test_a_share_of_recipients_is_always_the_same() -> None:
    async with open_fake_smtp() as smtp:
        smtp.share(0.3, Refuse("550 5.1.1 No such user"))
        refused = {n for n in range(1_000) if smtp.step(Phase.RCPT, f"p{n}@b.example") is not None}
        assert 250 < len(refused) < 350
        assert refused == {n for n in range(1_000) if smtp.step(Phase.RCPT, f"p{n}@b.example") is not None}
        with pytest.raises(TypeError, match="no step of an SMTP server"):
            smtp.share(0.1, Accept())


async def test_memory_is_bounded_and_counters_are_exact() -> None:
    async with open_fake_smtp(keep=3) as smtp:
        for number in range(10):
            smtp.accept("a@a", ["b@b"], "", f"x: y\r\nMessage-ID: <{number % 5}@a>\r\n\r\n".encode())
        assert (len(smtp.messages), smtp.accepted, smtp.distinct) == (3, 10, 5)


async def test_waiting_for_mails() -> None:
    async with open_fake_smtp() as smtp, trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, send_by_smtplib, smtp, "a@b.example", "b@b.example")
        await smtp.wait_accepted(2)
        await smtp.wait_closed()
        assert smtp.accepted == 2


async def test_in_a_process_of_its_own() -> None:
    async with open_fake_process("ent_notify.testing.smtp", "--share", "550 5.1.1 No such user=0.5") as fake:
        smtp = FakeSmtp(0, Features())
        smtp.host, smtp.port = fake.host, fake.port
        people = [f"p{n}@b.example" for n in range(20)]
        refused = await trio.to_thread.run_sync(send_by_smtplib, smtp, *people)
        summary = await fake.summary()
        assert summary["received"] == 20 - len(refused)
        assert summary["550"] == len(refused)
        assert summary["distinct"] == 1
