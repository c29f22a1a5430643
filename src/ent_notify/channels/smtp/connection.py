"""One SMTP connection: the protocol's bytes on a socket, TLS, and a time-out for each phase. Time is trio's."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import trio

from ent_notify.channels.smtp.protocol import SmtpClient, State
from ent_notify.channels.smtp.values import Login, Mail, Outcome
from ent_notify.channels.smtp.wire import Broken, FlatWire, StreamWire, Wire
from ent_notify.errors import SettingsError
from ent_notify.policy.mail_verdicts import Phase

RELAY_WAIT = 60.0
"""Seconds to leave a relay alone that greets us with 421."""

_MINUTE = 60.0


class TlsMode(StrEnum):
    """How the connection is protected."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait in each phase: the minima of RFC 5321, 4.5.3.2, and our own for what it leaves open."""

    connect: float = 30.0
    tls: float = 30.0
    greeting: float = 5 * _MINUTE
    command: float = 5 * _MINUTE
    """EHLO, STARTTLS, AUTH, MAIL, RCPT, RSET."""
    data: float = 2 * _MINUTE
    """The 354 after DATA."""
    block: float = 3 * _MINUTE
    """Writing one buffer."""
    final: float = 10 * _MINUTE
    """The reply to the final dot."""
    quit: float = 5.0
    """The reply to QUIT: nothing depends on it."""

    @classmethod
    def at_most(cls, seconds: float) -> Timeouts:
        """The same, but no wait is longer than ``seconds``."""
        whole = cls()
        return cls(*(min(seconds, getattr(whole, name)) for name in cls.__dataclass_fields__))

    def of(self, phase: Phase) -> float:
        """The wait for the reply of ``phase``."""
        match phase:
            case Phase.CONTENT:
                return self.final
            case Phase.DATA:
                return self.data
            case Phase.GREETING:
                return self.greeting
            case Phase.QUIT:
                return self.quit
            case _:
                return self.command


@dataclass(frozen=True, slots=True)
class Relay:
    """A server that takes our mail. ``connections`` is the limit of connections at once to this host: as many as its
    operator allows (Orange and Wanadoo allow 3 for each mail exchanger).

    ``context`` is used for TLS (default: the system's certificates, host name checked). ``local_name`` is what EHLO
    says. Raises SettingsError for a login that would travel in clear to another machine.
    """

    host: str
    port: int = 587
    tls: TlsMode = TlsMode.STARTTLS
    login: Login | None = None
    context: ssl.SSLContext | None = field(default=None, compare=False)
    connections: int = 4
    messages_per_connection: int = 1_000
    idle_seconds: float = 60.0
    local_name: str = "localhost"
    pipelining: bool = True
    timeouts: Timeouts = Timeouts()

    def __post_init__(self) -> None:
        if self.tls is TlsMode.NONE and self.login is not None and not _is_loopback(self.host):
            raise SettingsError(
                f"the password for the relay {self.host} would travel in clear; set tls to 'starttls' or 'tls'"
            )


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


class Unavailable(Exception):
    """A connection could not be opened. ``retry_after`` is in seconds, or None."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(reason)


class Work(Protocol):
    """Where a connection finds mails, and tells what became of them."""

    def take(self) -> Mail | None:
        """The next mail, or None when there is none just now."""
        ...

    def done(self, outcome: Outcome) -> None:
        """What became of a mail: one outcome for each that was taken."""
        ...


class Connection:
    """An open session with a relay. One task at a time may deliver."""

    def __init__(self, relay: Relay, client: SmtpClient, wire: Wire) -> None:
        self._relay = relay
        self._client = client
        self._wire = wire
        self._idle_since = trio.current_time()

    @classmethod
    async def open(cls, relay: Relay) -> Connection:
        """Connect, protect, log in. Raises Unavailable."""
        client = SmtpClient(
            local_name=relay.local_name,
            login=relay.login,
            starttls=relay.tls is TlsMode.STARTTLS,
            pipelining=relay.pipelining,
        )
        stream = await _connect(relay)
        wire: Wire = StreamWire(stream)
        try:
            if relay.tls is TlsMode.TLS:
                wire = StreamWire(await _protect(relay, stream))
            while client.state is not State.READY:
                if client.state is State.TLS:
                    wire = StreamWire(await _protect(relay, stream))
                    client.tls_established()
                await _exchange(relay, client, wire)
        except BaseException as problem:
            await wire.aclose()
            if isinstance(problem, Broken):
                raise Unavailable(f"the relay {relay.host} closed the connection while it opened") from None
            raise
        return cls(relay, client, wire if relay.tls is not TlsMode.NONE else FlatWire(stream))

    @property
    def is_usable(self) -> bool:
        """Whether more mails may be delivered here."""
        return (
            self._client.state is State.READY
            and self._client.taken < self._relay.messages_per_connection
            and trio.current_time() - self._idle_since <= self._relay.idle_seconds
            and self._wire.is_quiet()
        )

    async def deliver(self, work: Work) -> None:
        """Send mails until ``work`` has none left, this session's share is reached or the connection is lost.

        Each mail taken is reported to ``work.done`` before this returns. Cancelled, it leaves mails unreported.
        """
        client, wire, timeouts = self._client, self._wire, self._relay.timeouts
        with trio.CancelScope() as patience:
            try:
                while True:
                    self._load(work)
                    if data := client.bytes_to_send():
                        if not wire.send_nowait(data):
                            patience.deadline = trio.current_time() + timeouts.block
                            await wire.send_rest()
                    elif client.is_idle:
                        break
                    wait = timeouts.of(client.awaits)
                    due = trio.current_time() + wait
                    if not -0.02 * wait < patience.deadline - due < 0.02 * wait:
                        patience.deadline = due  # moving it for each mail would cost more than reading the reply
                    received = await wire.receive()
                    for outcome in client.receive(received):
                        work.done(outcome)
                    if not received or client.state is not State.READY:
                        break
            except Broken:
                pass
        if not client.is_idle or client.state is not State.READY:
            for outcome in client.connection_lost(wire.unsent, stalled=patience.cancelled_caught):
                work.done(outcome)
        self._idle_since = trio.current_time()

    def _load(self, work: Work) -> None:
        """Give the client the mails it can use now."""
        client = self._client
        while client.wants_mail and client.taken < self._relay.messages_per_connection:
            mail = work.take()
            if mail is None:
                return
            for outcome in client.send(mail):
                work.done(outcome)

    async def aclose(self) -> None:
        """Say QUIT, if that can still be heard, and close."""
        try:
            if self._client.state is State.READY and self._client.is_idle:
                self._client.quit()
                with trio.move_on_after(self._relay.timeouts.quit):
                    if not self._wire.send_nowait(self._client.bytes_to_send()):
                        await self._wire.send_rest()
                    await self._wire.receive()
        except Broken:
            pass
        finally:
            with trio.CancelScope(shield=True):
                await self._wire.aclose()


async def _exchange(relay: Relay, client: SmtpClient, wire: Wire) -> None:
    """One step of opening: write what is due, read what comes."""
    try:
        if data := client.bytes_to_send():
            with trio.fail_after(relay.timeouts.block):
                if not wire.send_nowait(data):
                    await wire.send_rest()
        with trio.fail_after(relay.timeouts.of(client.awaits)):
            received = await wire.receive()
    except trio.TooSlowError:
        raise Unavailable(f"the relay {relay.host} kept silent; {client.awaits.value} was to be answered") from None
    client.receive(received)
    if client.refusal is not None:
        wait = RELAY_WAIT if client.refusal.reply.code == 421 else None
        raise Unavailable(f"the relay {relay.host} refuses us: {client.refusal.reason}", wait)
    if not received or client.state is State.CLOSED:
        raise Broken


async def _connect(relay: Relay) -> trio.SocketStream:
    try:
        with trio.fail_after(relay.timeouts.connect):
            return await trio.open_tcp_stream(relay.host, relay.port)
    except trio.TooSlowError:
        raise Unavailable(f"no connection to the relay {relay.host}, port {relay.port}: no answer") from None
    except OSError as problem:
        raise Unavailable(f"no connection to the relay {relay.host}, port {relay.port}: {problem}") from None


async def _protect(relay: Relay, stream: trio.SocketStream) -> trio.SSLStream[trio.SocketStream]:
    context = relay.context or ssl.create_default_context()
    protected = trio.SSLStream(stream, context, server_hostname=relay.host, https_compatible=True)
    try:
        with trio.fail_after(relay.timeouts.tls):
            await protected.do_handshake()
    except (ssl.SSLError, trio.BrokenResourceError, trio.TooSlowError) as problem:
        cause = problem.__cause__ or problem
        raise Unavailable(f"the TLS handshake with the relay {relay.host} failed: {cause}") from None
    return protected
