"""procrastinate: psycopg connector, jobs deleted as they succeed, no notification to wait for (the queue is full)."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import psycopg

from benchmarks.peers import base

CONCURRENCY = 10


class Procrastinate:
    """The procrastinate peer. It fetches and finishes one job at a time, so it is given a hundredth of the load."""

    name = "procrastinate"
    workers = 2
    share = 0.01

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "concurrency": CONCURRENCY,
            "delete_jobs": "successful",
            "connector": "psycopg pool",
            "processes": self.workers,
        }

    def missing(self) -> str | None:
        return base.importable("procrastinate")

    def install(self, dsn: str) -> None:
        with _app(dsn).replace_connector(_sync_connector(dsn)) as app, app.open():
            app.schema_manager.apply_schema()

    def enqueue(self, dsn: str, load: base.Load) -> None:
        app = _app(dsn)
        with app.replace_connector(_sync_connector(dsn)) as sync, sync.open():
            step = max(1, 5_000 // load.per_job)
            for first in range(0, load.jobs, step):
                jobs = range(first, min(first + step, load.jobs))
                sync.tasks["bench"].batch_defer(*({"ids": list(load.ids(job))} for job in jobs))

    def release_retries(self, dsn: str) -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("update procrastinate_jobs set scheduled_at = now() where scheduled_at > now()")

    def left(self, dsn: str) -> int:
        with psycopg.connect(dsn, autocommit=True) as connection:
            row = connection.execute(
                "select count(*) from procrastinate_jobs where status in ('todo', 'doing')"
            ).fetchone()
            return int(row[0]) if row else 0

    def command(self, dsn: str, load: base.Load) -> list[str]:
        return base.python_worker("benchmarks.peers.procrastinate", dsn, load)


def _sync_connector(dsn: str) -> Any:
    from procrastinate import SyncPsycopgConnector

    return SyncPsycopgConnector(conninfo=dsn)


def _app(dsn: str, *, real: bool = False, handled: list[int] | None = None) -> Any:
    from procrastinate import App, JobContext, PsycopgConnector, RetryStrategy

    app = App(connector=PsycopgConnector(conninfo=dsn, min_size=CONCURRENCY, max_size=CONCURRENCY + 2))
    counted = handled if handled is not None else []

    @app.task(name="bench", pass_context=True, retry=RetryStrategy(max_attempts=3, wait=30) if real else False)
    async def bench(context: JobContext, ids: list[int]) -> None:
        counted.append(ids[0])
        if real:
            verdict = base.outcome(ids[0], first=context.job.attempts == 0)
            if verdict == "retry":
                raise RuntimeError("put off")

    return app


def _worker(dsn: str, *, real: bool) -> None:
    logging.disable(logging.CRITICAL)
    handled: list[int] = []
    app = _app(dsn, real=real, handled=handled)
    with asyncio.Runner() as runner:
        runner.run(_open(app))
        base.serve(lambda: runner.run(_drain(app, handled, dsn, real=real)))
        runner.run(app.close_async())


async def _open(app: Any) -> None:
    await app.open_async()


async def _drain(app: Any, handled: list[int], dsn: str, *, real: bool) -> int:
    handled.clear()
    await app.run_worker_async(
        wait=False,
        concurrency=CONCURRENCY,
        listen_notify=False,
        delete_jobs="successful",
        install_signal_handlers=False,
    )
    gone = {recipient for recipient in handled if real and base.outcome(recipient, first=False) == "gone"}
    if gone:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            await connection.execute("insert into bench_gone select unnest(%s::int[])", [sorted(gone)])
    return len(handled)


if __name__ == "__main__":
    _worker(sys.argv[1], real=sys.argv[3] == "1")
