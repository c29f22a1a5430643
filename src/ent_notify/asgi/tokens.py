"""Who asks, without the cryptography: what refuses a token, how the operator hears of it, and what nobody passes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from ent_notify.errors import EntNotifyError, SettingsError
from ent_notify.observe import get_logger
from ent_notify.settings import ApiSettings

LOG_EVERY = timedelta(minutes=1)
"""One line for each reason in so long a time, with how many there were."""

_log = get_logger(__name__)


class TokenRefused(EntNotifyError):
    """A token that lets nobody in. ``reason`` is a word for the log; the message is for an operator."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = f"token.{reason}"
        super().__init__(detail)


class TokenReader(Protocol):
    """Reads bearer tokens."""

    def person(self, token: str, now: datetime) -> str:
        """The external id of whom ``token`` speaks for. Raises TokenRefused."""


class Nobody:
    """Lets nobody in: no key was given."""

    def person(self, token: str, now: datetime) -> str:
        """Raises TokenRefused."""
        raise TokenRefused("no_keys", "no key is known: give api.keys_file and api.issuer")


def open_tokens(settings: ApiSettings) -> TokenReader:
    """What reads tokens by the keys of the settings. Raises SettingsError when they cannot be used."""
    if settings.keys_file is None:
        return Nobody()
    try:
        from ent_notify.asgi.auth import Tokens
    except ImportError as error:
        raise SettingsError(
            f"api.keys_file is given, but {error.name} is not installed; install ent-notify[api]"
        ) from None
    return Tokens(settings)


class TokenLog:
    """Tells the operator why tokens are refused, once a minute for each reason."""

    def __init__(self) -> None:
        self._last: dict[str, datetime] = {}
        self._count: dict[str, int] = {}

    def note(self, error: EntNotifyError, now: datetime) -> None:
        """A token was refused at ``now``."""
        reason = error.reason if isinstance(error, TokenRefused) else "token.other"
        self._count[reason] = self._count.get(reason, 0) + 1
        last = self._last.get(reason)
        if last is None or now - last >= LOG_EVERY:
            _log.warning("token_refused", reason=reason, count=self._count.pop(reason))
            self._last[reason] = now
