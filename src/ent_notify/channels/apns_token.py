"""Apple's provider token: one JWT for every connection of every app of a team, renewed every 40 minutes.

Apple wants it no older than 60 minutes and renewed no oftener than every 20 ("Establishing a token-based connection
to APNs"). aioapns makes one for each connection; this one is given to all of them.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import jwt
from aioapns.connection import AuthorizationHeaderProvider

from ent_notify.channels.push_limits import APNS
from ent_notify.errors import SettingsError
from ent_notify.ports import Clock

RENEW_AFTER = timedelta(minutes=40)


class ProviderToken(AuthorizationHeaderProvider):
    """The shared provider token. Raises SettingsError if ``key`` is not a P-256 private key in PEM (a .p8 file).

    For the island's thread only: it has no lock.
    """

    def __init__(self, key: str, key_id: str, team_id: str, clock: Clock) -> None:
        self._key = key
        self._key_id = key_id
        self._team_id = team_id
        self._clock = clock
        self._older: tuple[str, datetime] | None = None
        self._forced_at: datetime | None = None
        self.made = 0
        """How many tokens were signed."""
        self._header, self._issued_at = self._sign(clock.now())

    def __repr__(self) -> str:
        return f"ProviderToken(key_id={self._key_id!r}, team_id={self._team_id!r})"

    def get_header(self) -> str:
        """The value of the ``authorization`` header; a new token is signed when the present one is 40 minutes old."""
        now = self._clock.now()
        age = now - self._issued_at
        if age >= RENEW_AFTER or age < -RENEW_AFTER:  # the second: the clock was set back
            self._renew(now)
        return self._header

    def renew(self, refused: str) -> bool:
        """APNs called ``refused`` expired. True: send again with ``get_header()``; False: a new one would not help.

        However many answers say so, one token is signed; and not a second one within 20 minutes, for then it is our
        clock or our key that is wrong, and Apple would refuse the renewals too.
        """
        if refused != self._header:
            return True
        now = self._clock.now()
        if self._forced_at is not None and abs(now - self._forced_at) < APNS.provider_token_youngest_renewal:
            return False
        self._forced_at = now
        self._renew(now)
        return True

    def keep_older(self, refused: str) -> None:
        """APNs called ``refused`` one update too many: go back to the one before, while that is still valid."""
        if self._older is None or refused != self._header:
            return
        header, issued_at = self._older
        if self._clock.now() - issued_at < APNS.provider_token_life:
            self._header, self._issued_at = header, issued_at
            self._older = None

    def _renew(self, now: datetime) -> None:
        self._older = (self._header, self._issued_at)
        self._header, self._issued_at = self._sign(now)

    def _sign(self, now: datetime) -> tuple[str, datetime]:
        try:
            token = jwt.encode(
                {"iss": self._team_id, "iat": int(now.timestamp())},
                self._key,
                algorithm="ES256",
                headers={"kid": self._key_id},
            )
        except (ValueError, TypeError, jwt.PyJWTError):
            raise SettingsError(
                f"the APNs signing key {self._key_id!r} cannot sign: it must be the P-256 private key of Apple's .p8 "
                "file, in PEM (-----BEGIN PRIVATE KEY-----)"
            ) from None  # the cause could quote the key
        self.made += 1
        return f"bearer {token}", now
