"""One click, end to end: from the header of a mail that was sent, through a gateway that runs, to no mail any more."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import trio
from tests.cli.services import Service

from ent_notify import GuardiansOf, HomeworkAssigned, Person, open_engine, settings_from
from ent_notify.clock import SystemClock
from ent_notify.engine import connect_channels
from ent_notify.testing.smtp import open_fake_smtp

from .api_house import House, Signer

CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
def gateway(values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of `ent-notify gateway` in a process of its own, on the test's database."""
    for name in list(os.environ):
        if name.startswith("ENT_NOTIFY_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    for group, chosen in values.items():
        for name, value in chosen.items():
            text = ",".join(value) if isinstance(value, list) else value
            monkeypatch.setenv(f"ENT_NOTIFY_{group}__{name}".upper(), text)
    service = Service("gateway", "--port", "0")
    yield f"http://127.0.0.1:{service.wait_event('gateway_started')['port']}"
    service.process.send_signal(signal.SIGTERM)
    assert service.wait_end() == 0
    for stream in (service.process.stdout, service.process.stderr):
        assert stream is not None
        stream.close()


async def links_of_homework(values: dict[str, Any], key: str) -> list[str]:
    """Mail homework to the guardians of P1, as a worker does; the unsubscribe links of the mails to P11."""
    async with open_fake_smtp() as smtp:
        email = {**values["email"], "host": smtp.host, "port": smtp.port, "tls": "none"}
        chosen = settings_from({**values, "email": email, "pause": {"enabled": False}})
        async with open_engine(chosen) as engine, connect_channels(engine):
            event = HomeworkAssigned(
                key=key,
                audience=GuardiansOf(Person("P1")),
                group="0540001A/class/6A",
                subject="Maths",
                title="p. 12",
                due=engine.clock.now().date() + timedelta(days=30),  # no evening of reminders, whatever the hour
            )
            await engine.publish(event)
            await engine.worker("mail").run_until_idle()
        assert any("g12@famille.example" in mail.recipients for mail in smtp.messages)
        mine = [mail.message for mail in smtp.messages if "g11@famille.example" in mail.recipients]
    for message in mine:
        assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    return [str(message["List-Unsubscribe"]).strip("<>") for message in mine]


def test_one_click_ends_the_mails_of_that_kind_and_of_that_person(values: dict[str, Any], gateway: str) -> None:
    (link,) = trio.run(links_of_homework, values, "before")
    assert link.startswith("https://ent.example/v1/unsubscribe?t=") and "P11" not in link
    parts = urlsplit(link)
    here = f"{gateway}{parts.path}?{parts.query}"

    page = httpx.get(here)  # a program that looks at every link of a mail
    assert page.status_code == 200 and '<form method="post">' in page.text and 'lang="fr"' in page.text
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store" and page.headers["referrer-policy"] == "no-referrer"
    assert len(trio.run(links_of_homework, values, "looked at")) == 1, "a GET changes nothing"

    done = httpx.post(here, data=CLICK)  # a mail program, with neither cookie nor session
    assert done.status_code == 200 and "<form" not in done.text
    assert trio.run(links_of_homework, values, "after") == []
    assert httpx.post(here, data=CLICK).status_code == 200, "again"


async def test_either_encoding_of_the_form_and_no_other(house: House) -> None:
    t = house.engine._unsubscribe.link(11, "grade").rpartition("?t=")[2]
    form = {"content-type": "application/x-www-form-urlencoded", "origin": "null"}
    multipart = {"content-type": "multipart/form-data; boundary=x"}
    body = b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'

    async def click(token: str, body: bytes, headers: dict[str, str]) -> int:
        return (await house.ask("POST", f"/v1/unsubscribe?t={token}", body=body, headers=headers)).status

    async def wants_mail() -> bool:
        choices = await house.engine.personal.preferences(await house.engine.reader("P11"))
        return next(c.enabled for c in choices if (c.category, c.channel) == ("grade", "email"))

    assert await click(t, b"List-Unsubscribe=Two-Clicks", form) == 400
    assert await click(t, b"", form) == 400
    assert await click(t, body.replace(b"One-Click", b"No"), multipart) == 400
    assert await click(t, b"garbage", multipart) == 400
    assert await click(t, b"{}", {"content-type": "application/json"}) == 415
    assert await wants_mail()
    assert await click(t, body, multipart) == 200 and not await wants_mail()
    assert await click(t, b"List-Unsubscribe=One-Click", form) == 200


async def test_a_link_that_was_tampered_with_does_nothing(house: House) -> None:
    good = house.engine._unsubscribe.link(11, "grade").rpartition("?t=")[2]
    claim, _, signature = good.rpartition(".")
    form = {"content-type": "application/x-www-form-urlencoded", "accept-language": "en-GB"}
    pages = set()
    for token in (
        f"12.grade.{signature}",
        f"11.homework.{signature}",
        f"{claim}.{signature[:-1]}",
        f"{claim}.",
        signature,
        "%C3%A9.%C3%A9.%C3%A9",
        f"{9**30}.grade.{signature}",
        "11.grade.%C3%A9",
    ):
        for method, body in (("GET", b""), ("POST", b"List-Unsubscribe=One-Click")):
            got = await house.ask(method, f"/v1/unsubscribe?t={token}", body=body, headers=form)
            assert got.status == 404, token
            pages.add(got.body)
    assert len(pages) == 1 and b'lang="en"' in pages.pop()
    for person in ("P11", "P12"):
        assert all(
            choice.enabled for choice in await house.engine.personal.preferences(await house.engine.reader(person))
        )
    assert (await house.ask("GET", "/v1/unsubscribe")).status == 422


def test_a_gateway_serves_the_api_beside_its_streams(gateway: str, signer: Signer) -> None:
    headers = {"authorization": f"Bearer {signer.token('P1', SystemClock().now())}"}
    with httpx.Client(base_url=gateway) as client:
        assert client.get("/healthz").text == "ok\n"
        assert client.get("/v1/openapi.json").json()["openapi"] == "3.1.0"
        got = client.get("/v1/inbox?limit=2", headers=headers)
        assert got.status_code == 200 and got.json()["entries"] == []
        assert got.headers["cache-control"] == "no-store" and got.headers["x-content-type-options"] == "nosniff"
        assert client.get("/v1/inbox").headers["www-authenticate"] == "Bearer"
        nothing = client.get("/v1/conversations/1", headers=headers)
        assert nothing.status_code == 404 and nothing.content == client.get("/nowhere").content
        big = client.post("/v1/inbox/read", content=b"x" * 70_000, headers=headers)
        assert big.status_code == 413
        ticket = client.post("/v1/streams/ticket", headers=headers).json()["ticket"]
        with client.stream("GET", f"/v1/stream?ticket={ticket}") as stream:
            assert stream.status_code == 200 and stream.headers["content-type"].startswith("text/event-stream")
        assert httpx.get(f"{gateway}/v1/stream?ticket={ticket}").status_code == 401, "without the stream's session"
        assert client.get("/readyz").status_code == 200
