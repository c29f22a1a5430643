"""The server's side of one SMTP connection, for the fake of ``ent_notify.testing.smtp``.

It keeps to the protocol as a strict server does (RFC 5321, 2920, 3207, 3461, 4954, 6152, 6531): a command out of
order, a parameter that was not offered, a write that went ahead of a reply it had to wait for, all are refused and
counted as ``violations``.
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import trio

from ent_notify.testing.behaviours import Drop, Silence

_READ_SIZE = 262_144
_LINE_LIMIT = 2_048
_PATH = re.compile(r"(?i)(MAIL FROM|RCPT TO):<([^<>]*)>((?: [^ ]+)*)\Z")
GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


class Phase(StrEnum):
    """Where a step can be put."""

    CONNECT = "connect"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    """Content has begun to come, the final dot has not been read: for Drop and Silence."""
    FINAL = "final"
    """After the final dot."""


@dataclass(frozen=True, slots=True)
class Say:
    """This reply, for example ``550 5.1.1 No such user``; then, with ``close``, the end of the connection.

    After a positive reply to the final dot the mail counts as accepted.
    """

    text: str
    close: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """The mail is accepted and kept, and then ``then``: an accepted mail whose reply is lost. Only in ``FINAL``."""

    then: Drop | Silence | Say


@dataclass(frozen=True, slots=True)
class Late:
    """``then`` (None: the usual), after ``seconds``."""

    seconds: float
    then: Say | Drop | Silence | None = None


Step = Say | Taken | Late | Drop | Silence


@dataclass(frozen=True, slots=True)
class Features:
    """What the server offers after EHLO, and asks for."""

    pipelining: bool = True
    eight_bit: bool = True
    utf8: bool = True
    dsn: bool = True
    size: int | None = 10_485_760
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    login: tuple[str, str] | None = None
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")


class Desk(Protocol):
    """Where a session asks what to do, and reports."""

    features: Features

    def step(self, phase: Phase, recipient: str | None) -> Step | None:
        """What this phase meets; None is the usual."""
        ...

    def accept(self, sender: str, recipients: list[str], parameters: str, content: bytes) -> None:
        """A mail was taken."""
        ...

    def greet(self, name: str) -> None:
        """A client has said its name."""
        ...

    def count(self, what: str) -> None:
        """Count a reply code or another happening."""
        ...


class _End(Exception):
    """The connection ends here."""


@dataclass(slots=True)
class Session:
    """One connection."""

    desk: Desk
    stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]
    _buffer: bytearray = field(default_factory=bytearray)
    _replies: list[str] = field(default_factory=list)
    _greeted: bool = False
    _protected: bool = False
    _logged_in: bool = False
    _sender: str | None = None
    _parameters: str = ""
    _recipients: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Serve the connection to its end."""
        try:
            if self.desk.features.implicit_tls:
                await self._protect()
            await self._meet(Phase.CONNECT, "220 fake.example ESMTP")
            while True:
                line = await self._line()
                await self._command(line)
        except (_End, *GONE):
            pass
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self.stream)

    async def _command(self, line: str) -> None:
        verb = line[:4].upper()
        commands: dict[str, Callable[[str], Awaitable[None]]] = {
            "EHLO": self._ehlo,
            "HELO": self._ehlo,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "AUTH": self._auth,
            "STAR": self._starttls,
        }
        if verb == "RSET":
            self._reset()
            self._say("250 2.0.0 Ok")
        elif verb == "NOOP":
            self._say("250 2.0.0 Ok")
        elif verb == "QUIT":
            self._say("221 2.0.0 Bye")
            await self._flush()
            raise _End
        elif verb in commands:
            await commands[verb](line)
        else:
            self._violation("500 5.5.1 What is that")

    async def _ehlo(self, line: str) -> None:
        features = self.desk.features
        offers = ["fake.example"]
        if line[:4].upper() == "EHLO":
            offers += ["PIPELINING"] * features.pipelining + ["8BITMIME"] * features.eight_bit
            offers += ["SMTPUTF8"] * features.utf8 + ["DSN"] * features.dsn + ["ENHANCEDSTATUSCODES"]
            offers += [f"SIZE {features.size}"] if features.size is not None else []
            offers += ["STARTTLS"] if features.tls is not None and not self._protected else []
            offers += [f"AUTH {' '.join(features.mechanisms)}"] if features.login is not None else []
        self._greeted = True
        self.desk.greet(line[5:])
        self._reset()
        last = len(offers) - 1
        text = "\r\n".join(f"250{' ' if number == last else '-'}{offer}" for number, offer in enumerate(offers))
        await self._meet(Phase.EHLO, text)

    async def _starttls(self, _line: str) -> None:
        if self.desk.features.tls is None or self._protected:
            self._violation("502 5.5.1 STARTTLS is not offered")
        elif await self._meet(Phase.STARTTLS, "220 2.0.0 Go ahead"):
            await self._flush()
            self._buffer.clear()
            await self._protect()
            self._greeted = self._logged_in = False

    async def _auth(self, line: str) -> None:
        login = self.desk.features.login
        mechanism, _, initial = line[5:].partition(" ")
        if login is None or mechanism.upper() not in self.desk.features.mechanisms:
            self._violation("504 5.5.4 That mechanism is not offered")
            return
        if mechanism.upper() == "PLAIN":
            user, password = _decoded(initial).split("\0")[1:]
        else:
            self._say("334 VXNlcm5hbWU6")
            user = _decoded(await self._line())
            self._say("334 UGFzc3dvcmQ6")
            password = _decoded(await self._line())
        if (user, password) != login:
            self._say("535 5.7.8 Authentication credentials invalid")
        elif await self._meet(Phase.AUTH, "235 2.7.0 Authentication succeeded"):
            self._logged_in = True

    async def _mail(self, line: str) -> None:
        features = self.desk.features
        found = _PATH.match(line)
        if not self._greeted or self._sender is not None or found is None:
            self._violation("503 5.5.1 Nested or early MAIL" if found else "501 5.5.4 Syntax")
            return
        if features.login is not None and not self._logged_in:
            self._say("530 5.7.0 Authentication required")
            return
        offered = {
            "SIZE": features.size is not None,
            "BODY": features.eight_bit,
            "SMTPUTF8": features.utf8,
            "RET": features.dsn,
            "ENVID": features.dsn,
        }
        given = dict(parameter.partition("=")[::2] for parameter in found[3].split())
        if not all(offered.get(name.upper()) for name in given):
            self._violation("555 5.5.4 A parameter that is not offered")
        elif features.size is not None and int(given.get("SIZE", "0")) > features.size:
            self._say("552 5.3.4 Message size exceeds fixed limit")
        elif await self._meet(Phase.MAIL, "250 2.1.0 Ok"):
            self._sender, self._parameters = found[2], found[3].strip()

    async def _rcpt(self, line: str) -> None:
        found = _PATH.match(line)
        if self._sender is None or found is None:
            self._violation("503 5.5.1 Need MAIL before RCPT" if found else "501 5.1.3 Syntax")
        elif not found[2].isascii() and "SMTPUTF8" not in self._parameters:
            self._violation("553 5.6.7 Address needs SMTPUTF8")
        elif await self._meet(Phase.RCPT, "250 2.1.5 Ok", found[2]):
            self._recipients.append(found[2])

    async def _data(self, _line: str) -> None:
        if not self._recipients:
            # A client that pipelines cannot know; one that does not should.
            self._say("503 5.5.1 No valid recipients")
            return
        if self._buffer:
            self._violation("503 5.5.1 Content came before the 354")
            raise _End
        if not await self._meet(Phase.DATA, "354 End data with <CR><LF>.<CR><LF>", self._recipients[0]):
            return
        content = await self._content()
        step = self.desk.step(Phase.FINAL, self._recipients[0])
        if isinstance(step, Late):
            await self._flush()
            await trio.sleep(step.seconds)
            step = step.then
        if step is None or isinstance(step, Taken) or (isinstance(step, Say) and step.text[0] == "2"):
            self.desk.accept(self._sender or "", self._recipients, self._parameters, content)
        self._reset()
        await self._do(step.then if isinstance(step, Taken) else step, "250 2.0.0 Ok: taken")

    async def _content(self) -> bytes:
        await self._flush()
        buffer = self._buffer
        scanned = 0
        step = self.desk.step(Phase.BODY, self._recipients[0])
        while True:
            if step is not None and buffer:
                await self._do(step, "")
                step = None
            if buffer.startswith(b".\r\n"):
                del buffer[:3]
                return b""
            end = buffer.find(b"\r\n.\r\n", max(0, scanned - 4))
            if end >= 0:
                content = bytes(memoryview(buffer)[: end + 2])
                del buffer[: end + 5]
                break
            scanned = len(buffer)
            buffer += await self._receive()
        if content.count(b"\n") != content.count(b"\r\n") or content.count(b"\r") != content.count(b"\n"):
            self.desk.count("violations")  # a bare CR or LF is how mails are smuggled
        if b"\n." in content or content[:1] == b".":
            content = (b"\n" + content).replace(b"\n.", b"\n")[1:]
        return content

    async def _meet(self, phase: Phase, usual: str, recipient: str | None = None) -> bool:
        """Do what the script says at ``phase``, or say the usual; whether the answer was positive."""
        return await self._do(self.desk.step(phase, recipient), usual)

    async def _do(self, step: Step | None, usual: str) -> bool:
        match step:
            case None:
                if usual:
                    self._say(usual)
                return True
            case Say(text, close):
                self._say(text)
                if close or text.startswith("421"):
                    await self._flush()
                    raise _End
                return text[0] in "23"
            case Late(seconds, then):
                await self._flush()
                await trio.sleep(seconds)
                return await self._do(then, usual)
            case Silence():
                await self._flush()
                self.desk.count("silences")
                while True:
                    await self._receive()
            case _:
                await self._flush()
                self.desk.count("drops")
                raise _End

    def _say(self, text: str) -> None:
        self.desk.count(text[:3])
        self._replies.append(text)

    def _violation(self, text: str) -> None:
        self.desk.count("violations")
        self._say(text)

    async def _flush(self) -> None:
        if self._replies:
            self._replies.append("")
            data = "\r\n".join(self._replies).encode()
            self._replies.clear()
            await self.stream.send_all(data)

    async def _line(self) -> str:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _LINE_LIMIT:
                raise _End
            await self._flush()
            self._buffer += await self._receive()
        line = self._buffer[:end]
        del self._buffer[: end + 1]
        if self._buffer and not self.desk.features.pipelining:
            self.desk.count("violations")
        return line.rstrip(b"\r").decode("utf-8", "replace")

    async def _receive(self) -> bytes:
        data = await self.stream.receive_some(_READ_SIZE)
        if not data:
            raise _End
        return bytes(data)

    async def _protect(self) -> None:
        assert isinstance(self.stream, trio.SocketStream)  # noqa: S101 - asked for once only
        assert self.desk.features.tls is not None  # noqa: S101 - Features has it if it is offered
        self.stream = trio.SSLStream(self.stream, self.desk.features.tls, server_side=True, https_compatible=True)
        self._protected = True
        try:
            await self.stream.do_handshake()
        except GONE:
            raise _End from None

    def _reset(self) -> None:
        self._sender, self._parameters, self._recipients = None, "", []


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        return "\0\0"
