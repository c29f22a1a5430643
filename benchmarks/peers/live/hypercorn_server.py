"""hypercorn on trio: a plain ASGI application, all responses waiting for one event; backlog 4096, no access log."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from benchmarks.peers.live.serving import BACKLOG, HEAD, event, read_lines


class News:
    """The newest frame; whoever waits is woken by it."""

    def __init__(self) -> None:
        self.frame = b""
        self.come = trio.Event()

    def tell(self, line: str) -> None:
        self.frame = event(line)
        come, self.come = self.come, trio.Event()
        come.set()


async def main() -> None:
    news = News()

    async def app(
        scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[dict[str, Any]], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            raise NotImplementedError("no lifespan")
        await send({"type": "http.response.start", "status": 200, "headers": HEAD})
        await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})
        while True:
            await news.come.wait()
            await send({"type": "http.response.body", "body": news.frame, "more_body": True})

    config = Config()
    config.bind = [f"127.0.0.1:{sys.argv[1]}"]
    config.workers = 2  # the port is shared, by processes that are started beside this one
    config.errorlog = None
    config.backlog = BACKLOG
    config.accesslog = None
    token = trio.lowlevel.current_trio_token()

    def read() -> None:
        read_lines(lambda line: trio.from_thread.run_sync(news.tell, line, trio_token=token), lambda: os._exit(0))

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, app, config))  # type: ignore[arg-type]  # one kind of scope of those it knows
        nursery.start_soon(trio.to_thread.run_sync, read)


if __name__ == "__main__":
    trio.run(main)
