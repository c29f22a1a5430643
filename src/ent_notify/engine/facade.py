"""The facade: every call a host may make, each handed on to the flow or the store that answers it."""

from __future__ import annotations

import os
import random
import secrets
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from ent_notify._island import Island
from ent_notify.directory.imports import ImportProgress, ImportReport, import_export
from ent_notify.engine.acknowledgements import Acknowledgements
from ent_notify.engine.alerts import alert_errands
from ent_notify.engine.break_glass import BreakGlass
from ent_notify.engine.calendars import Calendars
from ent_notify.engine.campaigns import Campaigns
from ent_notify.engine.conversations import Conversations
from ent_notify.engine.erasure_ledger import ErasureLedger
from ent_notify.engine.evidence import Evidence
from ent_notify.engine.guardians import Guardians
from ent_notify.engine.hints import SayingFanout, carry_rights
from ent_notify.engine.live_feed import LiveFeed
from ent_notify.engine.personal import Personal
from ent_notify.engine.phones import Phones
from ent_notify.engine.receipts import Receipts
from ent_notify.engine.retention import Retention
from ent_notify.engine.rights import DataRights, Holds
from ent_notify.engine.safety import Safety, limits_of
from ent_notify.engine.sealing import Sealed
from ent_notify.engine.search import Search
from ent_notify.engine.talk_news import TalkNews
from ent_notify.engine.timetable import Timetable
from ent_notify.engine.trail import Trail
from ent_notify.engine.upkeep import upkeep_of
from ent_notify.engine.webpush import WebPush, kept_token
from ent_notify.errors import PublishError
from ent_notify.flows.clearing import Clearing
from ent_notify.flows.deliver import DeliveryBounds, Outbox
from ent_notify.flows.directory import sync
from ent_notify.flows.fanout import Worker
from ent_notify.flows.outbox import DeliveryIds, MailOutbox, PushOutbox, Unsubscribe
from ent_notify.model.audience import Audience
from ent_notify.model.conversations import NewConversation, Shape
from ent_notify.model.delivery import Ledger
from ent_notify.model.directory import OnProgress, SyncReport
from ent_notify.model.events import Event
from ent_notify.model.fanout import ChannelLedger, Lane, Published
from ent_notify.model.inbox import Conversation, Explanation, InboxEntry, Reader, StreamSession
from ent_notify.model.people import DeviceId, DeviceRegistration, Preference, Profile, Provider, SourceItem
from ent_notify.model.receipts import BounceCounts
from ent_notify.model.steps import Step
from ent_notify.policy.forecast import Forecast
from ent_notify.policy.pause import PauseHours
from ent_notify.policy.retry import RetryBounds
from ent_notify.ports import Bus, Clock, EngineObserver, MailChannel, PushChannel
from ent_notify.settings import Settings
from ent_notify.store import Database
from ent_notify.store.alerts import PostgresAlerts
from ent_notify.store.campaigns import PostgresCampaigns
from ent_notify.store.clearing import PostgresClearing
from ent_notify.store.conversations import PostgresConversations
from ent_notify.store.devices import DeviceCounts, PostgresDevices
from ent_notify.store.directory import PostgresDirectory
from ent_notify.store.erasures import PostgresErasures
from ent_notify.store.evidence import PostgresEvidence
from ent_notify.store.explaining import PostgresExplaining
from ent_notify.store.inbox import PostgresInbox
from ent_notify.store.office_line import PostgresOfficeLine
from ent_notify.store.personal import PostgresPersonal
from ent_notify.store.publishing import PostgresPublishing
from ent_notify.store.receipts import PostgresReceipts
from ent_notify.store.retention import PostgresRetention
from ent_notify.store.rights import PostgresGlass, PostgresHolds, PostgresRights
from ent_notify.store.safety import PostgresSafety
from ent_notify.store.sealing import PostgresSealing
from ent_notify.store.search import PostgresSearch
from ent_notify.store.sending_guard import PostgresGuard
from ent_notify.store.streams import PostgresStreams
from ent_notify.store.sync import PostgresSync
from ent_notify.store.talk_news import PostgresTalkNews
from ent_notify.store.timetable import PostgresTimetable
from ent_notify.store.upkeep import PostgresUpkeep
from ent_notify.words import Project, Words


class Engine:
    """Everything a host can ask. Open one with ``open_engine``; it is used from the trio run that opened it."""

    def __init__(
        self, settings: Settings, db: Database, island: Island, bus: Bus, clock: Clock, observer: EngineObserver
    ) -> None:
        self.settings = settings
        self._observer = observer
        self.clock = clock
        self.db = db
        self.island = island
        self.bus = bus
        self.words = Words()
        self.webpush = WebPush(settings.webpush)
        self._publishing = PostgresPublishing(db)
        self._explaining = PostgresExplaining(db)
        self._inbox = PostgresInbox(db)
        self._streams = PostgresStreams(db)
        limits = limits_of(settings.safety)
        conversations = PostgresConversations(db, PostgresGuard(db, limits))
        self.search = Search(PostgresSearch(db), clock)
        news = TalkNews(PostgresTalkNews(db), bus)
        self.conversations = Conversations(db, conversations, clock, settings.conversations, news)
        self.acknowledgements = Acknowledgements(db, news, clock)
        self.feed = LiveFeed(self._streams, self._inbox, bus, clock, timedelta(hours=settings.gateway.session_hours))
        self._fanout = SayingFanout(db, bus, self._inbox)
        self._directory = PostgresDirectory(db)
        self._devices = PostgresDevices(db)
        self._outboxes: dict[str, Outbox] = {}
        secret = settings.email.unsubscribe_key
        key = None if secret is None else secret.get_secret_value().encode()
        self._unsubscribe = Unsubscribe(settings.api.url or settings.project.url, key or secrets.token_bytes(32))
        self._ids = DeliveryIds(key)
        self.campaigns = Campaigns(
            PostgresCampaigns(db), self._fanout, clock, settings.project.timezone, self._pause_hours
        )
        self._alerts = PostgresAlerts(db)
        self._timetable = PostgresTimetable(db)
        self.calendars = Calendars(self._alerts, clock)
        self.guardians = Guardians(db, clock)
        self.timetable = Timetable(self._timetable, self._alerts, clock, settings.timetable)
        self.safety = Safety(
            db,
            PostgresSafety(db, limits),
            PostgresOfficeLine(db, conversations, limits),
            limits,
            clock,
            settings.project.timezone,
            self._pause_hours,
        )
        self.personal = Personal(PostgresPersonal(db), self._unsubscribe, clock)
        self._clearing = PostgresClearing(db)
        self.evidence = Evidence(PostgresEvidence(db), self._clearing, bus, clock, settings.evidence)
        self.phones = Phones(PostgresSync(db, conversations), self.words, clock, settings.sync, self.evidence.read)
        erasures = PostgresErasures(db)
        self.erasure_ledger = ErasureLedger(erasures, settings.retention, clock)
        self.retention = Retention(PostgresRetention(db), erasures, self.erasure_ledger, settings, clock)
        rights = PostgresRights(db)
        trail = Trail(rights, settings.privacy, clock)
        self.data_rights = DataRights(rights, erasures, self.erasure_ledger, settings.retention, trail, clock)
        self.holds = Holds(PostgresHolds(db), erasures, trail, clock)
        self.break_glass = BreakGlass(PostgresGlass(db), trail, clock)
        self.sealed = Sealed(PostgresSealing(db), settings.rights, trail, clock)
        self.upkeep = upkeep_of(settings, PostgresUpkeep(db), observer, self.retention.step, self.data_rights.step)
        self.receipts = Receipts(PostgresReceipts(db), self._fanout, self._inbox, self._ids, clock, observer)

    def with_settings(self, settings: Settings) -> Engine:
        """An engine on the same database and bus with other settings, and without channels. What ``store`` and ``bus``
        say was settled when this one was opened. It lives as long as this one."""
        return Engine(settings, self.db, self.island, self.bus, self.clock, self._observer)

    # ------------------------------------------------------------ publishing

    async def publish(self, event: Event | Mapping[str, Any]) -> Published:
        """Publish one event, typed or in its wire form.

        The same ``key`` publishes once: the second call answers the first's notification, with ``created`` false.
        Raises MalformedEvent or UnknownAudience, and then nothing was written.
        """
        (published,) = await self.publish_many([event])
        return published

    async def publish_many(self, events: Sequence[Event | Mapping[str, Any]]) -> list[Published]:
        """Publish several events in one transaction: all of them, or none if one is refused."""
        began = self.clock.now()
        try:
            published = await self._publishing.publish_many(
                [each.to_json() if isinstance(each, Event) else each for each in events], began
            )
        except PublishError:
            self._observer.refused()
            raise
        for each in published:
            self._observer.published(created=each.created)
        new = [each.notification for each in published if each.created]
        self._observer.stepped(Step.PUBLISH, new, began, self.clock.now())
        return published

    async def register_types(self, types: Sequence[type[Event]]) -> None:
        """Make event types of the host's own known, beside the built-in ones."""
        await self._publishing.register_types(types)

    # ------------------------------------------------------------ accounts

    async def ledger(self, campaign: int) -> Ledger:
        """A campaign's account. Raises NotFound."""
        ((ledger, _),) = await self._explaining.ledgers(self.clock.now(), campaign)
        return ledger

    async def ledgers(self, most: int = 50) -> list[tuple[Ledger, tuple[ChannelLedger, ...]]]:
        """The newest campaigns' accounts, whole and by channel."""
        return await self._explaining.ledgers(self.clock.now(), None, most)

    async def explain(self, notification: int, person: str) -> Explanation:
        """What became of a notification for one person (external id), and why. Raises NotFound."""
        return await self._explaining.explain(notification, person, self.clock.now())

    async def not_reached(
        self, campaign: int, most: int = 100, after: tuple[int, int] = (0, 0)
    ) -> list[Mapping[str, Any]]:
        """People that a campaign has not reached, with reasons."""
        return await self._explaining.not_reached(campaign, most, after)

    async def receipt(self, mail: bytes) -> BounceCounts:
        """Take in a bounced mail: see ``receipts.bounce``."""
        return await self.receipts.bounce(mail)

    async def forecast(self, audience: Audience | Mapping[str, Any], deadline: datetime | None = None) -> Forecast:
        """How long an announcement to ``audience`` would take: see ``campaigns.forecast``, which takes other events."""
        return await self.campaigns.forecast(audience, deadline)

    async def lanes(self) -> list[Lane]:
        """Every lane with its rate and its pause."""
        return await self._fanout.lanes()

    # ------------------------------------------------------------ the directory

    async def sync(
        self,
        records: Iterable[SourceItem],
        *,
        source: str = "host",
        complete: bool = False,
        allowed_removals: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> SyncReport:
        """Make the directory say what ``records`` say. See ``ent_notify.flows.directory.sync``.

        ``allowed_removals`` is a share of the source's people (the settings' when left out). Raises TooManyRemovals.
        """
        share = self.settings.directory.removal_share if allowed_removals is None else allowed_removals
        began = self.clock.now()
        report = await sync(
            self._directory,
            records,
            source=source,
            complete=complete,
            now=began,
            allowed_removals=share,
            on_progress=on_progress,
        )
        self._observer.imported(report, (self.clock.now() - began).total_seconds())
        return report

    async def import_aaf(
        self,
        path: Path,
        *,
        allowed_removals: float | None = None,
        on_progress: Callable[[ImportProgress], None] | None = None,
    ) -> ImportReport:
        """Import the AAF export at ``path``, complete or incremental as its files' names say.

        Raises SourceError when nothing can be read safely, TooManyRemovals as ``sync`` does; nothing was changed then.
        """
        chosen = self.settings.directory
        began = self.clock.now()
        report = await import_export(
            self._directory,
            path,
            source=chosen.source,
            now=began,
            allowed_removals=chosen.removal_share if allowed_removals is None else allowed_removals,
            on_progress=on_progress,
        )
        self._observer.imported(report.directory, (self.clock.now() - began).total_seconds())
        return report

    async def register_device(
        self, person: str, provider: Provider, app: str, token: str, language: str | None = None
    ) -> DeviceId:
        """Bind a push token to a person (external id), taking it over from whoever had it. Raises NotFound.

        A browser's token is its subscription: MalformedDevice says what is wrong with one.
        """
        token = self.webpush.checked(provider, app, token)
        return await self._devices.register_device(person, provider, app, token, language, self.clock.now())

    async def drop_device(self, person: str, provider: Provider, token: str) -> bool:
        """End a person's binding of a token (signing out); False when they have none."""
        kept = kept_token(provider, token)
        return kept is not None and await self._devices.drop_device(person, provider, kept, self.clock.now())

    async def register_devices(self, devices: Iterable[DeviceRegistration]) -> DeviceCounts:
        """Register many devices in one transaction. Raises MalformedDevice, and then none is registered."""
        return await self._devices.register_devices(self.webpush.all_checked(devices), self.clock.now())

    async def set_preferences(self, choices: Iterable[Preference]) -> int:
        """Store what people chose for a category on a channel; how many choices were new."""
        return await self._devices.set_preferences(choices)

    # ------------------------------------------------------------ reading

    async def reader(self, person: str) -> Reader:
        """Somebody who reads, by external id. Raises NotFound."""
        return await self._inbox.reader(person)

    async def choose_people(self, profile: Profile, prefix: str = "", most: int = 20) -> list[tuple[str, str]]:
        """A few people of a profile, (id, name), by the beginning of a name."""
        return await self._inbox.choose(int(profile), prefix, most)

    async def inbox(self, reader: Reader, before: int | None = None, most: int = 50) -> list[InboxEntry]:
        """The newest entries of an inbox before a place in the feed."""
        return await self._inbox.page(reader.person, before, most, self.clock.now())

    async def count_entries(self, people: Sequence[int], notifications: Sequence[int]) -> dict[int, int]:
        """How many of ``people`` (internal ids) find each notification in their inbox."""
        return await self._inbox.count_entries(people, notifications, self.clock.now())

    def headline(self, entry: InboxEntry, reader: Reader) -> str:
        """An entry's line in its reader's language and time zone."""
        return self.words.headline(entry.type, entry.data, reader.language, reader.timezone)

    async def mark_read(self, reader: Reader, seqs: Sequence[int]) -> None:
        """Mark single entries as read."""
        await self._inbox.mark_read(reader.person, seqs)
        await self.evidence.read(reader.person)

    async def mark_all_read(self, reader: Reader, upto: int) -> None:
        """Mark everything up to a place in the feed as read."""
        await self._inbox.mark_all_read(reader.person, upto)
        await self.evidence.read(reader.person)

    async def stream_ticket(self, reader: Reader) -> str:
        """A single-use ticket that opens one live stream within the set seconds."""
        life = timedelta(seconds=self.settings.gateway.ticket_seconds)
        return await self._streams.issue_ticket(reader.person, self.clock.now(), life)

    async def stream_sessions(self, reader: Reader) -> list[StreamSession]:
        """Where somebody may listen: their stream sessions that go on, newest first."""
        return await self._streams.sessions(reader.person, self.clock.now())

    async def revoke_streams(self, reader: Reader, session: int | None = None) -> int:
        """End a session (signing out), or every session and ticket of somebody; how many sessions ended.

        Gateways cut the streams at the next hint, or within a second. Whoever may still take tickets can come back.
        """
        return await self._streams.revoke(reader.person, session)

    # ------------------------------------------------------------ conversations

    async def start_conversation(
        self, author: str, recipients: Sequence[str], subject: str, body: str
    ) -> tuple[int, int]:
        """Open a group conversation: see ``conversations.open``, which knows every other shape."""
        new = NewConversation(shape=Shape.GROUP, subject=subject, body=body, to=tuple(dict.fromkeys(recipients)))
        return await self.conversations.open(await self.reader(author), new)

    async def post(self, conversation: int, author: str, body: str) -> int:
        """Add a message to a conversation: see ``conversations.post``."""
        return await self.conversations.post(conversation, await self.reader(author), body)

    async def conversation(self, conversation: int, reader: Reader, after: int = 0) -> Conversation:
        """A conversation as a participant sees it, with its next 100 messages. Raises NotFound for anybody else."""
        return await self.conversations.page(conversation, reader, after)

    # ------------------------------------------------------------ the worker

    async def carry_rights(self) -> None:
        """Carry to the bus what the database says of changed rights, for ever: for a worker to run beside its work."""
        await carry_rights(self.bus, self.db)

    def use_mail(self, channel: MailChannel) -> None:
        """Send the lane ``email`` through ``channel``."""
        project = Project(self.settings.project.name, self.settings.project.url, self.settings.project.timezone)
        self._outboxes["email"] = MailOutbox(channel, self.words, project, self._unsubscribe, self._ids, self._observer)

    async def use_push(
        self, provider: str, app: str, channel: PushChannel, per_second: float | Literal["as it is"] | None = "as it is"
    ) -> None:
        """Send the lane ``push:PROVIDER:APP`` through ``channel``, at ``per_second`` for all workers together.

        None: no limit, for any worker. Left out, the lane keeps the rate that it has; a new lane has none.
        """
        self._outboxes[f"push:{provider}:{app}"] = PushOutbox(channel, self.words, self._observer)
        rate = None if isinstance(per_second, str) else per_second
        await self._fanout.open_lane(provider, app, rate, sets_rate=not isinstance(per_second, str))

    async def set_rate(self, lane: str, per_second: float | None) -> None:
        """Set a lane's rate in sends a second, for all workers together; None: no limit."""
        await self._fanout.set_rate(lane, per_second)

    async def next_due(self) -> datetime | None:
        """When the next chunk that waits (for the end of a pause, a retry, a lost lease) becomes due."""
        return await self._fanout.next_due()

    def worker(self, name: str = "", *, pause: PauseHours | None = None) -> Worker:
        """A worker on this engine's channels: ``await worker.run()``, or ``run_until_idle()``.

        ``pause`` overrules the hours in which updates are held.
        """
        chosen = self.settings.worker
        bounds = DeliveryBounds(
            window=chosen.checkpoint_every,
            lease=timedelta(seconds=chosen.lease_seconds),
            daily_cap=self.settings.rates.notifications_per_day,
            zone=self.settings.project.timezone,
            grace=timedelta(seconds=self.settings.evidence.grace_seconds),
            retry=RetryBounds(
                first_delay=timedelta(seconds=chosen.retry_base_seconds),
                longest_delay=timedelta(seconds=chosen.retry_cap_seconds),
                most_attempts=chosen.max_attempts,
            ),
        )
        clearing = Clearing(
            self._clearing, self._fanout, self._outboxes, self.clock, random.random, self._observer, bounds
        )
        return Worker(
            name=name or chosen.name or f"{socket.gethostname()}-{os.getpid()}",
            store=self._fanout,
            outboxes=self._outboxes,
            clock=self.clock,
            randomness=random.random,
            zone=self.settings.project.timezone,
            pause=pause or self._pause_hours(),
            bounds=bounds,
            senders=chosen.lanes,
            observer=self._observer,
            late=self.receipts.late_answers,
            upkeep=self.upkeep,
            clearing=clearing if self.settings.evidence.clear_after_seconds else None,
            errands=(
                self.conversations.correspondence(self._observer).step,
                *alert_errands(self.settings, self._alerts, self._timetable, self.clock),
                self.safety.recalling().step,
            ),
            wakes=self._fanout.wakes,
        )

    async def apply_limits(self) -> None:
        """Bring the shared limits of mail domains and senders in line with the settings."""
        rates = self.settings.rates
        await self._fanout.open_mail_groups(
            {name: (group.domains, group.per_second) for name, group in self.settings.mail_groups.items()}
        )
        await self._fanout.limit_senders(rates.sender_per_hour, rates.sender_burst)

    def _pause_hours(self) -> PauseHours:
        chosen = self.settings.pause
        return PauseHours(start=chosen.start, end=chosen.end, weekend=chosen.weekend, enabled=chosen.enabled)
