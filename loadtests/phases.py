"""What may happen once everybody is there. Each phase says what the judge and the report need to know of it."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import trio

from loadtests.conductor import Conductor

STORM_SLACK_SECONDS = 15.0
"""What may come on top of the jitter window: Retry-After and its spread (10 s) for who was told to wait, and the
answer itself."""
_LOST_SECONDS = 3.0
_PLUG_IN_SECONDS = 3.0
_RELEASE_SECONDS = 240.0


async def steady(run: Conductor) -> dict[str, Any]:
    """The day goes on."""
    await trio.sleep(run.profile.steady_seconds)
    return {}


async def broadcast(run: Conductor) -> dict[str, Any]:
    """Announcements to everyone, one after the other."""
    await run.day.broadcast(run.profile.broadcasts, run.profile.broadcast_gap)
    await trio.sleep(run.profile.broadcast_gap)
    return {}


async def lose_network(run: Conductor) -> dict[str, Any]:
    """Some lose the network without a word, miss announcements, and come back by themselves."""
    run.folder.order("lose_network", share=run.profile.lose_share, return_seconds=run.profile.retry_seconds * 2)
    await trio.sleep(0.5)
    await run.day.broadcast(2, 0.3)
    await trio.sleep(run.profile.retry_seconds * 2)
    await run.wait_held(run.profile.retry_seconds * 2 + 60, "back on the network")
    return {"share": run.profile.lose_share}


async def slow_and_half_open(run: Conductor) -> dict[str, Any]:
    """Announcements to everyone while some read a few bytes now and then, and some are half-open; then all catch up."""
    run.folder.order("read_slowly", slowly=True)
    run.folder.order("half_open", share=run.profile.half_open_share)
    await trio.sleep(1.0)
    await run.day.broadcast(run.profile.broadcasts, run.profile.broadcast_gap)
    await trio.sleep(run.profile.broadcast_gap)
    ended = time.time_ns()
    run.day.phase = "all catch up"
    run.folder.order("read_slowly", slowly=False)
    run.folder.order("plug_in", seconds=_PLUG_IN_SECONDS)
    await trio.sleep(_PLUG_IN_SECONDS + 1)
    await run.wait_held(_PLUG_IN_SECONDS + 120, "slow and half-open readers")
    return {
        "slow_share": run.profile.slow_share,
        "half_open_share": run.profile.half_open_share,
        "measured_until_ns": ended,
    }


async def storm_one(run: Conductor) -> dict[str, Any]:
    """One gateway process is killed."""
    return await _storm(run, 1)


async def storm_all(run: Conductor) -> dict[str, Any]:
    """Every gateway process is killed at the same moment."""
    return await _storm(run, None)


async def _storm(run: Conductor, number: int | None) -> dict[str, Any]:
    started = run.house.gateway.count("gateway_started")
    killed_ns = time.time_ns()
    killed = run.house.gateway.kill_children(number)
    await run.day.broadcast(2, 0.5)  # nobody may miss what comes while they are away
    await trio.sleep(_LOST_SECONDS)
    window = 2 * run.profile.retry_seconds
    await run.wait_held(window + STORM_SLACK_SECONDS + 240, "after the storm")
    with trio.move_on_after(60) as patience:
        await run.house.gateway.wait_said("gateway_started", started + killed)
    if patience.cancelled_caught:
        run.trouble("a killed gateway process was not started again")
    return {"killed": killed, "killed_ns": killed_ns, "window_seconds": window}


async def release(run: Conductor) -> dict[str, Any]:
    """The pause ends: what it held is sent, while announcements to everyone go on by the stream."""
    at = run.surroundings.release_at
    assert at is not None
    left = (at - datetime.now(UTC)).total_seconds()
    if left < 0:
        run.trouble(f"the pause ended {-left:.0f} s before everybody was there")
    run.day.phase = "before the release"
    await trio.sleep(max(left, 0))
    run.day.phase = "release"
    run.day.resting = True  # what is announced from now on is what the phase announces
    before = await _account(run)
    accepted_before = await run.surroundings.accepted()
    began = time.monotonic()
    account = before
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.day.broadcast, run.profile.broadcasts, run.profile.broadcast_gap)
        with trio.move_on_after(_RELEASE_SECONDS):
            while account["held"] + account["pending"]:
                await trio.sleep(1.0)
                account = await _account(run)
    seconds = time.monotonic() - began
    await trio.sleep(1.0)
    account, taken = await _account(run), await run.surroundings.accepted()
    if account["held"] + account["pending"]:
        run.trouble(f"not all was let go within {_RELEASE_SECONDS:.0f} s: {account}")
    if taken != account["accepted"]:
        run.trouble(f"the servers have taken {taken:,} mails and pushes, and {account['accepted']:,} are accounted for")
    return {
        "held_before": before["held"] + before["pending"],
        "sent_before": accepted_before,
        "sent": taken - accepted_before,
        "drained_seconds": round(seconds, 1),
        "account": account,
    }


async def _account(run: Conductor) -> dict[str, int]:
    """All campaigns' deliveries by mail and push."""
    total = Counter[str](accepted=0, held=0, pending=0, suppressed=0, failed=0)
    for _, channels in await run.engine.ledgers(most=10_000):
        for row in channels:
            if row.channel != "web":
                total.update(accepted=row.accepted, held=row.held, pending=row.pending)
                total.update(suppressed=sum(row.suppressed.values()), failed=sum(row.failed.values()))
    return dict(total)


PHASES = {
    "release": release,
    "steady": steady,
    "broadcast": broadcast,
    "lose_network": lose_network,
    "slow_and_half_open": slow_and_half_open,
    "storm_one": storm_one,
    "storm_all": storm_all,
}
