"""A fake SMTP server that speaks the real protocol, takes a script, and counts exactly what it got.

::

    async with open_fake_smtp() as smtp:
        channel = EmailChannel(Relay(smtp.host, smtp.port, TlsMode.NONE), sender, clock)
        smtp.next(Say("550 5.1.1 No such user"), recipient="parti@exemple.fr")
        smtp.first(Say("451 4.7.1 Greylisted"))                       # everybody's first try
        smtp.always(Say("421 4.7.0 Slow down"), recipient="*@lent.example")
        smtp.next(Taken(Drop()), phase="final")                       # accepted, and the reply is lost
        ...
        assert smtp.accepted == 3

In a process of its own: ``python -m ent_notify.testing.smtp --port 0``; the first line that it prints is JSON with
``host`` and ``port``; then each line on its standard input makes it print its counters, and the end of the input ends
it. ``--share "550 5.1.1 No such user=0.01"`` lets a fixed share of recipients meet that reply.
"""

from __future__ import annotations

import email
import email.policy
import zlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import trio

from ent_notify.testing.behaviours import Drop, Silence
from ent_notify.testing.process import run_as_process
from ent_notify.testing.scripting import Refuse
from ent_notify.testing.scripting import Step as ProviderStep
from ent_notify.testing.smtp_session import Features, Late, Phase, Say, Session, Step, Taken

__all__ = [
    "Drop",
    "FakeSmtp",
    "Features",
    "Late",
    "Phase",
    "ReceivedMail",
    "Say",
    "Silence",
    "Step",
    "Taken",
    "open_fake_smtp",
]


@dataclass(frozen=True)
class ReceivedMail:
    """A mail that was accepted. ``parameters`` are those of MAIL FROM, ``content`` is without dot-stuffing."""

    sender: str
    recipients: tuple[str, ...]
    parameters: str
    content: bytes

    @cached_property
    def message(self) -> EmailMessage:
        """The content, read by the standard library."""
        return email.message_from_bytes(self.content, policy=email.policy.SMTP)

    @property
    def message_id(self) -> str:
        """The Message-ID with its brackets, or an empty string."""
        return message_id_of(self.content).decode("ascii", "replace")


@dataclass(slots=True)
class _Rule:
    phase: Phase
    pattern: str | None
    steps: deque[Step]
    standing: Step | None = None
    first: int = 0
    fraction: float = 0.0

    def matches(self, recipient: str | None) -> bool:
        return self.pattern is None or (recipient is not None and fnmatchcase(recipient, self.pattern))


class FakeSmtp:
    """See the module. Made by ``open_fake_smtp``.

    ``keep`` bounds the memory: the last ``keep`` mails are kept; counters are always exact. To know repeats, 8 bytes
    of each Message-ID are kept.
    """

    def __init__(self, keep: int, features: Features) -> None:
        self.features = features
        self.host = ""
        self.port = 0
        self.messages: deque[ReceivedMail] = deque(maxlen=keep)
        """The last mails accepted, oldest first."""
        self.counts: Counter[str] = Counter()
        """Replies by code, and ``accepted``, ``connections``, ``drops``, ``silences``, ``violations``."""
        self.greetings: set[str] = set()
        """Names that clients gave themselves."""
        self.open_connections = 0
        self.most_connections = 0
        self.decide: Callable[[Phase, str | None], Step | None] | None = None
        """For what no rule can say: asked first; None means no opinion."""
        self._rules: list[_Rule] = []
        self._tries: Counter[tuple[int, str]] = Counter()
        self._ids: set[int] = set()
        self._changed = trio.Event()
        self._scopes: set[trio.CancelScope] = set()

    # The script

    def next(self, *steps: Step, phase: Phase | str = Phase.RCPT, recipient: str | None = None) -> None:
        """Queue ``steps``, one for each time that ``phase`` is reached (for ``recipient``, which may be a pattern
        such as ``*@lent.example``)."""
        self._rules.append(_Rule(Phase(phase), recipient, deque(steps)))

    def always(self, step: Step, *, phase: Phase | str = Phase.RCPT, recipient: str | None = None) -> None:
        """From now on, ``phase`` meets ``step``."""
        self._rules.append(_Rule(Phase(phase), recipient, deque(), standing=step))

    def first(
        self, step: Step, *, tries: int = 1, phase: Phase | str = Phase.RCPT, recipient: str | None = None
    ) -> None:
        """Each recipient's first ``tries`` meet ``step``, then no more: greylisting."""
        self._rules.append(_Rule(Phase(phase), recipient, deque(), standing=step, first=tries))

    def share(self, fraction: float, step: Step | ProviderStep, *, phase: Phase | str = Phase.RCPT) -> None:
        """A fixed ``fraction`` of recipients, chosen by a hash of the address, meets ``step`` (``Refuse("550 ...")``,
        as the command line gives it, is that reply)."""
        said = Say(step.reason) if isinstance(step, Refuse) else step
        if not isinstance(said, (Say, Taken, Late, Drop, Silence)):
            raise TypeError(f"{step!r} is no step of an SMTP server; use Say, Late, Taken, Drop or Silence")
        self._rules.append(_Rule(Phase(phase), None, deque(), standing=said, fraction=fraction))

    def forget(self) -> None:
        """From now on everything is accepted."""
        self._rules.clear()

    def hang_up(self) -> None:
        """End every connection that is open now, without a word."""
        for scope in self._scopes:
            scope.cancel()

    # What it got

    @property
    def accepted(self) -> int:
        """Mails accepted, repeats included."""
        return self.counts["accepted"]

    @property
    def distinct(self) -> int:
        """Different Message-IDs among the mails accepted."""
        return len(self._ids)

    async def wait_accepted(self, count: int) -> None:
        """Wait until ``count`` mails have been accepted in all."""
        while self.accepted < count:
            await self._changed.wait()

    async def wait_closed(self) -> None:
        """Wait until no connection is open."""
        while self.open_connections:
            await self._changed.wait()

    def summary(self) -> dict[str, int]:
        """The counters, as a process of its own prints them."""
        return {"received": self.accepted, "distinct": self.distinct, **dict(sorted(self.counts.items()))}

    def describe(self) -> dict[str, Any]:
        """Where it is, as JSON."""
        return {"host": self.host, "port": self.port}

    # For the sessions

    def step(self, phase: Phase, recipient: str | None) -> Step | None:
        """What ``phase`` meets; None is the usual. Rules are asked in the order in which they were made."""
        if self.decide is not None and (decided := self.decide(phase, recipient)) is not None:
            return decided
        for number, rule in enumerate(self._rules):
            if rule.phase is not phase or not rule.matches(recipient):
                continue
            if rule.steps:
                return rule.steps.popleft()
            if rule.standing is None:
                continue
            if rule.first and recipient is not None:
                self._tries[number, recipient] += 1
                if self._tries[number, recipient] > rule.first:
                    continue
            if rule.fraction and zlib.crc32((recipient or "").encode()) / 2**32 >= rule.fraction:
                continue
            return rule.standing
        return None

    def greet(self, name: str) -> None:
        """A client has said its name."""
        self.greetings.add(name)

    def accept(self, sender: str, recipients: list[str], parameters: str, content: bytes) -> None:
        """A session has taken a mail."""
        self.counts["accepted"] += 1
        self._ids.add(hash(message_id_of(content)))
        self.messages.append(ReceivedMail(sender, tuple(recipients), parameters, content))
        self._tell()

    def count(self, what: str) -> None:
        """Count a reply or another happening."""
        self.counts[what] += 1

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection."""
        self.counts["connections"] += 1
        self.open_connections += 1
        self.most_connections = max(self.most_connections, self.open_connections)
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                await Session(self, stream).run()
            finally:
                self._scopes.discard(scope)
                self.open_connections -= 1
                self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def message_id_of(content: bytes) -> bytes:
    """The Message-ID of a mail, with its brackets, or nothing."""
    head = content[: content.find(b"\r\n\r\n")]
    start = head.lower().find(b"\r\nmessage-id:")
    return head[start + 13 :].split(b">", 1)[0].strip() + b">" if start >= 0 else b""


@asynccontextmanager
async def open_fake_smtp(
    *, host: str = "127.0.0.1", port: int = 0, keep: int = 10_000, features: Features | None = None
) -> AsyncIterator[FakeSmtp]:
    """Serve a fake SMTP server on ``host:port`` (0: a free one) until the block ends."""
    fake = FakeSmtp(keep, features or Features())
    listeners = await trio.open_tcp_listeners(port, host=host)
    fake.host, fake.port = listeners[0].socket.getsockname()[:2]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, fake.serve, listeners)
        yield fake
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    run_as_process("ent_notify.testing.smtp", open_fake_smtp)
