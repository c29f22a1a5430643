"""The operator page: what it shows and does, who may ask, and how it reads and works in a real browser."""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest
from operator_house import KEY, open_operator
from pages_house import Chromium, in_thread, open_chromium
from selenium.webdriver.common.keys import Keys

from ent_notify.model.audience import School
from ent_notify.model.events import Announcement
from ent_notify.model.rights import Asked, Right
from ent_notify.model.safety import Tier

AXE = Path(__file__).parent / "axe" / "axe.min.js"
PAGES = files("ent_notify.gateway") / "operator_page"
ROUTES: list[tuple[str, object]] = [
    ("/look", None),
    ("/explain", {"notification": 1, "person": "P1", "by": "M. Noir"}),
    ("/act", {"action": "freeze", "area": "project", "tier": "nobody", "by": "M. Noir", "reason": "essai"}),
]


async def test_it_is_shown_to_who_has_the_key_and_on_the_admin_port_alone(dsn: str) -> None:
    async with open_operator(dsn, works=False) as house:
        for path, body in ROUTES:
            for key in ("none", "x" * 40, KEY[:-1]):
                assert (await house.ask(path, body, key)).status_code == 401, path
            assert (await house.ask(path, body, origin="https://elsewhere.example")).status_code == 403, path
        assert await house.engine.safety.freezes() == []
        async with httpx.AsyncClient() as client:
            for path in ("/operator", "/operator/look", "/metrics"):
                assert (await client.get(house.public + path)).status_code == 404, path
            assert (await client.get(house.url + "/metrics")).status_code == 200
            assert (await client.get(house.url + "/v1/stream")).status_code == 404
            page = await client.get(house.url + "/operator")
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert "<script>" not in page.text
        assert " style=" not in page.text


async def test_what_it_does_is_done_with_a_name_and_a_reason(dsn: str) -> None:
    async with open_operator(dsn) as house:
        engine = house.engine
        published = await engine.publish(
            Announcement(key="1", audience=School("0540001A"), title="Portes ouvertes", body="Samedi.")
        )
        number = published.notification
        await engine.worker("once").run_until_idle()
        for body in ({"action": "pause", "campaign": number, "by": " ", "reason": "x"}, {"action": "erase"}):
            assert (await house.ask("/act", body)).status_code == 400
        act = {"campaign": number, "by": "M. Noir", "reason": "date fausse"}
        assert (await house.ask("/act", {"action": "pause", **act})).json() == {"changed": True}
        assert (await house.ask("/act", {"action": "pause", **act})).json() == {"changed": False}
        control = await engine.campaigns.control(number)
        (action,) = control.actions
        assert (action.action, action.by, action.reason) == ("pause", "M. Noir", "date fausse")
        assert (await house.ask("/act", {"action": "resume", **act})).json() == {"changed": True}

        freeze = {"area": "school:0540001A", "by": "M. Noir", "reason": "essai"}
        assert (await house.ask("/act", {"action": "freeze", "tier": "all", **freeze})).status_code == 400
        assert (await house.ask("/act", {"action": "freeze", "tier": "staff", **freeze})).json()["changed"]
        look = (await house.ask("/look")).json()
        assert [each["area"] for each in look["freezes"]] == ["school:0540001A"]
        assert (await house.ask("/act", {"action": "unfreeze", **freeze})).json()["changed"]

        found = (await house.ask("/explain", {"notification": number, "person": "P1", "by": "M. Noir"})).json()
        assert found["addressed"]
        assert "explain" in [line["action"] for line in await engine.data_rights.trail("P1")]
        assert (await house.ask("/explain", {"notification": number, "person": "nobody", "by": "x"})).status_code == 404


async def test_it_forecasts_when_a_campaign_ends(dsn: str) -> None:
    async with open_operator(dsn, works=False) as house:
        engine = house.engine
        await engine.set_rate("email", 0.01)
        published = await engine.publish(
            Announcement(key="1", audience=School("0540001A"), title="Portes ouvertes", body="Samedi.")
        )
        await engine.worker("plans").run_until_idle()
        look = (await house.ask("/look")).json()
        (campaign,) = look["campaigns"]
        assert campaign["campaign"] == published.notification
        assert campaign["adds_up"]
        (mail,) = [part for part in campaign["channels"] if part["channel"] == "email"]
        left = mail["pending"] + mail["held"]
        assert left > 0  # nobody sends mail here
        takes = datetime.fromisoformat(campaign["ends_at"]) - datetime.fromisoformat(look["at"])
        assert takes > timedelta(seconds=left / 0.01)


def test_both_languages_have_the_same_words_and_the_page_asks_for_no_other() -> None:
    text = (PAGES / "words.js").read_text(encoding="utf-8")
    french, english = text.split("\n  en: {")
    word = re.compile(r"(?:^|, |\{ )\s*(\w+): (?:[\"`(]|\w+ =>|\{)", re.MULTILINE)
    names = [set(word.findall(half)) for half in (french, english)]
    assert names[0] - {"fr"} == names[1]
    page = (PAGES / "operator.html").read_text(encoding="utf-8")
    assert set(re.findall(r'data-word="(\w+)"', page)) <= names[1]
    script = (PAGES / "operator.js").read_text(encoding="utf-8").replace("words.js", "")
    assert set(re.findall(r"\bwords\.(\w+)", script)) <= names[1]
    for word, shown in re.findall(r'data-word="(\w+)"[^>]*>([^<]+)<', page):
        assert f'{word}: "{shown}"' in french, word  # the page reads well before its script runs


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("ENT_NOTIFY_SCREENSHOTS", tmp_path / "shots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def axe(browser: Chromium) -> None:
    """axe-core finds nothing at all against WCAG 2.2 A and AA."""
    browser.driver.execute_script(AXE.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = browser.driver.execute_async_script(
        "const done = arguments[0]; axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})"
        ".then((result) => done(result.violations.map((v) => "
        "({id: v.id, impact: v.impact, nodes: v.nodes.map((n) => n.html.slice(0, 200))}))))"
    )
    assert found == []


@pytest.mark.peer("chromium")
async def test_it_works_by_keyboard_in_both_languages_and_axe_finds_nothing(
    dsn: str, tmp_path: Path, shots: Path
) -> None:
    async with open_operator(dsn) as house:
        engine = house.engine
        held = await engine.publish(
            Announcement(key="1", audience=School("0540001A"), title="Portes ouvertes", body="<img src=x>")
        )
        await engine.data_rights.receive("P1", Right.ERASE, Asked("officer", "officer", "courrier"))
        await engine.safety.freeze(engine.safety.operator("M. Noir"), "school:0540001A", Tier.STAFF, "comptes piratés")
        await engine.worker("once").run_until_idle()
        await engine.campaigns.pause(held.notification, by="M. Noir", reason="date fausse")

        def look(chromium: Chromium) -> None:
            driver = chromium.driver

            def press(*keys: str) -> None:
                driver.switch_to.active_element.send_keys(*keys)

            def reach(selector: str) -> None:
                """Go on by Tab until the element has the focus."""
                for _ in range(60):
                    if driver.execute_script("return document.activeElement.matches(arguments[0])", selector):
                        return
                    press(Keys.TAB)
                raise AssertionError(f"{selector} is not reached by Tab")

            driver.get(f"{house.url}/operator?lang=fr")
            chromium.find("#key")
            axe(chromium)
            reach("#key")
            press("x" * 40, Keys.ENTER)
            chromium.wait_text("#trouble", "pas la bonne")
            reach("#key")
            press(KEY, Keys.ENTER)
            chromium.wait_text("#campaigns th", "Announcement")
            chromium.wait_text("#freezes li", "comptes piratés")
            chromium.wait_text("#requests li", "erase")
            axe(chromium)
            chromium.shoot("operator-fr-light")

            reach("#campaigns button")  # paused: it can be resumed
            press(Keys.ENTER)
            chromium.wait_text("#confirm-title", f"Reprendre la campagne {held.notification}")
            axe(chromium)
            chromium.shoot("operator-confirm")
            press(Keys.ESCAPE)
            chromium.until(lambda: not driver.find_element("id", "confirm").is_displayed())
            press(Keys.ENTER)  # the focus is back where it was
            chromium.find("#by")
            reach("#by")
            press("M. Noir")
            reach("#reason")
            press("date corrigée", Keys.ENTER)
            chromium.wait_text("#campaigns small", "en cours")

            reach("#explain #notification")
            press(str(held.notification), Keys.TAB, "P1", Keys.TAB, "M. Noir", Keys.ENTER)
            chromium.wait_text("#explained", "destinataire")
            chromium.click("#language")
            chromium.wait_text("h1", "Operations")
            chromium.wait_text("#explained", "is addressed")
            assert driver.find_element("tag name", "html").get_attribute("lang") == "en"
            chromium.scheme("dark")
            axe(chromium)
            chromium.shoot("operator-en-dark")
            metrics = {"width": 320, "height": 640, "deviceScaleFactor": 2, "mobile": True}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            wide = "return [...document.querySelectorAll('body *')].filter((e) => !e.closest('.scroll') && "
            wide += "e.getBoundingClientRect().right > 320.5).map((e) => e.outerHTML.slice(0, 100))"
            assert driver.execute_script(wide) == []  # WCAG 2.2, 1.4.10: reflow at 320 CSS pixels
            assert driver.execute_script("return document.documentElement.scrollWidth") == 320
            chromium.shoot("operator-phone")
            assert [line for line in chromium.complaints() if "401" not in line] == []

        with open_chromium(tmp_path / "profile", shots) as browser:
            await in_thread(look, browser)
        assert (await engine.campaigns.control(held.notification)).state == "running"
