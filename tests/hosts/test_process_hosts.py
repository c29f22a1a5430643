"""Hosts without a loop: scripts, REPLs, servers that fork; what a call across threads and forks does."""

from __future__ import annotations

import asyncio  # noqa: TID251 - a host here runs asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
import trio

from ent_notify import Announcement, Engine, Everyone, NotFound, load_settings, settings_from
from ent_notify._island.hosting import TrioThread
from ent_notify.errors import IslandDied, StoreUnreachable
from ent_notify.hosts import ProcessHost, host_engine_sync

NOWHERE = {"store": {"dsn": "postgresql://nobody@127.0.0.1:1/none"}}


def test_a_script_opens_calls_from_many_threads_and_closes(town: str) -> None:
    event = Announcement(key="a", audience=Everyone(), title="T", body="B")
    with host_engine_sync(settings_from({"store": {"dsn": town}})) as host:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: host.call_sync(Engine.publish, event), range(40)))
        assert len({each.notification for each in answers}) == 1
        assert sum(each.created for each in answers) == 1
        with pytest.raises(NotFound, match="nobody"):
            host.call_sync(Engine.reader, "nobody")
        host.call_sync(lambda engine: engine.worker("relay").run_until_idle())
        control = host.call_sync(lambda engine: engine.campaigns.control(answers[0].notification))
        assert control.state == "running"
    with pytest.raises(IslandDied, match="open the engine again"):
        host.call_sync(Engine.reader, "P1")
    assert "ent-notify-engine" not in {thread.name for thread in threading.enumerate()}


def test_what_cannot_be_opened_is_raised_and_tried_again(town: str) -> None:
    with pytest.raises(StoreUnreachable), host_engine_sync(settings_from(NOWHERE)):
        pytest.fail("it was opened")
    chosen = [settings_from(NOWHERE), settings_from({"store": {"dsn": town}})]
    host = ProcessHost(lambda: chosen.pop(0))
    try:
        with pytest.raises(StoreUnreachable):
            host.call_sync(Engine.reader, "P1")
        assert host.call_sync(Engine.reader, "P1").name == "Ada Exemple"
        # and from asyncio, the same engine: there are no other settings left to open one with
        assert asyncio.run(host.call(Engine.reader, "P1")).name == "Ada Exemple"
    finally:
        host.close()
    with pytest.raises(IslandDied, match="was closed"):
        host.call_sync(Engine.reader, "P1")


def test_threads_that_come_at_once_open_one_engine(town: str) -> None:
    opened: list[str] = []

    def settings() -> object:
        opened.append(town)
        return load_settings()

    host = ProcessHost(settings)  # type: ignore[arg-type]  # what it returns is settings
    try:
        with ThreadPoolExecutor(8) as pool:
            names = set(pool.map(lambda _: host.call_sync(Engine.reader, "P1").name, range(8)))
        assert (names, len(opened)) == ({"Ada Exemple"}, 1)
    finally:
        host.close()


FORKING = """
import os, sys
from ent_notify import Engine, load_settings
from ent_notify.errors import IslandDied
from ent_notify.hosts import ProcessHost, host_engine_sync

notify = ProcessHost(load_settings)
with host_engine_sync(load_settings()) as host:
    assert host.call_sync(Engine.reader, "P1").name == notify.call_sync(Engine.reader, "P1").name
    child = os.fork()
    if not child:
        try:
            host.call_sync(Engine.reader, "P1")
        except IslandDied as error:
            print(error)
        print(notify.call_sync(Engine.reader, "P2").name, flush=True)
        host._thread.close()
        notify.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print(host.call_sync(Engine.reader, "P1").name, notify.call_sync(Engine.reader, "P1").name)
"""


def test_a_forked_process_is_refused_or_opens_its_own(town: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    refused, child, parent = ended.stdout.splitlines()
    assert "threads do not survive a fork" in refused and "ProcessHost" in refused
    assert (child, parent) == ("Bo Exemple", "Ada Exemple Ada Exemple")


def test_ctrl_c_ends_the_call_and_leaves_the_host_open() -> None:
    begun, ended = threading.Event(), threading.Event()

    @asynccontextmanager
    async def opened() -> AsyncIterator[str]:
        yield "resource"

    async def hold(_: str) -> None:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async def name(resource: str) -> str:
        return resource

    def interrupt() -> None:
        begun.wait(30)
        os.kill(os.getpid(), signal.SIGINT)

    thread = TrioThread(opened, "test")
    thread.start()
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        thread.run_sync(hold)
    assert ended.is_set(), "the call had ended before its caller went on"
    assert thread.run_sync(name) == "resource"
    thread.close()
    thread.close()
