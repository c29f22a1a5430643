"""Outboxes: a campaign's texts rendered once, and each target turned into what a channel sends.

All ids are derived, never drawn: a repeat of a delivery carries the same apns-id, Message-ID and collapse id, so that
it replaces instead of doubling.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar
from uuid import UUID, uuid5

from ent_notify.flows.pacing import Sender
from ent_notify.model.delivery import SHOWN, MailContent, Outgoing, Urgency, Verdict, VerdictKind, WakeUp
from ent_notify.model.fanout import CampaignContent, Target
from ent_notify.ports import FanoutObserver, MailChannel, PushChannel, Unobserved
from ent_notify.words import Project, Words

Content = TypeVar("Content")

_NAMESPACE = UUID("6f0f3b0a-5b7e-4b7c-9a86-3d3d0a3c9f11")
_NAMED = hashlib.sha1(_NAMESPACE.bytes, usedforsecurity=False)
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


def dedup_id(notification: int, channel: str, target: int) -> str:
    """The id of one delivery, for ever the same: a UUID in text form."""
    # uuid5 of that name in our namespace, written out: one is made for every send
    digest = _NAMED.copy()
    digest.update(f"{channel}:{notification}:{target}".encode())
    text = digest.hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


def collapse_id(root: int) -> str:
    """The id under which a phone replaces a notification by its next version: 32 hexadecimal characters. ``root`` is
    the event's first version."""
    return uuid5(_NAMESPACE, f"collapse:{root}").hex


@lru_cache(maxsize=8)
def _keyed(key: bytes) -> hmac.HMAC:
    return hmac.new(key, digestmod="sha256")


def _signed(key: bytes, claim: str) -> str:
    """HMAC-SHA256, its first 128 bits. (From a copy of the keyed state: one or two are made for every mail.)"""
    mac = _keyed(key).copy()
    mac.update(claim.encode())
    return mac.hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Makes one-click unsubscribe links (RFC 8058). ``key`` signs them: at least 32 bytes."""

    url: str
    key: bytes

    def link(self, person: int, category: str) -> str:
        """The link of one person for one category. It says who in a signed number, and nothing else."""
        claim = f"{person}.{category}"
        return f"{self.url}/v1/unsubscribe?t={claim}.{self._sign(claim)}"

    def read(self, token: str) -> tuple[int, str] | None:
        """(person, category) of a link's ``t``; None if nobody signed it."""
        claim, _, signature = token.rpartition(".")
        person, _, category = claim.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(claim).encode()) or not _NUMBER.fullmatch(person):
            return None
        return int(person), category

    def _sign(self, claim: str) -> str:
        return _signed(self.key, claim)


@dataclass(frozen=True, slots=True)
class DeliveryIds:
    """The ids of mails, which come back with a bounce. ``key`` signs them: at least 32 bytes.

    An id says which delivery it is (``12.345.`` and a signature: notification, person), so that nothing need be stored
    to find it again; whoever can show one has had that mail in hand. Without a key ids say nothing, and no bounce can
    be believed.
    """

    key: bytes | None = None

    def mail(self, notification: int, person: int) -> str:
        """The id of one mail, for ever the same under the same key."""
        if self.key is None:
            return dedup_id(notification, "email", person)
        claim = f"{notification}.{person}"
        return f"{claim}.{self._sign(claim, self.key)}"

    def read(self, text: str) -> tuple[int, int] | None:
        """(notification, person) of a mail's id; None if nobody signed it."""
        claim, _, signature = text.rpartition(".")
        notification, _, person = claim.partition(".")
        if self.key is None or not (_NUMBER.fullmatch(notification) and _NUMBER.fullmatch(person)):
            return None
        if not hmac.compare_digest(signature.encode(), self._sign(claim, self.key).encode()):
            return None
        return int(notification), int(person)

    @staticmethod
    def _sign(claim: str, key: bytes) -> str:
        return _signed(key, f"mail:{claim}")


UNRENDERED = Verdict(VerdictKind.BAD_MESSAGE, "unrendered")
"""Of a delivery whose text could not be rendered: it would fail the next time, too."""


class _Rendered(Generic[Content]):
    """A Sender that renders each language once, when it is first asked for.

    What cannot be rendered is its own campaign's trouble: those deliveries fail, the other languages are sent.
    """

    def __init__(
        self,
        event_type: str,
        render: Callable[[str], Content],
        send: Callable[[Mapping[str, Content], Sequence[Outgoing]], Awaitable[list[Verdict]]],
        observer: FanoutObserver,
    ) -> None:
        self._event_type = event_type
        self._render = render
        self._send = send
        self._observer = observer
        self._contents: dict[str, Content] = {}
        self._failed: set[str] = set()

    async def __call__(self, batch: Sequence[Outgoing]) -> list[Verdict]:
        """See Sender."""
        for language in {item.language for item in batch} - self._contents.keys() - self._failed:
            try:
                self._contents[language] = self._render(language)
            except Exception as error:  # noqa: BLE001 - a host's template and data may raise anything
                self._failed.add(language)
                self._observer.text_failed(self._event_type, error)
        if not self._failed:
            return await self._send(self._contents, batch)
        sendable = [item for item in batch if item.language not in self._failed]
        verdicts = iter(await self._send(self._contents, sendable) if sendable else [])
        return [UNRENDERED if item.language in self._failed else next(verdicts) for item in batch]


@dataclass(frozen=True, slots=True)
class MailOutbox:
    """The lane ``email``."""

    channel: MailChannel
    words: Words
    project: Project
    unsubscribe: Unsubscribe
    ids: DeliveryIds = DeliveryIds()
    observer: FanoutObserver = field(default_factory=Unobserved)

    def sender(self, content: CampaignContent) -> Sender:
        """See Outbox."""

        def render(language: str) -> MailContent:
            return self.words.mail(content.type, content.data, language, self.project)

        return _Rendered(content.type, render, self.channel.send, self.observer)

    def outgoing(self, content: CampaignContent, target: Target) -> Outgoing:
        """See Outbox."""
        return Outgoing(
            target=target.target,
            address=target.address or "",
            language=self.words.resolve(target.language),
            dedup_id=self.ids.mail(content.notification, target.target),
            personal={
                "name": target.name,
                "children": ", ".join(target.children),
                "unsubscribe_url": self.unsubscribe.link(target.person, content.category),
            },
            notification=content.notification,
        )


@dataclass(frozen=True, slots=True)
class PushOutbox:
    """A push lane. What leaves is a WakeUp: it has no place for a name, a text or a class."""

    channel: PushChannel
    words: Words
    observer: FanoutObserver = field(default_factory=Unobserved)

    def sender(self, content: CampaignContent) -> Sender:
        """See Outbox."""

        def render(key: str) -> WakeUp:
            language = key.removesuffix(SHOWN)
            return WakeUp(
                shown=key != language,
                sentence=self.words.wake_up(content.category, language),
                notification=dedup_id(content.notification, "push", 0),
                category=content.category,
                collapse_id=collapse_id(content.root),
                urgency=Urgency(content.urgency),
                expires_at=content.expires_at,
            )

        return _Rendered(content.type, render, self.channel.send, self.observer)

    def outgoing(self, content: CampaignContent, target: Target) -> Outgoing:
        """See Outbox."""
        return Outgoing(
            target=target.target,
            address=target.address or "",
            language=self.words.resolve(target.language) + (SHOWN if target.shown else ""),
            dedup_id=dedup_id(content.notification, "push", target.target),
            registered_at=target.registered_at,
            notification=content.notification,
        )
