"""The APNs channel: pushes to iOS devices of one app, through Apple's HTTP/2 interface.

trio's side is here; ``apns_sender`` is the island's, ``apns_protocol`` the fence around aioapns, ``apns_token`` the
shared provider token, ``policy.push_verdicts`` the meaning of every answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress

import trio

from ent_notify._island import Island
from ent_notify.channels.apns_sender import ApnsSender, Letter
from ent_notify.channels.apns_token import ProviderToken
from ent_notify.channels.push_options import ApnsOptions, Late, PushStatistics
from ent_notify.channels.push_payload import NO_TEXT, ApnsPayload, apns_payload
from ent_notify.clock import SystemClock
from ent_notify.model.delivery import Outgoing, Verdict, VerdictKind, WakeUp
from ent_notify.ports import Clock

BAD_TOKEN = Verdict(VerdictKind.DROP_TARGET, "apns.BadDeviceToken", quarantine=True)
BAD_ID = Verdict(VerdictKind.BAD_MESSAGE, "apns.BadMessageId")
_DEVICE_TOKEN = re.compile(r"[0-9a-fA-F]{1,200}\Z")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


class ApnsChannel:
    """Implements ``ports.PushChannel``. ``late``, if given, hears of answers after the deadline.

    Apps of one team may share ``token`` (see ``ProviderToken``). Raises SettingsError if the key cannot sign.
    """

    def __init__(
        self,
        island: Island,
        options: ApnsOptions,
        *,
        clock: Clock | None = None,
        late: Late | None = None,
        token: ProviderToken | None = None,
    ) -> None:
        self._island = island
        self._options = options
        self._clock = clock or SystemClock()
        self._late = late
        self._token = token or ProviderToken(options.key, options.key_id, options.team_id, self._clock)
        self._sender: ApnsSender | None = None
        self._trio: trio.lowlevel.TrioToken | None = None

    async def send(self, contents: Mapping[str, WakeUp], batch: Sequence[Outgoing]) -> list[Verdict]:
        """Send ``batch``, each in its language: one verdict for each, in order.

        Raises ChannelDown when no connection can be made and nothing was sent. A cancelled caller waits for the end,
        which comes after twice ``send_timeout`` at the latest: what was not written within the first is not sent.
        """
        payloads = {language: apns_payload(wake_up) for language, wake_up in contents.items()}
        verdicts: list[Verdict | None] = []
        letters: list[Letter] = []
        for item in batch:
            payload = payloads.get(item.language, NO_TEXT)
            refused = payload if isinstance(payload, Verdict) else _refusal(item)
            verdicts.append(refused)
            if refused is None and isinstance(payload, ApnsPayload):
                letters.append(Letter(item, payload))
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

    # ------------------------------------------------------------------ on the island

    async def _send(self, letters: Sequence[Letter]) -> list[Verdict]:
        if self._sender is None:
            self._sender = ApnsSender(self._options, self._token, self._clock, self._report_late)
        return await self._sender.send(letters)

    async def _close(self) -> None:
        if self._sender is not None:
            await self._sender.aclose()
            self._sender = None

    async def _statistics(self) -> PushStatistics:
        connections = self._sender.pool.connections if self._sender else []
        return PushStatistics(
            connections=len(connections),
            open_streams=sum(len(connection.exchanges) for connection in connections),
            overdue=self._sender.overdue if self._sender else 0,
            credentials_made=self._token.made,
        )

    def _report_late(self, item: Outgoing, verdict: Verdict) -> None:
        if self._late is not None and self._trio is not None:
            with suppress(trio.RunFinishedError):
                self._trio.run_sync_soon(self._late, item, verdict)


def _refusal(item: Outgoing) -> Verdict | None:
    """What APNs would say anyway, and what must not get into a header."""
    if not _DEVICE_TOKEN.match(item.address):
        return BAD_TOKEN
    if not _UUID.match(item.dedup_id):
        return BAD_ID
    return None
