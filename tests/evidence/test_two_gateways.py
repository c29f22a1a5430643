"""Two gateways on one database: what is read at one is told at the other, and pages speak for their own streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgpack  # type: ignore[import-untyped] # it has no annotations
import orjson
import pytest
import trio
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from tests.engine.conftest import RecordingChannel
from wsproto import ConnectionType, WSConnection
from wsproto.events import BytesMessage, CloseConnection, Request

from ent_notify.engine import Engine, open_engine
from ent_notify.gateway import Gateway
from ent_notify.model.evidence import Page
from ent_notify.settings import EvidenceSettings, GatewaySettings, PauseSettings, Settings, StoreSettings

from .eyes import note


class Events:
    """An event stream, as a browser reads it."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._unread = b""

    async def next(self, event: str) -> dict[str, object]:
        """The data of the next event of a kind; what comes before it is passed over."""
        while True:
            while b"\n\n" not in self._unread:
                data = await self.stream.receive_some()
                assert data, "the stream has ended"
                self._unread += data.replace(b"\r\n", b"\n")
            frame, _, self._unread = self._unread.partition(b"\n\n")
            lines = dict(line.split(b": ", 1) for line in frame.split(b"\n") if b": " in line)
            if lines.get(b"event") == event.encode():
                found: dict[str, object] = orjson.loads(lines[b"data"])
                return found


class Place:
    """An engine, its worker's phones, and two gateways."""

    def __init__(self, engine: Engine, phone: RecordingChannel, ports: list[int]) -> None:
        self.engine = engine
        self.phone = phone
        self.ports = ports
        self.streams: list[trio.SocketStream] = []

    async def connect(self, port: int) -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        self.streams.append(stream)
        return stream

    async def events(self, person: str, port: int) -> Events:
        ticket = await self.engine.stream_ticket(await self.engine.reader(person))
        stream = await self.connect(port)
        await stream.send_all(f"GET /v1/stream?ticket={ticket} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        return Events(stream)

    async def look(self, person: str, label: object, *, visible: bool) -> None:
        """What the API does for POST /v1/presence."""
        await self.engine.evidence.look(await self.engine.reader(person), str(label), visible=visible)


@asynccontextmanager
async def open_place(dsn: str) -> AsyncIterator[Place]:
    settings = Settings(
        store=StoreSettings(dsn=SecretStr(dsn)),
        evidence=EvidenceSettings(grace_seconds=600, linger_seconds=0),
        pause=PauseSettings(enabled=False),
    )
    async with open_engine(settings) as engine, trio.open_nursery() as nursery:
        phone = RecordingChannel()
        await engine.use_push("fcm", "fr.ent", phone)
        ports = []
        for _ in range(2):
            gateway = Gateway(
                engine.feed,
                settings=GatewaySettings(port=0, drain_seconds=0),
                clock=engine.clock,
                registry=CollectorRegistry(),
                evidence=engine.evidence,
            )
            ports.append(await nursery.start(gateway.run))
            while not gateway.statistics().feed_healthy:
                await trio.lowlevel.checkpoint()
        while (await engine.evidence.counts()).gateways < 2:
            await trio.lowlevel.checkpoint()
        nursery.start_soon(engine.worker("w").run)
        place = Place(engine, phone, ports)
        yield place
        for stream in place.streams:
            await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_what_is_read_at_one_gateway_is_told_at_the_other(town_dsn: str) -> None:
    with trio.fail_after(30):
        async with open_place(town_dsn) as place:
            one, other = [await place.events("P12", port) for port in place.ports]
            stranger = await place.events("P11", place.ports[1])
            for each in (one, other, stranger):
                await each.next("held")
            for key in ("a", "b"):
                await place.engine.publish(note(key))
            seqs = [(await other.next("notification"))["seq"] for _ in range(2)]
            reader = await place.engine.reader("P12")
            await place.engine.mark_read(reader, [seqs[1]])  # type: ignore[list-item]
            for each in (one, other):
                assert (await each.next("read"))["seqs"] == [seqs[1]]
            await place.engine.mark_all_read(reader, seqs[1])  # type: ignore[arg-type]
            for each in (one, other):
                assert await each.next("read") == {"upto": seqs[1], "seqs": []}
            await place.engine.publish(note("c", 11))
            while b"event: notification" not in stranger._unread:
                stranger._unread += await stranger.stream.receive_some()
            assert b"event: read" not in stranger._unread  # nobody hears of what others read


async def test_a_page_at_a_gateway_keeps_a_push_back_until_it_is_closed(town_dsn: str) -> None:
    with trio.fail_after(30):
        async with open_place(town_dsn) as place:
            page = await place.events("P12", place.ports[0])
            await place.look("P12", (await page.next("held"))["stream"], visible=True)
            published = await place.engine.publish(note("k"))
            await page.next("notification")
            await wait_state(place, published.notification, "retry")
            assert place.phone.sent == []
            await page.stream.aclose()
            await wait_state(place, published.notification, "accepted")
            assert len(place.phone.sent) == 1


async def test_an_app_says_by_its_socket_that_it_is_looked_at_and_what_it_has_seen(town_dsn: str) -> None:
    with trio.fail_after(30):
        async with open_place(town_dsn) as place:
            ticket = await place.engine.stream_ticket(await place.engine.reader("P12"))
            stream = await place.connect(place.ports[1])
            wire = WSConnection(ConnectionType.CLIENT)
            await stream.send_all(wire.send(Request(host="x", target=f"/v1/ws?ticket={ticket}")))
            heard: dict[str, object] = {}
            look = wire_message({"event": "look", "visible": True})
            while heard.get("event") != "position":
                heard = await hear(stream, wire)
            await stream.send_all(wire.send(look))
            while not (await place.engine.evidence.counts()).pages:
                await trio.lowlevel.checkpoint()
            published = await place.engine.publish(note("k"))
            while heard.get("event") != "notification":
                heard = await hear(stream, wire)
            await wait_state(place, published.notification, "retry")
            await stream.send_all(wire.send(wire_message({"event": "seen", "seq": heard["seq"]})))
            await stream.send_all(wire.send(CloseConnection(code=1000)))
            await stream.aclose()
            await wait_state(place, published.notification, "suppressed")
            explained = await place.engine.explain(published.notification, "P12")
            assert {each.reason for each in explained.deliveries if each.channel == "push"} == {"seen"}
            assert place.phone.sent == []


@pytest.mark.parametrize("label", ["", "x.1", "1", "1.0", "f" * 17 + ".1", "ffffffffffffffff.1"])
def test_a_label_that_is_none_is_refused(label: str) -> None:
    assert Page.of(1, label) is None
    assert Page.of(1, "a.7") == Page(1, 10, 7)


def wire_message(said: dict[str, object]) -> BytesMessage:
    return BytesMessage(data=msgpack.packb(said))


async def hear(stream: trio.SocketStream, wire: WSConnection) -> dict[str, object]:
    """The next message."""
    while True:
        for event in wire.events():
            if isinstance(event, BytesMessage):
                said: dict[str, object] = msgpack.unpackb(event.data)
                return said
        wire.receive_data(await stream.receive_some())


async def wait_state(place: Place, notification: int, state: str) -> None:
    """Until explain says so of every push; the account adds up all the while."""
    while True:
        assert (await place.engine.ledger(notification)).adds_up
        explained = await place.engine.explain(notification, "P12")
        states = {each.state for each in explained.deliveries if each.channel == "push"}
        if states == {state}:
            return
        await trio.lowlevel.checkpoint()
