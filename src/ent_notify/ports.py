"""What the flows need from the shells, as protocols. Flows know these and nothing of PostgreSQL or providers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence, Set
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from ent_notify.model.delivery import MailContent, Outgoing, Urgency, Verdict, WakeUp
from ent_notify.model.directory import MergeCounts, Problem, Removals, StagedRows
from ent_notify.model.evidence import Marks, Page
from ent_notify.model.fanout import (
    CampaignContent,
    Claim,
    DroppedTarget,
    Lane,
    NothingToClaim,
    Settlement,
    Target,
    Unplanned,
    Waiting,
    Window,
)
from ent_notify.model.feed import Entrance, Entry, FeedHint, FeedItem, Rights, RightsChanges
from ent_notify.model.receipts import Effect, Receipt, Source, Taken
from ent_notify.model.steps import Step
from ent_notify.model.subjects import BusStatistics, HeldSubjects
from ent_notify.model.upkeep import Chore
from ent_notify.policy.rate import Slot


@runtime_checkable
class Clock(Protocol):
    """Time as a parameter."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        ...


class MailChannel(Protocol):
    """Sends mails. One verdict for each recipient, in order; ``ChannelDown`` when nothing can be sent at all."""

    async def send(self, contents: Mapping[str, MailContent], batch: Sequence[Outgoing]) -> list[Verdict]:
        """Send ``batch``; ``contents`` maps each recipient's language to the campaign's text in it."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


class PushChannel(Protocol):
    """Sends pushes through one provider for one app. Same contract as MailChannel."""

    async def send(self, contents: Mapping[str, WakeUp], batch: Sequence[Outgoing]) -> list[Verdict]:
        """Send ``batch``; never raises for one target's trouble, never leaves a send without a verdict."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


class FeedPort(Protocol):
    """What a live gateway needs of the engine. People are internal ids here and never reach a browser.

    Any method may raise ``StoreError``: the gateway then answers 503, or tries again a little later.
    """

    async def enter(self, entries: Sequence[Entry], now: datetime) -> list[Entrance | None]:
        """Let readers in, each by what they show; None for who is not let in.

        A ticket works once and for its life, and opens a session, or goes on with the session shown beside it if that
        is the same person's. A session works until its end, alone or beside a ticket that it was opened with.
        """
        ...

    async def rights(self, people: Sequence[int], now: datetime) -> Mapping[int, Rights]:
        """What each of ``people`` may hear now: every audience key, ``(0, 0)``, ``(0, profile)`` and ``(3, person)``
        included, and every session. Whoever may not listen any more has no keys, or is left out."""
        ...

    async def rights_head(self) -> int:
        """The place of the last change of rights."""
        ...

    async def rights_changes(self, after: int) -> RightsChanges:
        """Whose rights may have changed after a place; people None when it cannot be said one by one. A change that
        was committed before a feed item became visible is seen by whoever asks after having read that item."""
        ...

    async def feed_after(self, seq: int, limit: int) -> list[FeedItem]:
        """The next items after ``seq``, ascending, at most ``limit``, with their clauses. Never skips an item that
        becomes visible later."""
        ...

    async def feed_head(self) -> int:
        """The highest sequence of the feed, 0 when it is empty."""
        ...

    async def missed(self, asked: Sequence[tuple[int, int]], limit: int) -> list[list[FeedItem]]:
        """For each ``(person, after_seq)`` the next items after it addressed to that person, ascending, at most
        ``limit``. Sees at least all that ``feed_after`` has ever returned in this process."""
        ...

    def hints(self, held: HeldSubjects | None = None) -> AbstractAsyncContextManager[AsyncIterator[FeedHint]]:
        """Hints for as long as the context is open; the iterator ends or raises when the source is lost.

        ``held`` says, at any moment, which subjects matter here; hints of others may be left out. None: all matter.
        """
        ...


class EvidencePort(Protocol):
    """What a live gateway tells of its readers' eyes, and asks of what they have read. Any method may raise StoreError;
    asking again is harmless."""

    async def beat(self, node: int, seq: int) -> None:
        """This gateway process lives, and has handed the feed on up to ``seq``: its pages are believed for a lease."""
        ...

    async def tell(self, pages: Mapping[Page, bool]) -> None:
        """Which pages are looked at, and which are not any more."""
        ...

    async def note_seen(self, seen: Mapping[int, int]) -> None:
        """How far people have seen the feed, by person."""
        ...

    async def told(self, node: int, before: datetime) -> Set[Page]:
        """The pages that are said to be looked at on this gateway's streams, told before an instant."""
        ...

    async def marks(self, people: Sequence[int]) -> Mapping[int, Marks]:
        """What people have read. Whoever has read nothing is left out."""
        ...


class Bus(Protocol):
    """Carries hints between processes. It may lose, double and reorder them: readers pull the feed by their cursor,
    and poll. So nothing here raises for a bus that is not there."""

    @property
    def told_by_store(self) -> bool:
        """Whether the transaction that changes the feed gives the hint itself: ``publish`` has nothing to add."""
        ...

    async def publish(self, hints: Sequence[FeedHint]) -> None:
        """Give hints to every process that listens to their subjects."""
        ...

    def listen(self, held: HeldSubjects | None = None) -> AbstractAsyncContextManager[AsyncIterator[FeedHint]]:
        """Hints from now on, those that wait merged into one. See ``FeedPort.hints``."""
        ...

    def statistics(self) -> BusStatistics:
        """What it has done so far."""
        ...


class FanoutStore(Protocol):
    """The fan-out's state: every method is one transaction, and takes ``now``.

    Any method may raise StoreError; what it would have changed may then have been changed or not. Asking again is
    harmless: a second ``settle`` counts nothing twice, and a claim whose answer was lost runs out with its lease.
    """

    async def look(self, now: datetime) -> Waiting:
        """What there is to do: all that an idle worker asks."""
        ...

    async def relay(self, most: int) -> int:
        """Give up to ``most`` committed notifications their place in the feed; answers how many."""
        ...

    async def unplanned(self, most: int) -> list[Unplanned]:
        """Campaigns that wait for their plan, oldest first."""
        ...

    async def zones(self) -> list[str]:
        """Every time zone in which somebody lives."""
        ...

    async def plan(
        self, campaigns: Sequence[int], holds: Mapping[str, datetime], default_hold: datetime, now: datetime
    ) -> int:
        """Plan campaigns into chunks; ``holds`` gives each zone the end of its pause (a long-past instant: none)."""
        ...

    async def plan_withdrawal(
        self, campaign: int, holds: Mapping[str, datetime], default_hold: datetime, now: datetime
    ) -> int:
        """Plan a campaign that takes another back: pushes to the devices which that one reached, and nothing else."""
        ...

    async def promote(self, now: datetime, most: int) -> int:
        """Make ready what is due: pauses and retries that ended, leases that ran out."""
        ...

    async def next_due(self) -> datetime | None:
        """When the next waiting or leased chunk becomes due."""
        ...

    async def lanes(self) -> list[Lane]:
        """Every lane."""
        ...

    async def note_lane(
        self, lane: int, healthy: bool, reason: str | None, now: datetime, rest: timedelta | None
    ) -> None:
        """A good or a bad window, for the lane's breaker; ``rest`` is what the provider asked for."""
        ...

    async def restore(self, lane: Lane, since: datetime) -> int:
        """Take back the drops that a lane's answers have caused since then; how many."""
        ...

    async def claim(
        self, lane: int, worker: str, now: datetime, lease: timedelta, horizon: timedelta, most: int = 1
    ) -> tuple[list[Claim], Slot] | NothingToClaim:
        """Lease the next chunks of a lane, in their order: one when the lane has a limit, else up to ``most``. Their
        slot permits all their sends when the lane has no limit, and nothing yet when it has one: sends are reserved
        when they are about to leave."""
        ...

    async def reserve(self, lane: int, sends: int, now: datetime, horizon: timedelta) -> Slot | NothingToClaim:
        """Take a rate slot for sends that are about to leave."""
        ...

    async def contents(self, campaigns: Sequence[int]) -> Mapping[int, CampaignContent]:
        """What is rendered once for each campaign. One that is gone is left out."""
        ...

    async def load(
        self,
        windows: Sequence[Window],
        channel: str,
        now: datetime,
        *,
        day_start: datetime,
        daily_cap: int,
        grace: timedelta = timedelta(0),
    ) -> list[list[Target]]:
        """The targets of each window, looked at anew. None where the lease is not ours any more, or the campaign is
        paused or stopped. Whoever looks at a page is withheld as ON_SCREEN, once, when there is a ``grace``."""
        ...

    async def pause_names(self, pairs: Sequence[tuple[int, int]]) -> list[str | None]:
        """Under which name a plan asks for the pause of each (campaign, person); None for who is no more."""
        ...

    async def settle(
        self, settled: Sequence[tuple[Claim, Settlement]], now: datetime, lease: timedelta
    ) -> frozenset[int]:
        """Store what became of windows of some chunks; the ids of those whose lease was still ours. Of the others
        nothing was changed."""
        ...

    async def drop(self, channel: str, dropped: Sequence[DroppedTarget], now: datetime) -> None:
        """Take devices or addresses out of use."""
        ...


class ReceiptStore(Protocol):
    """Receipts: what is learnt of a delivery after it was sent."""

    async def take(self, receipts: Sequence[Receipt], now: datetime) -> list[Taken]:
        """Take receipts, each moving its delivery where it knows better; what each did, in order."""
        ...

    async def addresses(self, people: Sequence[int]) -> Mapping[int, str]:
        """The mail addresses that people have now, by internal id."""
        ...

    async def mail_answers(self, lane: int, since: datetime) -> tuple[int, Mapping[str, int]]:
        """Of the campaigns published since then: mails of a lane that were accepted, and bounces by reason."""
        ...


class UpkeepStore(Protocol):
    """Drops rows that nobody can need any more."""

    async def forget(self, chore: Chore, before: datetime, most: int) -> int:
        """Drop at most ``most`` rows of a kind that were past their use at ``before``; how many."""
        ...


class DirectoryMerge(Protocol):
    """One directory run: rows are staged, looked at, then merged. All of it, or nothing at all."""

    async def stage(self, rows: StagedRows) -> None:
        """Add rows to what is staged."""
        ...

    async def examine(self, *, complete: bool) -> Removals:
        """Resolve what is staged against the directory; who would be removed (absent people only if ``complete``)."""
        ...

    async def problems(self, most: int) -> tuple[int, list[Problem]]:
        """How many problems the examination found, and the first ``most`` of them."""
        ...

    async def apply(self) -> MergeCounts:
        """Write the differences."""
        ...


class DirectoryStore(Protocol):
    """The directory, as imports see it."""

    async def schools_by_join_id(self) -> dict[str, str]:
        """Join id to UAI of every school that has one."""
        ...

    def merging(self, source: str, now: datetime) -> AbstractAsyncContextManager[DirectoryMerge]:
        """Open a run of ``source``. Runs wait for one another. Leaving by an error undoes everything."""
        ...


class FanoutObserver(Protocol):
    """Hears of what the fan-out does; metrics implement it. Nothing here blocks or fails."""

    def relayed(self, count: int) -> None:
        """Notifications were given their place in the feed."""

    def planned(self, campaigns: int, seconds: float) -> None:
        """Campaigns were planned."""

    def claimed(self, channel: str, provider: str, urgency: Urgency, deliveries: int) -> None:
        """A chunk was claimed."""

    def verdicts(self, channel: str, provider: str, verdicts: Iterable[Verdict]) -> None:
        """A batch of sends ended."""

    def send_took(self, channel: str, provider: str, seconds: float) -> None:
        """A batch of sends took so long."""

    def cleared(self, provider: str, verdicts: Iterable[Verdict]) -> None:
        """Silent pushes that take away what was read elsewhere ended."""

    def settled(self, channel: str, provider: str) -> None:
        """A chunk was settled for good."""

    def lease_lost(self, channel: str, provider: str) -> None:
        """A settle touched no row."""

    def rate_wait(self, channel: str, provider: str, seconds: float) -> None:
        """A chunk waits for its slot."""

    def receipt(self, source: Source, effect: Effect) -> None:
        """A bounce, a late answer or a device's word was taken in, and did so much."""

    def channel_paused(self, channel: str, provider: str, reason: str) -> None:
        """A lane was paused for everybody."""

    def store_failed(self, error: Exception) -> None:
        """The database refused or did not answer; the worker waits and asks again."""

    def chunk_failed(self, channel: str, provider: str, error: Exception) -> None:
        """Work on a chunk ended in an error of our own; its lease runs out, and it is tried again."""

    def send_failed(self, channel: str, provider: str, error: Exception) -> None:
        """A channel broke its promise and raised: what it was sending counts as unknown."""

    def text_failed(self, event_type: str, error: Exception) -> None:
        """A text could not be rendered: the deliveries that need it fail."""

    def forgot(self, chore: Chore, rows: int) -> None:
        """Rows that nobody can need any more were dropped."""

    def stepped(
        self,
        step: Step,
        notifications: Sequence[int],
        began: datetime,
        ended: datetime,
        channel: str = "",
        provider: str = "",
    ) -> None:
        """A step on the way of some notifications was taken."""


class EngineObserver(FanoutObserver, Protocol):
    """Hears of publishing and imports too."""

    def published(self, *, created: bool) -> None:
        """An event was published; ``created`` is false when its key had published it before."""

    def refused(self) -> None:
        """Events were refused: malformed, or for an unknown audience."""

    def imported(self, report: MergeCounts, seconds: float) -> None:
        """A directory run ended."""


class Unobserved:
    """An EngineObserver that listens to nothing."""

    def published(self, *, created: bool) -> None:
        """See EngineObserver."""

    def refused(self) -> None:
        """See EngineObserver."""

    def imported(self, report: MergeCounts, seconds: float) -> None:
        """See EngineObserver."""

    def relayed(self, count: int) -> None:
        """See FanoutObserver."""

    def planned(self, campaigns: int, seconds: float) -> None:
        """See FanoutObserver."""

    def claimed(self, channel: str, provider: str, urgency: Urgency, deliveries: int) -> None:
        """See FanoutObserver."""

    def verdicts(self, channel: str, provider: str, verdicts: Iterable[Verdict]) -> None:
        """See FanoutObserver."""

    def send_took(self, channel: str, provider: str, seconds: float) -> None:
        """See FanoutObserver."""

    def cleared(self, provider: str, verdicts: Iterable[Verdict]) -> None:
        """See FanoutObserver."""

    def settled(self, channel: str, provider: str) -> None:
        """See FanoutObserver."""

    def lease_lost(self, channel: str, provider: str) -> None:
        """See FanoutObserver."""

    def rate_wait(self, channel: str, provider: str, seconds: float) -> None:
        """See FanoutObserver."""

    def receipt(self, source: Source, effect: Effect) -> None:
        """See FanoutObserver."""

    def channel_paused(self, channel: str, provider: str, reason: str) -> None:
        """See FanoutObserver."""

    def store_failed(self, error: Exception) -> None:
        """See FanoutObserver."""

    def chunk_failed(self, channel: str, provider: str, error: Exception) -> None:
        """See FanoutObserver."""

    def send_failed(self, channel: str, provider: str, error: Exception) -> None:
        """See FanoutObserver."""

    def text_failed(self, event_type: str, error: Exception) -> None:
        """See FanoutObserver."""

    def forgot(self, chore: Chore, rows: int) -> None:
        """See FanoutObserver."""

    def stepped(
        self,
        step: Step,
        notifications: Sequence[int],
        began: datetime,
        ended: datetime,
        channel: str = "",
        provider: str = "",
    ) -> None:
        """See FanoutObserver."""
