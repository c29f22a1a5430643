"""starlette with uvicorn: a StreamingResponse each, all waiting for one event; uvloop, httptools, no access log."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from benchmarks.peers.live.serving import BACKLOG, event, listen, read_lines


class News:
    """The newest frame; whoever waits is woken by it."""

    def __init__(self) -> None:
        self.frame = b""
        self.come = asyncio.Event()

    def tell(self, line: str) -> None:
        self.frame = event(line)
        come, self.come = self.come, asyncio.Event()
        come.set()


def main() -> None:
    news = News()

    async def frames() -> AsyncIterator[bytes]:
        yield b":\n\n"
        while True:
            await news.come.wait()
            yield news.frame

    async def stream(request: Request) -> StreamingResponse:
        return StreamingResponse(frames(), media_type="text/event-stream")

    app = Starlette(routes=[Route("/stream", stream)])
    config = uvicorn.Config(
        app, loop="uvloop", http="auto", lifespan="off", access_log=False, log_level="error", backlog=BACKLOG
    )

    async def serve() -> None:
        loop, sock = asyncio.get_running_loop(), listen()
        threading.Thread(
            target=read_lines,
            args=(lambda line: loop.call_soon_threadsafe(news.tell, line), lambda: os._exit(0)),
            daemon=True,
        ).start()
        await uvicorn.Server(config).serve(sockets=[sock])

    uvloop.run(serve())


if __name__ == "__main__":
    main()
