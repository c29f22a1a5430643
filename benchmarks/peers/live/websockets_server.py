"""websockets: its own ``broadcast``, no compression and no pings (its documentation on memory), on uvloop."""

from __future__ import annotations

import asyncio
import threading

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

from benchmarks.peers.live.serving import listen, read_lines


async def main() -> None:
    held: set[ServerConnection] = set()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def hold(connection: ServerConnection) -> None:
        held.add(connection)
        try:
            await connection.wait_closed()
        finally:
            held.discard(connection)

    async with serve(hold, sock=listen(), compression=None, ping_interval=None, close_timeout=0.1):
        threading.Thread(
            target=read_lines,
            args=(
                lambda line: loop.call_soon_threadsafe(broadcast, held, line),
                lambda: loop.call_soon_threadsafe(ended.set),
            ),
            daemon=True,
        ).start()
        await ended.wait()


if __name__ == "__main__":
    uvloop.run(main())
