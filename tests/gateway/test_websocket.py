"""WebSocket for apps: the same stream in msgpack frames, and next to nothing accepted in return."""

from __future__ import annotations

import struct
from typing import Any

import msgpack  # type: ignore[import-untyped] # it has no annotations
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from live_peers import EVERYBODY, Browser, House, open_house, to_person
from test_rights import pass_seconds
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, Pong, Request

from ent_notify.gateway.websocket import MAX_MESSAGE_BYTES, MAX_MESSAGES, Ears

HANDSHAKE = (
    "upgrade: websocket",
    "connection: Upgrade",
    "sec-websocket-version: 13",
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
)


class App:
    """A phone's app, by wsproto's own client side."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.peer = WSConnection(ConnectionType.CLIENT)
        self.accepted: AcceptConnection
        self._events: list[Event] = []
        self._partial = bytearray()

    async def open(self, target: str, *headers: tuple[str, str], offers: tuple[str, ...] = ()) -> App:
        extra = [(name.encode(), value.encode()) for name, value in headers]
        await self.send(Request(host="ent", target=target, extra_headers=extra, subprotocols=list(offers)))
        accepted = await self.next()
        assert isinstance(accepted, AcceptConnection), accepted
        self.accepted = accepted
        return self

    async def send(self, event: Event) -> None:
        await self.browser.send(self.peer.send(event))

    async def say(self, **fields: object) -> None:
        await self.send(BytesMessage(msgpack.packb(fields)))

    async def next(self, *, answers: bool = True) -> Event | None:
        """The next event; None at the end without a goodbye. Pings are answered, as clients do."""
        while not self._events:
            try:
                data = await self.browser.stream.receive_some(65_536)
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            self.peer.receive_data(data)
            for event in self.peer.events():
                if not isinstance(event, BytesMessage):
                    self._events.append(event)
                    continue
                self._partial += event.data
                if event.message_finished:
                    self._events.append(BytesMessage(bytes(self._partial)))
                    self._partial.clear()
        event = self._events.pop(0)
        if isinstance(event, Ping) and answers:
            await self.send(event.response())
        return event

    async def message(self) -> dict[str, Any]:
        """The next message."""
        while True:
            event = await self.next()
            if isinstance(event, BytesMessage):
                message: dict[str, Any] = msgpack.unpackb(bytes(event.data))
                return message
            assert isinstance(event, Ping), event

    async def seqs(self, number: int) -> list[int]:
        """The places of the next notifications."""
        found: list[int] = []
        while len(found) < number:
            message = await self.message()
            if message["event"] == "notification":
                found.append(message["seq"])
        return found

    async def closed(self) -> int | None:
        """The code with which the server ends the connection."""
        while (event := await self.next(answers=False)) is not None:
            if isinstance(event, CloseConnection):
                return event.code
        return None


async def connect(house: House, person: int, query: str = "", *headers: tuple[str, str]) -> App:
    """An app that listens."""
    app = App(await house.connect())
    ticket = ("ent-notify-ticket", house.feed.ticket(person))
    return await app.open(f"/v1/ws{query}", ticket, *headers)


async def test_an_app_hears_what_a_browser_hears() -> None:
    async with open_house() as house:
        house.feed.person(1)
        app, browser = await connect(house, 1), await house.open(1)
        assert (await app.message())["event"] == "retry"
        assert await app.message() == {"event": "position", "seq": 0}
        item = house.feed.publish(EVERYBODY)
        assert await app.message() == {
            "event": "notification",
            "seq": 1,
            "notification": item.notification,
            "type": "Announcement",
            "category": "announcement",
        }
        assert await browser.ids(1) == [1]
        assert house.metric("ent_notify_gateway_frames_total") == 2


async def test_it_resumes_by_sequence_and_by_its_session() -> None:
    async with open_house() as house:
        house.feed.person(1)
        app = await connect(house, 1)
        session = dict(app.accepted.extra_headers)[b"ent-notify-session"].decode()
        for _ in range(5):
            house.feed.publish(EVERYBODY)
        assert await app.seqs(2) == [1, 2]
        await app.browser.stream.aclose()
        again = await App(await house.connect()).open("/v1/ws?after=2", ("ent-notify-session", session))
        assert await again.seqs(3) == [3, 4, 5]
        house.feed.publish(EVERYBODY)
        assert await again.seqs(1) == [6]


async def test_a_subprotocol_that_is_offered_is_answered_and_compression_never() -> None:
    async with open_house() as house:
        house.feed.person(1)
        ticket = ("ent-notify-ticket", house.feed.ticket(1))
        compression = ("sec-websocket-extensions", "permessage-deflate")
        app = await App(await house.connect()).open("/v1/ws", ticket, compression, offers=("x", "ent-notify.v1"))
        assert app.accepted.subprotocol == "ent-notify.v1"
        assert app.accepted.extensions == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 400),
        (HANDSHAKE[:3], 400),
        ([*HANDSHAKE[:2], "sec-websocket-version: 8", HANDSHAKE[3]], 426),
        ([*HANDSHAKE, "origin: https://evil.example"], 403),
        ([*HANDSHAKE, "origin: null"], 403),
    ],
)
async def test_what_is_no_handshake_or_from_elsewhere_spends_no_ticket(headers: list[str], status: int) -> None:
    async with open_house() as house:
        house.feed.person(1)
        ticket = house.feed.ticket(1)
        refused = await house.get(f"/v1/ws?ticket={ticket}", headers=headers)
        assert refused.status == status
        assert ("upgrade" in refused.headers) == (status == 426)
        await App(await house.connect()).open(f"/v1/ws?ticket={ticket}")


@pytest.mark.parametrize(
    "raw",
    [
        ["GET {} HTTP/1.1", "host: x", *HANDSHAKE, "sec-websocket-protocol: \xe9"],
        ["GET {} HTTP/1.1", "host: x", *HANDSHAKE, "sec-websocket-extensions: \xff"],
        ["GET {} HTTP/1.1", "host: x", "upgrade: \xff", "connection: upgrade", *HANDSHAKE[2:]],
        ["GET {} HTTP/1.1", "host: x", "upgrade: websocket", "connection: \xe9", *HANDSHAKE[2:]],
        ["GET {} HTTP/1.0", *HANDSHAKE],
    ],
    ids=["subprotocol", "extensions", "upgrade", "connection", "no host"],
)
async def test_no_handshake_of_one_reader_ends_the_others_streams(raw: list[str]) -> None:
    async with open_house() as house:
        house.feed.person(1)
        other = await connect(house, 1)
        browser = await house.connect()
        target = f"/v1/ws?ticket={house.feed.ticket(1)}"
        await browser.send("\r\n".join([raw[0].format(target), *raw[1:], "", ""]).encode("latin-1"))
        assert await browser.read_head() == 400
        house.feed.publish(EVERYBODY)
        assert await other.seqs(1) == [1]


async def test_apps_and_browsers_share_the_caps() -> None:
    async with open_house(max_per_person=2) as house:
        house.feed.person(1)
        await house.open(1)
        await connect(house, 1)
        refused = await house.get(f"/v1/ws?ticket={house.feed.ticket(1)}", headers=HANDSHAKE)
        assert (refused.status, refused.headers["retry-after"]) == (429, "30")


# ---------------------------------------------------------------- heartbeats


async def test_heartbeats_ping_and_say_the_position(mock_clock: trio.testing.MockClock) -> None:
    async with open_house(heartbeat_seconds=20) as house:
        house.feed.person(1)
        app = await connect(house, 1)
        assert [(await app.message())["event"] for _ in range(2)] == ["retry", "position"]
        house.feed.publish(to_person(2))
        await pass_seconds(mock_clock, 20)
        assert isinstance(await app.next(), Ping)
        assert await app.message() == {"event": "position", "seq": 1}


async def test_who_answers_no_ping_is_cut_and_who_answers_stays(mock_clock: trio.testing.MockClock) -> None:
    async with open_house(heartbeat_seconds=20) as house:
        house.feed.person(1)
        house.feed.person(2)
        mute, lively = await connect(house, 1), await connect(house, 2)
        for _ in range(5):
            await pass_seconds(mock_clock, 20)
            while not isinstance(await lively.next(), Ping):
                pass
            await trio.testing.wait_all_tasks_blocked()
        assert house.gateway.statistics().streams.streams == 1
        assert house.metric("ent_notify_gateway_streams_closed_total", reason="silent") == 1
        events = [await mute.next(answers=False) for _ in range(30)]
        assert [event.code for event in events if isinstance(event, CloseConnection)] == [1008]


async def test_who_begins_a_message_and_never_ends_it_is_cut(mock_clock: trio.testing.MockClock) -> None:
    async with open_house(heartbeat_seconds=20) as house:
        house.feed.person(1)
        app = await connect(house, 1)
        for byte in (0x82, 0x85, 0x01, 0x02):
            await app.browser.send(bytes([byte]))
            await pass_seconds(mock_clock, 4)
        await pass_seconds(mock_clock, 25)
        assert await app.closed() == 1008


# ---------------------------------------------------------------- what it may say


async def test_what_an_app_has_seen_is_handed_on() -> None:
    seen: list[tuple[int, int]] = []
    async with open_house(on_seen=lambda person, seq: seen.append((person, seq))) as house:
        house.feed.person(7)
        app = await connect(house, 7)
        await app.say(event="seen", seq=3)
        await trio.testing.wait_all_tasks_blocked()
        await app.send(Ping(b"are you there?"))
        while not isinstance(event := await app.next(), Pong):
            assert event is not None
        assert seen == [(7, 3)]


def masked(opcode: int, payload: bytes, *, length: int | None = None) -> bytes:
    """A client's frame, as it says it is."""
    size = len(payload) if length is None else length
    head = bytes([0x80 | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    else:
        head += bytes([0x80 | 127]) + struct.pack("!Q", size) if size > 65_535 else b"\xfe" + struct.pack("!H", size)
    return head + bytes(4) + payload


SEEN = msgpack.packb({"event": "seen", "seq": 1})
BAD = {
    "text": (masked(1, b"hello"), 1003),
    "not msgpack": (masked(2, b"\xc1"), 1007),
    "no map": (masked(2, msgpack.packb([1])), 1008),
    "another event": (masked(2, msgpack.packb({"event": "post", "body": "x"})), 1008),
    "another field": (masked(2, msgpack.packb({"event": "seen", "seq": 1, "x": 1})), 1008),
    "a wrong number": (masked(2, msgpack.packb({"event": "seen", "seq": -1})), 1008),
    "true": (masked(2, msgpack.packb({"event": "seen", "seq": True})), 1008),
    "too long": (masked(2, bytes(MAX_MESSAGE_BYTES + 1)), 1009),
    "says it will be long": (masked(2, b"", length=2**40), 1009),
    "unmasked": (b"\x82" + bytes([len(SEEN)]) + SEEN, 1002),
    "an unknown opcode": (masked(3, b""), 1002),
    "a long ping": (masked(9, bytes(126)), 1002),
    "too much": (masked(2, SEEN) * (MAX_MESSAGES + 1), 1008),
    "goodbye": (masked(8, struct.pack("!H", 1000)), 1000),
}


@pytest.mark.parametrize("name", BAD)
async def test_anything_else_ends_the_connection_and_says_why(name: str) -> None:
    said, code = BAD[name]
    async with open_house() as house:
        house.feed.person(1)
        app = await connect(house, 1)
        await app.browser.send(said)
        assert await app.closed() == code
        assert house.gateway.statistics().streams.streams == 0


@given(st.lists(st.sampled_from([masked(2, SEEN), masked(9, b"hi"), masked(10, b"")]), max_size=20), st.data())
def test_however_the_bytes_are_cut_they_mean_the_same_and_nothing_is_kept(
    frames: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(frames)
    ears = Ears[str]()
    replies, place = b"", 0
    while place < len(stream):
        size = data.draw(st.integers(1, len(stream) - place))
        heard = ears.take("a", stream[place : place + size], 0.0)
        assert heard.end is None
        replies += heard.reply
        place += size
    assert replies == b"\x8a\x02hi" * frames.count(masked(9, b"hi"))
    assert ears._unfinished == {}


@given(st.binary(max_size=300))
def test_no_bytes_break_it(junk: bytes) -> None:
    heard = Ears[str]().take("a", junk, 0.0)
    assert heard.end is None or heard.end[0] == 0x88


async def test_a_message_in_fragments_is_one_message() -> None:
    seen: list[tuple[int, int]] = []
    async with open_house(on_seen=lambda person, seq: seen.append((person, seq))) as house:
        house.feed.person(1)
        app = await connect(house, 1)
        whole = msgpack.packb({"event": "seen", "seq": 5})
        await app.send(BytesMessage(whole[:4], message_finished=False))
        await app.send(Ping(b""))
        await app.send(BytesMessage(whole[4:]))
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [(1, 5)]


# ---------------------------------------------------------------- the end


async def test_draining_tells_apps_when_to_come_back() -> None:
    async with open_house(retry_seconds=4) as house:
        house.feed.person(1)
        app = await connect(house, 1)
        assert [(await app.message())["event"] for _ in range(2)] == ["retry", "position"]
        house.gateway.drain()
        assert await app.message() == {"event": "retry", "ms": 4000}
        assert await app.closed() == 1001


async def test_who_is_revoked_is_told_so_and_cut() -> None:
    async with open_house() as house:
        house.feed.person(1)
        app = await connect(house, 1)
        house.feed.revoke(1)
        assert await app.closed() == 1008


async def test_a_slow_app_is_cut_at_the_bound_and_resumes_without_a_gap() -> None:
    async with open_house(max_pending_bytes=2_048) as house:
        house.feed.person(1)
        app = App(await house.connect(receive_buffer=2_048))
        await app.open(f"/v1/ws?ticket={house.feed.ticket(1)}")
        published = 0
        while house.metric("ent_notify_gateway_streams_closed_total", reason="slow") == 0:
            house.feed.publish(EVERYBODY)
            published += 1
            await trio.testing.wait_all_tasks_blocked()
            assert house.gateway.statistics().streams.pending_bytes <= 2_048
        seen = []
        while (event := await app.next()) is not None:
            if (
                isinstance(event, BytesMessage)
                and (message := msgpack.unpackb(bytes(event.data)))["event"] == "notification"
            ):
                seen.append(message["seq"])
        assert seen == list(range(1, len(seen) + 1))
        again = await connect(house, 1, f"?after={seen[-1]}")
        assert await again.seqs(published - len(seen)) == list(range(len(seen) + 1, published + 1))
