"""The Web Push channel: messages to browsers through whichever push service each of them has chosen.

trio's side is here; ``webpush_origin`` is the island's, one for each push service; ``webpush_dial`` makes connections
that lead to nothing but push services, ``webpush_keys`` signs and encrypts, ``policy.push_verdicts`` and
``policy.webpush`` hold the rules.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress

import trio

from ent_notify._island import Island
from ent_notify._island.tasks import gather
from ent_notify.channels.push_options import Late, PushStatistics, WebPushOptions, client_tls
from ent_notify.channels.push_payload import NO_TEXT, WebPushPayload, webpush_payload
from ent_notify.channels.webpush_dial import Resolve, resolve
from ent_notify.channels.webpush_keys import VapidKey
from ent_notify.channels.webpush_origin import OriginOptions, PushOrigin, WebPushLetter
from ent_notify.clock import SystemClock
from ent_notify.errors import MalformedDevice
from ent_notify.model.delivery import Outgoing, Verdict, VerdictKind, WakeUp
from ent_notify.model.webpush import read_subscription
from ent_notify.policy.webpush import Endpoint, read_endpoint
from ent_notify.ports import Clock

MOST_ORIGINS = 64
"""Push services that one channel keeps connections to; beyond, the one that was idle longest is let go."""

BAD_SUBSCRIPTION = Verdict(VerdictKind.DROP_TARGET, "webpush.BadSubscription", quarantine=True)
NO_SILENCE = Verdict(VerdictKind.BAD_MESSAGE, "webpush.NoSilence")
"""Safari ends a subscription that gets pushes of which nothing is shown, so it is spared those that only clear.
https://developer.apple.com/documentation/usernotifications/sending-web-push-notifications-in-web-apps-and-browsers"""
_APPLE = ".push.apple.com"
HOST_NOT_ALLOWED = Verdict(VerdictKind.DROP_TARGET, "webpush.HostNotAllowed", quarantine=True)


def _trust(ca: str | None) -> ssl.SSLContext:
    """The system's authorities, and ``ca`` beside them: there are many push services, and only a few are ours."""
    tls = client_tls(None)
    if ca is not None:
        tls.load_verify_locations(cadata=ca)
    return tls


class WebPushChannel:
    """Implements ``ports.PushChannel``. ``late``, if given, hears of answers after the deadline.

    An ``Outgoing.address`` is a subscription's token. ``lookup`` stands in for the system's resolver, in tests. Raises
    SettingsError if the key cannot sign or the subject is no address.
    """

    def __init__(
        self,
        island: Island,
        options: WebPushOptions,
        *,
        clock: Clock | None = None,
        late: Late | None = None,
        lookup: Resolve = resolve,
    ) -> None:
        self._island = island
        self._options = options
        self._clock = clock or SystemClock()
        self._late = late
        self._key = VapidKey(options.key, options.subject)
        self._shared = OriginOptions(
            connections=options.connections,
            send_timeout=options.send_timeout,
            late_window=options.late_window,
            tls=_trust(options.ca),
            lookup=lookup,
            loopback=options.loopback,
        )
        self._origins: dict[str, PushOrigin] = {}  # the one used last comes last
        self._trio: trio.lowlevel.TrioToken | None = None

    @property
    def public_key(self) -> str:
        """What a page gives to ``pushManager.subscribe`` as ``applicationServerKey``."""
        return self._key.public

    async def send(self, contents: Mapping[str, WakeUp], batch: Sequence[Outgoing]) -> list[Verdict]:
        """Send ``batch``, each in its language: one verdict for each, in order.

        Never raises ChannelDown: a push service that cannot be reached is the trouble of its own messages. A cancelled
        caller waits for the end, which comes after twice ``send_timeout`` at the latest, and twice that when a service
        is on trial.
        """
        payloads = {language: webpush_payload(wake_up) for language, wake_up in contents.items()}
        verdicts: list[Verdict | None] = []
        letters: list[WebPushLetter] = []
        for item in batch:
            letter = self._letter(item, payloads.get(item.language, NO_TEXT))
            verdicts.append(letter if isinstance(letter, Verdict) else None)
            if isinstance(letter, WebPushLetter):
                letters.append(letter)
        if letters:
            self._trio = trio.lowlevel.current_trio_token()
            answers = iter(await self._island.run_uncancelled(self._send, letters))
            return [next(answers) if verdict is None else verdict for verdict in verdicts]
        return [verdict for verdict in verdicts if verdict is not None]

    async def aclose(self) -> None:
        """Close every connection."""
        await self._island.run_uncancelled(self._close)

    async def statistics(self) -> PushStatistics:
        """What is held now."""
        return await self._island.run(self._statistics)

    async def paused(self) -> Mapping[str, tuple[float, str]]:
        """The origins that rest now: seconds left, and why."""
        return await self._island.run(self._paused)

    def _letter(self, item: Outgoing, payload: WebPushPayload | Verdict) -> WebPushLetter | Verdict:
        if isinstance(payload, Verdict):
            return payload
        try:
            subscription = read_subscription(item.address)
        except MalformedDevice:
            return BAD_SUBSCRIPTION
        endpoint = read_endpoint(subscription.endpoint, self._options.hosts, loopback=self._options.loopback)
        if not isinstance(endpoint, Endpoint):
            return HOST_NOT_ALLOWED  # registered under other settings
        if payload.silent and endpoint.host.endswith(_APPLE):
            return NO_SILENCE
        return WebPushLetter(item, subscription, endpoint, payload)

    # ------------------------------------------------------------------ on the island

    async def _send(self, letters: Sequence[WebPushLetter]) -> list[Verdict]:
        groups: dict[str, list[int]] = {}
        for place, letter in enumerate(letters):
            groups.setdefault(letter.endpoint.origin, []).append(place)

        async def send_group(places: Sequence[int]) -> list[Verdict]:
            group = [letters[place] for place in places]
            return await self._origin(group[0].endpoint).send(group)

        answers = await gather((send_group(places) for places in groups.values()), limit=len(groups))
        verdicts: dict[int, Verdict] = {}
        for places, group in zip(groups.values(), answers, strict=True):
            verdicts.update(zip(places, group, strict=True))
        return [verdicts[place] for place in range(len(letters))]

    def _origin(self, endpoint: Endpoint) -> PushOrigin:
        origin = self._origins.pop(endpoint.origin, None)
        if origin is None:
            origin = PushOrigin(endpoint, self._shared, self._key, self._clock, self._report_late)
        self._origins[endpoint.origin] = origin
        if len(self._origins) > MOST_ORIGINS:
            for name, idle in self._origins.items():
                if not idle.busy and not idle.health.on_trial:
                    del self._origins[name]
                    for connection in list(idle.pool.connections):
                        connection.retire()
                    break
        return origin

    async def _close(self) -> None:
        for origin in list(self._origins.values()):
            await origin.aclose()
        self._origins.clear()

    async def _statistics(self) -> PushStatistics:
        connections = [each for origin in self._origins.values() for each in origin.pool.connections]
        return PushStatistics(
            connections=len(connections),
            open_streams=sum(len(connection.exchanges) for connection in connections),
            overdue=sum(len(origin.overdue) for origin in self._origins.values()),
            credentials_made=self._key.made,
        )

    async def _paused(self) -> Mapping[str, tuple[float, str]]:
        now = self._clock.now()
        return {
            name: (origin.health.wait(now), origin.health.reason)
            for name, origin in self._origins.items()
            if origin.health.wait(now)
        }

    def _report_late(self, item: Outgoing, verdict: Verdict) -> None:
        if self._late is not None and self._trio is not None:
            with suppress(trio.RunFinishedError):
                self._trio.run_sync_soon(self._late, item, verdict)
