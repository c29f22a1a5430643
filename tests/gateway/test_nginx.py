"""Behind a real nginx with TLS and HTTP/2, by the configuration that we ship."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio
import trustme
from live_peers import EVERYBODY, Browser, House, open_house
from test_processes import free_ports
from test_websocket import App

pytestmark = pytest.mark.peer("nginx")

EXAMPLE = Path(__file__).parents[2] / "examples/nginx/ent-notify.conf"
NAME = "ent.example"
MAIN = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {folder}/ent-notify.conf;
}}
"""


class Front:
    """nginx at work, and a gateway behind it."""

    def __init__(self, house: House, port: int, trust: ssl.SSLContext) -> None:
        self.house = house
        self.port = port
        self.trust = trust

    def client(self, address: str = "127.0.0.1") -> httpx.AsyncClient:
        """A browser that speaks HTTP/2, at an address of its own."""
        return httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(verify=self.trust, http2=True, local_address=address),
            base_url=f"https://localhost:{self.port}",
            timeout=30,
        )


@asynccontextmanager
async def open_front(folder: Path, **settings: object) -> AsyncIterator[Front]:
    """The shipped configuration, with our ports, names and certificate in their places."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", NAME)
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    port = free_ports(1)
    async with open_house(trusted_proxies=["127.0.0.1"], **settings) as house:  # type: ignore[arg-type] # settings
        text = EXAMPLE.read_text(encoding="utf-8")
        for there, here in {
            "127.0.0.1:8701": f"127.0.0.1:{house.port}",
            "listen 443": f"listen 127.0.0.1:{port}",
            "/etc/ssl/ent.example.pem": f"{folder}/cert.pem",
            "/etc/ssl/ent.example.key": f"{folder}/key.pem",
            "/var/log/nginx/ent-notify.log": f"{folder}/access.log",
        }.items():
            assert there in text
            text = text.replace(there, here)
        (folder / "ent-notify.conf").write_text(text, encoding="utf-8")
        (folder / "nginx.conf").write_text(MAIN.format(folder=folder), encoding="utf-8")
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
        nginx = await trio.lowlevel.open_process(command, stderr=subprocess.PIPE, env=os.environ)
        try:
            with trio.fail_after(60):
                while not (folder / "nginx.pid").exists():
                    assert nginx.returncode is None, await said(nginx)
                    await trio.lowlevel.checkpoint()
                yield Front(house, port, trust)
        finally:
            nginx.terminate()
            with trio.CancelScope(shield=True):
                await nginx.wait()
                assert nginx.stderr is not None
                await nginx.stderr.aclose()


async def said(process: trio.Process) -> bytes:
    assert process.stderr is not None
    return bytes(await process.stderr.receive_some())


class Lines:
    """The events of a stream that httpx reads."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()
        self.place = ""

    async def ids(self, number: int) -> list[int]:
        found: list[int] = []
        current = ""
        async for line in self._lines:
            if line.startswith("id:"):
                self.place = current = line.removeprefix("id:").strip()
            elif line == "event: notification":
                found.append(int(current))
                if len(found) == number:
                    break
        return found


def lose_streams(house: House) -> None:
    """End what the gateway holds, as when its database is lost."""
    for stream in house.gateway._streams.of_person(1):
        house.gateway._streams.cut(stream, "store")


async def test_an_event_stream_through_tls_and_http_2_arrives_frame_by_frame_and_resumes(tmp_path: Path) -> None:
    async with open_front(tmp_path) as front, front.client() as browser:
        feed = front.house.feed
        feed.person(1)
        target = f"/v1/stream?ticket={feed.ticket(1)}"
        async with browser.stream("GET", target) as answer:
            assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
            cookie = answer.headers["set-cookie"]
            assert cookie.startswith("__Host-ent_notify_stream=")
            assert "Secure" in cookie
            events = Lines(answer)
            for seq in (1, 2, 3):  # each is here before the next is published: nothing waits in a buffer
                feed.publish(EVERYBODY)
                assert await events.ids(1) == [seq]
            lose_streams(front.house)
            assert await events.ids(1) == []
        feed.publish(EVERYBODY)
        # as an EventSource comes back: the same address, its cookie, its place
        async with browser.stream("GET", target, headers={"last-event-id": events.place}) as answer:
            assert answer.status_code == 200
            events = Lines(answer)
            assert await events.ids(1) == [4]
            lose_streams(front.house)
            assert await events.ids(1) == []
        for hidden in ("/metrics", "/readyz"):
            assert (await browser.get(hidden)).status_code == 404
        assert (await browser.get("/healthz")).status_code == 200
    log = (tmp_path / "access.log").read_text(encoding="utf-8")
    assert "/v1/stream" in log
    assert "ticket" not in log


async def test_a_websocket_through_tls(tmp_path: Path) -> None:
    async with open_front(tmp_path) as front:
        front.house.feed.person(1)
        sock = await trio.open_tcp_stream("127.0.0.1", front.port)
        async with trio.SSLStream(sock, front.trust, server_hostname="localhost", https_compatible=True) as tls:
            app = App(Browser(tls))  # type: ignore[arg-type] # any stream will do
            await app.open("/v1/ws", ("ent-notify-ticket", front.house.feed.ticket(1)))
            for seq in (1, 2):
                front.house.feed.publish(EVERYBODY)
                assert await app.seqs(1) == [seq]
            await app.say(event="seen", seq=2)
            front.house.gateway.drain()
            assert await app.closed() == 1001


async def test_the_caps_count_readers_and_not_the_proxy(tmp_path: Path) -> None:
    async with open_front(tmp_path, max_per_address=2) as front:
        feed = front.house.feed
        for person in range(1, 6):
            feed.person(person)

        async def status(browser: httpx.AsyncClient, person: int, *forged: str) -> int:
            headers = [("x-forwarded-for", address) for address in forged]
            request = browser.build_request("GET", f"/v1/stream?ticket={feed.ticket(person)}", headers=headers)
            browser.cookies.clear()
            answer = await browser.send(request, stream=True)
            answers.append(answer)
            return answer.status_code

        answers: list[httpx.Response] = []
        async with front.client("127.0.0.1") as one, front.client("127.0.0.2") as other:
            assert [await status(one, 1), await status(one, 2), await status(one, 3)] == [200, 200, 429]
            assert await status(one, 3, "192.0.2.7") == 429  # whatever they write themselves
            assert [await status(other, 4), await status(other, 5)] == [200, 200]
            assert front.house.gateway.statistics().streams.addresses == 2
            for answer in answers:
                await answer.aclose()
