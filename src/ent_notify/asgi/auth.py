"""Who asks: bearer tokens that the host signs (RFC 7519), checked against the public keys in its JWKS file.

One algorithm, ES256, whatever a token's header says: every platform's library and every key vault can sign with it, and
a signature is 64 bytes. A key is chosen by ``kid`` among those in the file, which is read again whenever it changes, so
that keys are rotated without a restart. What is wrong with a token is told to the operator, never to who sent it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from ent_notify.asgi.tokens import TokenRefused
from ent_notify.errors import SettingsError
from ent_notify.settings import ApiSettings

ALGORITHM = "ES256"
CURVE = "P-256"
MAX_TOKEN = 4_096
"""Characters of a token; ours have about 300."""
MAX_KEYS_FILE = 65_536
MAX_SUBJECT = 200
"""Characters of a person's id."""
_HEADER = frozenset({"alg", "kid", "typ"})
_TYPES = frozenset({"jwt", "at+jwt"})


@dataclass(frozen=True, slots=True)
class _Keys:
    stamp: tuple[int, int] | None
    by_kid: Mapping[str, ECKey]


class Tokens:
    """Reads bearer tokens. Raises SettingsError at once when the keys file of the settings cannot be used."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._keys = _Keys(None, {})
        self.trouble: SettingsError | None = None
        """What is wrong with the keys file as it is now; the keys read before go on."""
        if settings.keys_file is not None:
            self._keys = _Keys(_stamp(settings.keys_file), read_keys(settings.keys_file))

    def person(self, token: str, now: datetime) -> str:
        """The external id of whom ``token`` speaks for. Raises TokenRefused."""
        if not token or len(token) > MAX_TOKEN or token.count(".") != 2 or not token.isascii():
            raise TokenRefused("malformed", "the bearer token is no compact JWS; send the token that the host signed")
        claims = self._claims(token)
        self._check_times(claims, now.timestamp())
        if claims.get("iss") != self._settings.issuer:
            raise TokenRefused("issuer", "the token's iss is not api.issuer; correct one of the two")
        audience = claims.get("aud")
        if self._settings.audience not in (audience if isinstance(audience, list) else [audience]):
            raise TokenRefused("audience", "the token's aud does not name api.audience; correct one of the two")
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT or "\0" in subject:
            raise TokenRefused("subject", f"the token's sub is no id of a person (1 to {MAX_SUBJECT} characters)")
        return subject

    def _claims(self, token: str) -> dict[str, Any]:
        keys = self._current()
        try:
            found = jws.extract_compact(token.encode())
            header = found.headers()
            if not header.keys() <= _HEADER or str(header.get("typ", "JWT")).lower() not in _TYPES:
                raise TokenRefused("header", "the token's header may hold alg, kid and typ (JWT) alone")
            if header.get("alg") != ALGORITHM:
                raise TokenRefused("algorithm", f"the token is not signed by {ALGORITHM}; sign it so")
            kid = header.get("kid")
            key = keys.get(kid) if isinstance(kid, str) else None
            if key is None:
                raise TokenRefused("unknown_key", "the token's kid is not in api.keys_file; add its public key there")
            payload = jws.deserialize_compact(token, key, algorithms=[ALGORITHM]).payload
            claims = orjson.loads(payload)
        except (JoseError, ValueError, TypeError, AttributeError) as error:
            raise TokenRefused(
                "signature", f"the token cannot be read or its signature is wrong ({type(error).__name__})"
            ) from None
        if not isinstance(claims, dict):
            raise TokenRefused("malformed", "the token's payload is no JSON object")
        return claims

    def _check_times(self, claims: Mapping[str, Any], now: float) -> None:
        leeway = self._settings.leeway_seconds
        issued, ends = _seconds(claims, "iat"), _seconds(claims, "exp")
        begins = _seconds(claims, "nbf") if "nbf" in claims else issued
        if ends - issued > self._settings.max_token_seconds:
            raise TokenRefused("life", f"the token lives {ends - issued:.0f} s, above api.max_token_seconds")
        if now >= ends + leeway:
            raise TokenRefused("expired", f"the token expired {now - ends:.0f} s ago; get a new one")
        if now < max(begins, issued) - leeway:
            raise TokenRefused("early", "the token's iat or nbf lies ahead; compare the clocks of both machines")

    def _current(self) -> Mapping[str, ECKey]:
        """The keys as the file has them now; those read before, while it cannot be used."""
        file = self._settings.keys_file
        if file is not None and (stamp := _stamp(file)) != self._keys.stamp:
            try:
                self._keys = _Keys(stamp, read_keys(file))
                self.trouble = None
            except SettingsError as error:
                self._keys = _Keys(stamp, self._keys.by_kid)
                self.trouble = error
        return self._keys.by_kid


def read_keys(file: Path) -> dict[str, ECKey]:
    """The public keys of a JWKS file by their ``kid``. Raises SettingsError, which says what is wrong with which."""
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_KEYS_FILE + 1)
    except OSError as error:
        raise SettingsError(
            f"api.keys_file {file} cannot be read ({error.strerror}); correct the path or rights"
        ) from None
    try:
        entries = orjson.loads(text)["keys"]
    except (ValueError, KeyError, TypeError):
        entries = None
    if not isinstance(entries, list) or not entries or len(text) > MAX_KEYS_FILE:
        raise SettingsError(
            f'api.keys_file {file} is no key set (of 64 KiB at most); write {{"keys": [...]}}, as '
            "`ent-notify api keys` does"
        )
    keys: dict[str, ECKey] = {}
    for number, entry in enumerate(entries, start=1):
        where = f"api.keys_file {file}, key {number}"
        if not isinstance(entry, dict) or entry.get("kty") != "EC" or entry.get("crv") != CURVE:
            raise SettingsError(f'{where} is no key for {ALGORITHM}; it has to have "kty": "EC" and "crv": "{CURVE}"')
        if "d" in entry:
            raise SettingsError(f"{where} is a private key; leave that with who signs, and put its public half here")
        if entry.get("alg", ALGORITHM) != ALGORITHM or entry.get("use", "sig") != "sig":
            raise SettingsError(f"{where} is for something else; its alg has to be {ALGORITHM} and its use sig")
        kid = entry.get("kid")
        if not isinstance(kid, str) or not kid or kid in keys:
            raise SettingsError(f"{where} has no kid of its own; give each key a different one")
        try:
            keys[kid] = ECKey.import_key({name: entry[name] for name in ("kty", "crv", "x", "y")})
            keys[kid].public_key  # noqa: B018 - it is checked to lie on the curve when it is first looked at
        except (JoseError, ValueError, TypeError, KeyError):
            raise SettingsError(f"{where} is damaged; write the file again") from None
    return keys


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**40:
        raise TokenRefused("times", f"the token's {name} is missing or no number of seconds since 1970")
    return float(value)


def make_key(kid: str = "") -> dict[str, str]:
    """A new signing key, as a JWK with its private half; ``kid`` is its thumbprint (RFC 7638) when none is given."""
    key = ECKey.generate_key(CURVE)
    return {**_jwk(key.as_dict(private=True)), "kid": kid or key.thumbprint(), "use": "sig", "alg": ALGORITHM}


def public_half(key: Mapping[str, str]) -> dict[str, str]:
    """What of a signing key goes into the key set."""
    return {name: value for name, value in key.items() if name != "d"}


def sign(key: Mapping[str, str], person: str, settings: ApiSettings, now: datetime, life: timedelta) -> str:
    """A bearer token for a person, as a host signs it."""
    issued = int(now.timestamp())
    claims = {
        "iss": settings.issuer,
        "aud": settings.audience,
        "sub": person,
        "iat": issued,
        "exp": issued + int(life.total_seconds()),
    }
    header = {"alg": ALGORITHM, "kid": key["kid"]}
    return jwt.encode(header, claims, ECKey.import_key(dict(key)), algorithms=[ALGORITHM])


def _jwk(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}
