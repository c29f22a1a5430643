"""Connections to relays, kept open and shared: each relay's limit holds over all batches together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import trio

from ent_notify.channels.smtp.connection import Connection, Relay, Unavailable
from ent_notify.channels.smtp.values import NO_CONNECTION, Lost, Mail, Outcome, Returned
from ent_notify.errors import ChannelDown
from ent_notify.model.delivery import Verdict, VerdictKind
from ent_notify.policy.mail_verdicts import Phase, smtp_verdict

MAILS_PER_CONNECTION = 10
"""A batch opens no more connections than it has tens of mails: opening one costs as many round trips."""

LOST = Verdict(VerdictKind.UNKNOWN, "smtp.lost")
_UNREACHED = smtp_verdict(Phase.MAIL, NO_CONNECTION.code, NO_CONNECTION.status)
_FRUITLESS = 3
"""Sessions in a row that open and bring no answer, after which a batch gives up."""


class SmtpPool:
    """Connections by relay. ``aclose`` ends the idle ones; nobody may be delivering then."""

    def __init__(self) -> None:
        self._limits: dict[Relay, trio.Semaphore] = {}
        self._idle: dict[Relay, list[Connection]] = {}
        self.opened = 0
        """Connections opened so far."""

    async def deliver(
        self, relay: Relay, mails: Iterator[Mail], count: int, settle: Callable[[Mail, Verdict], None]
    ) -> None:
        """Deliver ``mails`` (``count`` of them at most) by ``relay``; ``settle`` is called once for each.

        Raises ChannelDown if the relay would not have a single one; then none has left.
        """
        batch = _Batch(mails, settle)
        limit = self._limits.setdefault(relay, trio.Semaphore(relay.connections))
        async with trio.open_nursery() as nursery:
            for _ in range(min(relay.connections, -(-count // MAILS_PER_CONNECTION))):
                nursery.start_soon(self._work, relay, limit, batch)
        if batch.problem is not None and not batch.heard:
            raise ChannelDown("email", batch.problem.reason, batch.problem.retry_after)
        batch.give_up()

    async def aclose(self) -> None:
        """Close every connection, with QUIT."""
        connections = [connection for idle in self._idle.values() for connection in idle]
        self._idle.clear()
        async with trio.open_nursery() as nursery:
            for connection in connections:
                nursery.start_soon(connection.aclose)

    async def _work(self, relay: Relay, limit: trio.Semaphore, batch: _Batch) -> None:
        """One connection at a time for as long as the batch has mails."""
        idle = self._idle.setdefault(relay, [])
        while batch.has_mail():
            async with limit:
                if not batch.has_mail():
                    return
                connection = idle.pop() if idle else None
                was_idle = connection is not None
                try:
                    if connection is not None and not connection.is_usable:
                        await connection.aclose()
                        continue
                    if connection is None:
                        connection = await Connection.open(relay)
                        self.opened += 1
                except Unavailable as problem:
                    batch.problem = problem
                    return
                visit = _Visit(batch, is_fresh=not was_idle)
                try:
                    await connection.deliver(visit)
                except BaseException:
                    await connection.aclose()
                    raise
                if connection.is_usable:
                    idle.append(connection)
                else:
                    await connection.aclose()
                if not batch.is_fruitful(visit):
                    batch.problem = Unavailable(f"relay {relay.host} opens sessions and ends them at the first mail")
                    return


class _Batch:
    """The mails of one ``deliver``, shared by its connections."""

    def __init__(self, mails: Iterator[Mail], settle: Callable[[Mail, Verdict], None]) -> None:
        self.problem: Unavailable | None = None
        self.heard = 0
        """Outcomes that the relay had a part in."""
        self.settle = settle
        self._mails = mails
        self._next: deque[Mail] = deque()
        self._fruitless = 0

    def has_mail(self) -> bool:
        """Whether a mail waits for a connection."""
        if not self._next and (mail := next(self._mails, None)) is not None:
            self._next.append(mail)
        return bool(self._next)

    def take(self) -> Mail | None:
        """The next mail."""
        return self._next.popleft() if self._next else next(self._mails, None)

    def put_back(self, mail: Mail) -> None:
        """A mail for another connection."""
        self._next.append(mail)

    def is_fruitful(self, visit: _Visit) -> bool:
        """Count fresh sessions that bring nothing; False once there have been too many in a row."""
        if visit.heard:
            self._fruitless = 0
        elif visit.is_fresh:
            self._fruitless += 1
        return self._fruitless < _FRUITLESS

    def give_up(self) -> None:
        """Settle what is left: the relay could be used for a while, and then no more."""
        while (mail := self.take()) is not None:
            self.settle(mail, _UNREACHED)


class _Visit:
    """One connection's work for a batch (a ``Work``). A connection that was idle may have ended long ago: losing it
    says nothing about the mail at which that showed."""

    def __init__(self, batch: _Batch, *, is_fresh: bool) -> None:
        self.heard = 0
        self.is_fresh = is_fresh
        self.take = batch.take
        self._batch = batch

    def done(self, outcome: Outcome) -> None:
        mail = outcome.mail
        if isinstance(outcome, Returned):
            mail.returns += outcome.blamed and (self.is_fresh or self.heard > 0)
            if mail.returns < 2:
                self._batch.put_back(mail)
            else:
                self._batch.settle(mail, _UNREACHED)
            return
        if isinstance(outcome, Lost):
            verdict, heard = LOST, True
        else:
            verdict = smtp_verdict(outcome.phase, outcome.reply.code, outcome.reply.status)
            heard = outcome.reply is not NO_CONNECTION
        self.heard += heard
        self._batch.heard += heard
        self._batch.settle(mail, verdict)
