"""Several servers in one address, a primary and its replicas: each is asked in turn until one is the primary.

The driver can walk such a list too, but under one time-out for all of it: a machine that lost its power and answers
nothing would use it up each time, and the replica behind it would never be asked. Here every server has its share of
the time, and whoever was cut off while one was silent begins with the next.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import asyncpg
from asyncpg.exceptions import TargetServerAttributeNotMatched

WANTED = "primary"
"""What a server must be unless the address has a ``target_session_attrs``: everything that we do may write."""

_NEXT = (OSError, asyncpg.CannotConnectNowError, TargetServerAttributeNotMatched)
"""Not this server now, but maybe another. A TimeoutError is an OSError; a wrong password is for the operator."""


class NoServer(ConnectionError):
    """None of several servers could be used; says of each why."""


class Servers:
    """Connects to whichever server of an address may be used."""

    def __init__(self, dsn: str) -> None:
        self._addresses = each_server(dsn)
        self._wanted = dict(parse_qsl(urlsplit(dsn).query)).get("target_session_attrs", WANTED)
        self._first = 0

    async def connect(self, _dsn: str | None = None, *, timeout: float, **more: Any) -> Any:
        """A connection of the driver; ``timeout`` in seconds is for all servers together.

        Raises NoServer, with one server alone what the driver raises, and at once what no other server would answer
        better, such as a wrong password. Takes what ``asyncpg.connect`` takes; the address is the one given before.
        """
        count = len(self._addresses)
        start = self._first
        troubles: list[Exception] = []
        for step in range(count):
            place = (start + step) % count
            self._first = (place + 1) % count  # for whoever comes after us if this one is silent
            try:
                connection = await asyncpg.connect(
                    self._addresses[place], target_session_attrs=self._wanted, timeout=timeout / count, **more
                )
            except _NEXT as error:
                troubles.append(error)
            else:
                self._first = place
                return connection
        if count == 1:
            raise troubles[0]
        said = (
            f"{_name(self._addresses[(start + step) % count])}: {_why(error, self._wanted)}"
            for step, error in enumerate(troubles)
        )
        raise NoServer("; ".join(said)) from troubles[-1]


def each_server(dsn: str) -> list[str]:
    """The address of each server in ``dsn``, in order; ``dsn`` itself when it names one or none.

    Two forms name several: ``user@db1:5432,db2:5432`` and ``?host=/one,/other&port=5432,5433``, as libpq has them.
    """
    parts = urlsplit(dsn)
    credentials, at, hosts = parts.netloc.rpartition("@")
    if hosts:
        return [urlunsplit(parts._replace(netloc=f"{credentials}{at}{host}")) for host in hosts.split(",")]
    query = parse_qsl(parts.query, keep_blank_values=True)
    given = dict(query)
    listed = given.get("host", "").split(",")
    ports = given["port"].split(",") if "port" in given else []
    if len(listed) < 2 or len(ports) not in (0, 1, len(listed)):  # the driver says what is wrong with the latter
        return [dsn]
    others = [(name, value) for name, value in query if name not in ("host", "port")]
    addresses = []
    for place, host in enumerate(listed):
        where = [("host", host), *([("port", ports[place % len(ports)])] if ports else [])]
        text = urlencode(others + where, quote_via=quote, safe="")
        addresses.append(f"{parts.scheme}://{parts.netloc}{parts.path}?{text}")
    return addresses


def _name(address: str) -> str:
    parts = urlsplit(address)
    given = dict(parse_qsl(parts.query))
    port = f":{given['port']}" if "port" in given else ""
    return parts.netloc.rpartition("@")[2] or given.get("host", "") + port


def _why(error: Exception, wanted: str) -> str:
    if isinstance(error, TargetServerAttributeNotMatched):
        return f"it is not {wanted}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error).strip() or type(error).__name__
