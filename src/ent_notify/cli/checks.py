"""What ``doctor`` looks at. A check never raises: what goes wrong in it is its finding, without any secret in it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import smtplib
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import trio
from pydantic import SecretStr

from ent_notify._island import open_island
from ent_notify.engine.erasure_ledger import ErasureLedger
from ent_notify.errors import EntNotifyError, SettingsError, StoreError, StoreRestored
from ent_notify.ports import Clock
from ent_notify.settings import ApiSettings, ApnsApp, BusSettings, EmailSettings, FcmApp, Settings, WebPushApp
from ent_notify.store import Database, open_database
from ent_notify.store import check as check_schema
from ent_notify.store.erasures import PostgresErasures
from ent_notify.store.rights import PostgresRights

_GIB = 1 << 30


class Grade(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and what to do about it (nothing to do: empty)."""

    check: str
    grade: Grade
    says: str
    remedy: str = ""


def ok(check: str, says: str) -> Finding:
    return Finding(check, Grade.OK, says)


def warn(check: str, says: str, remedy: str) -> Finding:
    return Finding(check, Grade.WARN, says, remedy)


def fail(check: str, says: str, remedy: str) -> Finding:
    return Finding(check, Grade.FAIL, says, remedy)


async def examine(settings: Settings, clock: Clock) -> list[Finding]:
    """Every check, in the order in which an operator would mend things."""
    findings = [*check_project(settings), *check_secret_files(settings)]
    findings += await check_store(settings, clock)
    findings.append(await check_relay(settings.email))
    findings += [check_apns(name, app, clock) for name, app in settings.apns.items()]
    findings += [check_fcm(name, app) for name, app in settings.fcm.items()]
    findings += [check_webpush(name, site) for name, site in settings.webpush.items()]
    if not settings.apns and not settings.fcm and not settings.webpush:
        remedy = "give [apns.NAME], [fcm.NAME] or [webpush.NAME]"
        findings.append(warn("push", "no app is configured: no push is sent", remedy))
    findings.append(check_api(settings.api))
    findings += await check_bus(settings.bus)
    findings.append(check_descriptors(settings))
    findings.append(check_disk(settings))
    return findings


# ------------------------------------------------------------------ settings


def check_project(settings: Settings) -> Iterator[Finding]:
    """Settings that load but are still those of nobody."""
    unset = [
        name
        for name, value in (
            ("project.domain", settings.project.domain),
            ("project.url", settings.project.url),
            ("email.sender", settings.email.sender),
        )
        if value.endswith("ent.example")
    ]
    if unset:
        yield warn("settings", f"{', '.join(unset)} still the example's", "give your own: they are seen in every mail")
    else:
        yield ok("settings", f"{settings.project.name}, {settings.project.domain}")
    if settings.email.host is not None and settings.email.unsubscribe_key is None:
        yield warn(
            "unsubscribe",
            "email.unsubscribe_key is not given: unsubscribe links end with their process, and no bounce is believed",
            "give email.unsubscribe_key_file (make one with `openssl rand -hex 32`)",
        )


def check_api(settings: ApiSettings) -> Finding:
    """Whether the API's keys can be used."""
    if settings.keys_file is None:
        return warn("api", "no key is given: the API lets nobody in", "give api.keys_file and api.issuer")
    try:
        from ent_notify.asgi.auth import read_keys

        keys = read_keys(settings.keys_file)
    except ImportError as error:
        return fail("api", f"{error.name} is not installed", "install ent-notify[api]")
    except SettingsError as error:
        return fail("api", str(error), "make a key set with `ent-notify api keys FOLDER`")
    return ok("api", f"{len(keys)} keys, tokens of {settings.issuer}")


def check_secret_files(settings: Settings) -> Iterator[Finding]:
    """Files of secrets that others than their owner may read."""
    files = [settings.store.password_file, settings.email.password_file, settings.email.unsubscribe_key_file]
    files += [
        settings.privacy.pseudonym_key_file,
        settings.bus.password_file,
        settings.bus.certificate_key_file,
        settings.rights.seal_key_file,
    ]
    files += [apns.key_file for apns in settings.apns.values()]
    files += [fcm.service_account_file for fcm in settings.fcm.values()]
    files += [site.key_file for site in settings.webpush.values()]
    given = [file for file in files if file is not None]
    for file in given:
        try:
            mode = file.stat().st_mode
        except OSError as error:
            yield fail("secrets", f"{file}: {error.strerror}", "correct the path or the rights")
            continue
        if mode & 0o007:
            yield warn("secrets", f"{file} can be read by everybody", f"chmod 640 {file}")
    if given and not any(file.stat().st_mode & 0o007 for file in given if file.exists()):
        yield ok("secrets", f"{len(given)} files, closed to others")


# ------------------------------------------------------------------ database


async def check_store(settings: Settings, clock: Clock) -> list[Finding]:
    """Whether the database answers, is new enough, has this release's schema, and tells the same time."""
    where = settings.store.shown
    try:
        async with open_island() as island, open_database(settings.store.url, island, check_schema=False) as database:
            return [finding async for finding in _check_database(database, where, settings, clock)]
    except StoreError as error:
        return [fail("database", str(error), "see that it runs, and check store.dsn and its password")]
    except EntNotifyError as error:
        return [fail("database", str(error), "correct store.dsn")]


async def _check_database(database: Database, where: str, settings: Settings, clock: Clock) -> AsyncIterator[Finding]:
    before = clock.now()
    (row,) = await database.fetch("health.server")
    after = clock.now()
    yield ok("database", f"PostgreSQL {row['version']} at {where}")
    try:
        await check_schema(database)
        yield ok("schema", f"version {await database.fetchval('health.schema_version')}")
    except StoreError as error:
        yield fail("schema", str(error), "ent-notify migrate")
    else:
        yield await _check_restore(database, settings, clock)
        yield await _check_overdue(database, settings, clock)
    yield _check_clock(before, after, row["now"])
    room = row["max_connections"] - row["connections"]
    if room < settings.store.pool_size:
        yield warn(
            "connections",
            f"the server has room for {room} more connections, and one process may ask for {settings.store.pool_size}",
            "raise max_connections of the server, or lower store.pool_size",
        )


async def _check_restore(database: Database, settings: Settings, clock: Clock) -> Finding:
    """Whether this database is a restored backup, and whether a restore in place would be noticed."""
    try:
        await ErasureLedger(PostgresErasures(database), settings.retention, clock).guard()
    except StoreRestored as error:
        return fail("restore", str(error), "ent-notify retention ledger replay FILE")
    except EntNotifyError as error:
        return fail("restore", str(error), "correct retention.ledger_file")
    if settings.retention.ledger_file is None:
        says = "retention.ledger_file is not given: a backup that is restored in place would not be noticed"
        return warn("restore", says, "give a file outside the database's backups, on a disk that workers share")
    return ok("restore", f"no backup; erasures are kept apart in {settings.retention.ledger_file}")


async def _check_overdue(database: Database, settings: Settings, clock: Clock) -> Finding:
    """What the law's deadlines should have seen done by now."""
    now = clock.now()
    alarm = settings.retention.leavers_alarm_days
    late = await PostgresRights(database).overdue(now - timedelta(days=alarm), now)
    told = [
        (late.requests, "requests are past their deadline", "ent-notify requests"),
        (late.leavers, f"people left over {alarm} days ago and are not purged", "ent-notify retention run"),
        (late.holds, "holds wait for their review", "ent-notify hold list"),
    ]
    if not any(count for count, _, _ in told):
        return ok("deadlines", "no request, leaver or hold is overdue")
    says = "; ".join(f"{count} {what}" for count, what, _ in told if count)
    return fail("deadlines", says, "see " + ", ".join(remedy for count, _, remedy in told if count))


def _check_clock(before: datetime, after: datetime, theirs: datetime) -> Finding:
    """The distance beyond what the answer's way explains."""
    off = max((before - theirs).total_seconds(), (theirs - after).total_seconds(), 0.0)
    if off <= 1:
        return ok("clock", "as the database's")
    says = f"this machine's clock and the database's differ by {off:.1f} s"
    remedy = "let both machines keep their time with NTP (timedatectl set-ntp true)"
    return warn("clock", says, remedy) if off <= 10 else fail("clock", says + "; leases and pauses would break", remedy)


# ------------------------------------------------------------------ providers


async def check_relay(email: EmailSettings) -> Finding:
    """Whether the relay answers EHLO, offers the protection asked for, and takes the login."""
    if email.host is None:
        return warn("mail", "no relay is configured: no mail is sent", "give email.host")
    where = f"{email.host}:{email.port}"
    try:
        return await trio.to_thread.run_sync(_greet_relay, email, email.host, where)
    except smtplib.SMTPAuthenticationError:
        return fail("mail", f"{where} refuses the login", "check email.username and its password")
    except smtplib.SMTPNotSupportedError:
        return fail("mail", f"{where} does not offer {email.tls} or a login", "check email.tls and email.username")
    except ssl.SSLCertVerificationError as error:
        return fail("mail", f"{where}: its certificate is not trusted ({error.verify_message})", "check email.ca_file")
    except smtplib.SMTPResponseException as error:
        return fail("mail", f"{where} answered {error.smtp_code} to the greeting", "ask whoever runs the relay")
    except (smtplib.SMTPException, OSError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        return fail(
            "mail", f"{where} does not answer as a mail server ({why})", "check email.host, email.port, email.tls"
        )


def _greet_relay(email: EmailSettings, host: str, where: str) -> Finding:
    context = ssl.create_default_context(cafile=str(email.ca_file) if email.ca_file else None)
    timeout = min(email.timeout_seconds, 10.0)
    relay: smtplib.SMTP
    if email.tls == "tls":
        relay = smtplib.SMTP_SSL(host, email.port, timeout=timeout, context=context)
    else:
        relay = smtplib.SMTP(host, email.port, timeout=timeout)
    with relay:
        code, _ = relay.ehlo()
        if code != 250:
            return fail("mail", f"{where} answered {code} to EHLO", "ask whoever runs the relay")
        if email.tls == "starttls":
            relay.starttls(context=context)
            relay.ehlo()
        if email.username is not None and email.password is not None:
            relay.login(email.username, email.password.get_secret_value())
        offers = [name for name in ("pipelining", "8bitmime", "smtputf8") if relay.has_extn(name)]
    protected = "unprotected" if email.tls == "none" else email.tls
    says = f"{where} answers ({', '.join([protected, *offers])})"
    if email.tls == "none" and not _is_here(host):
        return warn("mail", says + ": addresses and texts travel in the clear", "set email.tls to starttls or tls")
    return ok("mail", says)


def _is_here(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def check_apns(name: str, app: ApnsApp, clock: Clock) -> Finding:
    """Whether a provider token can be signed with the app's key."""
    check = f"apns.{name}"
    try:
        from ent_notify.channels.apns_token import ProviderToken
    except ImportError:
        return fail(check, "the push clients are not installed", "pip install 'ent-notify[push]'")
    try:
        ProviderToken(_text(app.key), app.key_id, app.team_id, clock)
    except SettingsError as error:
        return fail(check, str(error), "give the .p8 file that Apple gave, unchanged, in key_file")
    where = app.server or ("the sandbox" if app.sandbox else "production")
    return ok(check, f"{app.topic}, key {app.key_id}, for {where}; a token can be signed")


def check_fcm(name: str, app: FcmApp) -> Finding:
    """Whether the service account is whole and its key can be used."""
    check, remedy = f"fcm.{name}", "give the JSON file that Firebase gave, unchanged, in service_account_file"
    try:
        from ent_notify.channels.fcm_credentials import read_service_account
    except ImportError:
        return fail(check, "the push clients are not installed", "pip install 'ent-notify[push]'")
    try:
        account = json.loads(_text(app.service_account))
        read_service_account(account)
        project = account["project_id"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return fail(check, "the service account is not the JSON that Firebase gives", remedy)
    except SettingsError as error:
        return fail(check, str(error), remedy)
    return ok(check, f"project {project}; its key can be used")


def check_webpush(name: str, site: WebPushApp) -> Finding:
    """Whether the VAPID key can be used, and whether subscriptions are kept to push services."""
    check = f"webpush.{name}"
    try:
        from ent_notify.channels.webpush_keys import VapidKey
    except ImportError:
        return fail(check, "the push clients are not installed", "pip install 'ent-notify[push]'")
    try:
        key = VapidKey(_text(site.key), site.subject)
    except SettingsError as error:
        return fail(check, str(error), "give the key unchanged in key_file; pages must subscribe with the same one")
    says = f"{site.subject}; its key can sign; pages subscribe with {key.public}"
    if site.loopback:
        return warn(check, f"{says}; endpoints on this machine are taken", "set loopback to false, but for tests")
    if not site.hosts:
        return warn(check, f"{says}; any public host is taken for a push service", "leave hosts out, or list them")
    return ok(check, says)


def _text(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret is not None else ""


# ------------------------------------------------------------------ the bus


async def check_bus(bus: BusSettings) -> list[Finding]:
    """Whether each server of the bus lets us in and carries a hint."""
    if bus.chosen != "nats":
        by = {"postgres": "by PostgreSQL (LISTEN and NOTIFY)", "process": "within one process: others poll"}
        return [ok("bus", by[bus.chosen])]
    from ent_notify.engine.hints import nats_options

    try:
        from ent_notify.bus.nats_probe import probe

        options = nats_options(bus)
    except ImportError:
        return [fail("bus", "nats-py is not installed", "pip install 'ent-notify[nats]'")]
    except SettingsError as error:
        return [fail("bus", str(error), "give certificates in PEM that this user may read")]
    findings = []
    async with open_island() as island:
        for server in bus.servers:
            try:
                version, known = await island.run(probe, options, server)
            except Exception as error:  # noqa: BLE001 - whatever the client raises is what was found; its text may hold secrets
                why = "the login is refused" if "Authorization" in str(error) else type(error).__name__
                findings.append(
                    fail(
                        "bus", f"{server} does not carry a hint ({why})", "check bus.servers, its login and its network"
                    )
                )
            else:
                findings.append(ok("bus", f"{server}: nats-server {version}, {known} servers in the cluster"))
    if len(bus.servers) == 1:
        findings.append(warn("bus", "one server is given: if it is away at a start, all poll", "give several"))
    return findings


# ------------------------------------------------------------------ this machine


def check_descriptors(settings: Settings) -> Finding:
    """Whether a gateway process may hold as many streams as it is set to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.gateway.max_connections + settings.store.pool_size + 200
    if soft >= needed or soft == resource.RLIM_INFINITY:
        return ok("descriptors", f"{soft} file descriptors, {needed} needed by a gateway")
    able = f"raise the limit (ulimit -n {needed}, or LimitNOFILE= of the service)"
    lower = f"lower gateway.max_connections to {max(1, soft - settings.store.pool_size - 200)}"
    return warn(
        "descriptors",
        f"{soft} file descriptors, and a gateway of {settings.gateway.max_connections} streams needs {needed}",
        f"{able}, or {lower}" if hard == resource.RLIM_INFINITY or hard >= needed else lower,
    )


def check_disk(settings: Settings) -> Finding:
    """Free disk where the embedded database lives, or here."""
    folder = _disk_folder(settings)
    free = shutil.disk_usage(folder).free
    says = f"{free / _GIB:.1f} GiB free at {folder}"
    if free >= 5 * _GIB:
        return ok("disk", says)
    remedy = "make room: a full disk stops every publish"
    return warn("disk", says, remedy) if free >= _GIB else fail("disk", says, remedy)


def _disk_folder(settings: Settings) -> Path:
    from ent_notify.store.embedded import is_embedded, parse_address

    folder = parse_address(settings.store.url).folder if is_embedded(settings.store.url) else Path.cwd()
    while not folder.exists() or not os.access(folder, os.X_OK):
        folder = folder.parent
    return folder
