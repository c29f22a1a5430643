"""The API in hosts on asyncio: FastAPI and Starlette under uvicorn, and what becomes of a cancelled request."""

from __future__ import annotations

import asyncio  # noqa: TID251 - the hosts here run asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from ent_notify import Announcement, Engine, Everyone, NotFound, open_engine, settings_from
from ent_notify._island.hosting import TrioThread
from ent_notify.asgi import Api, create_app
from ent_notify.clock import SystemClock
from ent_notify.errors import IslandDied, StoreUnreachable
from ent_notify.hosts import host_engine

from .api_house import Signer
from .served import serve


def bearer(signer: Signer, person: str) -> dict[str, str]:
    return {"authorization": f"Bearer {signer.token(person, SystemClock().now())}"}


def relay(dsn: str) -> None:
    async def run() -> None:
        async with open_engine(settings_from({"store": {"dsn": dsn}})) as engine:
            await engine.worker("relay").run_until_idle()

    trio.run(run)


def in_fastapi(api: Api) -> Any:
    app = FastAPI(lifespan=api.lifespan)
    app.mount("/notify", api)
    return app


def in_starlette(api: Api) -> Any:
    return Starlette(routes=[Mount("/notify", app=api)], lifespan=api.lifespan)


def in_starlette_twice_below(api: Api) -> Any:
    return Starlette(routes=[Mount("/a", routes=[Mount("/notify", app=api)])], lifespan=api.lifespan)


def by_itself(api: Api) -> Any:
    return api


@pytest.mark.parametrize(
    ("host", "root"),
    [(in_fastapi, "/notify"), (in_starlette, "/notify"), (in_starlette_twice_below, "/a/notify"), (by_itself, "")],
)
def test_a_host_serves_it_where_it_is_mounted(
    host: Callable[[Api], Any], root: str, values: dict[str, Any], signer: Signer
) -> None:
    api = create_app(settings_from(values))
    with serve(host(api)) as address, httpx.Client(base_url=address + root) as client:
        assert client.get("/v1/openapi.json").json()["servers"] == [{"url": root or "/"}]
        got = client.get("/v1/inbox", headers=bearer(signer, "P1"))
        assert got.status_code == 200 and got.json()["entries"] == []
        new = {"to": ["P21"], "subject": "Sortie", "body": "Bonjour"}
        made = client.post("/v1/conversations", json=new, headers=bearer(signer, "P11"))
        assert made.status_code == 201
        path = f"/v1/conversations/{made.json()['conversation']}"
        assert client.get(path, headers=bearer(signer, "P21")).json()["messages"][0]["body"] == "Bonjour"
        assert client.get(path, headers=bearer(signer, "P1")).status_code == 404
        assert client.get("/v1/inbox").status_code == 401
        assert client.post("/v1/inbox/read", content=b"x" * 70_000).status_code == 413


def test_the_example_publishes_and_its_clients_read(
    values: dict[str, Any], signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from examples.fastapi_backend.app import create_host

    monkeypatch.chdir(tmp_path)
    for name, value in {
        "STORE__DSN": values["store"]["dsn"],
        "API__KEYS_FILE": values["api"]["keys_file"],
        "API__ISSUER": values["api"]["issuer"],
    }.items():
        monkeypatch.setenv(f"ENT_NOTIFY_{name}", value)
    homework = {"id": 7, "group": "0540001A/class/6A", "subject": "Maths", "title": "p. 12", "due": "2030-09-10"}
    with serve(create_host()) as address, httpx.Client(base_url=address) as client:
        first, again = (client.post("/homework", json=homework).json() for _ in range(2))
        assert first["created"] and again == {**first, "created": False}
        refused = client.post("/homework", json={**homework, "id": 8, "group": "nowhere"})
        assert refused.status_code == 422 and "nowhere" in refused.json()["detail"]
        relay(values["store"]["dsn"])
        page = client.get("/notify/v1/inbox", headers=bearer(signer, "P12")).json()
        assert [entry["notification"] for entry in page["entries"]] == [first["notification"]]


def test_a_host_that_forgot_the_lifespan_is_told(values: dict[str, Any], signer: Signer) -> None:
    app = FastAPI()
    app.mount("/notify", create_app(settings_from(values)))
    with serve(app) as address:
        got = httpx.get(f"{address}/notify/v1/inbox", headers=bearer(signer, "P1"))
    assert got.status_code == 503 and got.json()["title"] == "Not ready"


def test_a_database_that_is_not_there_stops_the_host_at_its_start(values: dict[str, Any], tmp_path: Path) -> None:
    wrong = {**values, "store": {"dsn": "postgresql://nobody@127.0.0.1:1/none", "connect_timeout_seconds": 5}}
    sent: list[Any] = []

    async def live() -> None:
        async def receive() -> Any:
            return {"type": "lifespan.startup"}

        async def send(message: Any) -> None:
            sent.append(message)

        await create_app(settings_from(wrong))({"type": "lifespan"}, receive, send)

    asyncio.run(live())
    assert [message["type"] for message in sent] == ["lifespan.startup.failed"]
    assert "127.0.0.1:1" in sent[0]["message"]


# ------------------------------------------------------------------ the crossing


def test_calls_cross_from_asyncio_and_from_threads(values: dict[str, Any]) -> None:
    async def run() -> None:
        async with host_engine(settings_from(values)) as host:
            event = Announcement(key="a", audience=Everyone(), title="T", body="B")
            first, again = await asyncio.gather(host.call(Engine.publish, event), host.call(Engine.publish, event))
            assert {first.created, again.created} == {True, False}
            reader = await asyncio.to_thread(host.call_sync, Engine.reader, "P1")
            assert reader.name == "Ada Exemple"
            with pytest.raises(NotFound, match="nobody"):
                await host.call(Engine.reader, "nobody")
        with pytest.raises(IslandDied, match="open the engine again"):
            await host.call(Engine.reader, "P1")

    asyncio.run(run())


def test_what_the_engine_cannot_be_opened_for_is_raised_where_it_is_opened() -> None:
    async def run() -> None:
        async with host_engine(settings_from({"store": {"dsn": "postgresql://nobody@127.0.0.1:1/none"}})):
            pytest.fail("it was opened")

    with pytest.raises(StoreUnreachable):
        asyncio.run(run())


class Tracked:
    """A resource that counts what goes on in it."""

    def __init__(self) -> None:
        self.inside = 0
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.closed = False


@asynccontextmanager
async def opened(tracked: Tracked) -> AsyncIterator[Tracked]:
    yield tracked
    assert tracked.inside == 0, "closed under a call"
    tracked.closed = True


async def hold(tracked: Tracked) -> None:
    tracked.inside += 1
    try:
        tracked.begun.set()
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
        tracked.inside -= 1


async def commit(tracked: Tracked) -> str:
    with trio.CancelScope(shield=True):
        tracked.begun.set()
        await trio.to_thread.run_sync(tracked.may_end.wait, 30)  # until its caller has been cancelled
    return "committed"


def crossing(body: Callable[[TrioThread[Tracked], Tracked], Awaitable[None]]) -> Tracked:
    tracked = Tracked()

    async def run() -> None:
        async with TrioThread(lambda: opened(tracked), "test") as thread:
            await body(thread, tracked)

    asyncio.run(run())
    assert tracked.closed
    return tracked


def test_a_cancelled_call_has_ended_before_its_caller_goes_on() -> None:
    async def body(thread: TrioThread[Tracked], tracked: Tracked) -> None:
        task = asyncio.create_task(thread.run(hold))
        await asyncio.to_thread(tracked.begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert tracked.inside == 0
        # whoever was cancelled before it began runs not at all, or is cancelled: nothing is left
        tasks = [asyncio.create_task(thread.run(hold)) for _ in range(50)]
        await asyncio.sleep(0)
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert tracked.inside == 0
        # what cannot be cancelled is waited for
        tracked.begun.clear()
        kept = asyncio.create_task(thread.run(commit))
        await asyncio.to_thread(tracked.begun.wait, 30)
        kept.cancel()
        tracked.may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await kept

    crossing(body)


def test_calls_that_go_on_when_the_thread_closes_are_ended_and_told() -> None:
    raised: list[BaseException] = []

    async def body(thread: TrioThread[Tracked], tracked: Tracked) -> None:
        async def call() -> None:
            try:
                await thread.run(hold)
            except IslandDied as error:
                raised.append(error)

        body_task = asyncio.create_task(call())
        kept.append(body_task)
        await asyncio.to_thread(tracked.begun.wait, 30)

    kept: list[asyncio.Task[None]] = []

    async def run() -> None:
        tracked = Tracked()
        async with TrioThread(lambda: opened(tracked), "test") as thread:
            await body(thread, tracked)
        await asyncio.gather(*kept)
        assert tracked.closed

    asyncio.run(run())
    assert len(raised) == 1


def test_a_request_that_a_host_cancels_leaves_the_engine_whole(values: dict[str, Any], signer: Signer) -> None:
    """A hundred posts are cancelled at a hundred moments: each is written whole or not at all, and all go on."""

    async def run() -> None:
        api = create_app(
            settings_from(
                {**values, "api": {**values["api"], "writes_per_minute": 100_000, "reads_per_minute": 100_000}}
            )
        )
        headers = {**bearer(signer, "P21"), "content-type": "application/json"}

        async def post() -> int:
            statuses: list[int] = []

            async def receive() -> Any:
                return {"type": "http.request", "body": b'{"body": "Bonjour"}'}

            async def send(message: Any) -> None:
                statuses.append(message.get("status", 0))

            scope = {
                "type": "http",
                "method": "POST",
                "path": f"/v1/conversations/{conversation}/messages",
                "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            }
            await api(scope, receive, send)
            return statuses[0]

        async with api.lifespan():
            conversation, _ = await api.call(Engine.start_conversation, "P21", ["P11"], "Sortie", "Bonjour")
            assert await post() == 201
            done = 0
            for turn in range(100):
                task = asyncio.create_task(post())
                for _ in range(turn):  # each turn is cancelled one step of the host's loop later
                    await asyncio.sleep(0)
                task.cancel()
                (result,) = await asyncio.gather(task, return_exceptions=True)
                done += result == 201
            reader = await api.call(Engine.reader, "P21")
            seen = await api.call(Engine.conversation, conversation, reader)
            assert done + 2 <= seen.last_seq <= 102
            assert [message.seq for message in seen.messages] == list(range(1, len(seen.messages) + 1))
            assert await post() == 201

    asyncio.run(run())
