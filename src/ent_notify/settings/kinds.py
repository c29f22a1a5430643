"""The kinds of values that settings hold, beyond numbers and words: addresses, zones, data source names, tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from email.errors import HeaderParseError
from email.headerregistry import Address
from ipaddress import ip_address
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr
from pydantic_settings import NoDecode

_T = TypeVar("_T")

EMBEDDED = "embedded:"
_PUSH_HOST = re.compile(r"(\*\.)?([a-z0-9-]{1,63}\.)+[a-z]([a-z0-9-]{0,62})\Z")
_SECRET_PARAMETERS = frozenset({"password", "sslpassword"})


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("give a time zone of the IANA list, such as Europe/Paris or Indian/Reunion") from None
    return name


def _mail_address(text: str) -> str:
    try:
        address = Address(addr_spec=text)
    except (HeaderParseError, ValueError, IndexError):
        raise ValueError("give one bare mail address, such as ne-pas-repondre@ent.example") from None
    if not address.username or not address.domain:
        raise ValueError("give one bare mail address, such as ne-pas-repondre@ent.example")
    return text


def _origin(text: str) -> str:
    parts = urlsplit(text)
    bare = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme not in ("https", "http") or not parts.hostname or text != bare or "*" in text or "@" in text:
        raise ValueError("give an exact origin, scheme and host only, such as https://ent.example (no wildcard)")
    return text


def _push_host(text: str) -> str:
    if not _PUSH_HOST.match(text):
        raise ValueError("give host names such as fcm.googleapis.com, or *.push.apple.com for all names below one")
    return text


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError("give addresses such as 192.0.2.1 or 2001:db8::1, not names or networks") from None


def _base_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("give a URL that begins with https:// and has neither ? nor #")
    return text.rstrip("/")


def _nats_server(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("nats", "tls") or not parts.hostname or parts.path or parts.query or "@" in parts.netloc:
        raise ValueError("give addresses such as nats://host:4222 or tls://host:4222, without a user or a password")
    return text


def _dsn(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    parts = urlsplit(text)
    if parts.scheme in ("postgresql", "postgres") and (parts.netloc or parts.query):
        return value
    if text.startswith(EMBEDDED) and not parts.netloc:
        return value
    raise ValueError(
        "give embedded: (a PostgreSQL of our own), embedded:///folder, or postgresql://user@host:5432/database"
    )


def _comma_separated(value: Any) -> Any:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


class Entries(Mapping[str, _T]):
    """A table of named entries that nobody can change (and that, unlike a mapping proxy, can be sent to a process)."""

    __slots__ = ("_entries",)

    def __init__(self, entries: Mapping[str, _T]) -> None:
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> _T:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return repr(self._entries)


TimeZone = Annotated[str, AfterValidator(_zone)]
MailAddress = Annotated[str, AfterValidator(_mail_address)]
Origin = Annotated[str, AfterValidator(_origin)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Dsn = Annotated[SecretStr, AfterValidator(_dsn)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)]
Origins = Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(_comma_separated)]
"""In TOML a list; in the environment, separated by commas."""
PushHosts = Annotated[
    tuple[Annotated[str, AfterValidator(_push_host)], ...], NoDecode, BeforeValidator(_comma_separated)
]
Addresses = Annotated[tuple[Annotated[str, AfterValidator(_address)], ...], NoDecode, BeforeValidator(_comma_separated)]

NatsServers = Annotated[
    tuple[Annotated[str, AfterValidator(_nats_server)], ...], NoDecode, BeforeValidator(_comma_separated)
]

TableName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Table = Annotated[Mapping[TableName, _T], AfterValidator(Entries), PlainSerializer(dict)]
"""Named entries of one group, read-only: ``[apns.families]`` in TOML, ``APNS__FAMILIES__...`` in the environment."""


def has_password(dsn: str) -> bool:
    """Whether ``dsn`` carries a password, in its user part or in its parameters."""
    parts = urlsplit(dsn)
    if parts.password is not None:
        return True
    return any(name.lower() in _SECRET_PARAMETERS for name, _ in parse_qsl(parts.query, keep_blank_values=True))


def with_password(dsn: str, password: str) -> str:
    """``dsn`` with ``password`` in its user part (percent-encoded)."""
    parts = urlsplit(dsn)
    user, at, hosts = parts.netloc.rpartition("@")
    name = user.partition(":")[0] if at else ""
    return urlunsplit(parts._replace(netloc=f"{name}:{quote(password, safe='')}@{hosts}"))


def without_password(dsn: str) -> str:
    """``dsn`` as it may be shown: user and hosts stay, passwords and all parameters go."""
    parts = urlsplit(dsn)
    if parts.scheme not in ("postgresql", "postgres"):
        return dsn.partition("?")[0]
    user, at, hosts = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}{at}{hosts}", query="", fragment=""))
