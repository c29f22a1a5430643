"""The peers' worker protocol, with a worker small enough to be checked, and the npm lock file."""

from __future__ import annotations

import json
import sys

import pytest
from benchmarks.peers import base
from benchmarks.peers.node_peers import SOURCE

WORKER = """
from benchmarks.peers import base
jobs = [3, 2]
base.serve(lambda: jobs.pop(0))
"""


def test_a_fleet_drains_round_by_round_and_adds_up_what_its_workers_handled() -> None:
    with base.Fleet([sys.executable, "-c", WORKER], 2) as fleet:
        seconds, handled = fleet.drain()
        assert (seconds > 0, handled) == (True, 6)
        assert fleet.drain()[1] == 4
        assert all(peak > 1 for peak in fleet.peak_memory())


def test_a_worker_that_dies_is_an_error_and_never_a_figure() -> None:
    with (
        pytest.raises(RuntimeError, match="where 'done' was expected"),
        base.Fleet([sys.executable, "-c", "print('ready', flush=True); input()"], 1) as fleet,
    ):
        fleet.drain()
    with (
        pytest.raises(RuntimeError, match="where 'ready' was expected"),
        base.Fleet([sys.executable, "-c", "raise SystemExit(3)"], 1),
    ):
        raise AssertionError("it never became ready")


def test_a_slow_peer_is_given_its_share_in_whole_hundreds_of_jobs() -> None:
    class Slow:
        share = 0.01

    load = base.sized(Slow(), base.Load(150_000, real=True))  # type: ignore[arg-type]
    assert (load.recipients, load.handlings) == (1_500, 1_575)
    assert base.sized(Slow(), base.Load(1_000)).recipients == 100  # type: ignore[arg-type]


def test_the_npm_lock_file_pins_every_package_and_names_no_registry() -> None:
    lock = json.loads((SOURCE / "package-lock.json").read_text())
    wanted = json.loads((SOURCE / "package.json").read_text())["dependencies"]
    assert wanted == lock["packages"][""]["dependencies"]
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages["node_modules/graphile-worker"]["version"] == "0.17.3"
    assert all("resolved" not in entry and "integrity" in entry for entry in packages.values())
