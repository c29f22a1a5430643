"""A worker that relays and plans, and delivers nothing (it has no channel). usage: DSN"""

from __future__ import annotations

import sys

import trio

from benchmarks import house


async def main(dsn: str) -> None:
    """Work until killed."""
    async with house.opened(dsn) as engine:
        print("ready", flush=True)
        await engine.worker().run()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
