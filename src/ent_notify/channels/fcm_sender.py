"""The island's half of the FCM channel: one call of ``send_each_async`` for each message, many side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
from firebase_admin import messaging
from firebase_admin.exceptions import FirebaseError

from ent_notify._island.tasks import gather, running_loop
from ent_notify.channels.fcm_client import FencedMessaging, StreamClient, Trip, current_trip
from ent_notify.channels.fcm_credentials import AccessToken
from ent_notify.channels.http2 import Fate, Http2Streams
from ent_notify.channels.http2_pool import Http2Pool
from ent_notify.channels.push_options import FcmOptions, client_tls
from ent_notify.channels.push_payload import FcmPayload, json_object, retry_after_seconds
from ent_notify.errors import ChannelDown
from ent_notify.model.delivery import ACCEPTED, Outgoing, Verdict, VerdictKind
from ent_notify.policy.push_verdicts import fcm_verdict
from ent_notify.ports import Clock

SIDE_BY_SIDE = 100
"""Messages of one call under way at once, for each connection allowed (Google's servers allow 100 streams)."""
FID = "fid:"
"""A device registered with a Firebase installation id is stored with this before it; without it, it is a token."""

NOT_SENT = Verdict(VerdictKind.RETRY_AT, "fcm.NotSent")
LOST = Verdict(VerdictKind.UNKNOWN, "fcm.ConnectionLost")
TIMEOUT = Verdict(VerdictKind.UNKNOWN, "fcm.Timeout")
RAISED = Verdict(VerdictKind.UNKNOWN, "fcm.Raised")
REFUSED_HERE = Verdict(VerdictKind.BAD_MESSAGE, "fcm.INVALID_ARGUMENT")

_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"


@dataclass(frozen=True, slots=True)
class FcmLetter:
    """One message to be sent."""

    item: Outgoing
    shared: SharedParts


class SharedParts:
    """firebase-admin's objects for what all recipients of a message share."""

    def __init__(self, payload: FcmPayload) -> None:
        self._data = dict(payload.data)
        shown = payload.body is not None
        self._notification = messaging.Notification(body=payload.body) if shown else None
        self._android = messaging.AndroidConfig(
            collapse_key=payload.collapse_key,
            priority=payload.priority,
            ttl=payload.ttl,
            notification=messaging.AndroidNotification(tag=payload.tag, channel_id=payload.channel_id)
            if shown
            else None,
        )

    def message_to(self, address: str) -> messaging.Message:
        """The message to one device: an installation id (``fid:...``) or a registration token."""
        message = messaging.Message(data=self._data, notification=self._notification, android=self._android)
        if address.startswith(FID):
            message.fid = address.removeprefix(FID)
        else:
            # The constructor calls ``token`` deprecated in favour of ``fid``. Tokens stay valid, and are what most
            # devices have registered; the attribute itself is what the encoder reads.
            message.token = address
        return message


class FcmSender:
    """Connections to FCM and the messages on them. For the island's thread only."""

    def __init__(
        self,
        options: FcmOptions,
        project: str,
        token: AccessToken,
        clock: Clock,
        late: Callable[[Outgoing, Verdict], None],
    ) -> None:
        self._loop = running_loop()
        self._options = options
        self._tls = client_tls(options.ca)
        self._address = urlsplit(options.base_url)
        self._clock = clock
        self._token = token
        self._late = late
        self.pool = Http2Pool(self._connect, options.connections)
        self.client = StreamClient(self._loop, self.pool, options.send_timeout, options.late_window)
        self._service = FencedMessaging(project, options.base_url, self.client)

    async def send(self, letters: Sequence[FcmLetter]) -> list[Verdict]:
        """One verdict for each letter; ChannelDown if there is no access token, or no connection and nothing sent."""
        authorization = await self._token.header()
        written = self.client.written
        give_up_at = self._loop.time() + self._options.send_timeout
        verdicts = await gather(
            (self._one(letter, authorization, give_up_at) for letter in letters),
            limit=SIDE_BY_SIDE * self._options.connections,
        )
        if self.pool.is_down and self.client.written == written:
            raise ChannelDown("fcm", self.pool.failure)
        return verdicts

    async def aclose(self) -> None:
        """Close every connection."""
        await self.pool.aclose()

    async def _connect(self) -> Http2Streams:
        address = self._address
        # Http2Streams is an asyncio protocol by its methods, not by its base.
        make: Callable[[], Any] = lambda: Http2Streams(self._loop, self.pool.changed)  # noqa: E731
        _, connection = await self._loop.create_connection(
            make, address.hostname or "", address.port or 443, ssl=self._tls
        )
        return cast("Http2Streams", connection)

    # ------------------------------------------------------------------ one message

    async def _one(self, letter: FcmLetter, authorization: str, give_up_at: float) -> Verdict:
        current_trip.set(Trip(letter.item, authorization, give_up_at, self._report_late))
        try:
            batch = await self._service.send_each_async([letter.shared.message_to(letter.item.address)], dry_run=False)
        except ValueError:
            return REFUSED_HERE
        except FirebaseError:
            return RAISED
        response = batch.responses[0]
        if response.success:
            return ACCEPTED
        if response.exception is None:
            return Verdict(VerdictKind.UNKNOWN, "fcm.NoMessageId")
        return self._meaning(response.exception, authorization)

    def _meaning(self, error: FirebaseError, authorization: str) -> Verdict:
        answer = error.http_response
        if answer is not None:
            if answer.status_code == 401:
                self._token.refused(authorization)
            return self._read(answer.status_code, answer.headers.get("retry-after"), answer.content)
        if isinstance(error.cause, (httpx.ConnectError, httpx.PoolTimeout)):
            return NOT_SENT
        return TIMEOUT if isinstance(error.cause, httpx.TimeoutException) else LOST

    def _report_late(self, trip: Trip) -> None:
        self.client.overdue.discard(trip)
        if trip.fate is Fate.ANSWERED:
            self._late(trip.item, self._read(trip.status, trip.header(b"retry-after"), trip.answer_body))

    def _read(self, status: int, retry_after: str | None, body: bytes) -> Verdict:
        code, fields = _details(json_object(body)) if status != 200 else ("", frozenset[str]())
        return fcm_verdict(status, code, fields, retry_after_seconds(retry_after, self._clock.now()))


def _details(body: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
    """FCM's own error code, and the fields that a BadRequest names."""
    error = body.get("error")
    details = error.get("details") if isinstance(error, dict) else None
    code, fields = "", set[str]()
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict):
            continue
        if detail.get("@type") == _FCM_ERROR:
            code = str(detail.get("errorCode", ""))
        elif detail.get("@type") == _BAD_REQUEST:
            violations = detail.get("fieldViolations")
            for violation in violations if isinstance(violations, list) else ():
                if isinstance(violation, dict):
                    fields.add(str(violation.get("field", "")))
    return code, frozenset(fields)
