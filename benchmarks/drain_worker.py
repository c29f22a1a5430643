"""Our worker process under the peers' protocol (see ``benchmarks.peers.base``): ``ready``, ``go``, ``done N``.

usage: python -m benchmarks.drain_worker DSN WAY

``leases``  claim chunks with their ids, settle them: the engine's queue with a null handler, which is what the peers'
            null handlers are. No address is loaded, nothing is rendered, nothing is sent.
``answers`` the same with a handler that answers for each recipient (5 % put off once, 1 % gone), like the peers'.
``null``    the whole worker: eligibility looked at anew, addresses, rendering, windows; its channel accepts all.
``real``    the same, but the channel puts off 5 % of the recipients once and says of 1 % that they are gone: the
            engine takes those out of use.
``refused`` as real, but the 1 % are refused for good and stay in use (for WAL: what is written about a recipient).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import trio

from benchmarks import house
from benchmarks.peers import base
from ent_notify.engine import Engine
from ent_notify.model.delivery import ACCEPTED, Outgoing, Verdict, VerdictKind
from ent_notify.model.fanout import Claim, Lane, NothingToClaim, OutcomeRow, Settlement
from ent_notify.policy.retry import OutcomeState
from ent_notify.store.fanout import PostgresFanout
from ent_notify.store.sql import Query

RETRY_AFTER = timedelta(hours=1)
PUT_OFF = Verdict(VerdictKind.RETRY_AT, "bench.later", retry_after=RETRY_AFTER.total_seconds())
GONE = Verdict(VerdictKind.DROP_TARGET, "bench.gone")
REFUSED = Verdict(VerdictKind.BAD_MESSAGE, "bench.refused")
AT_ONCE = 4
"""Senders of one process."""
CHUNKS_AT_ONCE = 16
"""Chunks that one of them claims in one statement."""
PICKED = {
    "targets": Query("targets", "", "select id, targets from ent_notify.chunk "
                                    "where id = any ($1::bigint[])", ("chunks",)),
    "retries": Query("retries", "", "select chunk_id, array_agg(target) from ent_notify.outcome "
                                    "where chunk_id = any ($1::bigint[]) and state = 1 group by chunk_id", ("chunks",)),
}  # fmt: skip


class OutcomeChannel(house.NullChannel):
    """Answers by recipient; ``first`` is whether this is the first round, when some are put off."""

    def __init__(self, gone: Verdict = GONE) -> None:
        self.first = True
        self.answers = {"retry": PUT_OFF, "gone": gone, "ok": ACCEPTED}

    async def send(self, contents: object, batch: Sequence[Outgoing]) -> list[Verdict]:
        """One verdict for each recipient."""
        return [self.answers[base.outcome(item.target, first=self.first)] for item in batch]


class LeaseDrain:
    """Claims chunks with their ids, hands every id to a handler, settles.

    Without ``answers`` the handler is null, as the peers' is. With them it gives each recipient its verdict, and what
    is not plain success is stored: 5 % are put off and come back in the second round, 1 % have failed for good.
    """

    def __init__(self, engine: Engine, answers: bool = False) -> None:
        self._engine = engine
        self._store = PostgresFanout(engine.db)
        self._answers = answers
        self._rounds = 0
        self._handled = 0

    async def warm(self) -> None:
        """Ask each connection once for nothing: a worker's connections are long-lived, and so are its statements."""
        store, now, lease = self._store, self._engine.clock.now(), timedelta(seconds=60)

        async def ask() -> None:
            await store.claim(0, "bench", now, lease, lease, 1)
            for picked in PICKED.values():
                await self._engine.db.fetch(picked, chunks=[])
            await store.settle([], now, lease)

        for _ in range(3):
            async with trio.open_nursery() as nursery:
                for _ in range(AT_ONCE):
                    nursery.start_soon(ask)

    async def __call__(self) -> int:
        """Drain every lane; the deliveries settled."""
        if self._rounds:
            self._engine.clock.advance(2 * RETRY_AFTER)  # type: ignore[attr-defined]
            while await self._store.promote(self._engine.clock.now(), 10_000):
                pass
        self._rounds += 1
        self._handled = 0
        lanes = [lane for lane in await self._store.lanes() if lane.channel != "web"]
        async with trio.open_nursery() as nursery:
            for place in range(AT_ONCE):
                nursery.start_soon(self._take, lanes[place % len(lanes) :] + lanes[: place % len(lanes)])
        return self._handled

    async def _take(self, lanes: Sequence[Lane]) -> None:
        lease, clock, db = timedelta(seconds=60), self._engine.clock, self._engine.db
        for lane in lanes:
            while True:
                now = clock.now()
                answer = await self._store.claim(lane.id, "bench", now, lease, timedelta(seconds=5), CHUNKS_AT_ONCE)
                if isinstance(answer, NothingToClaim):
                    break
                claims, _ = answer
                chunks = [claim.chunk for claim in claims]
                name = "retries" if self._rounds > 1 else "targets"
                ids = {row[0]: row[1] for row in await db.fetch(PICKED[name], chunks=chunks)}
                settled = [(claim, self._handle(claim, ids[claim.chunk], now)) for claim in claims]
                held = await self._store.settle(settled, clock.now(), lease)
                if len(held) != len(claims):
                    raise RuntimeError("chunks were lost within their leases")

    def _handle(self, claim: Claim, ids: Sequence[int], now: datetime) -> Settlement:
        self._handled += len(ids)
        if self._rounds > 1:
            return Settlement(claim.size, len(ids), tuple(ids), release=True)
        if not self._answers:
            return Settlement(claim.size, accepted=sum(1 for _ in ids), release=True)
        outcomes = []
        for target in ids:
            answer = base.outcome(target, first=True)
            if answer == "retry":
                outcomes.append(OutcomeRow(target, 0, OutcomeState.RETRY, "bench.later", 1, now + RETRY_AFTER))
            elif answer == "gone":
                outcomes.append(OutcomeRow(target, 0, OutcomeState.FAILED, "bench.gone", 1, None))
        return Settlement(claim.size, len(ids) - len(outcomes), outcomes=tuple(outcomes), release=True)


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
            "answers": lambda: LeaseDrain(engine, answers=True),
            "null": lambda: WorkerDrain(engine, house.NullChannel()),
            "real": lambda: WorkerDrain(engine, OutcomeChannel()),
            "refused": lambda: WorkerDrain(engine, OutcomeChannel(REFUSED)),
        }
        drain = drains[way]()
        if isinstance(drain, LeaseDrain):
            await drain.warm()

        def serve() -> None:
            base.serve(lambda: trio.from_thread.run(drain.__call__))

        await trio.to_thread.run_sync(serve)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
