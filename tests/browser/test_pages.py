"""Both pages of the demo in a real browser, on the real engine and gateway."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from pages_house import Chromium, in_thread, open_chromium, open_pages
from selenium.webdriver.common.keys import Keys

from ent_notify.model.audience import Person, School
from ent_notify.model.events import Announcement

pytestmark = pytest.mark.peer("chromium")

NASTY = "<img src=x onerror=\"document.title='hacked'\"> <b>& “Fête”</b>"


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Chromium]:
    folder = Path(os.environ.get("ENT_NOTIFY_SCREENSHOTS", tmp_path / "shots"))
    folder.mkdir(parents=True, exist_ok=True)
    with open_chromium(tmp_path / "profile", folder) as browser:
        yield browser


def enter(browser: Chromium, url: str, profile: str, name: str) -> None:
    """Choose to be somebody by keyboard and mouse, and wait for the live stream."""
    browser.driver.get(f"{url}/")
    browser.driver.execute_script(
        "document.querySelector(`input[name=profile][value=${arguments[0]}]`).click()", profile
    )
    browser.find("#q").send_keys(name)
    browser.count("#people button", 1)
    browser.click("#people button")
    browser.wait_text("#live-text", "En direct")


async def test_a_notification_appears_while_one_looks_on(dsn: str, chromium: Chromium) -> None:
    async with open_pages(dsn) as house:

        def look() -> None:
            enter(chromium, house.url, "guardian", "Gil")
            chromium.find("#empty")
            chromium.wait_text("#samples button", "Une absence de Ada")
            chromium.click("#samples button", "absence")
            chromium.wait_text(".entry h3", "Absence")
            assert "Concerne Ada" in chromium.find(".entry .meta").text
            assert "Non lu" in chromium.find(".entry .meta").text
            spoken = chromium.driver.find_element("id", "announcer").get_attribute("textContent") or ""
            assert spoken.startswith("Nouvelle notification : Absence")
            assert chromium.find("#unread-number").text == "1"
            assert chromium.driver.title.startswith("(1) ")

            for label in ("travail", "cours", "information", "message"):
                chromium.click("#samples button", label)
            chromium.count(".entry", 5)
            chromium.shoot("person-light")
            chromium.scheme("dark")
            chromium.shoot("person-dark")
            chromium.scheme("light")

            chromium.click("#entries > li:last-child .mark")  # the oldest: others have come since it was drawn
            chromium.until(lambda: chromium.find("#unread-number").text == "4")
            chromium.click("#read-all")
            chromium.until(lambda: chromium.driver.title.startswith("Mes notifications"))
            assert not any(mark.is_displayed() for mark in chromium.all(".entry .mark"))
            chromium.driver.refresh()  # the address says who one is; the marks are in the database
            chromium.count(".entry", 5)
            assert chromium.all(".entry.unread") == []
            assert chromium.complaints() == []

        await in_thread(look)


async def test_a_teacher_and_a_guardian_write_to_each_other_in_two_tabs(dsn: str, chromium: Chromium) -> None:
    async with open_pages(dsn) as house:
        await house.engine.start_conversation("P21", ["P11"], "Rendez-vous", "Bonjour, jeudi à 17 h ?")

        def look() -> None:
            driver = chromium.driver
            enter(chromium, house.url, "guardian", "Gil")
            chromium.wait_text(".entry h3", "Rendez-vous")
            guardian = driver.current_window_handle
            driver.switch_to.new_window("tab")
            enter(chromium, house.url, "teacher", "Lou")
            teacher = driver.current_window_handle
            driver.switch_to.window(guardian)

            chromium.click(".entry .actions button")
            chromium.wait_text(".bubble", "jeudi à 17 h")
            chromium.find("#reply").send_keys("Oui, merci. " + NASTY)
            chromium.click("#talk-form button")
            chromium.wait_text(".mine .bubble", NASTY)
            chromium.shoot("conversation")

            driver.switch_to.window(teacher)
            chromium.wait_text(".entry h3", "Rendez-vous")
            chromium.click(".entry .actions button")
            chromium.wait_text(".bubble", NASTY)
            chromium.find("#reply").send_keys("C’est noté.")
            chromium.click("#talk-form button")
            driver.switch_to.window(guardian)  # the open conversation follows by itself
            chromium.wait_text(".bubble", "C’est noté.")
            assert "hacked" not in driver.title
            assert chromium.complaints() == []

        await in_thread(look)


async def test_what_was_published_while_the_gateway_was_away_is_there_when_it_comes_back(
    dsn: str, chromium: Chromium
) -> None:
    async with open_pages(dsn) as house:
        await in_thread(enter, chromium, house.url, "guardian", "Gil")
        await house.engine.publish(Announcement(key="1", audience=Person("P11"), title="Avant", body="…"))
        await in_thread(chromium.wait_text, ".entry h3", "Avant")
        assert house.gateway is not None
        house.gateway.drain()
        await in_thread(chromium.wait_text, "#live-text", "Reconnexion")
        await house.engine.publish(Announcement(key="2", audience=Person("P11"), title=NASTY, body="…"))
        await house.serve()
        await in_thread(chromium.wait_text, "#live-text", "En direct")
        await in_thread(chromium.wait_text, ".entry h3", NASTY)
        await house.engine.publish(Announcement(key="3", audience=Person("P11"), title="Après", body="…"))
        await in_thread(chromium.wait_text, ".entry h3", "Après")
        titles = await in_thread(lambda: [title.text for title in chromium.all(".entry h3")])
        assert titles == ["Après", NASTY, "Avant"]
        assert "hacked" not in chromium.driver.title


async def test_the_operator_sees_campaigns_lanes_and_connections_live(dsn: str, chromium: Chromium) -> None:
    async with open_pages(dsn) as house:
        await house.engine.set_rate("web", None)

        def look() -> None:
            driver = chromium.driver
            enter(chromium, house.url, "pupil", "Ada")
            driver.switch_to.new_window("tab")
            driver.get(f"{house.url}/operator")
            chromium.wait_text("#lanes th", "Web")
            chromium.wait_text("#figures dd", "1")
            chromium.find("#no-campaigns")

        await in_thread(look)
        for number in range(3):
            await house.engine.publish(
                Announcement(key=f"o{number}", audience=School("0540001A"), title="Portes ouvertes", body="Samedi.")
            )

        def look_again() -> None:
            chromium.count("#campaigns tr", 3)
            chromium.wait_text("#campaigns th", "Information")
            chromium.until(lambda: all("100 %" in row.text for row in chromium.all("#campaigns .way:first-child")))
            chromium.shoot("operator-light")
            chromium.scheme("dark")
            chromium.shoot("operator-dark")
            bar = chromium.find("#campaigns .bar")
            assert (bar.get_attribute("aria-label") or "").startswith("Web : ")
            hold = chromium.find("#hold")
            hold.click()
            assert hold.get_attribute("aria-pressed") == "true"
            chromium.wait_text("#live-text", "suspendue")
            assert chromium.complaints() == []

        await in_thread(look_again)


async def test_on_a_telephone_nothing_is_wider_than_the_screen(dsn: str, chromium: Chromium) -> None:
    async with open_pages(dsn) as house:
        await house.engine.publish(
            Announcement(key="w", audience=Person("P11"), title="Anticonstitutionnellement" * 4, body="…")
        )

        def look() -> None:
            metrics = {"width": 320, "height": 640, "deviceScaleFactor": 2, "mobile": True}
            chromium.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            enter(chromium, house.url, "guardian", "Gil")
            chromium.find(".entry")
            chromium.shoot("person-phone")
            for path in ("/", "/operator"):
                chromium.driver.get(house.url + path)
                chromium.find("h1")
                width = chromium.driver.execute_script("return document.documentElement.scrollWidth")
                assert width == 320, path  # WCAG 2.2, 1.4.10: reflow at 320 CSS pixels

        await in_thread(look)


STRUCTURE = """
const nameless = [...document.querySelectorAll('button, a[href], input, textarea, select, [role=region], [role=img]')]
  .filter((e) => e.checkVisibility() && !(
    e.textContent.trim() || e.labels?.length || e.getAttribute('aria-label') ||
    document.getElementById(e.getAttribute('aria-labelledby'))?.textContent.trim()));
const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
return {
  lang: document.documentElement.lang,
  h1: [...document.querySelectorAll('h1')].filter((e) => e.checkVisibility()).length,
  landmarks: ['header', 'nav', 'main'].map((tag) => document.querySelectorAll(tag).length),
  levels: [...document.querySelectorAll('h1, h2, h3')].filter((e) => e.checkVisibility())
    .map((e) => Number(e.tagName[1])),
  nameless: nameless.map((e) => e.outerHTML),
  doubled: ids.filter((id, place) => ids.indexOf(id) !== place),
  dangling: [...document.querySelectorAll('[aria-labelledby], [aria-describedby]')]
    .flatMap((e) => [e.getAttribute('aria-labelledby'), e.getAttribute('aria-describedby')])
    .filter((id) => id && !document.getElementById(id)),
  images: [...document.querySelectorAll('img:not([alt])')].length,
};
"""


async def test_the_structure_of_both_pages_is_one_that_assistive_tools_read(dsn: str, chromium: Chromium) -> None:
    async with open_pages(dsn) as house:
        await house.engine.start_conversation("P21", ["P11"], "Rendez-vous", "Bonjour, jeudi à 17 h ?")

        def examine() -> None:
            found = chromium.driver.execute_script(STRUCTURE)
            assert found["lang"] == "fr"
            assert found["h1"] == 1
            assert found["landmarks"] == [1, 1, 1]
            assert all(after - before <= 1 for before, after in pairwise(found["levels"])), found["levels"]
            assert found["nameless"] == found["doubled"] == found["dangling"] == []
            assert found["images"] == 0

        def look() -> None:
            chromium.driver.get(house.url + "/")
            chromium.find("#people button")
            examine()
            enter(chromium, house.url, "guardian", "Gil")
            chromium.click(".entry .actions button")
            chromium.find(".bubble")
            examine()
            chromium.driver.get(house.url + "/operator")
            chromium.find("#campaigns tr")
            examine()

        await in_thread(look)


async def test_the_page_of_a_person_works_by_keyboard_alone(dsn: str, chromium: Chromium) -> None:
    async with open_pages(dsn) as house:
        await house.engine.publish(Announcement(key="k", audience=Person("P1"), title="Bonjour", body="…"))

        def press(*keys: str) -> None:
            chromium.driver.switch_to.active_element.send_keys(*keys)

        def focused() -> str:
            return chromium.driver.switch_to.active_element.text

        def look() -> None:
            chromium.driver.get(house.url + "/")
            chromium.find("#people button")
            press(Keys.TAB)
            assert focused() == "Aller au contenu"
            press(Keys.ENTER)
            press(Keys.TAB)  # the chosen profile
            press(Keys.LEFT)
            press(Keys.TAB)
            press("Ada")
            chromium.count("#people button", 1)
            press(Keys.TAB)
            press(Keys.ENTER)
            chromium.wait_text(".entry h3", "Bonjour")
            chromium.until(lambda: focused() == "Notifications")
            press(Keys.TAB)
            assert focused() == "Tout marquer comme lu"
            press(Keys.TAB)
            assert focused() == "Marquer comme lu"
            press(Keys.ENTER)
            chromium.until(lambda: focused() == "Bonjour")  # the button is gone, the place is kept
            outline = chromium.driver.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid"

        await in_thread(look)
