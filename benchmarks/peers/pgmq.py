"""pgmq: SQL objects and asyncpg client from its PyPI package; messages are read and deleted by the thousand."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import psycopg

from benchmarks.peers import base

BATCH = 1_000


class Pgmq:
    """The pgmq peer. Consumers read ``batch`` messages, handle them, delete them in one call (at least once)."""

    name = "pgmq"
    workers = 4
    share = 1.0

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "read": BATCH,
            "delete": "batch",
            "visibility_timeout": 60,
            "processes": self.workers,
            "driver": "asyncpg",
        }

    def missing(self) -> str | None:
        return base.importable("pgmq")

    def install(self, dsn: str) -> None:
        from pgmq.install import install_pgmq_from_sql

        with psycopg.connect(dsn) as connection:
            install_pgmq_from_sql(conn=connection)
            connection.execute("select pgmq.create('bench')")

    def enqueue(self, dsn: str, load: base.Load) -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            step = max(1, 50_000 // load.per_job)
            for first in range(0, load.jobs, step):
                connection.execute(
                    """
                    select count(*) from pgmq.send_batch('bench', (
                        select array_agg(jsonb_build_object('ids', (
                            select jsonb_agg(id) from generate_series(
                                job::bigint * %(per_job)s,
                                least((job + 1)::bigint * %(per_job)s, %(recipients)s) - 1) as id)) order by job)
                        from generate_series(%(first)s::bigint, %(last)s::bigint) as job))
                    """,
                    {
                        "per_job": load.per_job,
                        "recipients": load.recipients,
                        "first": first,
                        "last": min(first + step, load.jobs) - 1,
                    },
                )

    def release_retries(self, dsn: str) -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("update pgmq.q_bench set vt = now() where vt > now()")

    def left(self, dsn: str) -> int:
        with psycopg.connect(dsn, autocommit=True) as connection:
            row = connection.execute("select count(*) from pgmq.q_bench").fetchone()
            return int(row[0]) if row else 0

    def command(self, dsn: str, load: base.Load) -> list[str]:
        return base.python_worker("benchmarks.peers.pgmq", dsn, load)


def _worker(dsn: str, *, per_job: int, real: bool) -> None:
    import uvloop
    from pgmq.async_queue import PGMQueue

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        queue = runner.run(_connect(PGMQueue, dsn))
        # Row messages are small: larger batches than of chunk messages, which carry 1,000 ids each.
        quantity = BATCH if per_job == 1 else 100
        base.serve(lambda: runner.run(_drain(queue, quantity, real=real)))


async def _connect(client: Any, dsn: str) -> Any:
    import asyncpg

    return client(pool=await asyncpg.create_pool(dsn, min_size=1, max_size=2), init_extension=False)


async def _drain(queue: Any, quantity: int, *, real: bool) -> int:
    handled = 0
    while messages := await queue.read("bench", vt=60, qty=quantity):
        handled += len(messages)
        if not real:
            await queue.delete_batch("bench", [message.msg_id for message in messages])
            continue
        settled, later, gone = [], [], []
        for message in messages:
            recipient = message.message["ids"][0]
            verdict = base.outcome(recipient, first=message.read_ct == 1)
            if verdict == "retry":
                later.append(message.msg_id)
                continue
            settled.append(message.msg_id)
            if verdict == "gone":
                gone.append(recipient)
        await queue.delete_batch("bench", settled)
        if later:
            await queue.set_vt("bench", later, vt=30)
        if gone:
            await queue.pool.execute("insert into bench_gone select unnest($1::int[])", gone)
    return handled


if __name__ == "__main__":
    _worker(sys.argv[1], per_job=int(sys.argv[2]), real=sys.argv[3] == "1")
