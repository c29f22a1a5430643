"""Hosts on asyncio, served by uvicorn on a real socket, each in a thread of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn


@contextmanager
def serve(app: Any) -> Iterator[str]:
    """The address of ``app`` under uvicorn, on asyncio, until the context ends: then it has shut down in good order."""
    with socket.create_server(("127.0.0.1", 0)) as listener:  # whoever connects early waits in its queue
        server = uvicorn.Server(uvicorn.Config(app, loop="asyncio", ws="none", lifespan="on", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=60)
    assert not thread.is_alive(), "the server did not end"
