"""Our worker process under the peers' protocol (see ``benchmarks.peers.base``): ``ready``, ``go``, ``done N``.

usage: python -m benchmarks.drain_worker DSN WAY

``leases``  claim a chunk, settle it whole: the engine's queue with a null handler, which is what the peers' null
            handlers are. No address is loaded, nothing is rendered, nothing is sent.
``null``    the whole worker: eligibility looked at anew, addresses, rendering, windows; its channel accepts all.
``real``    the same, but the channel puts off 5 % of the recipients once and says of 1 % that they are gone: the
            engine takes those out of use.
``refused`` as real, but the 1 % are refused for good and stay in use (for WAL: what is written about a recipient).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import timedelta

import trio

from benchmarks import house
from benchmarks.peers import base
from ent_notify.engine import Engine
from ent_notify.model.delivery import ACCEPTED, Outgoing, Verdict, VerdictKind
from ent_notify.model.fanout import NothingToClaim, Settlement
from ent_notify.store.fanout import PostgresFanout

RETRY_AFTER = timedelta(hours=1)
PUT_OFF = Verdict(VerdictKind.RETRY_AT, "bench.later", retry_after=RETRY_AFTER.total_seconds())
GONE = Verdict(VerdictKind.DROP_TARGET, "bench.gone")
REFUSED = Verdict(VerdictKind.BAD_MESSAGE, "bench.refused")
AT_ONCE = 4
"""Chunks that one process works on at the same time."""


class OutcomeChannel(house.NullChannel):
    """Answers by recipient; ``first`` is whether this is the first round, when some are put off."""

    def __init__(self, gone: Verdict = GONE) -> None:
        self.first = True
        self.answers = {"retry": PUT_OFF, "gone": gone, "ok": ACCEPTED}

    async def send(self, contents: object, batch: Sequence[Outgoing]) -> list[Verdict]:
        """One verdict for each recipient."""
        return [self.answers[base.outcome(item.target, first=self.first)] for item in batch]


class LeaseDrain:
    """Claims and settles whole chunks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = PostgresFanout(engine.db)
        self._handled = 0

    async def __call__(self) -> int:
        """Drain every lane; the deliveries settled."""
        self._handled = 0
        lanes = [lane.id for lane in await self._store.lanes() if lane.channel != "web"]
        async with trio.open_nursery() as nursery:
            for place in range(AT_ONCE):
                nursery.start_soon(self._take, lanes[place % len(lanes) :] + lanes[: place % len(lanes)])
        return self._handled

    async def _take(self, lanes: Sequence[int]) -> None:
        lease, clock = timedelta(seconds=60), self._engine.clock
        for lane in lanes:
            while True:
                answer = await self._store.claim(lane, "bench", clock.now(), lease, timedelta(seconds=5))
                if isinstance(answer, NothingToClaim):
                    break
                claim, _ = answer
                whole = Settlement(claim.size, accepted=claim.size - claim.cursor, release=True)
                if not await self._store.settle(claim, whole, clock.now(), lease):
                    raise RuntimeError(f"chunk {claim.chunk} was lost within its lease")
                self._handled += claim.size - claim.cursor


class WorkerDrain:
    """The whole worker, into ``channel``; at the second round the retries of the first are due."""

    def __init__(self, engine: Engine, channel: house.NullChannel) -> None:
        self._engine = engine
        self._channel = channel
        self._rounds = 0

    async def __call__(self) -> int:
        """Drain every lane once; the deliveries that were handed to the channel."""
        if self._rounds and isinstance(self._channel, OutcomeChannel):
            self._channel.first = False
            self._engine.clock.advance(2 * RETRY_AFTER)  # type: ignore[attr-defined]
        self._rounds += 1
        handled = 0

        class Counting(house.NullChannel):
            async def send(self, contents: object, batch: Sequence[Outgoing]) -> list[Verdict]:
                nonlocal handled
                handled += len(batch)
                return await channel.send(contents, batch)

        channel, counting = self._channel, Counting()
        self._engine.use_mail(counting)
        for lane in await self._engine.lanes():
            if lane.channel == "push":
                await self._engine.use_push(lane.provider, lane.app, counting)
        await self._engine.worker().run_until_idle()
        return handled


async def main(dsn: str, way: str) -> None:
    """Serve the protocol until end of file."""
    async with house.opened(dsn) as engine:
        drains: dict[str, Callable[[], LeaseDrain | WorkerDrain]] = {
            "leases": lambda: LeaseDrain(engine),
            "null": lambda: WorkerDrain(engine, house.NullChannel()),
            "real": lambda: WorkerDrain(engine, OutcomeChannel()),
            "refused": lambda: WorkerDrain(engine, OutcomeChannel(REFUSED)),
        }
        drain = drains[way]()

        def serve() -> None:
            base.serve(lambda: trio.from_thread.run(drain.__call__))

        await trio.to_thread.run_sync(serve)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
