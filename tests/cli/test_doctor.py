"""``doctor``: each check finds what is wrong, says what to do, and shows no secret."""

from __future__ import annotations

import json
import re
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ent_notify.cli.checks import Finding, Grade, check_apns, check_fcm, check_relay, check_webpush, examine
from ent_notify.clock import SystemClock
from ent_notify.settings import ApnsApp, EmailSettings, FcmApp, Settings, settings_from
from ent_notify.testing.smtp import open_fake_smtp
from ent_notify.testing.smtp_session import Features, Phase, Say
from ent_notify.testing.webpush import DEMO_KEY

from .conftest import Command

CANARY = "canari-7f3a9c1e5b2d4860a1b2c3d4e5f60718"


class WrongClock(SystemClock):
    """The machine's clock, ``off`` seconds ahead."""

    def __init__(self, off: int) -> None:
        self._off = timedelta(seconds=off)

    def now(self) -> datetime:
        return super().now() + self._off


def pem(key: Any) -> str:
    text: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return text.decode()


def apns(key: str) -> ApnsApp:
    values = {"topic": "fr.ent", "team_id": "ABCDE12345", "key_id": "12345ABCDE", "key": key}
    return settings_from({"apns": {"familles": values}}).apns["familles"]


def fcm(account: str) -> FcmApp:
    return settings_from({"fcm": {"familles": {"service_account": account}}}).fcm["familles"]


def email(**values: Any) -> EmailSettings:
    return settings_from({"email": {"tls": "none", **values}}).email


# ------------------------------------------------------------------ the command


def test_a_sound_database_passes(store: str, command: Command) -> None:
    ended = command("doctor")
    assert ended.code == 0, ended.out
    assert "ok    database" in ended.out and "ok    schema" in ended.out and "ok    clock" in ended.out
    assert "warn  mail" in ended.out and "-> give email.host" in ended.out


def test_findings_for_a_program(store: str, command: Command) -> None:
    findings = json.loads(command("doctor", "--json").out)
    assert {finding["check"] for finding in findings} >= {"database", "schema", "clock", "mail", "descriptors", "disk"}
    assert all(finding["remedy"] for finding in findings if finding["grade"] != "ok")


def test_a_schema_that_is_not_there_fails_with_its_remedy(
    empty_dsn: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENT_NOTIFY_STORE__DSN", empty_dsn)
    ended = command("doctor")
    assert ended.code == 1 and "fail  schema" in ended.out and "-> ent-notify migrate" in ended.out


def test_a_database_that_is_not_there_fails_and_the_rest_is_checked(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENT_NOTIFY_STORE__DSN", f"postgresql://ent:{CANARY}@127.0.0.1:1/ent")
    ended = command("doctor")
    assert ended.code == 1 and "fail  database" in ended.out and "ok    descriptors" in ended.out
    assert CANARY not in ended.out + ended.err


def test_the_reference_of_settings_is_printed_whole(command: Command) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/settings.md").read_text(encoding="utf-8")
    assert command("doctor", "--settings").out == page


# ------------------------------------------------------------------ single checks


async def found(settings: Settings, check: str, clock: SystemClock | None = None) -> Finding:
    (finding,) = [each for each in await examine(settings, clock or SystemClock()) if each.check == check]
    assert CANARY not in repr(finding)
    return finding


@pytest.mark.parametrize(("off", "grade"), [(0, Grade.OK), (-5, Grade.WARN), (5, Grade.WARN), (-60, Grade.FAIL)])
async def test_clocks_that_differ(dsn: str, off: int, grade: Grade) -> None:
    finding = await found(settings_from({"store": {"dsn": dsn}}), "clock", WrongClock(off))
    assert finding.grade is grade
    if grade is not Grade.OK:
        told = re.search(r"differ by (\d+\.\d) s", finding.says)
        assert told and abs(float(told[1]) - abs(off)) < 2 and "NTP" in finding.remedy  # asking takes a moment too


async def test_too_few_file_descriptors(dsn: str) -> None:
    values = {"store": {"dsn": dsn}, "gateway": {"max_connections": 1_000_000}}
    finding = await found(settings_from(values), "descriptors")
    assert finding.grade is Grade.WARN and "lower gateway.max_connections to " in finding.remedy


async def test_a_pool_that_the_server_cannot_serve(dsn: str) -> None:
    finding = await found(settings_from({"store": {"dsn": dsn, "pool_size": 200}}), "connections")
    assert finding.grade is Grade.WARN and "max_connections" in finding.remedy


async def test_a_secret_file_that_everybody_may_read(dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "relay"
    file.write_text(CANARY)
    settings = settings_from({"store": {"dsn": dsn}, "privacy": {"pseudonym_key_file": str(file)}})
    file.chmod(0o644)
    open_to_all = await found(settings, "secrets")
    assert open_to_all.grade is Grade.WARN and f"chmod 640 {file}" in open_to_all.remedy
    file.chmod(0o640)
    assert (await found(settings, "secrets")).grade is Grade.OK


async def test_settings_that_are_still_the_example_s(dsn: str) -> None:
    finding = await found(settings_from({"store": {"dsn": dsn}}), "settings")
    assert finding.grade is Grade.WARN and "project.domain" in finding.says
    own = {
        "store": {"dsn": dsn},
        "project": {"domain": "ecole.example", "url": "https://ecole.example"},
        "email": {"sender": "non-reponse@ecole.example"},
    }
    assert (await found(settings_from(own), "settings")).grade is Grade.OK


def test_an_apns_key_that_can_sign() -> None:
    finding = check_apns("familles", apns(pem(ec.generate_private_key(ec.SECP256R1()))), SystemClock())
    assert finding.grade is Grade.OK and "12345ABCDE" in finding.says


@pytest.mark.parametrize(
    "key",
    [CANARY, pem(rsa.generate_private_key(65537, 2048)), pem(ec.generate_private_key(ec.SECP384R1()))],
    ids=["no key", "RSA", "another curve"],
)
def test_an_apns_key_that_cannot_sign(key: str) -> None:
    finding = check_apns("familles", apns(key), SystemClock())
    assert finding.grade is Grade.FAIL and ".p8" in finding.remedy
    assert key.strip().splitlines()[-1][:20] not in finding.says and CANARY not in repr(finding)


def test_a_service_account_that_is_whole() -> None:
    account = {
        "type": "service_account",
        "project_id": "ent-familles",
        "client_email": "push@ent-familles.example",
        "token_uri": "https://oauth2.example/token",
        "private_key": pem(rsa.generate_private_key(65537, 2048)),
    }
    finding = check_fcm("familles", fcm(json.dumps(account)))
    assert finding.grade is Grade.OK and "ent-familles" in finding.says
    for part in ("project_id", "client_email", "private_key", "token_uri"):
        lacking = check_fcm("familles", fcm(json.dumps({k: v for k, v in account.items() if k != part})))
        assert lacking.grade is Grade.FAIL, part
    broken = check_fcm("familles", fcm(json.dumps(account | {"private_key": CANARY})))
    assert broken.grade is Grade.FAIL and CANARY not in repr(broken)


def test_a_web_push_key_and_the_list_of_push_services() -> None:
    site = {"subject": "mailto:ops@ent.example", "key": DEMO_KEY}

    def find(**changes: object) -> Finding:
        return check_webpush("site", settings_from({"webpush": {"site": site | changes}}).webpush["site"])

    good = find()
    assert good.grade is Grade.OK and "pages subscribe with B" in good.says and DEMO_KEY not in repr(good)
    assert find(key=pem(ec.generate_private_key(ec.SECP256R1()))).grade is Grade.OK
    for key in (CANARY, pem(ec.generate_private_key(ec.SECP384R1()))):
        broken = find(key=key)
        assert broken.grade is Grade.FAIL and CANARY not in repr(broken)
    assert "any public host" in find(hosts=[]).says
    assert "on this machine" in find(loopback=True).says


@pytest.mark.parametrize("account", [CANARY, "[]", "{}", '"x"', "null"])
def test_a_service_account_that_is_none(account: str) -> None:
    finding = check_fcm("familles", fcm(account))
    assert finding.grade is Grade.FAIL and "Firebase" in finding.remedy and CANARY not in repr(finding)


async def test_a_relay_that_answers() -> None:
    async with open_fake_smtp() as relay:
        finding = await check_relay(email(host="127.0.0.1", port=relay.port))
    assert finding.grade is Grade.OK and "pipelining" in finding.says and relay.accepted == 0


async def test_a_relay_with_tls_and_a_login(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    async with open_fake_smtp(features=Features(tls=context, login=("ent", CANARY))) as relay:
        values = {"host": "127.0.0.1", "port": relay.port, "tls": "starttls", "username": "ent"}
        good = await check_relay(email(**values, password=CANARY, ca_file=str(ca_file)))
        assert good.grade is Grade.OK and "starttls" in good.says
        wrong = await check_relay(email(**values, password=CANARY + "x", ca_file=str(ca_file)))
        assert wrong.grade is Grade.FAIL and "refuses the login" in wrong.says and CANARY not in repr(wrong)
        stranger = await check_relay(email(**values, password=CANARY))
        assert stranger.grade is Grade.FAIL and "not trusted" in stranger.says and "ca_file" in stranger.remedy


async def test_relays_that_cannot_serve() -> None:
    async with open_fake_smtp() as relay:
        plain = await check_relay(email(host="127.0.0.1", port=relay.port, tls="starttls"))
        assert plain.grade is Grade.FAIL and "does not offer starttls" in plain.says
        relay.always(Say("554 5.3.2 zephyrine", close=True), phase=Phase.CONNECT)
        closed = await check_relay(email(host="127.0.0.1", port=relay.port))
        assert closed.grade is Grade.FAIL and "554" in closed.says and "zephyrine" not in closed.says
        port = relay.port
    nobody = await check_relay(email(host="127.0.0.1", port=port))
    assert nobody.grade is Grade.FAIL and "does not answer" in nobody.says


async def test_a_relay_in_the_clear_elsewhere_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_fake_smtp(host="127.0.0.1") as relay:
        # A name for this machine that does not look like one.
        monkeypatch.setattr("socket.getaddrinfo", _resolving("relay.ecole.example", "127.0.0.1"))
        finding = await check_relay(email(host="relay.ecole.example", port=relay.port))
    assert finding.grade is Grade.WARN and "in the clear" in finding.says


def _resolving(name: str, address: str) -> Any:
    import socket

    real = socket.getaddrinfo
    return lambda host, *rest, **named: real(address if host == name else host, *rest, **named)
