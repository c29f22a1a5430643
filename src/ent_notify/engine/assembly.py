"""From settings to channels: the only place that knows which settings make which channel.

The push clients come with the extra ``push``; they are imported only when the settings name an app.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import orjson

from ent_notify.channels.email import EmailChannel
from ent_notify.channels.mime import Sender
from ent_notify.channels.push_options import (
    APNS_PRODUCTION,
    APNS_SANDBOX,
    FCM_PRODUCTION,
    ApnsOptions,
    FcmOptions,
    WebPushOptions,
)
from ent_notify.channels.smtp import Login, Relay, Timeouts, TlsMode
from ent_notify.engine.facade import Engine
from ent_notify.errors import SettingsError
from ent_notify.settings import ApnsApp, EmailSettings, FcmApp, MailGroup, ProjectSettings, WebPushApp


@asynccontextmanager
async def connect_channels(engine: Engine) -> AsyncIterator[None]:
    """Give the engine every channel that its settings describe, and set the lanes' rates; close them at the end.

    No connection is made before the first send. Raises SettingsError for a key or an account that cannot be used.
    """
    settings = engine.settings
    await engine.apply_limits()
    async with AsyncExitStack() as stack:
        if settings.email.host is not None:
            mail = EmailChannel(
                _relay(settings.email),
                _sender(settings.email, settings.project),
                engine.clock,
                _routes(settings.email, settings.mail_groups),
            )
            stack.push_async_callback(mail.aclose)
            engine.use_mail(mail)
            await engine.set_rate("email", settings.rates.email_per_second)
        for name, app in settings.apns.items():
            from ent_notify.channels.apns import ApnsChannel

            apns = ApnsChannel(
                engine.island,
                _apns(app),
                clock=engine.clock,
                late=engine.receipts.late_hook(f"push:apns:{name}"),
            )
            stack.push_async_callback(apns.aclose)
            await engine.use_push("apns", name, apns, settings.rates.apns_per_second)
        for name, fcm_app in settings.fcm.items():
            from ent_notify.channels.fcm import FcmChannel

            fcm = FcmChannel(
                engine.island,
                _fcm(name, fcm_app),
                clock=engine.clock,
                late=engine.receipts.late_hook(f"push:fcm:{name}"),
            )
            stack.push_async_callback(fcm.aclose)
            await engine.use_push("fcm", name, fcm, settings.rates.fcm_per_second)
        for name, site in settings.webpush.items():
            from ent_notify.channels.webpush import WebPushChannel

            webpush = WebPushChannel(
                engine.island,
                _webpush(site),
                clock=engine.clock,
                late=engine.receipts.late_hook(f"push:webpush:{name}"),
            )
            stack.push_async_callback(webpush.aclose)
            await engine.use_push("webpush", name, webpush, settings.rates.webpush_per_second)
        yield


def _relay(email: EmailSettings) -> Relay:
    login = None
    if email.username is not None and email.password is not None:
        login = Login(email.username, email.password.get_secret_value())
    return Relay(
        host=email.host or "",
        port=email.port,
        tls=TlsMode(email.tls),
        login=login,
        context=None if email.ca_file is None else ssl.create_default_context(cafile=str(email.ca_file)),
        connections=email.connections,
        messages_per_connection=email.messages_per_connection,
        local_name=email.local_name,
        timeouts=Timeouts.at_most(email.timeout_seconds),
    )


def _routes(email: EmailSettings, groups: Mapping[str, MailGroup]) -> dict[str, Relay]:
    """The relay of each domain that has one of its own."""
    common = _relay(email)
    return {
        domain.lower(): replace(
            common,
            host=group.host,
            port=group.port,
            tls=TlsMode(group.tls),
            login=None,
            connections=group.connections,
        )
        for group in groups.values()
        if group.host is not None
        for domain in group.domains
    }


def _sender(email: EmailSettings, project: ProjectSettings) -> Sender:
    return Sender(
        name=email.sender_name or project.name,
        address=email.sender,
        domain=project.domain,
        return_path=email.return_path or "",
        reply_to=email.reply_to or "",
    )


def _apns(app: ApnsApp) -> ApnsOptions:
    host, port = (APNS_SANDBOX if app.sandbox else APNS_PRODUCTION), 443
    if app.server is not None:
        host, _, text = app.server.rpartition(":")
        port = int(text)
    return ApnsOptions(
        topic=app.topic,
        team_id=app.team_id,
        key_id=app.key_id,
        key="" if app.key is None else app.key.get_secret_value(),
        host=host,
        port=port,
        connections=app.connections,
        ca=None if app.ca_file is None else app.ca_file.read_text(encoding="ascii"),
    )


def _webpush(site: WebPushApp) -> WebPushOptions:
    return WebPushOptions(
        subject=site.subject,
        key="" if site.key is None else site.key.get_secret_value(),
        hosts=site.hosts,
        connections=site.connections,
        loopback=site.loopback,
        ca=None if site.ca_file is None else site.ca_file.read_text(encoding="ascii"),
    )


def _fcm(name: str, app: FcmApp) -> FcmOptions:
    text = "" if app.service_account is None else app.service_account.get_secret_value()
    try:
        account = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise SettingsError(
            f"fcm.{name}.service_account is not the JSON that Firebase gives; download it again"
        ) from None
    return FcmOptions(
        service_account=account,
        base_url=app.server or FCM_PRODUCTION,
        ca=None if app.ca_file is None else app.ca_file.read_text(encoding="ascii"),
    )
