"""A way to PostgreSQL that breaks where a test says: at the message that holds some text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import trio

from ent_notify.store.embedded import EmbeddedServer

GONE = (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError)


@dataclass
class Proxy:
    """``dsn`` leads through it. ``cut`` breaks the connection that next says ``text``: both ends are closed."""

    dsn: str
    server: str
    _text: bytes | None = None
    _forwarded: bool = False
    cuts: int = field(default=0)

    def cut(self, text: str, *, forwarded: bool) -> None:
        """At the next message that holds ``text``: unsaid, or said (``forwarded``) with its answer kept back."""
        self._text, self._forwarded = text.encode(), forwarded

    async def serve(self, client: trio.SocketStream) -> None:
        """One connection."""
        upstream = await trio.open_unix_socket(self.server)
        async with client, upstream, trio.open_nursery() as nursery:
            muted = trio.Event()

            async def answers() -> None:
                with suppress(*GONE):
                    async for data in upstream:
                        if muted.is_set():
                            break  # the server has done it, and says so to nobody
                        await client.send_all(data)
                nursery.cancel_scope.cancel()

            nursery.start_soon(answers)
            with suppress(*GONE):
                async for data in client:
                    if self._text is not None and self._text in data:
                        self._text = None
                        self.cuts += 1
                        if not self._forwarded:
                            break
                        muted.set()
                    await upstream.send_all(data)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_proxy(postgres: EmbeddedServer, dsn: str, folder: Path) -> AsyncIterator[Proxy]:
    """A proxy to the database of ``dsn``, in ``folder``."""
    port = postgres.cluster.running().port
    socket = folder / f".s.PGSQL.{port}"
    database = urlsplit(dsn).path.removeprefix("/")
    user = urlsplit(dsn).username
    proxy = Proxy(
        f"postgresql://{user}@/{database}?host={quote(str(folder), safe='')}&port={port}",
        str(postgres.socket_dir / f".s.PGSQL.{port}"),
    )
    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(str(socket))
    listening.listen(16)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, proxy.serve, [trio.SocketListener(listening)])
        yield proxy
        nursery.cancel_scope.cancel()
