"""Requests that go through the gateway to an ASGI app: handed over as they came, and answered within bounds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest
import trio
import trio.testing
from live_peers import open_house

from ent_notify.errors import RequestRefused
from ent_notify.gateway.asgi_bridge import MAX_ANSWER_BYTES, SECONDS, AsgiBridge
from ent_notify.gateway.http import Request
from ent_notify.gateway.router import Router

Message = MutableMapping[str, Any]


class App:
    """An ASGI app that notes what it is asked, and answers as told."""

    def __init__(self, *answer: Message) -> None:
        self.answer = answer or ({"type": "http.response.start", "status": 204}, {"type": "http.response.body"})
        self.scope: Message = {}
        self.body = b""

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        self.scope = scope
        self.body = (await receive())["body"]
        assert (await receive())["type"] == "http.disconnect"
        for message in self.answer:
            await send(message)


def router(app: Any) -> Router:
    return Router(fallback=AsgiBridge(app).handle)


@pytest.mark.parametrize(
    "query",
    ["", "a=1&a=2", "a=%26&b=%3D+x", "b&a=&=", "t=caf%C3%A9"],
    ids=["none", "twice", "escaped", "bare", "utf-8"],
)
async def test_a_query_is_handed_over_as_it_came(query: str) -> None:
    app = App()
    async with open_house(extra=router(app)) as house:
        answer = await house.get(f"/v1/x%20y?{query}", headers=["x-forwarded-proto: https"])
    assert answer.status == 204
    assert app.scope["query_string"] == query.encode()
    assert (app.scope["path"], app.scope["raw_path"]) == ("/v1/x y", b"/v1/x%20y")
    assert app.scope["scheme"] == "http"  # only a trusted proxy says otherwise


START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/x"), (b"x-y", b"z")]}
PART = {"type": "http.response.body", "body": b"a", "more_body": True}
ANSWERS: dict[str, tuple[list[Message], int]] = {
    "in parts": ([START, PART, {"type": "http.response.body"}], 200),
    "no end": ([START, PART], 502),
    "no body": ([START], 502),
    "nothing": ([{"type": "http.response.body"}], 502),
    "too long": ([START, {"type": "http.response.body", "body": bytes(MAX_ANSWER_BYTES + 1)}], 502),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_is_whole_and_bounded_or_is_none(name: str) -> None:
    messages, status = ANSWERS[name]
    async with open_house(extra=router(App(*messages))) as house:
        answer = await house.get("/x")
        body = await answer.read_body()
        assert answer.status == status
        if status == 200:
            assert (body, answer.headers["content-type"], answer.headers["x-y"]) == (b"a", "text/x", "z")
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_an_app_that_breaks_is_one_answer_and_holds_up_nobody() -> None:
    async def app(*_: Any) -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    async with open_house(extra=router(app)) as house:
        assert (await house.get("/x")).status == 500
        assert (await house.get("/healthz")).status == 200


async def test_an_app_that_takes_too_long_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    ended = trio.Event()

    async def app(*_: Any) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    request = Request("GET", "/x", {}, {}, b"", "127.0.0.1")
    began = trio.current_time()
    with pytest.raises(RequestRefused, match="took too long") as refused:
        await AsgiBridge(app).handle(request)
    assert refused.value.status == 504
    assert trio.current_time() - began == SECONDS
    assert ended.is_set()
