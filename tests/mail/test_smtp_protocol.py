"""The SMTP client's protocol, fed by hand: no sockets here."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ent_notify.channels.smtp.protocol import SmtpClient, State
from ent_notify.channels.smtp.reply import LINE_LIMIT, LINES_LIMIT, NotSmtp, Reply, ReplyReader
from ent_notify.channels.smtp.values import Answered, Login, Lost, Mail, Outcome, Returned
from ent_notify.policy.mail_verdicts import Phase

EHLO = b"250-relay\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE 1000\r\n250-SMTPUTF8\r\n250 DSN\r\n"
BARE = b"250 relay\r\n"


def mail(number: int, content: bytes = b"Subject: x\r\n\r\ntext\r\n", **extra: Any) -> Mail:
    return Mail(number, "from@a.example", f"to{number}@b.example", content, **extra)


def ready(ehlo: bytes = EHLO, **options: Any) -> SmtpClient:
    client = SmtpClient(**options)
    client.receive(b"220 hello\r\n")
    assert client.bytes_to_send() == b"EHLO localhost\r\n"
    client.receive(ehlo)
    assert state(client) is State.READY
    return client


def state(client: SmtpClient) -> State:
    """As a call, so that a type checker does not take an earlier state for the present one."""
    return client.state


def awaits(client: SmtpClient) -> Phase:
    """As ``state``."""
    return client.awaits


def kinds(outcomes: list[Outcome]) -> list[tuple[str, int]]:
    return [(type(outcome).__name__, outcome.mail.number) for outcome in outcomes]


def test_each_mail_costs_one_round_trip_where_pipelining_is_offered() -> None:
    client = ready()
    wanted = [client.wants_mail]
    client.send(mail(1))
    wanted.append(client.wants_mail)
    client.send(mail(2))
    wanted.append(client.wants_mail)
    assert wanted == [True, True, False]
    assert client.bytes_to_send() == (b"MAIL FROM:<from@a.example> SIZE=20\r\nRCPT TO:<to1@b.example>\r\nDATA\r\n")
    assert awaits(client) is Phase.MAIL
    assert client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n") == []
    assert client.bytes_to_send() == (
        b"Subject: x\r\n\r\ntext\r\n.\r\nMAIL FROM:<from@a.example> SIZE=20\r\nRCPT TO:<to2@b.example>\r\nDATA\r\n"
    )
    assert awaits(client) is Phase.CONTENT
    client.send(mail(3))
    assert kinds(client.receive(b"250 2.0.0 taken\r\n250 ok\r\n250 ok\r\n354 go\r\n")) == [("Answered", 1)]
    assert b"to3@b.example" in client.bytes_to_send()


def test_without_pipelining_each_command_waits() -> None:
    client = ready(BARE)
    client.send(mail(1))
    said = []
    for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
        said.append(client.bytes_to_send())
        assert client.receive(reply) == []
    assert said == [b"MAIL FROM:<from@a.example>\r\n", b"RCPT TO:<to1@b.example>\r\n", b"DATA\r\n"]
    assert client.bytes_to_send().endswith(b"text\r\n.\r\n")
    assert kinds(client.receive(b"250 ok\r\n")) == [("Answered", 1)]
    assert client.is_idle


@pytest.mark.parametrize("ehlo", [EHLO, BARE])
@pytest.mark.parametrize("refused", ["mail", "rcpt", "data", "content"])
def test_a_refusal_concerns_one_mail_and_the_next_starts_clean(ehlo: bytes, refused: str) -> None:
    client = ready(ehlo)
    client.send(mail(1))
    client.send(mail(2))
    answered: list[Outcome] = []
    written = b""
    for phase in ("mail", "rcpt", "data", "content"):
        written = client.bytes_to_send()
        outcomes: list[Outcome] = []
        if phase == refused:
            outcomes = client.receive(b"550 5.1.1 no\r\n")
            if ehlo is EHLO:  # what was written ahead is answered too
                for _ in range({"mail": 2, "rcpt": 1, "data": 0, "content": 0}[phase]):
                    outcomes += client.receive(b"503 5.5.1 what\r\n")
            answered += outcomes
            break
        client.receive(b"354 go\r\n" if phase == "data" else b"250 ok\r\n")
    assert answered == [Answered(answered[0].mail, Phase(refused), Reply(550, "5.1.1", ("5.1.1 no",)))]
    written = client.bytes_to_send() or written
    if refused == "content":
        assert b"RSET" not in written
    else:
        assert (b"RSET\r\nMAIL FROM" if ehlo is EHLO else b"RSET\r\n") in written
        assert client.receive(b"250 ok\r\n") == []
    for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
        client.receive(reply)
    assert kinds(client.receive(b"250 ok\r\n")) == [("Answered", 2)]


def test_a_354_without_a_recipient_gets_a_lone_dot() -> None:
    """RFC 2920, 3.1: the server may ask for content although it refused the only recipient."""
    client = ready()
    client.send(mail(1))
    client.bytes_to_send()
    outcomes = client.receive(b"250 ok\r\n550 5.1.1 no\r\n354 go\r\n")
    assert isinstance(outcomes[0], Answered)
    assert (outcomes[0].phase, outcomes[0].reply.code) == (Phase.RCPT, 550)
    assert client.bytes_to_send() == b".\r\n"
    client.send(mail(2))
    assert client.receive(b"554 5.5.1 no recipient\r\n") == []
    assert client.bytes_to_send().startswith(b"RSET\r\nMAIL FROM")


@pytest.mark.parametrize(
    ("content", "stuffed"),
    [
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b".a\r\n.b", b"..a\r\n..b\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
    ],
)
def test_dots_are_stuffed(content: bytes, stuffed: bytes) -> None:
    client = ready()
    client.send(mail(1, content))
    client.bytes_to_send()
    client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
    assert client.bytes_to_send() == stuffed


def test_what_the_server_cannot_take_is_answered_here() -> None:
    client = ready()
    assert [o.reply.status for o in client.send(mail(1, b"x" * 1001)) if isinstance(o, Answered)] == ["5.3.4"]
    client = ready(BARE)
    for refused in (mail(1, utf8=True), mail(2, "é\r\n".encode())):
        assert next(o.reply.code for o in client.send(refused) if isinstance(o, Answered)) in (553, 554)
    assert client.bytes_to_send() == b""
    assert client.is_idle


def test_parameters_follow_what_is_offered() -> None:
    client = ready()
    client.send(mail(1, "é\r\n".encode(), utf8=True, envelope_id="id-1"))
    assert client.bytes_to_send().startswith(
        b"MAIL FROM:<from@a.example> SIZE=4 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=id-1\r\n"
    )
    client = ready(BARE)
    client.send(mail(1, envelope_id="id-1"))
    assert client.bytes_to_send() == b"MAIL FROM:<from@a.example>\r\n"


def started(count: int) -> SmtpClient:
    client = ready()
    for number in range(1, count + 1):
        client.send(mail(number))
    client.bytes_to_send()
    return client


def test_lost_before_the_content_left_is_safe() -> None:
    client = started(2)
    first, second = client.connection_lost()
    assert (first.mail.number, second.mail.number) == (1, 2)
    assert (first, second) == (Returned(first.mail, blamed=True), Returned(second.mail))


def test_lost_after_the_final_dot_is_unknown() -> None:
    client = started(2)
    client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
    written = client.bytes_to_send()
    after_dot = len(written) - written.index(b"\r\n.\r\n") - 5
    assert kinds(client.connection_lost(after_dot)) == [("Lost", 1), ("Returned", 2)]


def test_lost_while_the_final_dot_was_still_here_is_safe() -> None:
    client = started(2)
    client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
    written = client.bytes_to_send()
    after_dot = len(written) - written.index(b"\r\n.\r\n") - 5
    assert kinds(client.connection_lost(after_dot + 1)) == [("Returned", 1), ("Returned", 2)]


def test_a_refusal_already_heard_stands_when_the_connection_is_lost() -> None:
    client = started(2)
    client.receive(b"250 ok\r\n550 5.1.1 no\r\n")
    assert kinds(client.connection_lost()) == [("Answered", 1), ("Returned", 2)]


def test_silence_is_answered_for_one_mail_alone() -> None:
    client = started(2)
    first, second = client.connection_lost(stalled=True)
    assert isinstance(first, Answered)
    assert (first.phase, first.reply.status) == (Phase.MAIL, "4.4.2")
    assert isinstance(second, Returned)
    client = started(1)
    client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
    client.bytes_to_send()
    assert isinstance(client.connection_lost(stalled=True)[0], Lost)


def test_421_ends_the_session() -> None:
    client = started(2)
    outcomes = client.receive(b"421 4.3.2 going down\r\n250 ignored\r\n")
    assert kinds(outcomes) == [("Answered", 1)]
    assert state(client) is State.CLOSED
    assert kinds(client.connection_lost()) == [("Returned", 2)]


def test_421_to_a_later_mail_means_enough_for_this_session() -> None:
    client = started(2)
    client.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
    client.bytes_to_send()
    assert kinds(client.receive(b"250 taken\r\n421 4.7.0 too many mails\r\n")) == [("Answered", 1)]
    assert kinds(client.connection_lost()) == [("Returned", 2)]


def test_a_word_out_of_turn_ends_the_session() -> None:
    client = ready()
    assert client.receive(b"421 4.4.2 idle for too long\r\n") == []
    assert state(client) is State.CLOSED
    assert not client.wants_mail


def opened(client: SmtpClient, *replies: bytes) -> list[bytes]:
    said = []
    for reply in replies:
        client.receive(reply)
        said.append(client.bytes_to_send())
    return said


def test_tls_comes_before_the_password_and_forgets_what_was_said() -> None:
    client = SmtpClient(login=Login("user", "secret"), starttls=True)
    said = opened(client, b"220 hi\r\n", b"250-relay\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n", b"220 go\r\n")
    assert said[1:] == [b"STARTTLS\r\n", b""]
    assert state(client) is State.TLS
    client.tls_established()
    assert client.features == {}
    assert client.bytes_to_send() == b"EHLO localhost\r\n"
    said = opened(client, b"250-relay\r\n250 AUTH PLAIN\r\n", b"235 ok\r\n")
    assert said[0] == b"AUTH PLAIN " + base64.b64encode(b"\0user\0secret") + b"\r\n"
    assert state(client) is State.READY


def test_login_is_used_where_plain_is_not_offered() -> None:
    client = SmtpClient(login=Login("user", "secret"))
    said = opened(
        client, b"220 hi\r\n", b"250-relay\r\n250 AUTH LOGIN\r\n", b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n"
    )
    assert said[1:] == [b"AUTH LOGIN\r\n", b"dXNlcg==\r\n", b"c2VjcmV0\r\n"]
    client.receive(b"235 ok\r\n")
    assert state(client) is State.READY
    assert "secret" not in repr(Login("user", "secret"))


@pytest.mark.parametrize(
    ("options", "replies", "phase", "said"),
    [
        ({}, [b"554 no\r\n"], Phase.GREETING, "greeting was answered 554"),
        ({}, [b"220 hi\r\n", b"550 5.7.1 no\r\n"], Phase.EHLO, "ehlo was answered 550 5.7.1"),
        ({"starttls": True}, [b"220 hi\r\n", BARE], Phase.STARTTLS, "does not offer STARTTLS"),
        ({"starttls": True}, [b"220 hi\r\n", b"250-r\r\n250 STARTTLS\r\n", b"454 no\r\n"], Phase.STARTTLS, "454"),
        ({"starttls": True}, [b"220 hi\r\n", b"502 what\r\n"], Phase.EHLO, "502"),
        (
            {"starttls": True},
            [b"220 hi\r\n", b"250-r\r\n250 STARTTLS\r\n", b"220 go\r\n250 x\r\n"],
            Phase.STARTTLS,
            "before TLS",
        ),
        (
            {"starttls": True},
            [b"220 hi\r\n", b"250-r\r\n250 STARTTLS\r\n", b"220 go\r\n25"],
            Phase.STARTTLS,
            "before TLS",
        ),
        ({"login": Login("u", "p")}, [b"220 hi\r\n", BARE], Phase.AUTH, "neither"),
        (
            {"login": Login("u", "p")},
            [b"220 hi\r\n", b"250-r\r\n250 AUTH PLAIN\r\n", b"535 5.7.8 no\r\n"],
            Phase.AUTH,
            "535 5.7.8",
        ),
    ],
)
def test_a_session_that_does_not_open(options: dict[str, Any], replies: list[bytes], phase: Phase, said: str) -> None:
    client = SmtpClient(**options)
    opened(client, *replies)
    assert state(client) is State.CLOSED
    assert client.refusal is not None
    assert client.refusal.phase is phase
    assert said in client.refusal.reason


def test_helo_where_ehlo_is_unknown() -> None:
    client = SmtpClient()
    assert opened(client, b"220 hi\r\n", b"502 what\r\n")[-1] == b"HELO localhost\r\n"
    client.receive(b"250 relay\r\n")
    assert state(client) is State.READY


def test_quit() -> None:
    client = ready()
    client.quit()
    assert client.bytes_to_send() == b"QUIT\r\n"
    client.receive(b"221 bye\r\n")
    assert state(client) is State.CLOSED


# Replies


@given(cuts=st.lists(st.integers(0, 60), max_size=8))
def test_replies_are_read_in_any_pieces(cuts: list[int]) -> None:
    data = b"250-relay\r\n250-SIZE 10\r\n250 DSN\r\n354 go\r\n550 5.1.1 no\r\n"
    reader = ReplyReader()
    replies = []
    start = 0
    for cut in sorted(cuts):
        replies += reader.feed(data[start:cut])
        start = max(start, min(cut, len(data)))
    replies += reader.feed(data[start:])
    assert replies == [
        Reply(250, "", ("relay", "SIZE 10", "DSN")),
        Reply(354, "", ("go",)),
        Reply(550, "5.1.1", ("5.1.1 no",)),
    ]
    assert not reader.pending


@given(data=st.lists(st.binary(max_size=80), max_size=10))
def test_hostile_replies_never_crash(data: list[bytes]) -> None:
    client = started(2)
    outcomes = [outcome for piece in data for outcome in client.receive(piece)]
    outcomes += client.connection_lost()
    assert sorted(outcome.mail.number for outcome in outcomes) == [1, 2]


server_lines = st.sampled_from(
    [
        b"250 ok\r\n",
        b"354 go\r\n",
        b"550 5.1.1 no\r\n",
        b"451 4.7.1 later\r\n",
        b"421 4.3.2 bye\r\n",
        b"250-more\r\n",
        b"999 x\r\n",
    ]
)


@given(lines=st.lists(server_lines, max_size=20), ehlo=st.sampled_from([EHLO, BARE]), count=st.integers(1, 5))
def test_every_mail_has_one_outcome_whatever_the_server_says(lines: list[bytes], ehlo: bytes, count: int) -> None:
    client = ready(ehlo)
    waiting = [mail(number) for number in range(count)]
    outcomes: list[Outcome] = []
    for line in lines:
        while client.wants_mail and waiting:
            outcomes += client.send(waiting.pop(0))
        written = client.bytes_to_send()
        if b"text\r\n.\r\n" in written:  # content leaves only after the 354 to its own DATA
            assert awaits(client) is Phase.CONTENT
        outcomes += client.receive(line)
    outcomes += client.connection_lost()
    taken = count - len(waiting)
    assert sorted(outcome.mail.number for outcome in outcomes) == list(range(taken))


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n",
        b"25\r\n",
        b"250_x\r\n",
        b"x" * (LINE_LIMIT + 1),
        b"250 " + b"x" * LINE_LIMIT + b"\r\n",
        b"250-x\r\n" * (LINES_LIMIT + 1),
    ],
)
def test_what_is_no_reply(data: bytes) -> None:
    with pytest.raises(NotSmtp):
        ReplyReader().feed(data)
