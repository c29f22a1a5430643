"""A browser's push subscription: where its push service takes messages, and the keys to encrypt them with.

It is kept as one text, the device's token: compact JSON with the three members in order, so that the same subscription
is always the same token.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as BadBase64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ent_notify.errors import MalformedDevice

MOST_ENDPOINT = 2_000
"""Characters of an endpoint: what an index of PostgreSQL still takes (2,704 bytes), with both keys beside it. Those of
the known push services have 150 to 700."""
_POINT, _SECRET = 65, 16


@dataclass(frozen=True, slots=True)
class Subscription:
    """``endpoint`` is a capability: whoever knows it may send there, so it is never logged.

    ``p256dh`` is the browser's public key (a point of P-256, uncompressed, 65 bytes), ``auth`` the secret that it
    shares with us (16 bytes): RFC 8291, 2 and 3.2.
    """

    endpoint: str
    p256dh: bytes
    auth: bytes

    def __repr__(self) -> str:
        return "Subscription(...)"

    @property
    def token(self) -> str:
        """The text that stands for this device in the database."""
        return json.dumps(
            {"endpoint": self.endpoint, "p256dh": _encode(self.p256dh), "auth": _encode(self.auth)},
            separators=(",", ":"),
        )


def read_subscription(given: str | Mapping[str, Any]) -> Subscription:
    """A subscription as browsers write it (``PushSubscription.toJSON()``: endpoint, keys.p256dh, keys.auth), or as its
    token; text or a parsed object. Raises MalformedDevice, which says what is wrong and quotes none of it."""
    value: Any = given
    if isinstance(given, str):
        if len(given) > 2 * MOST_ENDPOINT:
            raise MalformedDevice(f"a Web Push subscription has at most {2 * MOST_ENDPOINT} characters")
        try:
            value = json.loads(given)
        except ValueError:
            raise MalformedDevice(
                "a Web Push token is the browser's subscription as JSON: JSON.stringify(subscription)"
            ) from None
    if not isinstance(value, Mapping):
        raise MalformedDevice("a Web Push subscription is an object with endpoint and keys")
    nested = value.get("keys")
    keys: Mapping[str, Any] = nested if isinstance(nested, Mapping) else value
    endpoint = value.get("endpoint")
    if not isinstance(endpoint, str) or not endpoint:
        raise MalformedDevice("the Web Push subscription has no endpoint; send all that the browser gave")
    if len(endpoint) > MOST_ENDPOINT:
        raise MalformedDevice(f"the subscription's endpoint is longer than {MOST_ENDPOINT} characters")
    point = _decode(keys.get("p256dh"), "p256dh", _POINT)
    if point[0] != 4:
        raise MalformedDevice("the subscription's p256dh is no uncompressed point of P-256 (it begins with 0x04)")
    return Subscription(endpoint, point, _decode(keys.get("auth"), "auth", _SECRET))


def _decode(text: object, name: str, size: int) -> bytes:
    if not isinstance(text, str) or not text:
        raise MalformedDevice(f"the Web Push subscription has no {name}; send all that the browser gave")
    try:
        plain = text.rstrip("=").encode("ascii").replace(b"+", b"-").replace(b"/", b"_")
        value = urlsafe_b64decode(plain + b"=" * (-len(plain) % 4))
    except (UnicodeEncodeError, BadBase64, ValueError):
        raise MalformedDevice(f"the subscription's {name} is not base64url") from None
    if len(value) != size:
        raise MalformedDevice(f"the subscription's {name} has {len(value)} bytes and must have {size}")
    return value


def _encode(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode("ascii")
