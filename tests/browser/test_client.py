"""The JavaScript client in a real browser: live, cut off, in several tabs; and its service worker."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.lowlevel
from pages_house import PATIENCE, Chromium, PagesHouse, in_thread, open_chromium, open_pages
from pydantic import SecretStr

from ent_notify.channels.push_options import WebPushOptions
from ent_notify.channels.webpush import WebPushChannel
from ent_notify.flows.outbox import dedup_id
from ent_notify.gateway import Request, Response, Router
from ent_notify.model.audience import Person
from ent_notify.model.events import Announcement
from ent_notify.model.people import Provider
from ent_notify.settings import WebPushApp
from ent_notify.testing.devices import APP
from ent_notify.testing.webpush import DEMO_KEY, FakeWebPush, WebPushRequest, open_fake_webpush

PROBE = Path(__file__).with_name("probe.js")
PAGE = b'<!doctype html><html lang="fr"><title>Sonde</title><script type="module" src="/probe.js"></script></html>'
POLICY = ("content-security-policy", "default-src 'none'; script-src 'self'; connect-src 'self'")
SITE = {APP: WebPushApp(subject="mailto:ops@ent.example", key=SecretStr(DEMO_KEY), loopback=True)}
STATIC = files("ent_notify.gateway") / "static"

chromium_needed = pytest.mark.peer("chromium")


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Chromium]:
    with open_chromium(tmp_path / "profile", tmp_path) as browser:
        yield browser


def add_probe(router: Router) -> None:
    async def page(request: Request) -> Response:
        return Response(body=PAGE, content_type="text/html; charset=utf-8", headers=(POLICY,))

    async def script(request: Request) -> Response:
        return Response(body=PROBE.read_bytes(), content_type="text/javascript; charset=utf-8")

    router.add("GET", "/probe", page)
    router.add("GET", "/probe.js", script)


class Tab:
    """One tab with the probe in it. Methods run in the calling thread."""

    def __init__(self, browser: Chromium, url: str, *, first: bool = False) -> None:
        self.browser = browser
        if not first:
            browser.driver.switch_to.new_window("tab")
        self.handle = browser.driver.current_window_handle
        browser.driver.get(f"{url}/probe#P11")
        browser.until(lambda: self.ask("return window.probe?.live.state === 'live'"))

    def ask(self, script: str, *arguments: object) -> Any:
        self.browser.driver.switch_to.window(self.handle)
        return self.browser.driver.execute_script(script, *arguments)

    def leads(self) -> bool:
        return bool(self.ask("return probe.live.leads"))

    def heard(self) -> list[int]:
        found: list[int] = self.ask("return probe.heard")
        return found

    def wait(self, script: str) -> None:
        self.browser.until(lambda: self.ask(f"return {script}") or None)

    def close(self) -> None:
        self.browser.driver.switch_to.window(self.handle)
        self.browser.driver.close()

    def offline(self, cut: bool) -> None:
        self.browser.driver.switch_to.window(self.handle)
        self.browser.driver.execute_cdp_cmd("Network.enable", {})
        conditions = {"offline": cut, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.browser.driver.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)


async def announce(house: PagesHouse, *keys: str) -> None:
    for key in keys:
        await house.engine.publish(Announcement(key=key, audience=Person("P11"), title=key, body="…"))


async def places(house: PagesHouse) -> list[int]:
    """The places of all entries of the reader's inbox, oldest first."""
    reader = await house.engine.reader("P11")
    return [entry.seq for entry in reversed(await house.engine.inbox(reader))]


def streams(house: PagesHouse) -> int:
    assert house.gateway is not None
    return house.gateway.statistics().streams.streams


async def arrived(service: FakeWebPush, number: int = 1) -> None:
    """Wait until so many pushes have come to the fake service."""
    with trio.fail_after(PATIENCE):
        while service.counts["accepted"] < number:
            await trio.lowlevel.checkpoint()


@chromium_needed
async def test_cut_off_and_back_nothing_is_missed_and_nothing_comes_twice(dsn: str, chromium: Chromium) -> None:
    async with open_pages(dsn, add_probe) as house:
        tab = await in_thread(lambda: Tab(chromium, house.url, first=True))
        await announce(house, "a", "b")
        await in_thread(tab.wait, "probe.heard.length === 2")
        for number in range(2):
            await in_thread(tab.offline, True)
            await in_thread(tab.wait, "probe.live.state === 'waiting'")
            await announce(house, f"c{number}", f"d{number}")
            await in_thread(tab.offline, False)
            await in_thread(tab.wait, "probe.live.state === 'live'")
            await announce(house, f"e{number}")
            await in_thread(tab.wait, f"probe.heard.length >= {5 + 3 * number}")
        assert await in_thread(tab.heard) == await places(house)
        assert await in_thread(tab.ask, "return probe.gaps") == 0
        assert await in_thread(tab.ask, "return probe.states.slice(0, 2)") == ["connecting", "live"]


@chromium_needed
async def test_tabs_share_one_stream_and_it_moves_when_its_tab_closes(dsn: str, chromium: Chromium) -> None:
    async with open_pages(dsn, add_probe) as house:
        first = await in_thread(lambda: Tab(chromium, house.url, first=True))
        second = await in_thread(lambda: Tab(chromium, house.url))
        third = await in_thread(lambda: Tab(chromium, house.url))
        assert [await in_thread(tab.leads) for tab in (first, second, third)] == [True, False, False]
        assert streams(house) == 1
        await announce(house, "a", "b")
        for tab in (first, second, third):
            await in_thread(tab.wait, "probe.heard.length === 2")
        await in_thread(first.close)
        await announce(house, "c")
        await in_thread(second.wait, "probe.live.leads && probe.live.state === 'live'")
        await announce(house, "d")
        for tab in (second, third):
            await in_thread(tab.wait, "probe.heard.length >= 4")
            assert await in_thread(tab.heard) == await places(house)
            assert await in_thread(tab.ask, "return probe.gaps") == 0
        assert not await in_thread(third.leads)
        assert await in_thread(third.ask, "return probe.tickets") == 0
        # a tab may leave without closing: it hands over, too
        await in_thread(second.ask, "probe.live.stop()")
        await in_thread(third.wait, "probe.live.leads && probe.live.state === 'live'")
        await announce(house, "e")
        await in_thread(third.wait, "probe.heard.length >= 5")
        assert await in_thread(third.heard) == await places(house)
        assert len(await in_thread(second.heard)) == 4


@chromium_needed
async def test_read_marks_clear_in_the_other_tab_and_wait_for_the_network(dsn: str, chromium: Chromium) -> None:
    async with open_pages(dsn, add_probe) as house:
        first = await in_thread(lambda: Tab(chromium, house.url, first=True))
        second = await in_thread(lambda: Tab(chromium, house.url))
        await announce(house, "a", "b", "c")
        await in_thread(second.wait, "probe.heard.length === 3")
        one, two, three = await places(house)
        await in_thread(second.ask, "return probe.live.markRead([arguments[0]])", one)
        await in_thread(first.wait, "probe.reads.length === 1")
        assert await in_thread(first.ask, "return probe.reads") == [{"seqs": [one]}]
        await in_thread(first.offline, True)
        await in_thread(first.ask, "return probe.live.markRead([{seq: arguments[0]}])", two)
        await in_thread(second.wait, "probe.reads.length === 2")
        reader = await house.engine.reader("P11")
        unread = [entry.seq for entry in await house.engine.inbox(reader) if not entry.is_read]
        assert unread == [three, two]
        await in_thread(first.offline, False)
        await in_thread(first.wait, "probe.live.state === 'live'")
        for _ in range(5_000):
            unread = [entry.seq for entry in await house.engine.inbox(reader) if not entry.is_read]
            if unread == [three]:
                break
        assert unread == [three]
        await in_thread(second.ask, "return probe.live.markAllRead(arguments[0])", three)
        assert all(entry.is_read for entry in await house.engine.inbox(reader))


@chromium_needed
async def test_a_tab_that_slept_hears_of_its_gap_and_syncs_to_the_end(dsn: str, chromium: Chromium) -> None:
    """What the other tabs heard while this one heard nothing: said as a gap, then asked for page by page."""
    async with open_pages(dsn, add_probe) as house:
        first = await in_thread(lambda: Tab(chromium, house.url, first=True))
        second = await in_thread(lambda: Tab(chromium, house.url))
        # a frame that says that another one came before it, which this tab has not heard
        await in_thread(
            first.ask,
            "new BroadcastChannel('ent-notify:P11').postMessage({kind: 'frame', event: 'notification', seq: 90, "
            "before: 80, data: {seq: 90}, tab: 'x'})",
        )
        await in_thread(second.wait, "probe.heard.length === 1 && probe.pages.length === 3")
        assert await in_thread(second.ask, "return [probe.gaps, probe.pages, probe.live.cursor]") == [1, [0, 1, 2], "3"]
        # "read everything again" in one frame; its place counts, even when it is a lower one
        await in_thread(
            first.ask,
            "new BroadcastChannel('ent-notify:P11').postMessage({kind: 'frame', event: 'reload', seq: 7, before: null, "
            "data: {}, tab: 'x'})",
        )
        await in_thread(second.wait, "probe.gaps === 2 && probe.pages.length === 6")
        assert await in_thread(second.ask, "return probe.live.position") == 7


@chromium_needed
async def test_the_tab_that_leads_tells_whether_any_is_looked_at(dsn: str, chromium: Chromium) -> None:
    # (what was told last is told again for each new stream, and a tab that opens may change its mind: the last word
    # is what counts)
    def last_word(looked_at: bool) -> str:
        return f"probe.presence.at(-1) === {str(looked_at).lower()}"

    async with open_pages(dsn, add_probe) as house:
        first = await in_thread(lambda: Tab(chromium, house.url, first=True))
        await in_thread(first.wait, last_word(True))
        hide = (
            "Object.defineProperty(document, 'visibilityState', {value: arguments[0], configurable: true});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
        await in_thread(first.ask, hide, "hidden")
        await in_thread(first.wait, last_word(False))
        second = await in_thread(lambda: Tab(chromium, house.url))  # looked at, and not the one that leads
        await in_thread(second.ask, hide, "visible")  # (a driver that looks at one tab hides the other)
        await in_thread(first.wait, last_word(True))
        assert await in_thread(first.leads)
        await in_thread(second.close)  # without a word
        await in_thread(first.wait, last_word(False))


@chromium_needed
async def test_who_is_not_signed_in_any_more_is_told_and_asks_no_further(dsn: str, chromium: Chromium) -> None:
    async with open_pages(dsn, add_probe) as house:
        tab = await in_thread(lambda: Tab(chromium, house.url, first=True))
        await in_thread(chromium.driver.delete_all_cookies)
        await in_thread(tab.ask, "window.dispatchEvent(new Event('online'))")
        await in_thread(tab.wait, "probe.live.state === 'refused'")
        assert not await in_thread(tab.leads)


# ---------------------------------------------------------------------- pushes


@asynccontextmanager
async def with_push(house: PagesHouse) -> AsyncIterator[FakeWebPush]:
    async with open_fake_webpush() as service:
        options = WebPushOptions(subject="mailto:ops@ent.example", key=DEMO_KEY, loopback=True, ca=service.ca)
        channel = WebPushChannel(house.engine.island, options)
        await house.engine.use_push("webpush", APP, channel)
        try:
            yield service
        finally:
            await channel.aclose()


AT_ONCE = {"clear_after_seconds": 0.01}
SHOWN = (
    "return navigator.serviceWorker.getRegistration('/v1/client/').then((r) => r.getNotifications()).then((all) => "
    "all.map((n) => ({title: n.title, body: n.body, tag: n.tag, data: n.data})))"
)


@chromium_needed
async def test_the_worker_shows_what_the_engine_sent_replaces_it_and_closes_it_when_it_is_read(
    dsn: str, chromium: Chromium
) -> None:
    async with open_pages(dsn, add_probe, webpush=SITE) as house, with_push(house) as service:
        await house.engine.register_device("P11", Provider.WEBPUSH, APP, service.subscribe("b1").token, "fr")
        cdp = chromium.driver.execute_cdp_cmd
        await in_thread(cdp, "Browser.grantPermissions", {"origin": house.url, "permissions": ["notifications"]})
        tab = await in_thread(lambda: Tab(chromium, house.url, first=True))
        register = "return navigator.serviceWorker.register('/v1/client/sw.js?title=Mon%20ENT').then(() => 1)"
        assert await in_thread(tab.ask, register) == 1
        await in_thread(
            tab.wait,
            "navigator.serviceWorker.getRegistration('/v1/client/').then((r) => r.active?.state === 'activated')",
        )
        await announce(house, "a")
        await arrived(service)
        (message,) = service.requests

        def deliver() -> None:
            cdp("ServiceWorker.enable", {})
            data = message.plaintext.decode()
            cdp("ServiceWorker.deliverPushMessage", {"origin": house.url, "registrationId": "0", "data": data})

        await in_thread(deliver)
        await in_thread(lambda: chromium.until(lambda: tab.ask(SHOWN) or None))
        (shown,) = await in_thread(tab.ask, SHOWN)
        (entry,) = await house.engine.inbox(await house.engine.reader("P11"))
        opaque = dedup_id(entry.notification, "push", 0)
        assert shown["title"] == "Mon ENT"
        assert shown["body"] == message.payload["body"]
        assert shown["tag"] == message.topic
        assert shown["data"] == {"n": opaque, "category": "announcement"}
        await in_thread(deliver)  # a repeat takes the place of the first
        assert len(await in_thread(tab.ask, SHOWN)) == 1
        assert await in_thread(tab.ask, "return probe.pushId(arguments[0])", entry.notification) == opaque
        await in_thread(
            tab.ask,
            "return probe.live.markRead([{seq: arguments[0], notification: arguments[1]}])",
            entry.seq,
            entry.notification,
        )
        assert await in_thread(tab.ask, SHOWN) == []


@chromium_needed
async def test_the_worker_takes_away_what_was_read_on_another_device(dsn: str, chromium: Chromium) -> None:
    """Three alerts are shown, two are read elsewhere: the engine's silent push closes these two, and no other."""
    async with open_pages(dsn, add_probe, webpush=SITE, evidence=AT_ONCE) as house, with_push(house) as service:
        await house.engine.register_device("P11", Provider.WEBPUSH, APP, service.subscribe("b1").token, "fr")
        cdp = chromium.driver.execute_cdp_cmd
        await in_thread(cdp, "Browser.grantPermissions", {"origin": house.url, "permissions": ["notifications"]})
        tab = await in_thread(lambda: Tab(chromium, house.url, first=True))
        register = "return navigator.serviceWorker.register('/v1/client/sw.js').then(() => 1)"
        assert await in_thread(tab.ask, register) == 1
        await in_thread(
            tab.wait,
            "navigator.serviceWorker.getRegistration('/v1/client/').then((r) => r.active?.state === 'activated')",
        )

        def deliver(message: WebPushRequest) -> None:
            cdp("ServiceWorker.enable", {})
            data = message.plaintext.decode()
            cdp("ServiceWorker.deliverPushMessage", {"origin": house.url, "registrationId": "0", "data": data})

        def tags() -> set[str]:
            return {shown["tag"] for shown in tab.ask(SHOWN)}

        for number, key in enumerate("abc", 1):
            await announce(house, key)
            await arrived(service, number)
            await in_thread(deliver, service.requests[-1])
        one, other, third = (message.topic for message in service.requests)
        await in_thread(lambda: chromium.until(lambda: tags() == {one, other, third} or None))
        seqs = await places(house)
        await house.engine.mark_read(await house.engine.reader("P11"), [seqs[0], seqs[2]])
        await arrived(service, 4)
        silent = service.requests[-1]
        assert silent.payload == {"clear": [third, one], "badge": 1}
        await in_thread(deliver, silent)
        await in_thread(lambda: chromium.until(lambda: tags() == {other} or None))


@chromium_needed
async def test_a_click_in_the_demo_registers_this_browser(dsn: str, chromium: Chromium) -> None:
    """No push service of the world can be reached from here: the browser's subscription is the fake's."""
    async with open_pages(dsn, webpush=SITE) as house, with_push(house) as service:
        subscription = service.subscribe("b2").token
        stub = (
            "PushManager.prototype.getSubscription = async () => null;"
            "PushManager.prototype.subscribe = async (options) => { window.asked = options;"
            f"  return {{ toJSON: () => ({subscription}) }}; }};"
        )

        def click() -> None:
            cdp = chromium.driver.execute_cdp_cmd
            cdp("Browser.grantPermissions", {"origin": house.url, "permissions": ["notifications"]})
            cdp("Page.addScriptToEvaluateOnNewDocument", {"source": stub})
            chromium.driver.get(f"{house.url}/#P11")
            chromium.click("#push")
            chromium.wait_text("#push", "Ce navigateur reçoit les notifications")
            key = chromium.driver.execute_script("return [asked.userVisibleOnly, asked.applicationServerKey.length]")
            assert key == [True, 65]
            assert chromium.complaints() == []

        await in_thread(click)
        await announce(house, "a")
        await arrived(service)
        assert service.requests[0].device == "b2"


# ---------------------------------------------------------------------- the files


async def test_the_client_is_served_with_the_right_types_and_a_policy(dsn: str) -> None:
    async with open_pages(dsn) as house, httpx.AsyncClient(base_url=house.url, trust_env=False) as client:
        for name in ("ent-notify.js", "sw.js"):
            answer = await client.get(f"/v1/client/{name}")
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.content == (STATIC / name).read_bytes()
        assert answer.headers["service-worker-allowed"] == "/"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("name", ["ent-notify.js", "sw.js"])
def test_the_client_depends_on_nothing_and_makes_no_markup(name: str) -> None:
    text = _text(name)
    for word in (
        "innerHTML",
        "outerHTML",
        "document.write",
        "eval(",
        "new Function",
        "importScripts",
        "import(",
        "http:",
    ):
        assert word not in text
    assert "\nimport " not in text


def test_what_the_documentation_imports_is_there() -> None:
    page = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text(encoding="utf-8")
    exported = set(re.findall(r"^export (?:async )?(?:class|function) (\w+)", _text("ent-notify.js"), re.MULTILINE))
    (imported,) = re.findall(r"^import \{ (.*) \} from \"/v1/client/ent-notify.js\";$", page, re.MULTILINE)
    assert set(imported.split(", ")) <= exported


def _text(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")
