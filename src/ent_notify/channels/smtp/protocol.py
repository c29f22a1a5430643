"""The client's side of SMTP without I/O: replies and mails go in, bytes and outcomes come out.

A session opens by the table ``_OPENING``; then transactions follow one another, one recipient each. Where the server
offers PIPELINING (RFC 2920), MAIL, RCPT and DATA leave in one write, and that write begins with the end of the mail
before: one round trip for each mail. Content is sent only after a 354, so a refused recipient costs nothing.

Who drives it (``connection``) sends what ``bytes_to_send`` gives, feeds what comes to ``receive``, makes the connection
TLS in ``State.TLS``, tells ``connection_lost`` when that is so, and learns what became of each mail: one outcome each.
"""

from __future__ import annotations

import base64
from collections import deque
from dataclasses import dataclass
from enum import Enum

from ent_notify.channels.smtp.reply import NotSmtp, Reply, ReplyReader
from ent_notify.channels.smtp.values import NO_CONNECTION, Answered, Login, Lost, Mail, Outcome, Refused, Returned
from ent_notify.policy.mail_verdicts import Phase


class State(Enum):
    """Where a session stands."""

    GREETING = "waits for the greeting"
    EHLO = "has said EHLO"
    HELO = "has said HELO"
    STARTTLS = "has asked for TLS"
    TLS = "the TLS handshake is under way"
    AUTH_PLAIN = "has sent user and password"
    AUTH_LOGIN = "has asked to log in"
    AUTH_USER = "has sent the user"
    AUTH_PASSWORD = "has sent the password"  # noqa: S105 - words about a state
    READY = "takes mails"
    QUIT = "has said QUIT"
    CLOSED = "is over"


_OPENING: dict[State, tuple[Phase, int]] = {
    State.GREETING: (Phase.GREETING, 220),
    State.EHLO: (Phase.EHLO, 250),
    State.HELO: (Phase.EHLO, 250),
    State.STARTTLS: (Phase.STARTTLS, 220),
    State.AUTH_PLAIN: (Phase.AUTH, 235),
    State.AUTH_LOGIN: (Phase.AUTH, 334),
    State.AUTH_USER: (Phase.AUTH, 334),
    State.AUTH_PASSWORD: (Phase.AUTH, 235),
}
"""While a session opens: what is being answered, and the one code that leads on. Any other code ends it."""


@dataclass(slots=True, eq=False)
class _Transaction:
    mail: Mail
    refusal: tuple[Phase, Reply] | None = None


class SmtpClient:
    """One session. ``starttls`` demands TLS by STARTTLS: without it, the session is refused.

    ``pipelining`` False leaves PIPELINING unused even where it is offered.
    """

    def __init__(
        self,
        *,
        local_name: str = "localhost",
        login: Login | None = None,
        starttls: bool = False,
        pipelining: bool = True,
    ) -> None:
        self.state = State.GREETING
        self.features: dict[str, str] = {}
        self.refusal: Refused | None = None
        """Why the session did not open, once that is so."""
        self.taken = 0
        """Transactions that have begun in this session."""
        self._local_name = local_name
        self._login = login
        self._needs_tls = starttls
        self._may_pipeline = pipelining
        self._pipelines = False
        self._size_limit = 0
        self._says_size = False
        self._says_dsn = False
        self._reader = ReplyReader()
        self._out: list[bytes] = []
        self._after_dot = 0
        self._expected: deque[tuple[Phase, _Transaction | None]] = deque()
        self._waiting: deque[Mail] = deque()
        self._needs_reset = False
        self._outcomes: list[Outcome] = []

    # What the shell asks

    @property
    def wants_mail(self) -> bool:
        """Whether another mail can be put to use now: one is kept ready beside the one under way."""
        return self.state is State.READY and not self._waiting

    @property
    def is_idle(self) -> bool:
        """Whether every mail has been decided on."""
        return not self._expected and not self._waiting

    @property
    def awaits(self) -> Phase:
        """What the next reply will answer."""
        if self._expected:
            return self._expected[0][0]
        return _OPENING[self.state][0] if self.state in _OPENING else Phase.QUIT

    def bytes_to_send(self) -> bytes:
        """What is to be written now; empty if nothing is."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    # What the shell tells

    def send(self, mail: Mail) -> list[Outcome]:
        """Take a mail on. A mail that this server cannot take at all is answered here and now."""
        self._waiting.append(mail)
        if not self._expected:
            self._begin_next()
        return self._take_outcomes()

    def receive(self, data: bytes) -> list[Outcome]:
        """Take in what came. On what is no SMTP, the session is over and its mails are returned or lost."""
        try:
            replies = self._reader.feed(data)
            if self.state is State.STARTTLS and (len(replies) > 1 or (self._reader.pending and replies)):
                # Clear text slipped in behind the reply would be read as if TLS had protected it (CVE-2011-0411).
                self._refuse(Phase.STARTTLS, replies[0], "more than one reply came before TLS")
            for reply in replies:
                if self.state is State.READY:
                    self._on_transaction(reply)
                elif self.state in _OPENING:
                    self._on_opening(reply)
                else:
                    self.state = State.CLOSED
        except NotSmtp:
            self.state = State.CLOSED
        return self._take_outcomes()

    def tls_established(self) -> None:
        """The connection is TLS now: start afresh, forgetting all that was said in clear (RFC 3207, 4.2)."""
        self._needs_tls = False
        self._reader = ReplyReader()
        self.features = {}
        self._say_hello()

    def quit(self) -> None:
        """Say goodbye. Only when idle."""
        if self.state is State.READY:
            self._out.append(b"QUIT\r\n")
        self.state = State.QUIT

    def connection_lost(self, unsent: int = 0, *, stalled: bool = False) -> list[Outcome]:
        """The connection is gone; ``unsent`` octets of the last ``bytes_to_send`` had not left for certain.

        ``stalled``: because the server kept silent. The mail it kept silent about is then answered 4.4.2 rather than
        returned, so that no other connection waits as long again.
        """
        self.state = State.CLOSED
        if stalled and self._expected and (head := self._expected[0][1]) is not None and head.refusal is None:
            head.refusal = (self._expected[0][0], NO_CONNECTION)
            if self._expected[0][0] is Phase.CONTENT and unsent <= self._after_dot:
                head.refusal = None
        seen: set[int] = set()
        for phase, transaction in self._expected:
            if transaction is None or id(transaction) in seen:
                continue
            seen.add(id(transaction))
            if transaction.refusal is not None:
                self._outcomes.append(Answered(transaction.mail, *transaction.refusal))
            elif phase is Phase.CONTENT and unsent <= self._after_dot:
                self._outcomes.append(Lost(transaction.mail))
            else:
                self._outcomes.append(Returned(transaction.mail, blamed=len(seen) == 1))
        self._outcomes += [Returned(mail) for mail in self._waiting]
        self._expected.clear()
        self._waiting.clear()
        return self._take_outcomes()

    # Opening

    def _on_opening(self, reply: Reply) -> None:
        phase, expected = _OPENING[self.state]
        if reply.code != expected:
            if self.state is State.EHLO and reply.code in (500, 502) and not self._needs_tls:
                self._say(State.HELO, f"HELO {self._local_name}")
                return
            self._refuse(phase, reply, f"{phase.value} was answered {reply.code} {reply.status}".strip())
            return
        match self.state:
            case State.GREETING:
                self._say_hello()
            case State.EHLO:
                self._read_features(reply)
                self._after_hello(reply)
            case State.HELO:
                self._after_hello(reply)
            case State.STARTTLS:
                self.state = State.TLS
            case State.AUTH_LOGIN:
                self._say(State.AUTH_USER, _base64(self._credentials.user))
            case State.AUTH_USER:
                self._say(State.AUTH_PASSWORD, _base64(self._credentials.password))
            case _:
                self._ready()

    def _say_hello(self) -> None:
        self._say(State.EHLO, f"EHLO {self._local_name}")

    def _read_features(self, reply: Reply) -> None:
        self.features = {}
        for line in reply.lines[1:]:
            name, _, value = line.strip().partition(" ")
            if name:
                self.features[name.upper()] = value

    def _after_hello(self, reply: Reply) -> None:
        if self._needs_tls:
            if "STARTTLS" not in self.features:
                self._refuse(Phase.STARTTLS, reply, "the relay does not offer STARTTLS")
                return
            self._say(State.STARTTLS, "STARTTLS")
        elif self._login is not None:
            offered = self.features.get("AUTH", "").upper().split()
            if "PLAIN" in offered:
                secret = f"\0{self._login.user}\0{self._login.password}"
                self._say(State.AUTH_PLAIN, f"AUTH PLAIN {_base64(secret)}")
            elif "LOGIN" in offered:
                self._say(State.AUTH_LOGIN, "AUTH LOGIN")
            else:
                self._refuse(Phase.AUTH, reply, "the relay offers neither AUTH PLAIN nor AUTH LOGIN")
        else:
            self._ready()

    @property
    def _credentials(self) -> Login:
        assert self._login is not None  # noqa: S101 - the states that ask are reached only with a login
        return self._login

    def _ready(self) -> None:
        self.state = State.READY
        self._pipelines = self._may_pipeline and "PIPELINING" in self.features
        size = self.features.get("SIZE", "")
        self._size_limit = int(size) if size.isdecimal() and len(size) < 20 else 0
        self._says_size = "SIZE" in self.features
        self._says_dsn = "DSN" in self.features
        self._begin_next()

    def _refuse(self, phase: Phase, reply: Reply, reason: str) -> None:
        self.state = State.CLOSED
        self.refusal = Refused(phase, reply, reason)

    def _say(self, state: State, line: str) -> None:
        self.state = state
        self._out.append(f"{line}\r\n".encode())

    # Transactions

    def _begin_next(self) -> None:
        """Write the next mail's envelope, if one waits."""
        while self._waiting and self.state is State.READY:
            if self._needs_reset:
                self._needs_reset = False
                self._out.append(b"RSET\r\n")
                self._expected.append((Phase.RSET, None))
                if not self._pipelines:
                    return
            mail = self._waiting.popleft()
            if (refusal := self._cannot_take(mail)) is not None:
                self._outcomes.append(Answered(mail, Phase.MAIL, refusal))
                continue
            self.taken += 1
            transaction = _Transaction(mail)
            start = f"MAIL FROM:<{mail.sender}>{self._parameters(mail)}\r\n"
            self._expected.append((Phase.MAIL, transaction))
            if self._pipelines:
                start = f"{start}RCPT TO:<{mail.recipient}>\r\nDATA\r\n"
                self._expected.append((Phase.RCPT, transaction))
                self._expected.append((Phase.DATA, transaction))
            self._out.append(start.encode())
            return

    def _cannot_take(self, mail: Mail) -> Reply | None:
        """What this server would answer, by what it told us at EHLO, to a mail that it cannot take."""
        if 0 < self._size_limit < len(mail.content):
            return Reply(552, "5.3.4", ("larger than the relay takes",))
        if mail.utf8 and "SMTPUTF8" not in self.features:
            return Reply(553, "5.6.7", ("the relay does not offer SMTPUTF8",))
        if "8BITMIME" not in self.features and not mail.content.isascii():
            return Reply(554, "5.6.3", ("the relay does not offer 8BITMIME",))
        return None

    def _parameters(self, mail: Mail) -> str:
        parameters = ""
        if self._says_size:
            parameters = f" SIZE={len(mail.content)}"
        if not mail.content.isascii():
            parameters += " BODY=8BITMIME"
        if mail.utf8:
            parameters += " SMTPUTF8"
        if self._says_dsn and mail.envelope_id:
            # RFC 3461: bounces name the delivery and bring no content back.
            parameters += f" RET=HDRS ENVID={mail.envelope_id}"
        return parameters

    def _on_transaction(self, reply: Reply) -> None:
        if not self._expected:
            # Said unasked: 421, as a rule, by a server that is about to close.
            self.state = State.CLOSED
            return
        phase, transaction = self._expected.popleft()
        if reply.code == 421:
            self._on_shutdown(phase, transaction, reply)
            return
        if transaction is None:
            pass
        elif phase is Phase.CONTENT:
            self._outcomes.append(Answered(transaction.mail, phase, reply))
        elif phase is Phase.DATA:
            self._on_data(transaction, reply)
        elif reply.code >= 300:
            self._on_refusal(transaction, phase, reply)
        elif not self._pipelines:
            self._on_step(transaction, phase)
        if not self._expected:
            self._begin_next()

    def _on_step(self, transaction: _Transaction, phase: Phase) -> None:
        """Without PIPELINING, each command waits for the reply to the one before."""
        if phase is Phase.MAIL:
            self._out.append(f"RCPT TO:<{transaction.mail.recipient}>\r\n".encode())
            self._expected.append((Phase.RCPT, transaction))
        else:
            self._out.append(b"DATA\r\n")
            self._expected.append((Phase.DATA, transaction))

    def _on_data(self, transaction: _Transaction, reply: Reply) -> None:
        if reply.code == 354 and transaction.refusal is None:
            content = transaction.mail.content
            if b"\n." in content or content.startswith(b"."):
                content = content.replace(b"\n.", b"\n..")
                content = b"." + content if content.startswith(b".") else content
            self._out += (content, b".\r\n" if content.endswith(b"\n") else b"\r\n.\r\n")
            self._expected.append((Phase.CONTENT, transaction))
            before = len(self._out)
            if self._pipelines:
                self._begin_next()
            self._after_dot = sum(map(len, self._out[before:]))
            return
        if reply.code == 354:
            # It waits for the content of a mail without a recipient: give it none (RFC 2920, 3.1).
            self._out.append(b".\r\n")
            self._expected.append((Phase.RSET, None))
        self._needs_reset = True
        self._outcomes.append(Answered(transaction.mail, *(transaction.refusal or (Phase.DATA, reply))))

    def _on_refusal(self, transaction: _Transaction, phase: Phase, reply: Reply) -> None:
        if not self._pipelines:
            self._needs_reset = True
            self._outcomes.append(Answered(transaction.mail, phase, reply))
        elif transaction.refusal is None:
            transaction.refusal = (phase, reply)

    def _on_shutdown(self, phase: Phase, transaction: _Transaction | None, reply: Reply) -> None:
        """The server closes after a 421 (RFC 5321, 3.8). To a MAIL that is not the session's first it says no more
        than that this session has had its share: that mail is returned, as all that come after it."""
        self.state = State.CLOSED
        if transaction is None:
            return
        if phase is Phase.MAIL and self.taken > 1:
            self._expected.appendleft((phase, transaction))
            return
        self._expected = deque(entry for entry in self._expected if entry[1] is not transaction)
        self._outcomes.append(Answered(transaction.mail, phase, reply))

    def _take_outcomes(self) -> list[Outcome]:
        outcomes, self._outcomes = self._outcomes, []
        return outcomes


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
