"""Google's access token, fetched beside the loop: one for all messages, renewed before it ends.

google-auth refreshes with a blocking request at the moment of a send, once for each message that finds the token too
old. Here a thread fetches it, once, before the messages are sent; while it still lives, nobody waits for the next.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import requests.adapters
from google.auth import exceptions
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from ent_notify._island.tasks import Task, running_loop, spawn
from ent_notify.errors import ChannelDown, SettingsError
from ent_notify.ports import Clock

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
FETCH_TIMEOUT = 15.0
"""Seconds for one request to the token endpoint."""
RENEW_BEFORE = timedelta(minutes=10)
"""A token is renewed, beside the sends, when it has no longer than this to live."""
TOO_OLD_BEFORE = timedelta(seconds=60)
"""A token that ends sooner than this is not used any more."""


def read_service_account(info: Mapping[str, str]) -> Any:
    """Credentials from the parsed JSON of a service account. Raises SettingsError, which quotes nothing of it."""
    try:
        return service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            dict(info), scopes=[SCOPE]
        )
    except (ValueError, TypeError, exceptions.GoogleAuthError):
        raise SettingsError(
            "the FCM service account cannot be read: it must be the JSON file that Firebase gives (project settings, "
            "service accounts), with project_id, client_email, token_uri and private_key"
        ) from None  # the cause could quote the key


class AccessToken:
    """The shared access token of ``credentials`` (any google.auth credentials). For the island's thread only."""

    def __init__(self, credentials: Any, clock: Clock, ca: str | None) -> None:
        self._credentials = credentials
        self._clock = clock
        self._ca = ca
        self._token: str | None = None
        self._ends = datetime.min.replace(tzinfo=UTC)
        self._failure = ""
        self._fetching: Task[None] | None = None
        self.fetched = 0
        """How many tokens were fetched."""

    async def header(self) -> str:
        """The value of the ``authorization`` header. Raises ChannelDown when there is no token to be had."""
        if self._token is None or self._left() < RENEW_BEFORE:
            if self._fetching is None:
                self._fetching = spawn(self._fetch(), name="fetch an FCM access token")
            if self._token is None or self._left() < TOO_OLD_BEFORE:
                await self._fetching
                if self._token is None or self._left() < TOO_OLD_BEFORE:
                    raise ChannelDown("fcm", self._failure)
        return f"Bearer {self._token}"

    def refused(self, header: str) -> None:
        """FCM answered 401 to ``header``: the next call of ``header()`` fetches another token."""
        if header == f"Bearer {self._token}":
            self._token = None

    async def _fetch(self) -> None:
        try:
            await running_loop().run_in_executor(None, self._refresh)
        except exceptions.RefreshError as error:
            self._failure = f"Google refuses the credentials: {_code(error)}"
        except (exceptions.GoogleAuthError, requests.RequestException, OSError) as error:
            self._failure = f"no access token: {type(error).__name__} at the token endpoint"
        else:
            self._token = self._credentials.token
            expiry = self._credentials.expiry  # naive, in UTC; None: it never ends
            self._ends = datetime.max.replace(tzinfo=UTC) if expiry is None else expiry.replace(tzinfo=UTC)
            self._failure = "the token endpoint gave a token that has ended: the clocks disagree"
            self.fetched += 1
        finally:
            self._fetching = None

    def _left(self) -> timedelta:
        return self._ends - self._clock.now()

    def _refresh(self) -> None:
        """In a thread of its own."""
        with requests.Session() as session:
            if self._ca is not None:
                session.mount("https://", _TrustingAdapter(ssl.create_default_context(cadata=self._ca)))
            self._credentials.refresh(partial(Request(session), timeout=FETCH_TIMEOUT))


class _TrustingAdapter(requests.adapters.HTTPAdapter):
    """requests, with a TLS context of ours."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Called by requests when it makes its pool."""
        super().init_poolmanager(*args, ssl_context=self._tls, **kwargs)


def _code(error: exceptions.RefreshError) -> str:
    """OAuth's error code (``invalid_grant``), never the endpoint's own words."""
    for argument in error.args:
        if isinstance(argument, dict) and isinstance(argument.get("error"), str):
            return str(argument["error"])
    return "no reason given"
