"""pgqueuer: batches of 1,000, asyncpg pool driver on uvloop, all its tables logged (durability "durable")."""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import timedelta
from typing import Any

import psycopg

from benchmarks.peers import base

BATCH = 1_000


class Pgqueuer:
    """The pgqueuer peer."""

    name = "pgqueuer"
    workers = 2
    share = 0.25

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "batch_size": BATCH,
            "driver": "asyncpg pool on uvloop",
            "durability": "durable",
            "processes": self.workers,
        }

    def missing(self) -> str | None:
        return base.importable("pgqueuer")

    def install(self, dsn: str) -> None:
        asyncio.run(_install(dsn))

    def enqueue(self, dsn: str, load: base.Load) -> None:
        asyncio.run(_enqueue(dsn, load))

    def release_retries(self, dsn: str) -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("update pgqueuer set execute_after = now() where execute_after > now()")

    def left(self, dsn: str) -> int:
        with psycopg.connect(dsn, autocommit=True) as connection:
            row = connection.execute("select count(*) from pgqueuer").fetchone()
            return int(row[0]) if row else 0

    def command(self, dsn: str, load: base.Load) -> list[str]:
        return base.python_worker("benchmarks.peers.pgqueuer", dsn, load)


async def _install(dsn: str) -> None:
    import asyncpg
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.queries import Queries

    connection = await asyncpg.connect(dsn)
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()


async def _enqueue(dsn: str, load: base.Load) -> None:
    import asyncpg
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.queries import Queries

    connection = await asyncpg.connect(dsn)
    queries = Queries(AsyncpgDriver(connection))
    step = max(1, 20_000 // load.per_job)
    for first in range(0, load.jobs, step):
        jobs = range(first, min(first + step, load.jobs))
        payloads: list[bytes | None] = [",".join(map(str, load.ids(job))).encode() for job in jobs]
        await queries.enqueue(["bench"] * len(jobs), payloads, [0] * len(jobs))
    await connection.close()


def _worker(dsn: str, *, real: bool) -> None:
    import uvloop

    logging.disable(logging.ERROR)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        pool = runner.run(_connect(dsn))
        base.serve(lambda: runner.run(_drain(pool, real=real)))


async def _connect(dsn: str) -> Any:
    import asyncpg

    return await asyncpg.create_pool(dsn, min_size=4, max_size=4)


async def _drain(pool: Any, *, real: bool) -> int:
    from pgqueuer import PgQueuer
    from pgqueuer.db import AsyncpgPoolDriver
    from pgqueuer.errors import RetryRequested
    from pgqueuer.models import Job
    from pgqueuer.types import QueueExecutionMode

    queue = PgQueuer(AsyncpgPoolDriver(pool))
    handled = 0
    gone: list[int] = []

    async def null(job: Job) -> None:
        nonlocal handled
        handled += 1

    async def by_recipient(job: Job) -> None:
        nonlocal handled
        handled += 1
        recipient = int(job.payload or b"")
        verdict = base.outcome(recipient, first=job.attempts == 0)
        if verdict == "retry":
            raise RetryRequested  # due at once: in drain mode it would sit out the delay
        if verdict == "gone":
            gone.append(recipient)
            if len(gone) >= base.CHUNK:
                full, gone[:] = list(gone), []
                await pool.execute("insert into bench_gone select unnest($1::int[])", full)

    queue.entrypoint("bench")(by_recipient if real else null)
    await queue.qm.run(
        batch_size=BATCH,
        mode=QueueExecutionMode.drain,
        dequeue_timeout=timedelta(milliseconds=50),
    )
    if gone:
        await pool.execute("insert into bench_gone select unnest($1::int[])", gone)
    return handled


if __name__ == "__main__":
    _worker(sys.argv[1], real=sys.argv[3] == "1")
