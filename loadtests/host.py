"""The host of a run: it signs its people's bearer tokens, and publishes what a school day brings, on time."""

from __future__ import annotations

import time
from collections.abc import Mapping

from joserfc import jwt
from joserfc.jwk import ECKey

from ent_notify.asgi.auth import ALGORITHM

TOKEN_SECONDS = 3_000


class Signer:
    """Signs bearer tokens as a host does: its key is read once."""

    def __init__(self, key: Mapping[str, str], issuer: str, audience: str) -> None:
        self._key = ECKey.import_key(dict(key))
        self._header = {"alg": ALGORITHM, "kid": key["kid"]}
        self._issuer = issuer
        self._audience = audience

    def __call__(self, person: int) -> str:
        """A token for a person of the generated region."""
        issued = int(time.time())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": external_id(person),
            "iat": issued,
            "exp": issued + TOKEN_SECONDS,
        }
        return jwt.encode(self._header, claims, self._key, algorithms=[ALGORITHM])


def external_id(person: int) -> str:
    """The host's own id of a person of the generated region."""
    return f"P{person}"
