"""Who is let in and who is not: tickets, origins, caps, and requests that are none."""

from datetime import timedelta

import orjson
import pytest
import trio
import trio.testing
from live_peers import EVERYBODY, House, open_house
from prometheus_client.parser import text_string_to_metric_families

from ent_notify.errors import NotAllowed, NotFound
from ent_notify.gateway import Request, Response, Router
from ent_notify.gateway.supervisor import reserved


async def stream(house: House, person: int, *headers: str) -> int:
    """The status of an attempt to open a stream with a good ticket."""
    return (await house.get(f"/v1/stream?ticket={house.feed.ticket(person)}", headers=headers)).status


# ---------------------------------------------------------------- tickets


async def test_a_ticket_opens_one_stream_only() -> None:
    async with open_house() as house:
        house.feed.person(1)
        ticket = house.feed.ticket(1)
        assert (await house.get(f"/v1/stream?ticket={ticket}")).status == 200
        again = await house.get(f"/v1/stream?ticket={ticket}")
        assert again.status == 401
        assert again.headers["content-type"] == "application/problem+json"
        assert orjson.loads(await again.read_body())["title"] == "Ticket refused"


async def test_a_ticket_is_too_old_after_its_minute() -> None:
    async with open_house() as house:
        house.feed.person(1)
        young, old = house.feed.ticket(1), house.feed.ticket(1)
        house.clock.instant += timedelta(seconds=59)
        assert (await house.get(f"/v1/stream?ticket={young}")).status == 200
        house.clock.instant += timedelta(seconds=1)
        assert (await house.get(f"/v1/stream?ticket={old}")).status == 401


@pytest.mark.parametrize("query", ["", "?ticket=", "?ticket=unknown", "?other=1", f"?ticket={'x' * 513}"])
async def test_without_a_good_ticket_there_is_no_stream(query: str) -> None:
    async with open_house() as house:
        assert (await house.get(f"/v1/stream{query}")).status == 401


# ---------------------------------------------------------------- origins


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["origin: https://ent.example"], 200),
        ([], 200),
        (["sec-fetch-site: same-origin"], 200),
        (["sec-fetch-site: cross-site"], 403),
        (["sec-fetch-site: same-site"], 403),
        (["origin: null"], 403),
        (["origin: https://evil.example"], 403),
        (["origin: http://ent.example"], 403),
        (["origin: https://ent.example:8443"], 403),
        (["origin: https://ent.example.evil.example"], 403),
        (["origin: https://ENT.example"], 403),
        (["origin: "], 403),
    ],
)
async def test_only_the_exact_origins_open_a_stream(headers: list[str], status: int) -> None:
    async with open_house(origins=["https://ent.example"]) as house:
        house.feed.person(1)
        assert await stream(house, 1, *headers) == status


async def test_a_foreign_page_does_not_even_spend_the_ticket() -> None:
    async with open_house() as house:
        house.feed.person(1)
        ticket = house.feed.ticket(1)
        assert (await house.get(f"/v1/stream?ticket={ticket}", headers=["origin: https://evil.example"])).status == 403
        assert (await house.get(f"/v1/stream?ticket={ticket}")).status == 200


# ---------------------------------------------------------------- caps


async def test_a_person_has_so_many_streams_and_no_more() -> None:
    async with open_house(max_per_person=2) as house:
        house.feed.person(1)
        house.feed.person(2)
        first = await house.open(1)
        assert await stream(house, 1) == 200
        refused = await house.get(f"/v1/stream?ticket={house.feed.ticket(1)}")
        assert (refused.status, refused.headers["retry-after"]) == (429, "30")
        assert await stream(house, 2) == 200
        await first.stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert await stream(house, 1) == 200


async def test_an_address_has_so_many_streams_and_no_more() -> None:
    async with open_house(max_per_address=3) as house:
        for person in range(1, 6):
            house.feed.person(person)
        assert [await stream(house, person) for person in range(1, 6)] == [200, 200, 200, 429, 429]


async def test_behind_our_own_proxy_the_reader_is_who_the_proxy_saw_last() -> None:
    async with open_house(max_per_address=1, trusted_proxies=["127.0.0.1"]) as house:
        for person in range(1, 5):
            house.feed.person(person)
        assert await stream(house, 1, "x-forwarded-for: 192.0.2.1") == 200
        assert await stream(house, 2, "x-forwarded-for: 192.0.2.2") == 200
        # The client wrote 192.0.2.9 itself; only what our proxy added counts.
        assert await stream(house, 3, "x-forwarded-for: 192.0.2.9, 192.0.2.1") == 429


async def test_nobody_names_their_own_address_without_our_proxy() -> None:
    async with open_house(max_per_address=1) as house:
        house.feed.person(1)
        house.feed.person(2)
        assert await stream(house, 1, "x-forwarded-for: 192.0.2.1") == 200
        assert await stream(house, 2, "x-forwarded-for: 192.0.2.2") == 429


async def test_a_full_process_says_when_to_come_back() -> None:
    async with open_house(max_connections=2) as house:
        for person in range(1, 4):
            house.feed.person(person)
        assert [await stream(house, 1), await stream(house, 2)] == [200, 200]
        refused = await house.get(f"/v1/stream?ticket={house.feed.ticket(3)}")
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert (await house.get("/healthz")).status == 200


async def test_many_at_once_never_pass_the_cap() -> None:
    async with open_house(max_per_person=3) as house:
        house.feed.person(1)
        statuses: list[int] = []

        async def attempt() -> None:
            statuses.append(await stream(house, 1))

        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(attempt)
        assert sorted(statuses) == [200] * 3 + [429] * 9


async def test_one_address_cannot_hold_more_than_its_share_of_requests() -> None:
    async with open_house() as house:
        house.feed.person(1)
        live = await house.open(1)
        silent = [await house.connect() for _ in range(520)]
        await trio.testing.wait_all_tasks_blocked()
        assert house.gateway.statistics().requests == 500
        assert house.metric("ent_notify_gateway_connections_dropped_total") == 20
        house.feed.publish(EVERYBODY)
        assert await live.ids(1) == [1]
        assert await silent[-1].stream.receive_some(1) == b""


async def test_when_all_places_for_requests_are_taken_a_silent_one_makes_room(
    mock_clock: trio.testing.MockClock,
) -> None:
    async with open_house(trusted_proxies=["127.0.0.1"]) as house:
        silent = [await house.connect() for _ in range(1_500)]
        await trio.testing.wait_all_tasks_blocked()
        assert house.gateway.statistics().requests == len(silent)
        # The clock stands still: nobody's time is over, and yet there is room.
        assert (await house.get("/healthz")).status == 200
        assert house.gateway.statistics().requests == len(silent)


async def test_a_full_process_makes_room_at_each_of_its_ports(mock_clock: trio.testing.MockClock) -> None:
    """Whoever waits at one port does not take the place of who waits at the other."""
    with reserved("127.0.0.1", 0) as admin:
        pass
    async with open_house(trusted_proxies=["127.0.0.1"], admin_port=admin) as house:
        silent = [await house.connect() for _ in range(1_500)]
        await trio.testing.wait_all_tasks_blocked()
        waiting = [await trio.open_tcp_stream("127.0.0.1", port) for port in (house.port, admin, house.port, admin)]
        for sock in waiting:
            await sock.send_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        for sock in waiting:
            assert (await sock.receive_some()).startswith(b"HTTP/1.1 200")
            await sock.aclose()
        assert len(silent) == 1_500


# ---------------------------------------------------------------- slow and malformed requests


@pytest.mark.parametrize(
    "dribble",
    [
        b"G",
        b"GET /v1/stream HTTP/1.1\r\nhost: x\r\n",
        b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc",
    ],
)
async def test_a_request_that_dribbles_is_answered_408_and_closed(
    mock_clock: trio.testing.MockClock, dribble: bytes
) -> None:
    async with open_house(head_seconds=5) as house:
        browser = await house.connect()
        await browser.send(dribble[:1])
        await trio.testing.wait_all_tasks_blocked()
        for byte in dribble[1:]:  # each byte on its own does not buy more time
            await browser.send(bytes([byte]))
            mock_clock.jump(4.9 / len(dribble))
            await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(5)
        assert await browser.read_head() == 408
        await browser.read_body()
        assert await browser.stream.receive_some(1) == b""


async def test_a_silent_connection_is_closed(mock_clock: trio.testing.MockClock) -> None:
    async with open_house(head_seconds=5) as house:
        silent = await house.connect()
        used = await house.get("/healthz")
        await used.read_body()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(5)
        assert await silent.stream.receive_some(1) == b""
        assert await used.stream.receive_some(1) == b""
        await trio.testing.wait_all_tasks_blocked()
        assert house.gateway.statistics().requests == 0


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n", 501),
        (b"GET /?" + b"&".join(b"a=%d" % n for n in range(40)) + b" HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET //[ HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nlong: " + b"x" * 13_000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 70000\r\n\r\n" + b"x" * 70_000, 413),
    ],
)
async def test_what_is_no_request_is_answered_and_closed(raw: bytes, status: int) -> None:
    async with open_house() as house:
        browser = await house.connect()
        await browser.send(raw)
        assert await browser.read_head() == status
        assert orjson.loads(await browser.read_body())["status"] == status
        assert await browser.stream.receive_some(1) == b""
        assert house.metric("ent_notify_gateway_refused_total", status=str(status)) == 1


# ---------------------------------------------------------------- routes


def routes() -> Router:
    router = Router()

    async def echo(request: Request) -> Response:
        return Response.json({"path": request.path, "body": request.json(), "sid": request.cookie("sid")})

    async def hidden(request: Request) -> Response:
        raise NotFound("there is no such conversation for you")

    async def forbidden(request: Request) -> Response:
        raise NotAllowed("a pupil may not write to everybody")

    async def broken(request: Request) -> Response:
        raise ZeroDivisionError("the name of a pupil")

    router.add("POST", "/echo", echo)
    router.add("POST", "/echo/", echo)
    router.add("GET", "/hidden", hidden)
    router.add("GET", "/forbidden", forbidden)
    router.add("GET", "/broken", broken)
    return router


async def test_a_bug_on_the_way_in_ends_that_connection_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_house() as house:
        house.feed.person(1)
        other = await house.open(1)

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr("ent_notify.gateway.session.Sessions.entry", broken)
            browser = await house.connect()
            await browser.send(b"GET /v1/stream?ticket=x HTTP/1.1\r\nhost: x\r\n\r\n")
            assert await browser.stream.receive_some() == b""
        house.feed.publish(EVERYBODY)
        assert await other.ids(1) == [1]
        assert house.gateway.statistics().requests == 0


async def test_requests_follow_each_other_on_one_connection() -> None:
    async with open_house(extra=routes()) as house:
        browser = await house.connect()
        for number in range(3):
            await house.request(
                browser, "/echo", method="POST", headers=["cookie: a=b; sid=7"], body=b'{"n": %d}' % number
            )
            assert browser.status == 200
            answer = orjson.loads(await browser.read_body())
            assert answer == {"path": "/echo", "body": {"n": number}, "sid": "7"}


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with open_house(extra=routes()) as house:
        browser = await house.connect()
        await browser.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert [await browser.read_head(), await browser.read_body()] == [200, b"ok\n"]
        assert [await browser.read_head(), await browser.read_body()] == [200, b"ready\n"]


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/streams", 404),
        ("POST", "/v1/stream", 404),
        ("GET", "/echo", 405),
        ("POST", "/echo/", 404),
        ("POST", "/echo/a/b", 404),
        ("GET", "/hidden", 404),
        ("GET", "/forbidden", 403),
        ("GET", "/broken", 500),
        ("HEAD", "/healthz", 200),
    ],
)
async def test_routes(method: str, target: str, status: int) -> None:
    async with open_house(extra=routes()) as house:
        browser = await house.get(target, method=method)
        assert browser.status == status
        if method != "HEAD":
            assert b"pupil" not in await browser.read_body() or status == 403


@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b"[1]", 400), (b"\xff", 400)])
async def test_a_body_that_is_no_object_is_refused(body: bytes, status: int) -> None:
    async with open_house(extra=routes()) as house:
        browser = await house.connect()
        await house.request(browser, "/echo", method="POST", body=body)
        assert browser.status == status


async def test_metrics_are_an_exposition_that_prometheus_reads() -> None:
    async with open_house() as house:
        house.feed.person(1)
        browser = await house.open(1)
        house.feed.publish(EVERYBODY)
        await browser.ids(1)
        page = await house.get("/metrics")
        families = {family.name: family for family in text_string_to_metric_families((await page.read_body()).decode())}
        assert families["ent_notify_gateway_streams"].samples[0].value == 1
        assert families["ent_notify_gateway_frames"].samples[0].value == 1
        assert families["ent_notify_gateway_feed_seq"].samples[0].value == 1
