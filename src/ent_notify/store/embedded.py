"""The embedded PostgreSQL: ``embedded:`` as a DSN starts a real server in a folder, and stops it after its last user.

Forms::

    embedded:                            the default folder (see default_folder)
    embedded:///var/lib/ent/postgres     that folder; percent-escapes are decoded
    embedded:///folder?fsync=off         more server settings, for the process that happens to start the server
    embedded:///folder?listen=127.0.0.1:5433   also over TCP, with the password kept in the folder

Any number of processes may use one folder at once: the first starts the server, the others find it. Each user holds a
shared lock on ``<folder>/users`` as long as it lives, whatever kills it; whoever leaves and finds no other user stops
the server. A user that was killed as the last one leaves the server running: the next user takes it over.

Everything is in the folder: ``data``, ``socket``, ``log``, ``password``. Nothing outside of it is changed.
"""

from __future__ import annotations

import fcntl
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from ent_notify.errors import SettingsError, StoreUnreachable
from ent_notify.store.cluster import DATABASE, SUPERUSER, Cluster

SCHEME = "embedded:"


@dataclass(frozen=True, slots=True)
class EmbeddedAddress:
    """What an ``embedded:`` DSN says."""

    folder: Path
    listen: tuple[str, int] | None = None
    """TCP address to listen on as well; the Unix socket is always there."""
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Server settings beyond the house's own, such as ``{"fsync": "off"}``."""


def is_embedded(dsn: str) -> bool:
    """Whether ``dsn`` asks for the embedded server."""
    return dsn.startswith(SCHEME)


def default_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where ``embedded:`` keeps its data: ``$XDG_DATA_HOME/ent-notify/postgres``, by default under ``~/.local/share``.

    For root it is ``/var/lib/ent-notify/postgres``, because the server cannot run as root, and no other user may look
    into root's home.
    """
    if home := environ.get("XDG_DATA_HOME"):
        return Path(home) / "ent-notify" / "postgres"
    if os.geteuid() == 0:
        return Path("/var/lib/ent-notify/postgres")
    return Path.home() / ".local" / "share" / "ent-notify" / "postgres"


def parse_address(dsn: str) -> EmbeddedAddress:
    """Read an ``embedded:`` DSN. Raises SettingsError when it is none, or says something that cannot be."""
    parts = urlsplit(dsn)
    if parts.scheme != "embedded":
        raise SettingsError(f"not an embedded database address: {dsn!r}; write embedded: or embedded:///folder")
    if parts.netloc or (parts.path and not parts.path.startswith("/")):
        raise SettingsError(
            f"database address {dsn!r} names no absolute folder: write embedded:///folder, with three slashes"
        )
    folder = Path(unquote(parts.path)) if parts.path.strip("/") else default_folder()
    try:
        os.fsencode(folder)
    except UnicodeEncodeError:
        raise SettingsError(
            f"the folder of database address {dsn!r} cannot be named in this process's encoding, "
            f"{sys.getfilesystemencoding()}: run it with PYTHONUTF8=1 or LC_ALL=C.UTF-8, or give another folder"
        ) from None
    if any(character < " " or character == "\x7f" for character in str(folder)):
        raise SettingsError(f"database address {dsn!r} has a control character in its folder: take it out")
    listen: tuple[str, int] | None = None
    settings: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == "listen":
            host, _, port = value.rpartition(":")
            if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
                raise SettingsError(f"listen={value} in database address {dsn!r}: write listen=127.0.0.1:5433")
            listen = host, int(port)
        elif re.fullmatch(r"[a-z_]+(\.[a-z_]+)?", name):
            settings[name] = value
        else:
            raise SettingsError(f"{name!r} in database address {dsn!r} is not the name of a PostgreSQL setting")
    return EmbeddedAddress(folder, listen, MappingProxyType(settings))


class EmbeddedServer:
    """One process's use of the server in a folder. Everything here blocks: call it in a thread."""

    def __init__(self, address: EmbeddedAddress, cluster: Cluster, users: IO[bytes]) -> None:
        self.address = address
        self.cluster = cluster
        self._users: IO[bytes] | None = users

    @classmethod
    def join(cls, address: EmbeddedAddress) -> EmbeddedServer:
        """Find the folder's server, or make and start it, and become one of its users.

        Raises StoreUnreachable when it does not start (with the end of its log) and SettingsError when the folder
        cannot be used; both say what to do.
        """
        if sys.platform == "win32":
            raise SettingsError("embedded: is not available on Windows: give a postgresql:// address")
        cluster = Cluster.prepare(address.folder)
        with _alone(cluster.folder):
            cluster.ensure_made(durable=address.settings.get("fsync") != "off")
            if not cluster.answers():
                cluster.start(address.listen, address.settings)
            users = _open_lock(cluster.folder / "users")
            fcntl.flock(users, fcntl.LOCK_SH)
        return cls(address, cluster, users)

    def leave(self) -> None:
        """Stop being a user; the last one stops the server. May be called again."""
        users, self._users = self._users, None
        if users is None:
            return
        with _alone(self.cluster.folder), users:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # others still use it
            self.cluster.stop()

    @property
    def bin_path(self) -> Path:
        """The folder of ``psql``, ``pg_dump``, ``pgbench`` and the server's other programs."""
        return self.cluster.bin_path

    @property
    def socket_dir(self) -> Path:
        """The folder of the Unix socket, for ``psql -h``."""
        return self.cluster.running().socket_dir

    def dsn(self, database: str = DATABASE) -> str:
        """A ``postgresql://`` address over the Unix socket, for any client on this machine."""
        at = self.cluster.running()
        return f"postgresql://{SUPERUSER}@/{quote(database)}?host={quote(str(at.socket_dir), safe='')}&port={at.port}"

    def tcp_dsn(self, database: str = DATABASE) -> str:
        """A ``postgresql://`` address over TCP, with its password. Raises StoreUnreachable unless it listens."""
        at = self.cluster.running()
        if not at.listens_on:
            raise StoreUnreachable(
                f"the embedded server in {self.cluster.folder} does not listen on TCP; "
                "add ?listen=127.0.0.1:5433 to its address before it is first used"
            )
        password = self.cluster.password()
        return f"postgresql://{SUPERUSER}:{password}@{at.listens_on}:{at.port}/{quote(database)}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Start and stop are for one process at a time; the lock goes with its holder, whatever kills it."""
    with _open_lock(folder / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _open_lock(path: Path) -> IO[bytes]:
    return path.open("ab")
