"""Receipts as a host gives them: ``engine.receipts``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ent_notify.channels.bounces import parse_dsn
from ent_notify.engine.webpush import kept_token
from ent_notify.errors import NotFound, SettingsError
from ent_notify.flows.outbox import DeliveryIds, dedup_id
from ent_notify.flows.receipts import PUSH, Bounced, Bounces, LateAnswers, take
from ent_notify.model.delivery import Outgoing, Verdict
from ent_notify.model.people import Provider
from ent_notify.model.receipts import BounceCounts, Effect, Known, Receipt, Seen, Source
from ent_notify.policy.mail_verdicts import dsn_verdict
from ent_notify.ports import Clock, FanoutObserver
from ent_notify.store.fanout import PostgresFanout
from ent_notify.store.inbox import PostgresInbox
from ent_notify.store.receipts import PostgresReceipts

LOOK_BACK = 500
"""Entries of an inbox among which the notification of a push is looked for."""


class Receipts:
    """What is learnt of deliveries after they were sent. Every call may be repeated: the second changes nothing."""

    def __init__(
        self,
        store: PostgresReceipts,
        fanout: PostgresFanout,
        inbox: PostgresInbox,
        ids: DeliveryIds,
        clock: Clock,
        observer: FanoutObserver,
    ) -> None:
        self._store = store
        self._fanout = fanout
        self._inbox = inbox
        self._ids = ids
        self._clock = clock
        self._observer = observer
        self._bounces = Bounces(store, fanout, observer)
        self.late_answers = LateAnswers(store, observer)

    async def bounce(self, mail: bytes) -> BounceCounts:
        """Take in a mail that came to the return path, as it was received.

        A delivery status notification (RFC 3464) moves the delivery that it reports on, and takes an address that is
        gone out of use, as long as so many are credible. It is believed only with the signed id of a mail of ours to
        that address; any other mail changes nothing. Raises SettingsError without ``email.unsubscribe_key``, which
        signs these ids.
        """
        if self._ids.key is None:
            raise SettingsError(
                "email.unsubscribe_key is not given: without it a bounce cannot be told from a forged one; "
                "give email.unsubscribe_key_file (make one with `openssl rand -hex 32`)"
            )
        bounced: list[Bounced] = []
        disbelieved = delayed = 0
        for bounce in parse_dsn(mail):
            delivery = self._ids.read(bounce.dedup_id)
            verdict = dsn_verdict(bounce.action, bounce.status)
            if delivery is None:
                disbelieved += 1
            elif verdict is None:
                delayed += 1
            else:
                bounced.append(Bounced(*delivery, bounce.recipient, verdict))
        taken = await self._bounces.take(bounced, self._clock.now()) if bounced else BounceCounts()
        return BounceCounts(taken.failed, taken.repeated, taken.noted + delayed, taken.disbelieved + disbelieved)

    async def seen(self, person: str, provider: Provider, token: str, notification: int | str, what: Seen) -> bool:
        """A device's own word that it has shown a push, or that it was opened; False when that is nothing new.

        ``notification`` is its number, or the opaque id that the push carried (looked for among the person's newest
        LOOK_BACK entries). A push in doubt is accepted by it, and not repeated. Raises NotFound for a device that is
        not the person's, or a notification that was not sent to it.
        """
        kept = kept_token(provider, token)
        if kept is None:
            raise NotFound(f"{person!r} has no such device")
        device = await self._store.find_device(person, provider, kept)
        number = await self._number(person, notification) if isinstance(notification, str) else notification
        receipt = Receipt(Source.DEVICE, number, PUSH, device, Known.ACCEPTED, what.value)
        (taken,) = await take(self._store, self._observer, [receipt], self._clock.now())
        if taken.effect is Effect.UNKNOWN:
            raise NotFound(f"notification {notification} was not sent to that device")
        return taken.effect is Effect.MOVED

    def late_hook(self, lane: str) -> Callable[[Outgoing, Verdict], None]:
        """What a push channel of ``lane`` is given as ``late``: its worker takes the answers in."""
        return self.late_answers.hook(lane)

    async def undo_drops(self, since: datetime, lane: str) -> int:
        """Take back the drops of devices or addresses that a lane's answers and bounces have caused since then; how
        many. A token that somebody has registered anew since stays theirs. Raises NotFound for an unknown lane."""
        lanes = {each.name: each for each in await self._fanout.lanes()}
        if lane not in lanes:
            raise NotFound(f"there is no lane {lane!r}; known are {', '.join(lanes)}")
        return await self._fanout.restore(lanes[lane], since)

    async def _number(self, person: str, opaque: str) -> int:
        reader = await self._inbox.reader(person)
        for entry in await self._inbox.page(reader.person, None, LOOK_BACK, self._clock.now()):
            if dedup_id(entry.notification, PUSH, 0) == opaque:
                return entry.notification
        raise NotFound(f"notification {opaque} was not sent to that device")
