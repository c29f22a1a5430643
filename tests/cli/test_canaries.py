"""Through a real worker and a real gateway, a campaign full of errors: what it counts adds up, and what was planted
in people, texts, addresses, tokens and servers' answers is found in no log, no metric and no push."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import trio

from ent_notify.engine import Engine, open_engine
from ent_notify.model.people import (
    DeviceRegistration,
    GroupKind,
    GroupRecord,
    GuardianLink,
    PersonRecord,
    Profile,
    Provider,
    SchoolRecord,
    SourceItem,
)
from ent_notify.settings import settings_from
from ent_notify.testing.process import FakeProcess, open_fake_process
from ent_notify.testing.smtp import Drop, FakeSmtp, Phase, Say, open_fake_smtp

from .services import Service, get, wait_metric

SCHOOL, CLASS, APP = "0541234A", "0541234A/class/6A", "familles"
FAMILIES = 30
CANARY = "canari"
DIRECTORY: list[SourceItem] = [
    SchoolRecord(uai=SCHOOL, name="Collège"),
    GroupRecord(id=CLASS, school=SCHOOL, kind=GroupKind.CLASS, name="6A"),
    *(
        record
        for number in range(FAMILIES)
        for record in (
            PersonRecord(
                id=f"canari-g{number}",
                profile=Profile.GUARDIAN,
                given_name=f"Canarine{number}",
                family_name="Canari-Exemple",
                email=f"canari.{number}@canari{number % 3}.example",
            ),
            PersonRecord(
                id=f"canari-p{number}",
                profile=Profile.PUPIL,
                given_name=f"Canarino{number}",
                family_name="Canari-Exemple",
                schools=frozenset({SCHOOL}),
                groups=frozenset({CLASS}),
                guardians=(GuardianLink(guardian=f"canari-g{number}", legal_level=1),),
            ),
        )
    ),
]
EVENTS = [
    {
        "type": "HomeworkAssigned",
        "key": "canari-devoirs",
        "urgency": "urgent",
        "data": {"group": CLASS, "subject": "Canari", "title": "Canari en cage", "due": "2030-09-18"},
    },
    {
        "type": "AbsenceRecorded",
        "key": "canari-absence",
        "data": {"pupil": "canari-p1", "starts_at": "2030-09-18T08:00:00+02:00"},
    },
]


def settings(folder: Path, dsn: str, smtp: FakeSmtp, apns: FakeProcess, fcm: FakeProcess) -> Path:
    """A configuration file that leads to the three servers."""
    (folder / "apns.p8").write_text(apns.key)
    (folder / "apns.pem").write_text(apns.ca)
    (folder / "fcm.json").write_text(json.dumps(fcm.service_account))
    (folder / "fcm.pem").write_text(fcm.ca)
    file = folder / "ent-notify.toml"
    file.write_text(
        f"""
[store]
dsn = {json.dumps(dsn)}
[pause]
enabled = false
[metrics]
port = 0
[log]
level = "debug"
[worker]
retry_base_seconds = 0.1
retry_cap_seconds = 0.2
max_attempts = 4
[email]
host = "{smtp.host}"
port = {smtp.port}
tls = "none"
[apns.{APP}]
topic = "{apns.topic}"
team_id = "{apns.team_id}"
key_id = "{apns.key_id}"
key_file = "apns.p8"
server = "{apns.host}:{apns.port}"
ca_file = "apns.pem"
[fcm.{APP}]
service_account_file = "fcm.json"
server = "{fcm.base_url}"
ca_file = "fcm.pem"
"""
    )
    return file


async def wait_settled(engine: Engine, campaigns: int) -> None:
    while True:
        ledgers = [ledger for ledger, _ in await engine.ledgers()]
        if len(ledgers) == campaigns and all(each.planned and not each.pending + each.held for each in ledgers):
            return
        await engine.clock.sleep(0.1)


def sends(metrics: str, channel: str, verdict: str) -> float:
    """The worker's sends of a channel that ended in a verdict, over all providers and reasons."""
    return sum(
        float(line.rpartition(" ")[2])
        for line in metrics.splitlines()
        if line.startswith("ent_notify_sends_total{")
        and f'channel="{channel}"' in line
        and f'verdict="{verdict}"' in line
    )


async def test_a_campaign_with_errors_moves_the_metrics_and_spills_nothing(
    dsn: str, workplace: Path, start: Callable[..., Service]
) -> None:
    async with (
        open_fake_smtp() as smtp,
        open_fake_process("ent_notify.testing.apns", "--share", "Unregistered=0.05", "--share", "reset=0.2") as apns,
        open_fake_process("ent_notify.testing.fcm", "--share", "UNAVAILABLE=0.2") as fcm,
        open_engine(settings_from({"store": {"dsn": dsn}})) as engine,
    ):
        smtp.always(Say("550 5.1.1 <canari.1@canari1.example>: no Canarine here"), recipient="canari.1@*")
        smtp.always(Say("450 4.2.1 canari.2@canari2.example is busy"), recipient="canari.2@*")
        smtp.next(Drop(), Say("554 5.6.0 Canari en cage is spam"), phase=Phase.FINAL)
        settings(workplace, dsn, smtp, apns, fcm)
        await engine.sync(DIRECTORY)
        await engine.register_devices(
            DeviceRegistration(
                person=f"canari-{who}{number}",
                provider=provider,
                app=APP,
                token=f"{number:02}ca0a{code}" * 8 if provider is Provider.APNS else f"canari{code}{number:02}" * 12,
            )
            for number in range(FAMILIES)
            for who, code in (("g", "01"), ("p", "02"))
            for provider in (Provider.APNS, Provider.FCM)
        )
        worker = start("worker", "--name", "w1")
        port = (await trio.to_thread.run_sync(worker.wait_event, "metrics_served"))["port"]
        gateway = start("gateway", "--port", "0")
        doors = (await trio.to_thread.run_sync(gateway.wait_event, "gateway_started"))["port"]
        await engine.publish_many(EVENTS)
        with trio.fail_after(120):
            await wait_settled(engine, len(EVENTS))
        for provider in ("fcm", "apns"):
            await trio.to_thread.run_sync(
                wait_metric, port, f'ent_notify_waiting_chunks{{channel="push",provider="{provider}"}} 0.0'
            )
        worker_says = (await trio.to_thread.run_sync(get, port, "/metrics")).decode()
        gateway_says = (await trio.to_thread.run_sync(get, doors, "/metrics")).decode()
        accepted = sum([(await fake.summary())["accepted"] for fake in (apns, fcm)])
        for service in (worker, gateway):
            service.process.send_signal(signal.SIGTERM)
            assert await trio.to_thread.run_sync(service.wait_end) == 0

        assert sends(worker_says, "email", "accepted") == smtp.accepted > FAMILIES / 2
        assert sends(worker_says, "email", "drop_target") == 2
        assert sends(worker_says, "email", "bad_message") == 1
        assert sends(worker_says, "email", "unknown") == 1
        assert sends(worker_says, "email", "retry_at") > 0
        assert sends(worker_says, "push", "accepted") == accepted > FAMILIES
        assert sends(worker_says, "push", "unknown") > 0
        assert sends(worker_says, "push", "retry_at") > 0
        for line in (
            "ent_notify_relayed_total 2.0",
            "ent_notify_planned_campaigns_total 2.0",
            "ent_notify_log_fields_dropped_total 0.0",
            "ent_notify_log_events_unnamed_total 0.0",
        ):
            assert line in worker_says.splitlines()
        assert 'ent_notify_settled_chunks_total{channel="email",provider=""} ' in worker_says
        assert "ent_notify_gateway_feed_seq 2.0" in gateway_says.splitlines()

        spoken = json.dumps([worker.lines, gateway.lines], ensure_ascii=False) + worker_says + gateway_says
        assert "worker_stopped" in spoken
        assert CANARY not in spoken.lower()
        assert "ca0a01" not in spoken, "a token"
        assert CANARY.encode() in b"".join(mail.content for mail in smtp.messages).lower(), "the canaries were alive"
