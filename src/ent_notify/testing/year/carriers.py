"""Mail and push for a year: an implementation of the channel ports within the process.

HTTP/2 and SMTP for millions of sends would take days, and the protocols have tests of their own (``testing.apns``,
``testing.fcm``, ``testing.smtp``). What is true here is the answer: each send is answered as the provider would, a
status and a reason, which the product's own tables read into a verdict; a silence lasts as long as the clients wait,
and ends as they end it. What has reached a device is noted apart from what was answered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import trio

from ent_notify.model.delivery import MailContent, Outgoing, Verdict, VerdictKind, WakeUp
from ent_notify.policy.mail_verdicts import Phase, smtp_verdict
from ent_notify.policy.push_verdicts import apns_verdict, fcm_verdict
from ent_notify.ports import Clock
from ent_notify.testing.year.acts import Trouble
from ent_notify.testing.year.memory import Sent
from ent_notify.testing.year.oracle import Oracle

SILENCE = 10.0
"""Seconds until a client gives up an answer."""
QUOTA_WAIT = 120.0


@dataclass(slots=True)
class Weather:
    """How providers are, and when the worker is to end."""

    troubles: dict[str, tuple[Trouble, datetime]] = field(default_factory=dict)
    """Each with its end."""
    crash_after: int | None = None
    crash: Callable[[], None] = lambda: None

    def of(self, provider: str, now: datetime) -> Trouble | None:
        """What a provider suffers from now."""
        trouble, until = self.troubles.get(provider, (None, now))
        return trouble if now < until else None


@dataclass(slots=True)
class Carrier:
    """One provider: ``email``, ``apns`` or ``fcm``."""

    provider: str
    clock: Clock
    oracle: Oracle
    weather: Weather

    async def send(
        self, contents: Mapping[str, MailContent] | Mapping[str, WakeUp], batch: Sequence[Outgoing]
    ) -> list[Verdict]:
        """See MailChannel and PushChannel."""
        await trio.lowlevel.checkpoint()
        now = self.clock.now()
        trouble = self.weather.of(self.provider, now)
        self.oracle.arrivals[self.provider] += [now] * len(batch)
        verdicts = [self._one(contents[item.language], item, now, trouble) for item in batch]
        if any(verdict.reason == "timeout" or verdict.reason == "fcm.NoAnswer" for verdict in verdicts):
            await self.clock.sleep(SILENCE / 4)
        if self.weather.crash_after is not None:
            self.weather.crash_after -= 1
            if self.weather.crash_after < 0:
                self.weather.crash_after = None
                self.oracle.crashed += 1
                self.weather.crash()  # it has been sent, and nobody will note it
                await trio.lowlevel.checkpoint()
        return verdicts

    async def aclose(self) -> None:
        """See MailChannel."""
        await trio.lowlevel.checkpoint()

    def _one(self, content: MailContent | WakeUp, item: Outgoing, now: datetime, trouble: Trouble | None) -> Verdict:
        target = item.address.split("@")[0] if self.provider == "email" else item.address
        silent = isinstance(content, WakeUp) and bool(content.clears)
        verdict, got = self._answer(target, item, now, trouble)
        collapse = content.collapse_id if isinstance(content, WakeUp) else item.dedup_id
        text = repr(content) if isinstance(content, WakeUp) else ""
        self.oracle.sent.append(
            Sent(now, self.provider, item.notification, target, verdict.kind.value, collapse, text, silent, got)
        )
        return verdict

    def _answer(self, target: str, item: Outgoing, now: datetime, trouble: Trouble | None) -> tuple[Verdict, bool]:
        dead = self.oracle.dead.get(target)
        if dead is not None and dead <= now:
            return self._gone(dead, item), False
        if trouble is not None and _share(target, item.dedup_id, trouble.share):
            return self._ill(trouble.kind, target), trouble.kind == "silent" and _share(target, "got", 2)
        return _ACCEPTED[self.provider], True

    def _gone(self, since: datetime, item: Outgoing) -> Verdict:
        if self.provider == "apns":
            return apns_verdict(410, "Unregistered", int(since.timestamp() * 1000), item.registered_at)
        if self.provider == "fcm":
            return fcm_verdict(404, "UNREGISTERED")
        return smtp_verdict(Phase.RCPT, 550, "5.1.1")

    def _ill(self, kind: str, target: str) -> Verdict:
        """What a provider in trouble answers; a mail server has a 421 for a quota, and 451 when it is down."""
        answers: dict[tuple[str, str], Any] = {
            ("apns", "quota"): lambda: apns_verdict(429, "TooManyRequests", retry_after=QUOTA_WAIT),
            ("apns", "down"): lambda: apns_verdict(503, "ServiceUnavailable"),
            ("apns", "silent"): lambda: Verdict(VerdictKind.UNKNOWN, "timeout"),
            ("fcm", "quota"): lambda: fcm_verdict(429, "QUOTA_EXCEEDED", retry_after=QUOTA_WAIT),
            ("fcm", "down"): lambda: fcm_verdict(503),
            ("fcm", "silent"): lambda: fcm_verdict(None),
            ("email", "quota"): lambda: smtp_verdict(Phase.RCPT, 451, "4.7.1"),
            ("email", "down"): lambda: smtp_verdict(Phase.RCPT, 451, "4.3.0"),
            ("email", "silent"): lambda: Verdict(VerdictKind.UNKNOWN, "timeout"),
        }
        verdict: Verdict = answers[self.provider, kind]()
        return verdict


_ACCEPTED = {
    "email": smtp_verdict(Phase.CONTENT, 250, "2.0.0"),
    "apns": apns_verdict(200),
    "fcm": fcm_verdict(200),
}


def _share(target: str, salt: str, share: int) -> bool:
    """Whether this one is of the ``share``-th part: the same whenever it is asked, in whatever order."""
    return int.from_bytes(hashlib.blake2s(f"{target}/{salt}".encode(), digest_size=4).digest()) % share == 0
