"""All peers, in the order in which they are run."""

from __future__ import annotations

from benchmarks.peers.base import Peer
from benchmarks.peers.node_peers import GRAPHILE_WORKER, PG_BOSS
from benchmarks.peers.pgmq import Pgmq
from benchmarks.peers.pgqueuer import Pgqueuer
from benchmarks.peers.procrastinate import Procrastinate

PEERS: tuple[Peer, ...] = (Pgmq(), GRAPHILE_WORKER, PG_BOSS, Pgqueuer(), Procrastinate())
FASTEST: tuple[Peer, ...] = (PEERS[0], PEERS[1])
"""The two that the targets are set against."""
