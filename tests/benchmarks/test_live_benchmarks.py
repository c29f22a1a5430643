"""The arithmetic of the live benchmarks, and their clients against a server that is there."""

from __future__ import annotations

import subprocess
import sys

import pytest
from benchmarks.commit_to_browser import latencies
from benchmarks.held_streams import by_pair, p99
from benchmarks.live_clients import Clients, shares
from benchmarks.peers.live.catalogue import BARE, LIVE_PEERS, Looped
from benchmarks.proc import SOCKET_SLABS, cpu, pss, slab_kib, tree
from benchmarks.report import page


def test_shares_are_whole_and_nearly_equal() -> None:
    assert shares(10, 3) == [4, 3, 3]
    assert shares(200_000, 12) == [16_667] * 8 + [16_666] * 4
    assert shares(2, 3) == [1, 1, 0]


def test_the_99th_percentile_lies_between_the_two_nearest() -> None:
    assert p99(list(range(101))) == 99
    assert p99([5.0]) == 5.0
    assert 1.9 < p99([1.0, 2.0]) <= 2.0


def test_figures_are_shared_out_to_their_pairs() -> None:
    assert by_pair([1, 2, 9, 4, 5, 6], 2) == [2, 5]


def test_latency_is_taken_from_the_intended_instant_and_from_commit() -> None:
    intended, committed = latencies([(7, 10.0, 10.5), (8, 11.0, 11.001)], {7: [10.75], 8: [11.002]})
    assert intended == pytest.approx([750, 2])
    assert committed == pytest.approx([250, 1])


@pytest.mark.parametrize("heard", [{}, {7: [10.0, 10.1]}])
def test_a_run_that_missed_or_doubled_has_no_figure(heard: dict[int, list[float]]) -> None:
    with pytest.raises(RuntimeError, match="1 of 1 notifications"):
        latencies([(7, 10.0, 10.0)], heard)


def test_the_kernels_memory_is_counted_by_objects_in_use() -> None:
    text = "slabinfo - version: 2.1\n# name ...\nTCP 10 130 2048 13 8 : tunables\ndentry 9 9 192 21 1 : x\n"
    assert slab_kib(text) == 10 * 2048 / 1024
    assert "dentry" not in SOCKET_SLABS


@pytest.mark.peer("linux")
def test_a_process_and_those_below_it_are_looked_at() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1); input()'])"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"1\n"
        pids = tree(parent.pid)
        assert len(pids) == 2
        assert pss(pids) > 1_000
        assert 0 < cpu(pids) < 60
        parent.communicate(b"\n")


@pytest.mark.peer("linux")
@pytest.mark.parametrize("program", [pytest.param("compiled", marks=pytest.mark.peer("c-compiler")), "python"])
def test_held_streams_hear_a_broadcast_once_each(program: str) -> None:
    module = [sys.executable, "-m", "benchmarks.peers.live.bare_loop"]
    peer = BARE if program == "compiled" else Looped("bare", BARE.opening, "", lambda: module)
    peer.start(2)
    try:
        with Clients(99, 30) as clients:
            clients.open(10, peer.port, peer.opening)
            clients.open(20, peer.port, peer.opening)
            assert (clients.held, clients.refused) == (30, 0)
            called = peer.broadcast(41)
            heard = clients.wait(41)
            assert heard.frames == 30
            assert called < heard.first <= heard.last
            peer.broadcast(42)
            clients.wait(42)
            stamps = clients.stamps()
            assert {number: len(each) for number, each in stamps.items()} == {41: 30, 42: 30}
            assert clients.lost == 0
    finally:
        peer.end()


def test_every_live_peer_says_how_it_is_run_and_no_name_twice() -> None:
    assert all(peer.settings for peer in LIVE_PEERS)
    assert len({peer.name for peer in LIVE_PEERS}) == len(LIVE_PEERS)


def test_a_comparison_becomes_a_table_of_the_page() -> None:
    entry = {
        "metric": 5, "name": "memory", "ours": 4.0, "peers": {}, "ratio": None, "spread": [], "target": "<= 1",
        "holds": False,
        "settings": {
            "comparison": [{"server": "ours", "KiB": 4.0}, {"server": "other", "note": "missing: not installed"}]
        },
    }  # fmt: skip
    lines = page([entry]).splitlines()
    assert "## Side by side: memory" in lines
    assert "| server | KiB | note |" in lines
    assert "| other |  | missing: not installed |" in lines
    assert not any(line.startswith("- comparison") for line in lines)
