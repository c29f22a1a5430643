"""``worker`` and ``gateway`` side by side, on PostgreSQL and on an embedded database: what a platform really runs."""

from __future__ import annotations

import http.client
import json
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import trio

from ent_notify._island import open_island
from ent_notify.engine import open_engine
from ent_notify.settings import settings_from
from ent_notify.store import open_database
from ent_notify.store.embedded import EmbeddedServer, parse_address

from .conftest import TOWN, Command
from .services import Service, get, wait_metric, wait_ready

EVENT = {
    "type": "HomeworkAssigned",
    "key": "hw-1",
    "data": {"group": "0540001A/class/6A", "subject": "Mathématiques", "title": "Zéphyrine", "due": "2030-09-18"},
}


@pytest.fixture
def embedded() -> Iterator[tuple[str, EmbeddedServer]]:
    """An embedded database in a folder whose name asks for care: its address, and this process's use of it."""
    with tempfile.TemporaryDirectory(prefix="ent é ") as name:
        Path(name).chmod(0o711)
        dsn = f"embedded://{quote(name)}/pg?fsync=off"
        server = EmbeddedServer.join(parse_address(dsn))
        try:
            yield dsn, server
        finally:
            server.leave()


async def fill(dsn: str) -> None:
    async with open_island() as island, open_database(dsn, island) as database:
        await database.script(TOWN)


async def take_ticket(dsn: str, person: str) -> str:
    async with open_engine(settings_from({"store": {"dsn": dsn}})) as engine:
        return await engine.stream_ticket(await engine.reader(person))


@contextmanager
def open_stream(port: int, ticket: str) -> Iterator[http.client.HTTPResponse]:
    """A stream as a browser opens it; whatever the answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", f"/v1/stream?ticket={ticket}")
        with connection.getresponse() as response:
            yield response


def read_event(stream: http.client.HTTPResponse) -> dict[str, str]:
    """The next event with a name; comments and positions are passed over."""
    fields: dict[str, str] = {}
    while line := stream.readline().decode():
        name, _, value = line.rstrip("\n").partition(": ")
        if name and name != ":":
            fields[name] = value
        elif not name and "event" in fields:
            return fields
        elif not name:
            fields.clear()
    pytest.fail("the stream ended without an event")


def carry_one_frame(dsn: str, hosts_dsn: str, start: Callable[..., Service]) -> None:
    """From a host's own SQL, through a worker and a gateway, to somebody who listens and to nobody else."""
    worker = start("worker", "--name", "w1")
    worker.wait_event("worker_started")
    gateway = start("gateway", "--port", "0")
    port = gateway.wait_event("gateway_started")["port"]
    wait_ready(port)
    ticket = trio.run(take_ticket, dsn, "P1")
    with open_stream(port, ticket) as pupil, open_stream(port, trio.run(take_ticket, dsn, "P5")) as stranger:
        assert (pupil.status, stranger.status) == (HTTPStatus.OK, HTTPStatus.OK)
        with open_stream(port, ticket) as again:
            assert again.status == HTTPStatus.UNAUTHORIZED, "a ticket opens one stream"

        with psycopg.connect(hosts_dsn) as host:
            row = host.execute("select ent_notify.publish(%s)", [json.dumps(EVENT)]).fetchone()
            assert row is not None
        assert read_event(pupil)["event"] == "held"  # a page that is looked at says so under this number
        event = read_event(pupil)
        assert event["event"] == "notification"
        told = json.loads(event["data"])
        assert told == {
            "seq": int(event["id"]),
            "notification": row[0]["notification"],
            "type": "HomeworkAssigned",
            "category": "homework",
        }

        wait_metric(port, "ent_notify_gateway_delay_seconds_count 1.0")
        metrics = get(port, "/metrics").decode().splitlines()
        assert "ent_notify_gateway_streams 2.0" in metrics
        assert "ent_notify_gateway_streams_opened_total 2.0" in metrics
        assert "ent_notify_gateway_frames_total 1.0" in metrics
        assert f"ent_notify_gateway_feed_seq {float(told['seq'])}" in metrics
        assert 'ent_notify_gateway_refused_total{status="401"} 1.0' in metrics

        for service in (worker, gateway):
            service.process.send_signal(signal.SIGTERM)
            assert service.wait_end() == 0
        assert b"retry: " in pupil.read(), "a gateway that drains says when to come back, and ends its streams"
        assert b"event: notification" not in stranger.read()


def test_a_frame_goes_from_a_hosts_sql_to_a_browser(town: str, start: Callable[..., Service]) -> None:
    carry_one_frame(town, town, start)


def test_worker_gateway_and_a_host_share_an_embedded_database(
    embedded: tuple[str, EmbeddedServer],
    start: Callable[..., Service],
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dsn, server = embedded
    monkeypatch.setenv("ENT_NOTIFY_STORE__DSN", dsn)
    assert command("migrate").code == 0
    trio.run(fill, dsn)
    carry_one_frame(dsn, server.dsn(), start)
    assert server.cluster.answers(), "one user of it is left"
    server.leave()
    assert not server.cluster.answers(), "the last one stops it"
