"""Control of campaigns as an operator or a host has it: ``engine.campaigns``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from ent_notify.errors import MalformedEvent, NotAllowed
from ent_notify.model.audience import Audience
from ent_notify.model.campaign import Control, ReadersPage
from ent_notify.model.delivery import Urgency
from ent_notify.model.events import Announcement, Event
from ent_notify.model.fanout import Lane
from ent_notify.policy.forecast import Batch, Forecast, LaneLoad, forecast, forecast_lane
from ent_notify.policy.pause import PauseHours, held_until
from ent_notify.ports import Clock
from ent_notify.store.campaigns import PostgresCampaigns
from ent_notify.store.fanout import AT_ONCE, PostgresFanout

_LONGEST_NOTE = 500
_LOOK_AGAIN_SECONDS = 0.25


class Campaigns:
    """Pause, resume, cancel, recall. A campaign is named by its notification's number.

    Each call is one transaction, changes nothing the second time, and is written down with who (``by``), when and why
    (``reason``, which may be left empty). It holds from its return on for whatever no worker has in hand; what a worker
    has in hand ends with its present window, ``worker.checkpoint_every`` deliveries at most for each of its senders:
    ``Control.in_hand`` counts them, ``wait_released`` waits for it. Raises NotFound for an unknown campaign.
    """

    def __init__(
        self,
        store: PostgresCampaigns,
        fanout: PostgresFanout,
        clock: Clock,
        zone: str,
        pause_hours: Callable[[], PauseHours],
    ) -> None:
        self._store = store
        self._fanout = fanout
        self._clock = clock
        self._zone = zone
        self._pause_hours = pause_hours

    async def pause(self, campaign: int, *, by: str, reason: str = "") -> Control:
        """Let nothing more be sent until ``resume``: its ledger shows the rest as held. Raises NotAllowed when it was
        stopped."""
        _check(by, reason)
        return await self._answer(campaign, await self._store.pause(campaign, by, reason, self._clock.now()))

    async def resume(self, campaign: int, *, by: str, reason: str = "") -> Control:
        """Let a paused campaign go on. In the hours of the readers' pause its updates wait for their end. Raises
        NotAllowed when it was stopped."""
        _check(by, reason)
        now = self._clock.now()
        hold = held_until(now, self._zone, self._pause_hours()) or AT_ONCE
        return await self._answer(campaign, await self._store.resume(campaign, by, reason, now, hold))

    async def cancel(self, campaign: int, *, by: str, reason: str = "") -> Control:
        """Send nothing more of it, ever: what is unsent is suppressed as ``cancelled``. Who has it keeps it, and so
        does the inbox: ``recall`` takes it back."""
        _check(by, reason)
        return await self._answer(campaign, await self._store.cancel(campaign, by, reason, self._clock.now()))

    async def recall(self, campaign: int, *, by: str, reason: str = "") -> Control:
        """Cancel it and take it back, with its earlier versions: the text is erased, the inbox shows that it was
        withdrawn, and a neutral push replaces the one that was shown (or follows the mail) on every device that it may
        have reached; urgent ones at once, others when no pause holds them. A mail cannot be called back. ``readers``
        keeps who had read it. Raises NotAllowed for one that a newer version has superseded: recall that one."""
        _check(by, reason)
        return await self._answer(campaign, await self._store.recall(campaign, by, reason, self._clock.now()))

    async def control(self, campaign: int) -> Control:
        """How a campaign stands, and all that was done to it."""
        return await self._store.control(campaign)

    async def wait_released(self, campaign: int) -> Control:
        """Wait until no worker holds anything of a campaign: nothing of one that was paused, cancelled or recalled can
        leave after that. A worker that was killed is waited for until its lease ends."""
        while (control := await self._store.control(campaign)).in_hand:
            await self._clock.sleep(_LOOK_AGAIN_SECONDS)
        return control

    async def readers(self, campaign: int, most: int = 100, after: int = 0) -> ReadersPage:
        """Who has read a notification (or had, when it was recalled), by pages: ``after`` is the last page's ``next``.

        Those for whom it was when it was published; who marks everything as read has read it.
        """
        return await self._store.readers(campaign, most, after)

    async def forecast(
        self,
        audience: Audience | Mapping[str, Any],
        deadline: datetime | None = None,
        *,
        event: type[Event] = Announcement,
        urgency: Urgency | None = None,
    ) -> Forecast:
        """How long a campaign to ``audience`` would take if it were published now: deliveries for each lane under its
        present limit, behind what is queued, with the readers' pause, what providers have been told to wait for, and
        FCM's ramps. Nothing is written. Raises MalformedEvent, UnknownAudience.

        ``event`` says by which channels and to whom not (preferences); ``urgency`` is the type's unless given. The
        forecast warns when the last send would leave after ``deadline``.
        """
        asked = audience.to_json() if isinstance(audience, Audience) else audience
        return await self._forecast(event.__name__, asked, {}, urgency, deadline)

    async def forecast_event(self, event: Event | Mapping[str, Any], deadline: datetime | None = None) -> Forecast:
        """The same for an event, typed or in its wire form, that may be published later. Its ``expires_at`` is the
        deadline when none is given."""
        wire = event.to_json() if isinstance(event, Event) else event
        data = wire.get("data") or {}
        try:
            urgency = Urgency[wire["urgency"].upper()] if "urgency" in wire else None
            expires = datetime.fromisoformat(wire["expires_at"]) if "expires_at" in wire else None
        except (AttributeError, KeyError, TypeError, ValueError):
            raise MalformedEvent(
                f'"urgency" is urgent, normal or bulk, and "expires_at" an instant such as 2026-09-08T10:00:00+02:00, '
                f"not {wire.get('urgency')!r} and {wire.get('expires_at')!r}"
            ) from None
        if expires is not None and expires.tzinfo is None:
            raise MalformedEvent(f'"expires_at" needs its offset from UTC, which {wire["expires_at"]!r} lacks')
        return await self._forecast(str(wire.get("type")), wire.get("audience"), data, urgency, deadline or expires)

    async def ends(self, campaigns: Sequence[int]) -> dict[int, datetime]:
        """When the last send of each of ``campaigns`` would leave that has any left, at the lanes' present limits,
        behind what is as urgent or more. One that is paused is not among them: nobody knows when it goes on."""
        now = self._clock.now()
        left: dict[tuple[int, int, Urgency], list[Batch]] = {}
        for campaign, lane, urgency, batch in await self._store.unsent(campaigns, now):
            left.setdefault((campaign, lane, urgency), []).append(batch)
        lanes = {lane.id: lane for lane in await self._fanout.lanes()}
        queues = {urgency: await self._store.queue(urgency, now) for urgency in {each[2] for each in left}}
        ends: dict[int, datetime] = {}
        for (campaign, lane, urgency), ours in left.items():
            own = {batch.ready_at: batch.sends for batch in ours}
            others = [
                Batch(batch.ready_at, max(batch.sends - own.get(batch.ready_at, 0), 0))
                for batch in queues[urgency].get(lane, [])
            ]
            found = forecast_lane(_load(lanes[lane], others, ours, now)).ends_at
            if found is not None:
                ends[campaign] = max(found, ends.get(campaign, found))
        return ends

    async def _forecast(
        self,
        event_type: str,
        audience: Mapping[str, Any] | None,
        data: Mapping[str, Any],
        urgency: Urgency | None,
        deadline: datetime | None,
    ) -> Forecast:
        now = self._clock.now()
        people, sends = await self._store.sends(event_type, audience, data, now)
        if urgency is None:
            urgency = await self._store.default_urgency(event_type)
        queues = await self._store.queue(urgency, now)
        hours = self._pause_hours()
        added: dict[int, list[Batch]] = {}
        for lane, zone, count in sends:
            hold = None if urgency is Urgency.URGENT else held_until(now, zone, hours)
            added.setdefault(lane, []).append(Batch(hold or now, count))
        loads = [
            _load(lane, queues.get(lane.id, []), added[lane.id], now)
            for lane in await self._fanout.lanes()
            if lane.id in added
        ]
        return forecast(now, people, loads, deadline, await self._store.unplanned())

    async def _answer(self, campaign: int, changed: bool) -> Control:
        return await self._store.control(campaign, changed)


def _load(lane: Lane, queued: list[Batch], added: list[Batch], now: datetime) -> LaneLoad:
    return LaneLoad(
        name=lane.name,
        per_second=lane.per_second,
        ramped=lane.provider == "fcm",
        free_at=max(now, lane.tat, lane.paused_until),
        queued=queued,
        added=added,
        pause_reason=lane.pause_reason if lane.paused_until > now else None,
    )


def _check(by: str, reason: str) -> None:
    if not by.strip():
        raise NotAllowed("say who does this: `by` is empty")
    if len(by) > _LONGEST_NOTE or len(reason) > _LONGEST_NOTE:
        raise NotAllowed(f"`by` and `reason` are at most {_LONGEST_NOTE} characters each")
