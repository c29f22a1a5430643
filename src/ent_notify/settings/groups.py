"""Every setting, in its group, with its unit, its bounds and its reason.

A secret is a ``SecretStr`` with a companion ``<name>_file``: it comes from the environment or from that file, never
from TOML, and ``repr`` does not show it. Read one by ``.get_secret_value()``, at the last moment.
"""

from __future__ import annotations

from datetime import time
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ent_notify.policy.webpush import KNOWN_HOSTS
from ent_notify.settings.alerts import HomeworkSettings, TimetableSettings
from ent_notify.settings.base import Group
from ent_notify.settings.conversations import ConversationSettings
from ent_notify.settings.evidence import EvidenceSettings
from ent_notify.settings.kinds import (
    EMBEDDED,
    Addresses,
    BaseUrl,
    Dsn,
    MailAddress,
    NatsServers,
    Origins,
    PushHosts,
    Table,
    TimeZone,
    has_password,
    with_password,
    without_password,
)
from ent_notify.settings.operator import OperatorSettings
from ent_notify.settings.retention import RetentionSettings, SchoolRetention
from ent_notify.settings.rights import RightsSettings
from ent_notify.settings.safety import SafetySettings
from ent_notify.settings.watching import LogSettings, MetricsSettings, PrivacySettings, TracingSettings


class ProjectSettings(Group):
    """The platform that people know by name."""

    name: str = Field(default="Mon ENT", min_length=1, max_length=80)
    """Name of the platform, as people read it in mails and pushes."""
    domain: str = Field(default="ent.example", pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$|^localhost$")
    """Domain of the platform: it ends every Message-ID, and must be one that you own."""
    timezone: TimeZone = "Europe/Paris"
    """Time zone of a school that does not name its own (IANA name)."""
    language: Literal["fr", "en"] = "fr"
    """Language of a person who has chosen none."""
    url: BaseUrl = "https://ent.example"
    """Address that mails link to, without a slash at its end."""


class StoreSettings(Group):
    """PostgreSQL, 16 or newer."""

    dsn: Dsn = Field(default=SecretStr(EMBEDDED), json_schema_extra={"kind": "data source name"})
    """`embedded:` (a PostgreSQL of our own, in the user's data folder), `embedded:///folder`, or
    `postgresql://user@host:5432/database`. With several hosts, separated by commas, the one that is the primary is
    used (`target_session_attrs`). It may carry a password in the environment, not in TOML."""
    password: SecretStr | None = None
    """Password of the database user."""
    password_file: Path | None = None
    """File that holds the password of the database user."""
    pool_size: int = Field(default=10, ge=2, le=200)
    """Connections that one process keeps at most."""
    connect_timeout_seconds: float = Field(default=10.0, gt=0, le=300)
    """Seconds to wait for the server to answer at all; several hosts share them."""
    acquire_timeout_seconds: float = Field(default=10.0, gt=0, le=300)
    """Seconds to wait for a free connection before `StoreBusy`."""

    @model_validator(mode="after")
    def _password_has_a_user(self) -> StoreSettings:
        if self.password is not None:
            dsn = self.dsn.get_secret_value()
            if has_password(dsn):
                raise ValueError("the dsn carries a password and another is given; keep one of the two")
            if "@" not in urlsplit(dsn).netloc:
                raise ValueError(
                    "a password is given, but the dsn names no user; write postgresql://user@host/database"
                )
        return self

    @property
    def url(self) -> str:
        """The whole DSN, password included: for the driver alone."""
        dsn = self.dsn.get_secret_value()
        return dsn if self.password is None else with_password(dsn, self.password.get_secret_value())

    @property
    def shown(self) -> str:
        """The DSN as it may be shown to an operator: without password and parameters."""
        return without_password(self.dsn.get_secret_value())


class WorkerSettings(Group):
    """How a worker takes and sends chunks."""

    name: str = Field(default="", max_length=63, pattern=r"^[A-Za-z0-9._-]*$")
    """Name of this worker in leases and logs; empty: host name and process id."""
    lanes: int = Field(default=4, ge=1, le=64)
    """Senders of one lane (mail; one push app) in one worker: windows that it sends side by side."""
    lease_seconds: float = Field(default=60.0, ge=1, le=60)
    """Seconds after which a silent worker's chunk is given to another; renewed at a third of it."""
    checkpoint_every: int = Field(default=200, ge=1, le=1000)
    """Sends after which a sender stores its progress: the bound of repeats after a crash, for each sender at work."""
    max_attempts: int = Field(default=8, ge=1, le=50)
    """Tries of one delivery before it is failed."""
    retry_base_seconds: float = Field(default=30.0, gt=0, le=3600)
    """First wait before a retry; it doubles each time, with equal jitter."""
    retry_cap_seconds: float = Field(default=3600.0, gt=0, le=86400)
    """Longest wait before a retry."""
    drain_seconds: float = Field(default=20.0, ge=0, le=600)
    """Seconds that a stopping worker takes to finish or release what it holds."""

    @model_validator(mode="after")
    def _waits_grow(self) -> WorkerSettings:
        if self.retry_cap_seconds < self.retry_base_seconds:
            raise ValueError("retry_cap_seconds is below retry_base_seconds; raise the one or lower the other")
        return self


class EmailSettings(Group):
    """The SMTP relay that takes the platform's mail."""

    host: str | None = Field(default=None, min_length=1)
    """Host name of the relay; leave it out and no mail is sent."""
    port: int = Field(default=587, ge=1, le=65535)
    """Port of the relay: 587 with `starttls`, 465 with `tls`, 25 for a relay next door."""
    tls: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is protected; `none` only for a relay on this machine or in its network."""
    ca_file: Path | None = None
    """Certificates that the relay's own is checked against; left out: those of the system."""
    username: str | None = None
    """User at the relay, if it asks for one."""
    password: SecretStr | None = None
    """Password at the relay."""
    password_file: Path | None = None
    """File that holds the password at the relay."""
    sender: MailAddress = "ne-pas-repondre@ent.example"
    """Address that mails come from."""
    sender_name: str = Field(default="", max_length=80, pattern=r"^[^\r\n]*$")
    """Name that mails come from; empty: the project's name."""
    return_path: MailAddress | None = None
    """Address that bounces go to (the envelope's sender); left out: the address that mails come from."""
    reply_to: MailAddress | None = None
    """Address that answers go to; left out: none is named, and they go to the sender."""
    local_name: str = Field(default="localhost", pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?$")
    """Name that this machine gives itself to the relay (EHLO, RFC 5321, 4.1.1.1); some relays want a real one."""
    unsubscribe_key: SecretStr | None = None
    """Key that signs one-click unsubscribe links (RFC 8058) and the ids by which bounces are believed; 32 characters
    or more. Left out: one for each process, links die with it, and no bounce is taken in."""
    unsubscribe_key_file: Path | None = None
    """File that holds the key of unsubscribe links."""
    connections: int = Field(default=4, ge=1, le=100)
    """Connections to the relay at most."""
    messages_per_connection: int = Field(default=1000, ge=1, le=100_000)
    """Messages after which a connection is closed and another opened."""
    timeout_seconds: float = Field(default=30.0, gt=0, le=600)
    """Seconds to wait for one answer of the relay (RFC 5321, 4.5.3.2, allows minutes)."""

    @model_validator(mode="after")
    def _login_is_whole(self) -> EmailSettings:
        if self.password is not None and self.username is None:
            raise ValueError("a password is given but no username; give both or neither")
        if self.unsubscribe_key is not None and len(self.unsubscribe_key.get_secret_value()) < 32:
            raise ValueError("unsubscribe_key is shorter than 32 characters; make one with `openssl rand -hex 32`")
        return self


class ApnsApp(Group):
    """One iOS app, at Apple's push service. Its table name is the name that devices register with."""

    topic: str = Field(min_length=1, max_length=255)
    """Bundle id of the app."""
    team_id: str = Field(pattern=r"^[A-Z0-9]{10}$")
    """Team id of the Apple developer account, 10 characters."""
    key_id: str = Field(pattern=r"^[A-Z0-9]{10}$")
    """Id of the signing key, 10 characters."""
    key: SecretStr | None = None
    """Signing key (the text of the .p8 file)."""
    key_file: Path | None = None
    """File that holds the signing key (.p8)."""
    sandbox: bool = False
    """Whether the app's devices are of the development environment."""
    server: str | None = Field(default=None, pattern=r"^[^/\s]+:\d+$")
    """host:port of another server that speaks APNs' protocol, for tests; left out: Apple's."""
    ca_file: Path | None = None
    """Certificates that such a server's own is checked against."""
    connections: int = Field(default=2, ge=1, le=100)
    """HTTP/2 connections at most."""

    @model_validator(mode="after")
    def _has_a_key(self) -> ApnsApp:
        if self.key is None:
            raise ValueError("it has no signing key: give key_file, or key in the environment")
        return self


class FcmApp(Group):
    """One Android app, at Firebase Cloud Messaging. Its table name is the name that devices register with."""

    service_account: SecretStr | None = None
    """Service account (the JSON that Firebase gives)."""
    service_account_file: Path | None = None
    """File that holds the service account."""
    server: BaseUrl | None = None
    """URL of another server that speaks FCM's protocol, for tests; left out: Google's."""
    ca_file: Path | None = None
    """Certificates that such a server's own is checked against."""

    @model_validator(mode="after")
    def _has_an_account(self) -> FcmApp:
        if self.service_account is None:
            raise ValueError("it has no service account: give service_account_file, or it in the environment")
        return self


class WebPushApp(Group):
    """One site that browsers subscribe to. Its table name is the name that devices register with."""

    subject: str = Field(pattern=r"^(mailto:[^@\s]+@[^@\s]+|https://\S+)$")
    """Address by which a push service's operator reaches you: `mailto:` or `https://`."""
    key: SecretStr | None = None
    """VAPID private key (P-256): PEM, or 43 characters of base64url."""
    key_file: Path | None = None
    """File that holds the VAPID private key."""
    hosts: PushHosts = KNOWN_HOSTS
    """Push services that a subscription may lead to; in the environment, separated by commas. An empty list lets every
    public host in: whoever registers a browser then chooses where this server connects to."""
    connections: int = Field(default=2, ge=1, le=100)
    """HTTP/2 connections to one push service at most."""
    loopback: bool = False
    """Whether push services on this machine may be sent to, on any port: for tests."""
    ca_file: Path | None = None
    """Certificates that such a service's own is checked against."""

    @model_validator(mode="after")
    def _has_a_key(self) -> WebPushApp:
        if self.key is None:
            raise ValueError("it has no VAPID key: give key_file, or key in the environment")
        return self


class GatewaySettings(Group):
    """The live gateway: streams to browsers and phones."""

    host: str = "127.0.0.1"
    """Address to listen on; a reverse proxy stands before it."""
    port: int = Field(default=8701, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    admin_port: int | None = Field(default=None, ge=1, le=65535)
    """Port of the first process alone, where its /healthz, /readyz and /metrics can be asked for, and the operator
    page; each further process takes the next port. Left out: the shared port answers, for whichever process takes the
    request, and there is no operator page."""
    max_connections: int = Field(default=18_000, ge=1, le=1_000_000)
    """Streams that one process holds at most, fewer if it may not open so many files; above it a browser is told to
    come back later."""
    max_per_person: int = Field(default=8, ge=1, le=1_000)
    """Streams of one person at once (tabs and devices)."""
    max_per_address: int = Field(default=2_000, ge=1, le=1_000_000)
    """Streams from one network address at once; a whole school may stand behind one."""
    trusted_proxies: Addresses = ()
    """Addresses of our own reverse proxies: from these, the last X-Forwarded-For entry is the reader's address."""
    head_seconds: float = Field(default=10.0, ge=1, le=120)
    """Seconds that a client has to send its whole request."""
    max_pending_bytes: int = Field(default=65_536, ge=1_024, le=16_777_216)
    """Bytes that wait for a slow reader, beyond the kernel's own buffer; above it the stream is cut, to be resumed."""
    max_replay: int = Field(default=1_000, ge=1, le=100_000)
    """Missed notifications replayed to a stream that resumes; one that missed more is told to read its inbox again."""
    origins: Origins = ()
    """Exact origins whose pages may open a stream or post; in the environment, separated by commas."""
    ticket_seconds: float = Field(default=60.0, ge=1, le=60)
    """Life of a stream ticket; it is single-use."""
    session_hours: float = Field(default=12.0, gt=0, le=720)
    """Hours that a stream session lasts, which a ticket opens: so long a browser may connect again by itself."""
    tls: bool = False
    """Whether browsers reach us by TLS although no trusted proxy says so by X-Forwarded-Proto: session cookies are then
    Secure, and bound to our host name."""
    refresh_seconds: float = Field(default=900.0, ge=10, le=86_400)
    """Seconds within which what a held stream may hear is read again, even if nothing said that it has changed."""
    heartbeat_seconds: float = Field(default=25.0, ge=1, le=300)
    """Seconds of silence after which a stream gets a comment, so that proxies keep it open."""
    retry_seconds: float = Field(default=3.0, ge=0.1, le=300)
    """Seconds that a browser waits before it connects again, spread at random up to twice that."""
    drain_seconds: float = Field(default=10.0, ge=0, le=600)
    """Seconds that a stopping gateway takes to tell its streams to go elsewhere."""


class ApiSettings(Group):
    """The API for a host's web and mobile clients."""

    url: BaseUrl | None = None
    """Address under which clients and the links in mails reach the API, without the `/v1`; left out: `project.url`."""
    keys_file: Path | None = None
    """JSON Web Key Set (RFC 7517) with the public keys that sign the host's bearer tokens, each a P-256 key with its
    `kid`. It is read again when it changes. Left out: nobody is let in, and only unsubscribe links work."""
    issuer: str = Field(default="", max_length=200)
    """What a bearer token must name as its issuer (`iss`); needed with `keys_file`."""
    audience: str = Field(default="ent-notify", min_length=1, max_length=200)
    """What a bearer token must name as its audience (`aud`)."""
    max_token_seconds: float = Field(default=3600.0, ge=60, le=86400)
    """Longest life of a bearer token, from `iat` to `exp`."""
    leeway_seconds: float = Field(default=30.0, ge=0, le=300)
    """Seconds by which the host's clock may differ from ours."""
    writes_per_minute: int = Field(default=120, ge=1, le=100_000)
    """Writes of one person in a minute that one process takes; above it 429."""
    reads_per_minute: int = Field(default=1200, ge=1, le=100_000)
    """The same for reads; half a minute's share may come at once."""

    @model_validator(mode="after")
    def _keys_have_an_issuer(self) -> ApiSettings:
        if self.keys_file is not None and not self.issuer:
            raise ValueError("keys_file is given but no issuer; give the `iss` that your bearer tokens carry")
        return self


class BusSettings(Group):
    """How workers tell gateways that something is new. What the bus loses is found by polling, once a second."""

    kind: Literal["auto", "process", "postgres", "nats"] = "auto"
    """`postgres`: LISTEN and NOTIFY, for a handful of gateways. `nats`: a NATS cluster, for many. `process`: within one
    process that works and serves. `auto`: `nats` when servers are given, else `postgres`."""
    servers: NatsServers = ()
    """Servers of the NATS cluster, such as `nats://n1:4222`; in the environment, separated by commas."""
    prefix: str = Field(default="ent_notify", pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", max_length=100)
    """First words of every NATS subject: one for each platform that shares the cluster."""
    username: str | None = None
    """User at the NATS servers, if they ask for one."""
    password: SecretStr | None = None
    """Password at the NATS servers."""
    password_file: Path | None = None
    """File that holds the password at the NATS servers."""
    ca_file: Path | None = None
    """Certificates that the NATS servers' own are checked against; left out: those of the system. With it, or with a
    server written `tls://`, the connection is by TLS."""
    certificate_file: Path | None = None
    """Our own certificate, if the NATS servers ask for one."""
    certificate_key_file: Path | None = None
    """The private key of our own certificate."""
    ping_seconds: float = Field(default=5.0, ge=0.1, le=300)
    """Seconds between two pings of a NATS server; after two without an answer another server is taken."""

    @model_validator(mode="after")
    def _is_whole(self) -> BusSettings:
        if self.kind == "nats" and not self.servers:
            raise ValueError("the bus is nats and no server is given; give bus.servers, or leave out bus.kind")
        if self.kind in ("process", "postgres") and self.servers:
            raise ValueError(f"servers are given and the bus is {self.kind}; write nats, or leave one of the two out")
        if self.password is not None and self.username is None:
            raise ValueError("a password is given but no username; give both or neither")
        if (self.certificate_file is None) != (self.certificate_key_file is None):
            raise ValueError("certificate_file and certificate_key_file belong together; give both or neither")
        return self

    @property
    def chosen(self) -> Literal["process", "postgres", "nats"]:
        """The bus that it is: `auto` made out."""
        if self.kind == "auto":
            return "nats" if self.servers else "postgres"
        return self.kind


class SyncSettings(Group):
    """Phones and browsers that come back after they were offline."""

    horizon_days: int = Field(default=60, ge=1, le=3_650)
    """Days for which changes are kept: a device that comes back later starts again."""
    newest: int = Field(default=200, ge=1, le=10_000)
    """Newest inbox entries that a device is given when it starts, or when its person's groups have changed."""
    page: int = Field(default=100, ge=1, le=1_000)
    """Inbox entries of one page, at most."""
    writes_days: int = Field(default=30, ge=1, le=3_650)
    """Days for which a message that is sent again under the same client id is known to be the same."""


class MailGroup(Group):
    """Mail domains that one provider receives, limited together. Its table name is the group's name."""

    domains: tuple[str, ...] = Field(min_length=1)
    """Domains, such as `orange.fr` and `wanadoo.fr`; in the environment, separated by commas."""
    per_second: float = Field(gt=0)
    """Mails a second to all of them together."""
    host: str | None = Field(default=None, min_length=1)
    """Host name of a relay of their own; left out, they go by the relay of `email`."""
    port: int = Field(default=25, ge=1, le=65535)
    """Port of that relay. It is given no user and no password."""
    tls: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection to that relay is protected."""
    connections: int = Field(default=3, ge=1, le=100)
    """Connections to that relay at most (Orange and Wanadoo allow 3)."""


class PauseSettings(Group):
    """The hours in which updates are held (circular of 10 July 2025). Urgent ones are not."""

    enabled: bool = True
    """Whether there is a pause at all."""
    start: time = time(20, 0)
    """Local time at which it begins."""
    end: time = time(7, 0)
    """Local time at which it ends, and what was held goes out."""
    weekend: bool = True
    """Whether it lasts from Friday evening to Monday morning."""


class RateSettings(Group):
    """Sends a second that all workers together never exceed."""

    email_per_second: float | None = Field(default=200.0, gt=0)
    """Mails a second to the relay; whoever runs it knows what it takes. `none` in the environment: no limit."""
    apns_per_second: float | None = Field(default=5_000.0, gt=0)
    """Pushes a second to APNs for one app. Apple publishes no figure and answers 429 to what is too much."""
    fcm_per_second: float | None = Field(default=9_000.0, gt=0)
    """Pushes a second to FCM for one app. Google's quota is 600,000 a minute for a project."""
    webpush_per_second: float | None = Field(default=2_000.0, gt=0)
    """Pushes a second to browsers for one site, over all push services. None of them publishes a figure."""
    notifications_per_day: int = Field(default=40, ge=1, le=100_000)
    """Notifications of one person in a day after which no more are pushed; they stay in the inbox. Urgent ones are
    pushed all the same."""
    sender_per_hour: float | None = Field(default=None, gt=0)
    """Events that one sender may publish in an hour; left out: as many as they like."""
    sender_burst: int = Field(default=100, ge=1, le=1_000_000)
    """Events that one sender may publish at once, before the hourly limit is felt."""


class DirectorySettings(Group):
    """Imports of people."""

    source: str = Field(default="aaf", pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    """Name of the source that an import owns: it touches the people of no other source."""
    removal_share: float = Field(default=0.05, ge=0, le=1)
    """Share of the people that one run may remove without being asked for it."""


class Settings(BaseSettings):
    """All settings. Building one reads nothing: see ``load_settings`` and ``settings_from``."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True, use_attribute_docstrings=True
    )

    project: ProjectSettings = ProjectSettings()
    store: StoreSettings = StoreSettings()
    worker: WorkerSettings = WorkerSettings()
    email: EmailSettings = EmailSettings()
    apns: Table[ApnsApp] = Field(default_factory=dict)
    fcm: Table[FcmApp] = Field(default_factory=dict)
    webpush: Table[WebPushApp] = Field(default_factory=dict)
    mail_groups: Table[MailGroup] = Field(default_factory=dict)
    gateway: GatewaySettings = GatewaySettings()
    bus: BusSettings = BusSettings()
    api: ApiSettings = ApiSettings()
    sync: SyncSettings = SyncSettings()
    conversations: ConversationSettings = ConversationSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    homework: HomeworkSettings = HomeworkSettings()
    timetable: TimetableSettings = TimetableSettings()
    safety: SafetySettings = SafetySettings()
    rates: RateSettings = RateSettings()
    pause: PauseSettings = PauseSettings()
    directory: DirectorySettings = DirectorySettings()
    privacy: PrivacySettings = PrivacySettings()
    retention: RetentionSettings = RetentionSettings()
    school_retention: Table[SchoolRetention] = Field(default_factory=dict)
    rights: RightsSettings = RightsSettings()
    operator: OperatorSettings = OperatorSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    tracing: TracingSettings = TracingSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given: a host that builds its settings in code gets no surprise from the environment."""
        return (init_settings,)
