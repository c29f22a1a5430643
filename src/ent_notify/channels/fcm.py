"""The FCM channel: pushes to Android devices of one app, through firebase-admin.

trio's side is here; ``fcm_sender`` is the island's, ``fcm_client`` the fence around firebase-admin,
``fcm_credentials`` the shared access token, ``policy.push_verdicts`` the meaning of every answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import trio

from ent_notify._island import Island
from ent_notify.channels.fcm_credentials import AccessToken, read_service_account
from ent_notify.channels.fcm_sender import FID, FcmLetter, FcmSender, SharedParts
from ent_notify.channels.push_options import FcmOptions, Late, PushStatistics
from ent_notify.channels.push_payload import NO_TEXT, fcm_payload
from ent_notify.clock import SystemClock
from ent_notify.errors import SettingsError
from ent_notify.model.delivery import Outgoing, Verdict, VerdictKind, WakeUp
from ent_notify.ports import Clock

NO_TARGET = Verdict(VerdictKind.DROP_TARGET, "fcm.INVALID_ARGUMENT.target", quarantine=True)


class FcmChannel:
    """Implements ``ports.PushChannel``. ``late``, if given, hears of answers after the deadline.

    An ``Outgoing.address`` is a registration token, or ``fid:`` and a Firebase installation id. Raises SettingsError
    if the service account cannot be read or the project is not known.
    """

    def __init__(
        self, island: Island, options: FcmOptions, *, clock: Clock | None = None, late: Late | None = None
    ) -> None:
        credentials = options.credentials
        if credentials is None:
            credentials = read_service_account(options.service_account or {})
        project = options.project or (options.service_account or {}).get("project_id")
        if not project:
            raise SettingsError("the FCM project is not known: give project, or a service account that names it")
        self._island = island
        self._project = project
        self._options = options
        self._clock = clock or SystemClock()
        self._late = late
        self._token = AccessToken(credentials, self._clock, options.ca)
        self._sender: FcmSender | None = None
        self._trio: trio.lowlevel.TrioToken | None = None

    async def send(self, contents: Mapping[str, WakeUp], batch: Sequence[Outgoing]) -> list[Verdict]:
        """Send ``batch``, each in its language: one verdict for each, in order.

        Raises ChannelDown when there is no access token, or no connection and nothing was sent. A cancelled caller
        waits for the end, which comes after twice ``send_timeout`` at the latest.
        """
        now = self._clock.now()
        shared: dict[str, SharedParts | Verdict] = {}
        for language, wake_up in contents.items():
            payload = fcm_payload(wake_up, now)
            shared[language] = payload if isinstance(payload, Verdict) else SharedParts(payload)
        verdicts: list[Verdict | None] = []
        letters: list[FcmLetter] = []
        for item in batch:
            parts = shared.get(item.language, NO_TEXT)
            if not item.address.removeprefix(FID):
                parts = NO_TARGET
            verdicts.append(parts if isinstance(parts, Verdict) else None)
            if isinstance(parts, SharedParts):
                letters.append(FcmLetter(item, parts))
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

    async def _send(self, letters: Sequence[FcmLetter]) -> list[Verdict]:
        if self._sender is None:
            self._sender = FcmSender(self._options, self._project, self._token, self._clock, self._report_late)
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
            overdue=len(self._sender.client.overdue) if self._sender else 0,
            credentials_made=self._token.fetched,
        )

    def _report_late(self, item: Outgoing, verdict: Verdict) -> None:
        if self._late is not None and self._trio is not None:
            with suppress(trio.RunFinishedError):
                self._trio.run_sync_soon(self._late, item, verdict)
