"""What waking the workers costs those who publish: commits that say nothing, one at a time, or each of them.

The same pgbench clients publish through ``ent_notify.publish``, one transaction each, while a session listens; between
the turns the function of the trigger is exchanged. See docs/decisions/waking.md.
"""

from __future__ import annotations

import argparse
import statistics
import time

import psycopg

from benchmarks import population
from benchmarks.server import pgbench_count, running
from benchmarks.small_campaigns import CLIENTS, DATABASE, Sides

PEOPLE = 15_000
_FUNCTION = (
    "create or replace function ent_notify.wake_workers() returns trigger language plpgsql as $$ begin {} end $$"
)
NOTHING = _FUNCTION.format("return null;")
EACH = _FUNCTION.format("perform pg_notify('ent_notify_work', ''); return null;")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=150, help="transactions of each client (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=5, help="turns of each way (default: %(default)s)")
    options = parser.parse_args()
    with running() as server, population.copied(server, PEOPLE, DATABASE) as dsn:
        sides = Sides(server, dsn, PEOPLE, options.each)
        with psycopg.connect(dsn, autocommit=True) as listener:
            listener.execute("listen ent_notify_work")
            row = sides.connection.execute("select pg_get_functiondef('ent_notify.wake_workers'::regproc)").fetchone()
            assert row is not None
            ways = {"nothing": NOTHING, "one at a time": str(row[0]), "every transaction": EACH}
            rates: dict[str, list[float]] = {way: [] for way in ways}
            hints: dict[str, list[int]] = {way: [] for way in ways}
            for _ in range(options.turns):
                for way, function in ways.items():
                    sides.connection.execute(function.encode())
                    began = time.perf_counter()
                    pgbench_count(server, DATABASE, sides.script("publish"), clients=CLIENTS, each=options.each)
                    rates[way].append(CLIENTS * options.each / (time.perf_counter() - began))
                    hints[way].append(sum(1 for _ in listener.notifies(timeout=0.5)))
    for way in ways:
        print(f"{way}: {statistics.median(rates[way]):.0f} published a second ({min(rates[way]):.0f} to "
              f"{max(rates[way]):.0f}), {statistics.median(hints[way]):.0f} hints")  # fmt: skip


if __name__ == "__main__":
    main()
