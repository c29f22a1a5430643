"""Keys of Web Push: VAPID tokens (RFC 8292), and messages that only the browser can read (RFC 8291, by http-ece)."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime, timedelta

import http_ece
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ent_notify.errors import MalformedDevice, SettingsError
from ent_notify.model.webpush import Subscription

TOKEN_LIFE = timedelta(hours=12)
"""Half of what RFC 8292, 2 allows: a clock that is wrong by hours still signs what is taken."""
RENEW_AFTER = timedelta(hours=11)
_CURVE = ec.SECP256R1()


class VapidKey:
    """Our key: it signs one token for each push service, used until shortly before its end.

    ``text`` is a P-256 private key, in PEM or as 43 characters of base64url (as Web Push tools print it); ``subject``
    a ``mailto:`` or ``https:`` address by which a service's operator reaches us (RFC 8292, 2.1). Raises SettingsError.
    For one thread only.
    """

    def __init__(self, text: str, subject: str) -> None:
        if not subject.startswith(("mailto:", "https://")):
            raise SettingsError(f"the Web Push subject {subject!r} must begin with mailto: or https://")
        self._private = _read_private(text)
        self._subject = subject
        point = self._private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.public = urlsafe_b64encode(point).rstrip(b"=").decode("ascii")
        """What a page gives to ``pushManager.subscribe`` as ``applicationServerKey``."""
        self.made = 0
        """Tokens signed."""
        self._tokens: dict[str, tuple[str, datetime]] = {}

    def __repr__(self) -> str:
        return f"VapidKey(public={self.public!r})"

    def authorization(self, origin: str, now: datetime) -> str:
        """The value of the ``authorization`` header for a push service's origin."""
        known = self._tokens.get(origin)
        if known is not None:
            age = now - known[1]
            if -timedelta(minutes=5) < age < RENEW_AFTER:  # an older one from the future: the clock was set back
                return known[0]
        claims = {"aud": origin, "exp": int((now + TOKEN_LIFE).timestamp()), "sub": self._subject}
        token = jwt.encode(claims, self._private, algorithm="ES256")
        header = f"vapid t={token}, k={self.public}"
        self._tokens[origin] = header, now
        self.made += 1
        return header

    def forget(self, origin: str) -> None:
        """Sign anew the next time: the service did not take the token."""
        self._tokens.pop(origin, None)


def encrypt(subscription: Subscription, plaintext: bytes) -> bytes:
    """``plaintext`` for one browser, as ``aes128gcm`` in one record. Raises MalformedDevice if its key is no point."""
    try:
        return bytes(
            http_ece.encrypt(
                plaintext,
                private_key=ec.generate_private_key(_CURVE),
                dh=subscription.p256dh,
                auth_secret=subscription.auth,
                version="aes128gcm",
            )
        )
    except ValueError:
        raise MalformedDevice("the subscription's p256dh is no point of P-256") from None


def check_point(subscription: Subscription) -> None:
    """Raises MalformedDevice if the browser's public key is no point of P-256."""
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, subscription.p256dh)
    except ValueError:
        raise MalformedDevice("the subscription's p256dh is no point of P-256") from None


def _read_private(text: str) -> ec.EllipticCurvePrivateKey:
    trouble = (
        "the Web Push key cannot sign: it must be a P-256 private key, in PEM (-----BEGIN PRIVATE KEY-----) or as 43 "
        "characters of base64url"
    )
    text = text.strip()
    try:
        if text.startswith("-----BEGIN"):
            key = load_pem_private_key(text.encode(), None)
        else:
            raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            if len(raw) != 32:
                raise SettingsError(trouble)
            key = ec.derive_private_key(int.from_bytes(raw, "big"), _CURVE)
    except (ValueError, TypeError):
        raise SettingsError(trouble) from None  # the cause could quote the key
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SettingsError(trouble)
    return key
