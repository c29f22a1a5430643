"""graphile-worker and pg-boss: installed by npm from the committed lock file, run as Node.js worker processes.

The lock file names no registry: packages come from wherever this machine's npm is set up to take them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg

from benchmarks.harness import CACHE
from benchmarks.peers import base

SOURCE = Path(__file__).parent / "node"


@dataclass
class NodePeer:
    """A peer whose worker is ``NAME.mjs``; ``unsettled`` and ``due`` are queries on its own tables."""

    name: str
    workers: int
    share: float
    options: Mapping[str, Any]
    unsettled: str
    due: str

    @property
    def settings(self) -> dict[str, Any]:
        return {**self.options, "processes": self.workers}

    def missing(self) -> str | None:
        return packages()[1]

    def install(self, dsn: str) -> None:
        self._run(dsn, "install")

    def enqueue(self, dsn: str, load: base.Load) -> None:
        self._run(dsn, "enqueue", str(load.recipients), str(load.per_job))

    def release_retries(self, dsn: str) -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(self.due.encode())

    def left(self, dsn: str) -> int:
        with psycopg.connect(dsn, autocommit=True) as connection:
            row = connection.execute(self.unsettled.encode()).fetchone()
            return int(row[0]) if row else 0

    def command(self, dsn: str, load: base.Load) -> Sequence[str]:
        folder, _ = packages()
        environment = [f"{key}={value}" for key, value in _address(dsn).items()]
        return ["env", *environment, "node", str(folder / f"{self.name}.mjs"), "work", str(int(load.real))]

    def _run(self, dsn: str, *arguments: str) -> None:
        folder, _ = packages()
        subprocess.run(
            ["node", str(folder / f"{self.name}.mjs"), *arguments], check=True, env={**os.environ, **_address(dsn)}
        )


GRAPHILE_WORKER = NodePeer(
    name="graphile-worker",
    workers=2,
    share=1.0,
    options={
        "concurrentJobs": 24,
        "localQueue.size": 500,
        "refetchDelay": "10 ms",
        "completeJobBatchDelay": 0,
        "failJobBatchDelay": 0,
    },
    unsettled="select count(*) from graphile_worker._private_jobs",
    due="update graphile_worker._private_jobs set run_at = now() where run_at > now()",
)

PG_BOSS = NodePeer(
    name="pg-boss",
    workers=2,
    share=0.25,
    options={"batchSize": 1_000, "complete": "batch"},
    unsettled="select count(*) from pgboss.job where name = 'bench' and state < 'completed'",
    due="update pgboss.job set start_after = now() where name = 'bench' and start_after > now()",
)


@cache
def packages() -> tuple[Path, str | None]:
    """The folder with the workers and their installed packages, and why there is none, if so. Installed once."""
    digest = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = CACHE / f"node-{digest}"
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            return folder, f"no {tool} on this machine (Node.js 20 or newer is needed)"
    folder.mkdir(parents=True, exist_ok=True)
    for file in SOURCE.iterdir():
        if file.is_file():
            shutil.copy(file, folder / file.name)
    if not (folder / "node_modules" / ".package-lock.json").exists():
        command = ["npm", "ci", "--omit=dev", "--no-audit", "--no-fund", "--ignore-scripts"]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if run.returncode:
            return folder, f"npm ci failed: {run.stderr.strip().splitlines()[-1] if run.stderr.strip() else 'no word'}"
    return folder, None


def _address(dsn: str) -> dict[str, str]:
    parts = urlsplit(dsn)
    options = parse_qs(parts.query)
    return {
        "PGHOST": options["host"][0],
        "PGPORT": options.get("port", ["5432"])[0],
        "PGUSER": parts.username or "postgres",
        "PGDATABASE": parts.path.strip("/"),
    }
