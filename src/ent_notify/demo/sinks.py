"""The demo's mail server and push providers: each in a process of its own, speaking the real protocol on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from ent_notify.channels.apns import ApnsChannel
from ent_notify.channels.email import EmailChannel
from ent_notify.channels.fcm import FcmChannel
from ent_notify.channels.mime import Sender
from ent_notify.channels.push_options import ApnsOptions, FcmOptions, WebPushOptions
from ent_notify.channels.smtp import Relay, TlsMode
from ent_notify.channels.webpush import WebPushChannel
from ent_notify.engine import Engine
from ent_notify.testing.devices import APP
from ent_notify.testing.process import FakeProcess, open_fake_process

GONE = 0.01
"""Share of phones that have lost the app, and of browsers: the providers answer "gone" for them."""
_KEEP = "100"


@dataclass(frozen=True, slots=True)
class Sinks:
    """The running servers."""

    smtp: FakeProcess
    apns: FakeProcess
    fcm: FakeProcess
    webpush: FakeProcess

    async def accepted(self) -> dict[str, int]:
        """What each server has accepted, ``{"email", "apns", "fcm", "webpush"}``: each delivery once, however often it
        came."""
        mail = await self.smtp.summary()
        apple, google = await self.apns.summary(), await self.fcm.summary()
        browsers = await self.webpush.summary()
        return {
            "email": mail["received"],
            "apns": apple.get("accepted", 0),
            "fcm": google.get("accepted", 0),
            "webpush": browsers.get("accepted", 0),
        }


@asynccontextmanager
async def open_sinks(engine: Engine) -> AsyncIterator[Sinks]:
    """Start the servers and send the engine's lanes to them."""
    gone = f"{GONE}"
    async with (
        open_fake_process("ent_notify.testing.smtp", "--keep", _KEEP) as smtp,
        open_fake_process("ent_notify.testing.apns", "--keep", _KEEP, "--share", f"Unregistered={gone}") as apns,
        open_fake_process("ent_notify.testing.fcm", "--keep", _KEEP, "--share", f"UNREGISTERED={gone}") as fcm,
        open_fake_process("ent_notify.testing.webpush", "--keep", _KEEP, "--share", f"410={gone}") as webpush,
    ):
        project = engine.settings.project
        relay = Relay(host=smtp.host, port=smtp.port, tls=TlsMode.NONE)
        mail = EmailChannel(relay, Sender(project.name, engine.settings.email.sender, project.domain), engine.clock)
        apple = ApnsChannel(
            engine.island,
            ApnsOptions(
                topic=apns.topic,
                team_id=apns.team_id,
                key_id=apns.key_id,
                key=apns.key,
                host=apns.host,
                port=apns.port,
                ca=apns.ca,
            ),
            late=engine.receipts.late_hook(f"push:apns:{APP}"),
        )
        google = FcmChannel(
            engine.island,
            FcmOptions(service_account=fcm.service_account, base_url=fcm.base_url, ca=fcm.ca),
            late=engine.receipts.late_hook(f"push:fcm:{APP}"),
        )
        site = engine.settings.webpush[APP]
        browsers = WebPushChannel(
            engine.island,
            WebPushOptions(subject=site.subject, key=webpush.key, loopback=site.loopback, ca=webpush.ca),
            late=engine.receipts.late_hook(f"push:webpush:{APP}"),
        )
        rates = engine.settings.rates
        engine.use_mail(mail)
        await engine.set_rate("email", rates.email_per_second)
        await engine.use_push("apns", APP, apple, rates.apns_per_second)
        await engine.use_push("fcm", APP, google, rates.fcm_per_second)
        await engine.use_push("webpush", APP, browsers, rates.webpush_per_second)
        try:
            yield Sinks(smtp, apns, fcm, webpush)
        finally:
            with trio.CancelScope(shield=True):
                for channel in (mail, apple, google, browsers):
                    await channel.aclose()
