"""A demo site at work on a small town, and a headless Chromium to look at it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from selenium import webdriver
from selenium.common.exceptions import ElementNotInteractableException, StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from ent_notify.demo.site import Site
from ent_notify.engine import Engine, open_engine
from ent_notify.gateway import Gateway, Router
from ent_notify.policy.pause import PauseHours
from ent_notify.settings import GatewaySettings, Settings, StoreSettings

T = TypeVar("T")

TOWN = Path(__file__).parents[1] / "engine" / "town.sql"
PATIENCE = 30
"""Seconds that the browser may take over one step; no test is about how long it does."""
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass
class PagesHouse:
    """The site on a loopback port; ``serve`` and ``stop`` replace its gateway, the engine stays."""

    engine: Engine
    nursery: trio.Nursery
    port: int = 0
    gateway: Gateway | None = None
    add_routes: Callable[[Router], None] = lambda _: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self) -> None:
        """Start a gateway with the site, on the port of the one before."""
        router = Router()
        self.gateway = Gateway(
            self.engine.feed,
            settings=GatewaySettings(port=self.port, drain_seconds=1, retry_seconds=0.1),
            clock=self.engine.clock,
            registry=CollectorRegistry(),
            extra=router,
        )
        Site(self.engine, self.gateway.statistics).add_to(router)
        self.add_routes(router)
        self.port = await self.nursery.start(self.gateway.run)


@asynccontextmanager
async def open_pages(
    dsn: str, add_routes: Callable[[Router], None] = lambda _: None, **groups: Any
) -> AsyncIterator[PagesHouse]:
    """The town, its engine, a worker and a gateway with the site, and more routes. ``groups`` are settings."""
    async with open_engine(Settings(store=StoreSettings(dsn=SecretStr(dsn)), **groups)) as engine:
        await engine.db.script(TOWN.read_text(encoding="utf-8"))
        worker = engine.worker("pages", pause=PauseHours(enabled=False))
        async with trio.open_nursery() as nursery:
            house = PagesHouse(engine, nursery, add_routes=add_routes)
            nursery.start_soon(worker.run)
            await house.serve()
            yield house
            nursery.cancel_scope.cancel()


class Chromium:
    """One headless browser; every method runs in the calling thread, so call it through ``in_thread``."""

    def __init__(self, driver: webdriver.Chrome, folder: Path) -> None:
        self.driver = driver
        self.folder = folder

    def find(self, selector: str) -> WebElement:
        """The first visible element, once there is one."""
        return self.until(
            lambda: next((e for e in self.driver.find_elements(By.CSS_SELECTOR, selector) if e.is_displayed()), None)
        )

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def until(self, condition: Callable[[], T | None]) -> T:
        """Wait until ``condition`` is truthy, and answer it."""
        redrawn = (StaleElementReferenceException, ElementNotInteractableException)
        wait = WebDriverWait(self.driver, PATIENCE, poll_frequency=0.05, ignored_exceptions=redrawn)
        found = wait.until(lambda _: condition())
        assert found is not None
        return found

    def click(self, selector: str, text: str = "") -> None:
        """Click the first visible element that shows ``text``, once there is one that holds still."""

        def click() -> bool:
            found = [e for e in self.all(selector) if e.is_displayed() and text in e.text]
            for element in found[:1]:
                element.click()
            return bool(found)

        self.until(lambda: click() or None)

    def count(self, selector: str, number: int) -> None:
        """Wait until there are ``number`` elements."""
        self.until(lambda: len(self.all(selector)) == number or None)

    def wait_text(self, selector: str, text: str) -> None:
        """Wait until some element of ``selector`` shows ``text``."""
        self.until(lambda: any(text in (e.text or "") for e in self.all(selector)))

    def shoot(self, name: str) -> None:
        self.driver.save_screenshot(str(self.folder / f"{name}.png"))

    def scheme(self, name: str) -> None:
        """``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def complaints(self) -> list[str]:
        """What the browser's console holds against the page: errors, and whatever its policy blocked."""
        log: list[dict[str, str]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in log if entry["level"] == "SEVERE"]


@contextmanager
def open_chromium(profile: Path, folder: Path) -> Iterator[Chromium]:
    """A browser with a new profile; screenshots go to ``folder``."""
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, "--window-size=1280,1400", f"--user-data-dir={profile}", "--lang=fr"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield Chromium(driver, folder)
    finally:
        driver.quit()


async def in_thread(action: Callable[..., T], *args: object) -> T:
    """Drive the browser from a thread, while this loop serves it."""
    return await trio.to_thread.run_sync(partial(action, *args))
