"""The mail channel against a server that speaks SMTP: one verdict for each recipient, whatever happens on the wire."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import trio
import trustme
from trio.testing import MockClock

from ent_notify import words
from ent_notify.channels.email import EmailChannel
from ent_notify.channels.mime import Sender
from ent_notify.channels.smtp import Login, Mail, Relay, SmtpPool, Timeouts, TlsMode
from ent_notify.errors import ChannelDown, SettingsError
from ent_notify.model.delivery import ACCEPTED, MailContent, Outgoing, Verdict, VerdictKind
from ent_notify.policy.mail_verdicts import GROUP_WAIT, POLICY_WAIT
from ent_notify.ports import MailChannel
from ent_notify.testing.smtp import Drop, FakeSmtp, Features, Late, Phase, Say, Silence, Taken, open_fake_smtp

NOW = datetime(2026, 9, 8, 6, 30, tzinfo=UTC)
SENDER = Sender("Mon Bureau", "info@bureau.example", return_path="retours@bureau.example")
PROJECT = words.Project("Mon Bureau", "https://bureau.example/")
FRENCH = words.mail("Announcement", {"title": "Réunion", "body": "Jeudi\n.\nà 18 h"}, "fr", PROJECT)
CONTENTS = {"fr": FRENCH, "en": words.mail("Announcement", {"title": "Meeting", "body": "Thursday"}, "en", PROJECT)}
RETRY, UNKNOWN, DROP, BAD, PAUSE = (
    VerdictKind.RETRY_AT,
    VerdictKind.UNKNOWN,
    VerdictKind.DROP_TARGET,
    VerdictKind.BAD_MESSAGE,
    VerdictKind.PAUSE_CHANNEL,
)
NO_PIPELINING = Features(pipelining=False, eight_bit=False, utf8=False, dsn=False, size=None)


class FixedClock:
    """A clock for dates that stands still; waiting is trio's."""

    def now(self) -> datetime:
        return NOW

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


@pytest.fixture
def clock() -> MockClock:
    """Time passes when nothing else does; sockets get a moment to deliver first."""
    return MockClock(autojump_threshold=0.05)


def to(number: int, address: str = "", language: str = "fr") -> Outgoing:
    return Outgoing(
        number,
        address or f"parent{number}@exemple.fr",
        language,
        str(UUID(int=number)),
        personal={"name": f"Nom {number}"},
    )


def people(count: int) -> list[Outgoing]:
    return [to(number) for number in range(count)]


@asynccontextmanager
async def channel_to(smtp: FakeSmtp, **options: Any) -> AsyncIterator[EmailChannel]:
    relay = replace(Relay(smtp.host, smtp.port, TlsMode.NONE), **options)
    channel = EmailChannel(relay, SENDER, FixedClock())
    try:
        yield channel
    finally:
        await channel.aclose()


async def send(smtp: FakeSmtp, batch: Sequence[Outgoing], **options: Any) -> list[Verdict]:
    async with channel_to(smtp, **options) as channel:
        return await channel.send(CONTENTS, batch)


@pytest.mark.parametrize("features", [Features(), NO_PIPELINING])
async def test_everybody_gets_one_mail_in_their_language(features: Features) -> None:
    async with open_fake_smtp(features=features) as smtp:
        batch = [*people(40), to(90, language="en")]
        assert await send(smtp, batch) == [ACCEPTED] * 41
        assert smtp.counts["violations"] == 0
        assert smtp.distinct == smtp.accepted == 41
        by_recipient = {mail.recipients[0]: mail for mail in smtp.messages}
        for outgoing in batch:
            mail = by_recipient[outgoing.address]
            assert mail.sender == "retours@bureau.example"
            assert mail.message["To"] == outgoing.address
            assert mail.message_id == f"<{outgoing.dedup_id}@bureau.example>"
            assert mail.message["Date"].datetime == NOW
            part = mail.message.get_body(("plain",))
            assert part is not None
            assert f"{outgoing.personal['name']}," in part.get_content()
        english = by_recipient["parent90@exemple.fr"].message
        assert (english["Subject"], english["Content-Language"]) == ("Meeting", "en")
        await smtp.wait_closed()


async def test_dots_and_lines_come_through_unchanged() -> None:
    content = MailContent("Points", "\n".join(["un", ".", "..", ".deux", "x" * 300, "=", "{name}"]), "<p>.</p>\n.\n")
    async with open_fake_smtp() as smtp, channel_to(smtp) as channel:
        assert await channel.send({"fr": content}, [to(1)]) == [ACCEPTED]
        part = smtp.messages[0].message.get_body(("plain",))
        assert part is not None
        assert part.get_content().splitlines() == ["un", ".", "..", ".deux", "x" * 300, "=", "Nom 1"]


async def test_it_is_a_mail_channel() -> None:
    channel: MailChannel = EmailChannel(Relay("127.0.0.1", 1, TlsMode.NONE), SENDER, FixedClock())
    assert await channel.send(CONTENTS, []) == []
    await channel.aclose()


async def test_one_connection_carries_many_mails_and_is_kept() -> None:
    async with open_fake_smtp() as smtp, channel_to(smtp, connections=1) as channel:
        for first in range(0, 60, 20):
            assert await channel.send(CONTENTS, people(60)[first : first + 20]) == [ACCEPTED] * 20
        assert smtp.counts["connections"] == 1
        assert smtp.counts["221"] == 0
        await channel.aclose()
        assert smtp.counts["221"] == 1  # QUIT
        assert smtp.accepted == 60


async def test_connections_stay_within_the_relays_limit_over_all_batches() -> None:
    async with open_fake_smtp() as smtp, channel_to(smtp, connections=3) as channel:
        async with trio.open_nursery() as nursery:
            for first in range(0, 400, 100):
                nursery.start_soon(channel.send, CONTENTS, people(400)[first : first + 100])
        assert smtp.most_connections == 3
        assert smtp.distinct == smtp.accepted == 400


async def test_a_session_has_its_share_of_mails() -> None:
    async with open_fake_smtp() as smtp:
        assert await send(smtp, people(25), connections=1, messages_per_connection=10) == [ACCEPTED] * 25
        assert smtp.counts["connections"] == 3
        assert smtp.counts["221"] == 3


async def test_a_connection_that_the_server_ended_while_idle_is_replaced() -> None:
    async with open_fake_smtp() as smtp, channel_to(smtp, connections=1) as channel:
        smtp.next(Say("250 2.0.0 Ok", close=True), phase=Phase.FINAL)
        assert await channel.send(CONTENTS, [to(1)]) == [ACCEPTED]
        assert await channel.send(CONTENTS, [to(2)]) == [ACCEPTED]
        assert smtp.counts["connections"] == 2


async def test_idle_connections_that_ended_unseen_cost_no_mail(authority: trustme.CA) -> None:
    """Over TLS an end shows only at the next mail, which is then sent by the next connection, and the next."""
    features = Features(tls=server_context(authority), implicit_tls=True)
    options = {"tls": TlsMode.TLS, "context": client_context(authority), "connections": 4}
    async with open_fake_smtp(features=features) as smtp, channel_to(smtp, **options) as channel:
        assert await channel.send(CONTENTS, people(40)) == [ACCEPTED] * 40
        opened = smtp.counts["connections"]
        smtp.hang_up()
        await smtp.wait_closed()
        assert await channel.send(CONTENTS, [to(50)]) == [ACCEPTED]
        assert (smtp.accepted, smtp.counts["connections"]) == (41, opened + 1)
        assert opened > 2


async def test_an_idle_connection_is_not_kept_for_ever(clock: MockClock) -> None:
    async with open_fake_smtp() as smtp, channel_to(smtp, idle_seconds=60.0) as channel:
        await channel.send(CONTENTS, [to(1)])
        await trio.sleep(61)
        await channel.send(CONTENTS, [to(2)])
        assert smtp.counts["connections"] == 2
        assert smtp.accepted == 2


RCPT_ROWS = [
    ("421 4.7.0 Slow down", Verdict(RETRY, "smtp.4.7.0", GROUP_WAIT, pause_group=True)),
    ("450 4.7.1 Greylisted", Verdict(RETRY, "smtp.4.7.1", GROUP_WAIT, pause_group=True)),
    ("450 4.2.0 Busy", Verdict(RETRY, "smtp.4.2.0")),
    ("451 4.3.0 Later", Verdict(RETRY, "smtp.4.3.0")),
    ("452 4.2.2 Full", Verdict(RETRY, "smtp.4.2.2")),
    ("552 5.2.2 Full", Verdict(RETRY, "smtp.5.2.2")),
    ("550 5.1.1 No such user", Verdict(DROP, "smtp.5.1.1")),
    ("550 No such user", Verdict(DROP, "smtp.550")),
    ("550 5.7.1 Blocked", Verdict(PAUSE, "smtp.5.7.1", POLICY_WAIT, pause_group=True)),
    ("530 5.7.0 Log in", Verdict(PAUSE, "smtp.5.7.0")),
    ("552 5.3.4 Too large", Verdict(BAD, "smtp.5.3.4")),
]


@pytest.mark.parametrize("features", [Features(), NO_PIPELINING])
@pytest.mark.parametrize("phase", [Phase.RCPT, Phase.FINAL])
@pytest.mark.parametrize(("reply", "verdict"), RCPT_ROWS)
async def test_a_refusal_is_for_one_recipient(features: Features, phase: Phase, reply: str, verdict: Verdict) -> None:
    async with open_fake_smtp(features=features) as smtp:
        smtp.next(Say(reply), phase=phase, recipient="parent3@exemple.fr")
        expected = [ACCEPTED] * 8
        expected[3] = verdict
        if phase is Phase.FINAL and reply == "550 No such user":
            expected[3] = Verdict(BAD, "smtp.550")
        assert await send(smtp, people(8), connections=1) == expected
        assert smtp.distinct == smtp.accepted == 7
        assert smtp.counts["violations"] == 0


async def test_greylisting_passes_at_the_second_try() -> None:
    async with open_fake_smtp() as smtp:
        smtp.first(Say("451 4.7.1 Greylisted, come back"))
        assert {v.reason for v in await send(smtp, people(5))} == {"smtp.4.7.1"}
        assert await send(smtp, people(5)) == [ACCEPTED] * 5
        assert smtp.accepted == 5


async def test_421_for_one_domain_holds_nobody_else_up() -> None:
    async with open_fake_smtp() as smtp:
        smtp.always(Say("421 4.7.0 Too many"), recipient="*@lent.example")
        batch = [to(n, f"p{n}@lent.example" if n % 5 == 0 else "") for n in range(50)]
        verdicts = await send(smtp, batch, connections=2)
        assert [v.kind for v in verdicts] == [RETRY if n % 5 == 0 else VerdictKind.ACCEPTED for n in range(50)]
        assert {v.pause_group for n, v in enumerate(verdicts) if n % 5 == 0} == {True}
        assert smtp.distinct == smtp.accepted == 40


async def test_a_relay_that_limits_each_session_costs_no_mail() -> None:
    async with open_fake_smtp() as smtp:
        seen: list[str | None] = []

        def enough(phase: Phase, recipient: str | None) -> Say | None:
            if phase is Phase.MAIL:
                seen.append(recipient)
                return Say("421 4.7.0 Enough for one session") if len(seen) % 6 == 0 else None
            return None

        smtp.decide = enough
        assert await send(smtp, people(20), connections=1) == [ACCEPTED] * 20
        assert smtp.distinct == smtp.accepted == 20


async def test_dropped_after_the_final_dot_is_unknown_and_its_repeat_the_same_mail() -> None:
    async with open_fake_smtp() as smtp:
        smtp.next(Taken(Drop()), phase=Phase.FINAL, recipient="parent2@exemple.fr")
        verdicts = await send(smtp, people(6), connections=1)
        assert [v.kind for v in verdicts] == [UNKNOWN if n == 2 else VerdictKind.ACCEPTED for n in range(6)]
        assert verdicts[2].reason == "smtp.lost"
        assert (smtp.accepted, smtp.distinct) == (6, 6)
        assert await send(smtp, [to(2)]) == [ACCEPTED]
        assert (smtp.accepted, smtp.distinct) == (7, 6)


@pytest.mark.parametrize("phase", [Phase.MAIL, Phase.RCPT, Phase.DATA])
async def test_dropped_before_the_content_goes_by_another_connection(phase: Phase) -> None:
    async with open_fake_smtp() as smtp:
        smtp.next(Drop(), phase=phase)
        assert await send(smtp, people(6), connections=1) == [ACCEPTED] * 6
        assert smtp.distinct == smtp.accepted == 6
        assert smtp.counts["connections"] == 2


async def test_dropped_every_time_is_tried_later() -> None:
    async with open_fake_smtp() as smtp:
        smtp.always(Drop(), recipient="parent0@exemple.fr")
        verdicts = await send(smtp, people(3), connections=1)
        assert verdicts == [Verdict(RETRY, "smtp.4.4.2"), ACCEPTED, ACCEPTED]


async def test_dropped_while_the_final_dot_was_still_here_is_safe() -> None:
    """The server reads a little of a large mail and goes: the kernel never took the dot."""
    large = Mail(0, "a@a.example", "b@b.example", b"texte\r\n" * 3_000_000)
    verdicts = []
    async with open_fake_smtp(features=Features(size=None)) as smtp:
        smtp.always(Drop(), phase=Phase.BODY)
        pool = SmtpPool()
        relay = Relay(smtp.host, smtp.port, TlsMode.NONE)
        await pool.deliver(relay, iter([large]), 1, lambda mail, verdict: verdicts.append(verdict))
        assert verdicts == [Verdict(RETRY, "smtp.4.4.2")]
        assert smtp.accepted == 0


@pytest.mark.parametrize(
    ("phase", "verdict"),
    [
        (Phase.MAIL, Verdict(RETRY, "smtp.4.4.2")),
        (Phase.RCPT, Verdict(RETRY, "smtp.4.4.2")),
        (Phase.DATA, Verdict(RETRY, "smtp.4.4.2")),
        (Phase.BODY, Verdict(UNKNOWN, "smtp.lost")),
        (Phase.FINAL, Verdict(UNKNOWN, "smtp.lost")),
    ],
)
async def test_silence_ends_in_a_verdict(clock: MockClock, phase: Phase, verdict: Verdict) -> None:
    async with open_fake_smtp() as smtp:
        smtp.next(Silence(), phase=phase)
        start = trio.current_time()
        verdicts = await send(smtp, people(4), connections=1)
        assert verdicts == [verdict, ACCEPTED, ACCEPTED, ACCEPTED]
        timeouts = Timeouts()
        waited = {Phase.DATA: timeouts.data, Phase.BODY: timeouts.final, Phase.FINAL: timeouts.final}
        assert trio.current_time() - start == pytest.approx(waited.get(phase, timeouts.command), abs=1)


async def test_a_slow_server_is_waited_for(clock: MockClock) -> None:
    async with open_fake_smtp() as smtp:
        smtp.always(Late(100), phase=Phase.FINAL)
        smtp.always(Late(100), phase=Phase.RCPT)
        assert await send(smtp, people(3), connections=1) == [ACCEPTED] * 3


def test_timeouts_are_those_of_the_rfc_unless_shortened() -> None:
    assert (Timeouts().greeting, Timeouts().command, Timeouts().data) == (300, 300, 120)
    assert (Timeouts().block, Timeouts().final) == (180, 600)
    assert Timeouts.at_most(30) == Timeouts(30, 30, 30, 30, 30, 30, 30, 5)


# The relay as a whole


async def test_no_relay_there() -> None:
    async with open_fake_smtp() as smtp:
        port = smtp.port
    channel = EmailChannel(Relay("127.0.0.1", port, TlsMode.NONE), SENDER, FixedClock())
    with pytest.raises(ChannelDown, match=f"no connection to the relay 127.0.0.1, port {port}"):
        await channel.send(CONTENTS, people(30))


@pytest.mark.parametrize(
    ("phase", "reply", "retry_after"),
    [
        (Phase.CONNECT, "421 4.7.0 Too many connections", 60.0),
        (Phase.CONNECT, "554 5.7.1 Go away", None),
        (Phase.EHLO, "550 5.7.1 Go away", None),
    ],
)
async def test_a_relay_that_will_not_have_us(phase: Phase, reply: str, retry_after: float | None) -> None:
    async with open_fake_smtp() as smtp, channel_to(smtp) as channel:
        smtp.always(Say(reply, close=True), phase=phase)
        with pytest.raises(ChannelDown) as caught:
            await channel.send(CONTENTS, people(3))
        assert caught.value.retry_after == retry_after
        assert reply[:3] in caught.value.reason


@pytest.mark.parametrize("phase", [Phase.CONNECT, Phase.EHLO])
@pytest.mark.parametrize("step", [Drop(), Silence()])
async def test_a_relay_that_does_not_answer(clock: MockClock, phase: Phase, step: Drop | Silence) -> None:
    async with open_fake_smtp() as smtp, channel_to(smtp) as channel:
        smtp.always(step, phase=phase)
        with pytest.raises(ChannelDown, match=r"127\.0\.0\.1 (closed|kept silent)"):
            await channel.send(CONTENTS, people(3))
        assert smtp.accepted == 0


async def test_a_relay_that_opens_and_then_always_drops() -> None:
    async with open_fake_smtp() as smtp, channel_to(smtp, connections=1) as channel:
        smtp.always(Drop(), phase=Phase.MAIL)
        with pytest.raises(ChannelDown, match="ends them at the first mail"):
            await channel.send(CONTENTS, people(100))
        assert smtp.counts["connections"] <= 4


async def test_fewer_connections_than_asked_for_are_enough() -> None:
    """The relay takes one connection and refuses the others: the batch goes by the one."""
    async with open_fake_smtp() as smtp:
        connects: list[Phase] = []

        def one(phase: Phase, recipient: str | None) -> Say | None:
            if phase is Phase.CONNECT:
                connects.append(phase)
                return Say("421 4.7.0 One is enough", close=True) if len(connects) > 1 else None
            return None

        smtp.decide = one
        assert await send(smtp, people(60), connections=4) == [ACCEPTED] * 60


async def test_a_relay_that_goes_away_in_the_middle() -> None:
    async with open_fake_smtp() as smtp:
        count = 0

        def going(phase: Phase, recipient: str | None) -> Drop | Say | None:
            nonlocal count
            count += phase is Phase.RCPT
            if count > 10:
                return Say("421 4.3.2 Going down", close=True) if phase is Phase.CONNECT else Drop()
            return None

        smtp.decide = going
        verdicts = await send(smtp, people(30), connections=1)
        assert verdicts.count(ACCEPTED) == smtp.accepted
        assert 0 < smtp.accepted < 30
        assert {v for v in verdicts if v != ACCEPTED} <= {Verdict(RETRY, "smtp.4.4.2"), Verdict(UNKNOWN, "smtp.lost")}


async def test_domains_with_a_relay_of_their_own() -> None:
    async with open_fake_smtp() as ours, open_fake_smtp() as theirs:
        relay = Relay(ours.host, ours.port, TlsMode.NONE)
        route = Relay(theirs.host, theirs.port, TlsMode.NONE, connections=1)
        channel = EmailChannel(relay, SENDER, FixedClock(), routes={"orange.example": route})
        batch = [to(n, f"p{n}@Orange.example" if n % 2 else "") for n in range(40)]
        assert await channel.send(CONTENTS, batch) == [ACCEPTED] * 40
        assert (ours.accepted, theirs.accepted, theirs.most_connections) == (20, 20, 1)
        theirs.always(Say("421 4.7.0 No", close=True), phase=Phase.CONNECT)
        await channel.aclose()
        verdicts = await channel.send(CONTENTS, batch)
        assert verdicts == [
            Verdict(RETRY, "smtp.relay", 60.0, pause_group=True) if n % 2 else ACCEPTED for n in range(40)
        ]
        await channel.aclose()


# TLS and login


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.mark.parametrize("mode", [TlsMode.STARTTLS, TlsMode.TLS])
@pytest.mark.parametrize("mechanisms", [("PLAIN", "LOGIN"), ("LOGIN",)])
async def test_tls_and_login(authority: trustme.CA, mode: TlsMode, mechanisms: tuple[str, ...]) -> None:
    features = Features(
        tls=server_context(authority),
        implicit_tls=mode is TlsMode.TLS,
        login=("ent", "mot de passe"),
        mechanisms=mechanisms,
    )
    async with open_fake_smtp(features=features) as smtp:
        verdicts = await send(
            smtp, people(30), tls=mode, context=client_context(authority), login=Login("ent", "mot de passe")
        )
        assert verdicts == [ACCEPTED] * 30
        assert smtp.distinct == smtp.accepted == 30
        assert smtp.counts["violations"] == 0


async def test_a_wrong_password_stops_the_channel(authority: trustme.CA) -> None:
    features = Features(tls=server_context(authority), login=("ent", "bon"))
    async with open_fake_smtp(features=features) as smtp:
        with pytest.raises(ChannelDown, match=r"auth was answered 535 5\.7\.8") as caught:
            await send(
                smtp, people(3), tls=TlsMode.STARTTLS, context=client_context(authority), login=Login("ent", "canari")
            )
        assert "canari" not in str(caught.value)


async def test_no_tls_no_mail(authority: trustme.CA) -> None:
    async with open_fake_smtp() as smtp:
        with pytest.raises(ChannelDown, match="does not offer STARTTLS"):
            await send(smtp, people(3), tls=TlsMode.STARTTLS)
        assert smtp.accepted == 0
    async with open_fake_smtp(features=Features(tls=server_context(authority, "autre.example"))) as smtp:
        with pytest.raises(ChannelDown, match="TLS handshake"):
            await send(smtp, people(3), tls=TlsMode.STARTTLS, context=client_context(authority))
    async with open_fake_smtp(features=Features(tls=server_context(authority))) as smtp:
        with pytest.raises(ChannelDown, match="TLS handshake"):
            await send(smtp, people(3), tls=TlsMode.STARTTLS)  # an authority that nobody here trusts
        assert smtp.accepted == 0


def test_a_password_does_not_travel_in_clear() -> None:
    with pytest.raises(SettingsError, match=r"relay\.example would travel in clear"):
        Relay("relay.example", 25, TlsMode.NONE, Login("u", "p"))
    assert Relay("127.0.0.1", 25, TlsMode.NONE, Login("u", "p")).login is not None


# Recipients and texts


async def test_an_international_address_needs_a_relay_that_offers_it() -> None:
    batch = [to(1), to(2, "zoé@école.example"), to(3)]
    async with open_fake_smtp() as smtp:
        assert await send(smtp, batch) == [ACCEPTED] * 3
        mail = next(mail for mail in smtp.messages if mail.recipients == ("zoé@école.example",))
        assert "SMTPUTF8" in mail.parameters
        assert mail.message["To"] == "zoé@école.example"
    async with open_fake_smtp(features=Features(utf8=False)) as smtp:
        assert await send(smtp, batch) == [ACCEPTED, Verdict(BAD, "smtp.5.6.7"), ACCEPTED]


async def test_what_cannot_be_sent_holds_nobody_up() -> None:
    wrong = Verdict(BAD, "mail.address", quarantine=True)
    batch = [
        to(0, "pas une adresse"),
        to(1),
        to(2, "a@b\r\nRCPT TO:<autre@exemple.fr>"),
        to(3, language="de"),
        replace(to(4), dedup_id="x\r\ny"),
        to(5, "é@"),
    ]
    async with open_fake_smtp() as smtp:
        verdicts = await send(smtp, batch)
        assert verdicts == [wrong, ACCEPTED, wrong, Verdict(BAD, "mail.text"), Verdict(BAD, "mail.dedup_id"), wrong]
        assert [mail.recipients for mail in smtp.messages] == [("parent1@exemple.fr",)]


async def test_a_text_that_cannot_be_a_mail() -> None:
    async with open_fake_smtp() as smtp, channel_to(smtp) as channel:
        verdicts = await channel.send({"fr": MailContent("a\nb", "t", "h")}, people(2))
        assert verdicts == [Verdict(BAD, "mail.text")] * 2
        assert smtp.counts["connections"] == 0


async def test_a_bounce_will_name_the_delivery() -> None:
    async with open_fake_smtp() as smtp:
        await send(smtp, [to(7)])
        assert smtp.messages[0].parameters.endswith(f"RET=HDRS ENVID={UUID(int=7)}")


async def test_a_cancelled_batch_leaves_the_channel_usable(clock: MockClock) -> None:
    async with open_fake_smtp() as smtp, channel_to(smtp, connections=1) as channel:
        smtp.next(Silence(), phase=Phase.RCPT)
        with trio.move_on_after(10) as scope:
            await channel.send(CONTENTS, people(5))
        assert scope.cancelled_caught
        assert await channel.send(CONTENTS, people(5)) == [ACCEPTED] * 5
        assert smtp.distinct == smtp.accepted == 5
