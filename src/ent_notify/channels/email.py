"""Mail: a campaign's text, filled for each recipient, by SMTP to a relay. One verdict for each recipient.

Addresses outside ASCII are written to where the relay offers SMTPUTF8 (RFC 6531); elsewhere they are refused with
``BAD_MESSAGE`` and ``smtp.5.6.7``. There is no silent rewriting of addresses: an IDNA form of the domain alone would
reach somebody else where the local part is not ASCII either.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

import trio

from ent_notify.channels.headers import is_address
from ent_notify.channels.mime import DateLine, MailTemplate, Sender, compose
from ent_notify.channels.smtp.connection import Relay
from ent_notify.channels.smtp.pool import SmtpPool
from ent_notify.channels.smtp.values import Mail
from ent_notify.errors import ChannelDown, MalformedMail
from ent_notify.model.delivery import MailContent, Outgoing, Verdict, VerdictKind
from ent_notify.policy.mail_verdicts import GROUP_WAIT
from ent_notify.ports import Clock

_BAD_ADDRESS = Verdict(VerdictKind.BAD_MESSAGE, "mail.address", quarantine=True)
_BAD_TEXT = Verdict(VerdictKind.BAD_MESSAGE, "mail.text")
_UNANSWERED = Verdict(VerdictKind.UNKNOWN, "smtp.unanswered")
_TEMPLATES = 64
"""Texts kept encoded: some campaigns at once, in a few languages."""


class EmailChannel:
    """``ports.MailChannel`` over SMTP.

    ``routes`` sends the mail of some recipient domains (lower case) by a relay of their own, with its own limit of
    connections; all other mail goes by ``relay``.
    """

    def __init__(self, relay: Relay, sender: Sender, clock: Clock, routes: Mapping[str, Relay] | None = None) -> None:
        self._relay = relay
        self._sender = sender
        self._clock = clock
        self._routes = dict(routes or {})
        self._pool = SmtpPool()
        self._templates: OrderedDict[tuple[str, MailContent], MailTemplate | None] = OrderedDict()

    async def send(self, contents: Mapping[str, MailContent], batch: Sequence[Outgoing]) -> list[Verdict]:
        """Send ``batch``; ``contents`` has the campaign's text by language. Verdicts are in the batch's order.

        A mail that may have been taken before the connection was lost is UNKNOWN; its repeat has the same Message-ID.
        Raises ChannelDown if no relay of the batch can be reached or will have us; nothing has left then.
        """
        verdicts = [_UNANSWERED] * len(batch)
        templates = {language: self._template(language, content) for language, content in contents.items()}
        date = DateLine(self._clock.now())

        def settle(mail: Mail, verdict: Verdict) -> None:
            verdicts[mail.number] = verdict

        def mails(numbers: Sequence[int]) -> Iterator[Mail]:
            for number in numbers:
                outgoing = batch[number]
                mail = self._mail(number, outgoing, contents, templates, date)
                if isinstance(mail, Mail):
                    yield mail
                else:
                    verdicts[number] = mail

        down: list[tuple[Sequence[int], ChannelDown]] = []

        async def deliver(relay: Relay, numbers: Sequence[int]) -> None:
            try:
                await self._pool.deliver(relay, mails(numbers), len(numbers), settle)
            except ChannelDown as problem:
                down.append((numbers, problem))

        by_relay = self._by_relay(batch)
        async with trio.open_nursery() as nursery:
            for relay, numbers in by_relay.items():
                nursery.start_soon(deliver, relay, numbers)
        if down and len(down) == len(by_relay):
            raise down[0][1]
        for numbers, problem in down:
            verdict = Verdict(VerdictKind.RETRY_AT, "smtp.relay", problem.retry_after or GROUP_WAIT, pause_group=True)
            for number in numbers:
                verdicts[number] = verdict
        return verdicts

    async def aclose(self) -> None:
        """Say QUIT on every connection and close it."""
        await self._pool.aclose()

    def _by_relay(self, batch: Sequence[Outgoing]) -> dict[Relay, Sequence[int]]:
        if not self._routes:
            return {self._relay: range(len(batch))} if batch else {}
        by_relay: dict[Relay, list[int]] = {}
        for number, outgoing in enumerate(batch):
            domain = outgoing.address.rpartition("@")[2].lower()
            by_relay.setdefault(self._routes.get(domain, self._relay), []).append(number)
        return dict(by_relay)

    def _mail(
        self,
        number: int,
        outgoing: Outgoing,
        contents: Mapping[str, MailContent],
        templates: Mapping[str, MailTemplate | None],
        date: DateLine,
    ) -> Mail | Verdict:
        template = templates.get(outgoing.language)
        if template is None:
            return _BAD_TEXT
        if outgoing.address.isascii():
            content = template.fill(outgoing, date)
            if isinstance(content, Verdict):
                return content
            return Mail(number, self._sender.envelope, outgoing.address, content, outgoing.dedup_id)
        if not is_address(outgoing.address):
            return _BAD_ADDRESS
        try:
            message = compose(contents[outgoing.language], outgoing.language, self._sender, outgoing, date.date)
        except MalformedMail:
            return _BAD_TEXT
        return Mail(number, self._sender.envelope, outgoing.address, message.as_bytes(), outgoing.dedup_id, utf8=True)

    def _template(self, language: str, content: MailContent) -> MailTemplate | None:
        """The content encoded, from the last ones used; None if it cannot be a mail."""
        key = (language, content)
        if key in self._templates:
            self._templates.move_to_end(key)
            return self._templates[key]
        try:
            template = MailTemplate(content, language, self._sender)
        except MalformedMail:
            template = None
        self._templates[key] = template
        if len(self._templates) > _TEMPLATES:
            self._templates.popitem(last=False)
        return template
