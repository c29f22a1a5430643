"""Run the peers alone, to tune them: ``python -m benchmarks.peers --recipients 200000 --workers 1,2,4``."""

from __future__ import annotations

import argparse
import dataclasses

from benchmarks.harness import say
from benchmarks.peers import base
from benchmarks.peers.catalogue import PEERS
from benchmarks.server import running


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipients", type=int, default=100_000)
    parser.add_argument("--only", default="", help="names, with commas")
    parser.add_argument("--per-job", type=int, default=1, help="1: row jobs; 1000: chunk jobs")
    parser.add_argument("--real", action="store_true", help="outcomes by recipient: 5 %% retried, 1 %% gone")
    parser.add_argument("--workers", default="", help="worker processes to try, with commas")
    options = parser.parse_args()
    wanted = set(filter(None, options.only.split(",")))
    ready, missing = base.available([peer for peer in PEERS if not wanted or peer.name in wanted])
    for name, reason in missing.items():
        print(f"{name}: missing: {reason.why}")
    load = base.Load(options.recipients, options.per_job, options.real)
    with running() as server:
        for peer in ready:
            for workers in [int(count) for count in options.workers.split(",") if count] or [peer.workers]:
                peer.workers = workers
                run = base.drain(server, peer, base.sized(peer, load))
                print(
                    f"{peer.name} x{workers}: {run.recipients:,} in {run.seconds:.2f} s = {run.rate:,.0f}/s; "
                    f"enqueued in {run.enqueue_seconds:.2f} s; {run.wal / run.recipients:,.0f} B of WAL each",
                    flush=True,
                )
    say(f"{dataclasses.asdict(load)}")


if __name__ == "__main__":
    main()
