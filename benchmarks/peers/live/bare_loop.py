"""The bare loop of ``bare_loop.c`` in Python, for a machine without a C compiler: epoll, and one send a socket."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys

from benchmarks.peers.live.serving import event, listen

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n:\n\n"


def main() -> None:
    listener, epoll = listen(), select.epoll()
    waiting: dict[int, socket.socket] = {}
    held: dict[int, socket.socket] = {}
    epoll.register(listener.fileno(), select.EPOLLIN)
    epoll.register(0, select.EPOLLIN)
    print("ready", flush=True)
    while True:
        for file, _ in epoll.poll():
            if file == listener.fileno():
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sock, _ = listener.accept()
                        sock.setblocking(False)
                        waiting[sock.fileno()] = sock
                        epoll.register(sock.fileno(), select.EPOLLIN)
            elif file == 0:
                data = os.read(0, 65_536)
                if not data:
                    sys.exit()
                for line in data.decode().splitlines():
                    frame = event(line)
                    for sock in held.values():
                        with contextlib.suppress(OSError):
                            sock.send(frame)
            elif file in waiting and waiting[file].recv(4_096):
                held[file] = waiting.pop(file)
                held[file].send(HEAD)
            else:
                (held.pop(file, None) or waiting.pop(file)).close()


if __name__ == "__main__":
    main()
