"""Every event reads well, in every language, whatever a host puts into it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ent_notify import words
from ent_notify.errors import MalformedEvent, SettingsError
from ent_notify.model.delivery import MailContent
from ent_notify.model.events import BUILT_IN, data_fields
from ent_notify.words.values import LINE_LIMIT

PROJECT = words.Project("Mon Bureau Numérique", "https://bureau.example/")
TYPES = [event.__name__ for event in BUILT_IN]
CATEGORIES = [event.category for event in BUILT_IN]
NASTY = [
    "<script>alert(1)</script>",
    "עברית עם English",
    "👩🏽‍🏫🇫🇷",
    "Sujet\r\nBcc: autre@exemple.fr",
    "{name} {{ 7 * 7 }} {% raw %} {/children}",
    "\u202etxet desrever",
    "a\x00b\ud800c",
    "",
    "x" * 5_000,
]
strings = st.one_of(st.sampled_from(NASTY), st.text(max_size=60))
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "string": strings,
    "integer": st.integers(1, 2**62),
    "boolean": st.booleans(),
    "date": st.dates(date(2020, 1, 1), date(2040, 1, 1)).map(date.isoformat),
    "datetime": st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 - hypothesis takes naive bounds
        datetime.isoformat
    ),
}
WORKS = st.fixed_dictionaries({"subject": strings, "title": strings})
CHANGES = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["cancelled", "added", "replaced", "room", "teacher", "exam"]),
        "subject": strings,
        "start_at": KINDS["datetime"],
        "end_at": KINDS["datetime"],
        "was": strings,
    },
    optional={"room": strings, "teacher": strings, "exam": st.just("yes")},
)
ITEMS: dict[str, st.SearchStrategy[dict[str, str]]] = {
    "HomeworkReminder": WORKS,
    "TestReminder": WORKS,
    "TimetableChanged": CHANGES,
    "TimetableNoted": CHANGES,
}
"""What the lists of an event hold."""


@st.composite
def published(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    event = draw(st.sampled_from(BUILT_IN))
    kinds = KINDS | {"items": st.lists(ITEMS[event.__name__], max_size=5)} if event.__name__ in ITEMS else KINDS
    data: dict[str, Any] = {}
    for name, kind in data_fields(event).items():
        if kind.endswith("?") and draw(st.booleans()):
            continue
        data[name] = draw(kinds[kind.removesuffix("?")])
    if event.__name__ == "LessonChanged":
        data["change"] = draw(st.sampled_from(["cancelled", "moved", "room", "swapped"]))
    return event.__name__, data


class Page(HTMLParser):
    """The elements and the visible text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def places(text: str) -> list[str]:
    """What stands between single braces."""
    return re.findall(r"\{([^{}]*)\}", text.replace("{{", "").replace("}}", ""))


@given(
    event=published(),
    language=st.sampled_from(words.languages()),
    zone=st.sampled_from(["Europe/Paris", "Indian/Reunion"]),
)
def test_every_event_renders_in_every_language(event: tuple[str, dict[str, Any]], language: str, zone: str) -> None:
    event_type, data = event
    line = words.headline(event_type, data, language, zone)
    assert line == line.strip(" ")
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e]", line)
    assert len(line) <= 3 * LINE_LIMIT

    content = words.mail(event_type, data, language, PROJECT, zone)
    assert "\n" not in content.subject
    assert "\r" not in content.subject + content.text + content.html
    assert places(content.subject) == []
    allowed = {"?name", "name", "/name", "?children", "children", "/children"}
    allowed |= {"?unsubscribe_url", "unsubscribe_url", "/unsubscribe_url"}
    for part in (content.text, content.html):
        part.encode()
        assert set(places(part)) == allowed

    page = Page(content.html)
    names = {tag for tag, _ in page.elements}
    assert names <= {"html", "head", "meta", "title", "body", "main", "h1", "p", "strong", "br", "a", "footer"}
    assert page.all("html") == [{"lang": language, "dir": "ltr"}]
    assert len(page.all("h1")) == 1


@given(event=published())
def test_both_parts_of_a_mail_say_the_same(event: tuple[str, dict[str, Any]]) -> None:
    content = words.mail(*event, "fr", PROJECT)
    page = Page(content.html)

    def said(text: str) -> set[str]:
        return {word for word in re.split(r"[\s{}/?]+", text) if any(c.isalnum() for c in word)}

    assert said(content.text) - said(page.text) <= {"https:", "bureau.example", "unsubscribe_url"}


@pytest.mark.parametrize("language", words.languages())
def test_no_template_is_missing(language: str) -> None:
    folder = Path(words.__file__).parent / "languages" / language
    assert {path.stem for path in folder.glob("*.j2") if path.stem[0] != "_"} == {*TYPES, "Other"}
    assert {words.wake_up(category, language) for category in CATEGORIES}.isdisjoint({""})


def test_french_and_english_read_as_written() -> None:
    homework = {"group": "g", "subject": "Maths", "title": "Exercice 3", "due": "2026-09-08"}
    assert (
        words.headline("HomeworkAssigned", homework, "fr") == "Maths\u00a0: travail à faire pour le mardi 8 septembre"
    )
    assert words.headline("HomeworkAssigned", homework, "en") == "Maths: homework for Tuesday 8 September"
    moved = {
        "group": "g",
        "subject": "SVT",
        "change": "moved",
        "starts_at": "2026-09-08T08:00:00+00:00",
        "moved_to": "2026-10-01T12:30:00Z",
        "room": "B12",
    }
    assert words.headline("LessonChanged", moved, "fr") == (
        "SVT\u00a0: cours du mardi 8 septembre à 10:00 déplacé au jeudi 1er octobre à 14:30, salle B12"
    )
    assert words.headline("LessonChanged", moved, "en", "Indian/Reunion") == (
        "SVT: lesson of Tuesday 8 September at 12:00 moved to Thursday 1 October at 16:30, room B12"
    )
    assert words.headline("LessonChanged", moved | {"change": "cancelled"}, "fr") == (
        "SVT\u00a0: cours du mardi 8 septembre à 10:00 annulé"
    )
    assert words.headline("LessonChanged", moved | {"change": "room"}, "fr") == (
        "SVT\u00a0: cours du mardi 8 septembre à 10:00, salle B12"
    )
    absence = {"pupil": "AAF-1", "starts_at": "2026-09-08T06:00:00Z", "ends_at": "2026-09-08T10:00:00Z"}
    assert words.headline("AbsenceRecorded", absence, "fr") == "Absence signalée le mardi 8 septembre de 08:00 à 12:00"
    assert (
        words.headline("GradePublished", {"pupil": "AAF-1", "subject": "EPS"}, "en") == "EPS: a new assessment to see"
    )
    assert words.headline("MessagePosted", {"conversation": 1, "subject": "RDV", "sender": "Mme A"}, "fr") == (
        "Mme A\u00a0: RDV"
    )


def test_no_external_id_is_printed() -> None:
    data = {"pupil": "AAF-canary-77", "subject": "EPS", "starts_at": "2026-09-08T06:00:00Z"}
    for event_type in ("AbsenceRecorded", "GradePublished"):
        content = words.mail(event_type, data, "fr", PROJECT)
        assert "canary" not in content.subject + content.text + content.html
        assert "canary" not in words.headline(event_type, data, "fr")


def test_braces_of_a_host_are_no_places() -> None:
    data = {"title": "{name}", "body": "accolades {children} {", "sender": None}
    content = words.mail("Announcement", data, "fr", words.Project("{p}", "https://a.example/{x}"))
    assert content.subject == "{{name}}"
    assert "accolades {{children}} {{" in content.text
    assert "https://a.example/{{x}}" in content.html
    assert words.headline("Announcement", data, "fr") == "{name}"


def test_an_announcement_keeps_its_paragraphs_and_lines() -> None:
    content = words.mail("Announcement", {"title": "T", "body": "un\r\ndeux\n\n\n trois "}, "fr", PROJECT)
    assert "\n\nun\ndeux\n\ntrois\n" in content.text
    assert "<p>un<br>\ndeux</p>\n<p>trois</p>" in content.html


def test_right_to_left_values_are_isolated() -> None:
    line = words.headline(
        "HomeworkAssigned", {"group": "g", "subject": "עברית", "title": "", "due": "2026-09-08"}, "fr"
    )
    assert line.startswith("\u2068עברית\u2069\u00a0: ")


@pytest.mark.parametrize("language", ["de", "", "zz-ZZ", "../en", "fr_CA", "FR"])
def test_a_missing_language_is_read_in_french(language: str) -> None:
    data = {"title": "T", "body": "b"}
    assert words.mail("Announcement", data, language, PROJECT) == words.mail("Announcement", data, "fr", PROJECT)
    assert words.wake_up("message", language) == words.wake_up("message", "fr")


def test_a_regional_language_reads_its_base() -> None:
    assert words.wake_up("message", "en-GB") == words.wake_up("message", "en") != words.wake_up("message", "fr")


def test_an_unknown_event_has_a_neutral_text() -> None:
    assert words.headline("CanteenMenu", {"secret": "canary"}, "fr") == "Une nouvelle information vous attend"
    content = words.mail("../../fr/Announcement", {"secret": "canary"}, "en", PROJECT)
    assert content.subject == "There is new information for you"
    assert words.wake_up("canteen", "en") == words.wake_up("other", "en")


@pytest.mark.parametrize("language", words.languages())
def test_a_push_sentence_is_the_same_for_everybody(language: str) -> None:
    for category in CATEGORIES:
        sentence = words.wake_up(category, language)
        assert not re.search(r"[{}<>\d]", sentence)
        assert len(sentence.encode()) <= 120


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"group": "g", "subject": "s", "title": "t"}, "due"),
        ({"group": "g", "subject": "s", "title": "t", "due": "demain"}, "'demain'"),
        ({"group": "g", "subject": "s", "title": "t", "due": 5}, "due"),
    ],
)
def test_data_that_cannot_be_read_is_named(data: dict[str, Any], said: str) -> None:
    with pytest.raises(MalformedEvent, match=said):
        words.headline("HomeworkAssigned", data, "fr")


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(MalformedEvent, match="starts_at"):
        words.headline("AbsenceRecorded", {"pupil": "p", "starts_at": "2026-09-08T06:00:00"}, "fr")


def test_a_wrong_zone_or_url_is_named() -> None:
    with pytest.raises(SettingsError, match="Europe/Nancy"):
        words.Project("P", "https://a.example", "Europe/Nancy")
    with pytest.raises(SettingsError, match="javascript"):
        words.Project("P", "javascript:alert(1)")


def test_a_third_language_needs_only_a_folder(tmp_path: Path) -> None:
    arabic = tmp_path / "ar"
    arabic.mkdir()
    source = Path(words.__file__).parent / "languages" / "en"
    (arabic / "catalogue.toml").write_text((source / "catalogue.toml").read_text().replace("en_GB", "ar"))
    (arabic / "GradePublished.j2").write_text(
        "{% block headline %}{{ subject }}: نتيجة{% endblock %}"
        "{% block body %}{% call p() %}نتيجة{% endcall %}{% endblock %}"
    )
    library = words.Words(tmp_path)
    assert library.languages == ("fr", "ar", "en")
    content = library.mail("GradePublished", {"pupil": "p", "subject": "EPS"}, "ar", PROJECT)
    assert '<html lang="ar" dir="rtl">' in content.html
    assert content.subject == "EPS: نتيجة"
    # What the folder lacks is read in French, and says that it is French.
    other = library.mail("Announcement", {"title": "T", "body": "b"}, "ar", PROJECT)
    assert '<html lang="fr" dir="ltr">' in other.html


def test_an_incomplete_catalogue_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "de"
    folder.mkdir()
    source = (Path(words.__file__).parent / "languages" / "en" / "catalogue.toml").read_text()
    (folder / "catalogue.toml").write_text(source.replace("unsubscribe =", "unsubscribed ="))
    with pytest.raises(SettingsError, match=r"'de' lacks unsubscribe in \[words\]"):
        words.Words(tmp_path)
    (folder / "catalogue.toml").write_text("locale = 3")
    with pytest.raises(SettingsError, match=r"de/catalogue\.toml"):
        words.Words(tmp_path)


def test_french_typography() -> None:
    folder = Path(words.__file__).parent / "languages" / "fr"
    for path in folder.iterdir():
        text = (
            re.sub(r"\{%.*?%\}|#.*", "", path.read_text(encoding="utf-8"))
            if path.suffix == ".toml"
            else path.read_text()
        )
        sentences = re.findall(r"%\}(.*?)\{%", text, re.S) if path.suffix == ".j2" else re.findall(r'"(.*)"', text)
        for sentence in sentences:
            assert "'" not in sentence or path.suffix == ".toml", f"{path.name}: typewriter apostrophe in {sentence!r}"
            assert not re.search(r"[^\u00a0\d]:(\s|$)", sentence), (
                f"{path.name}: no-break space before : in {sentence!r}"
            )
            assert not re.search(r"[^\u202f{]\?(\s|$)|[^\u202f]!", sentence), (
                f"{path.name}: narrow space in {sentence!r}"
            )


def contrast(first: str, second: str) -> float:
    """WCAG 2.1 contrast ratio of two #rrggbb colours."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_mail_can_be_read_by_everybody() -> None:
    """RGAA 4.1: 3.2 contrast, 8.3 language, 9.1 headings, 8.6 title; nothing is fetched from elsewhere."""
    html = words.mail("Announcement", {"title": "T", "body": "b"}, "fr", PROJECT).html
    page = Page(html)
    assert page.all("img") == page.all("link") == page.all("script") == []
    assert "T" in page.text
    for colour in set(re.findall(r"(?<![-\w])color:(#\w{6})", html)):
        assert contrast(colour, "#ffffff") >= 4.5, colour
    assert page.all("body")[0]["style"] is not None
    assert "background:#ffffff" in str(page.all("body")[0]["style"])


def test_a_mail_is_a_value() -> None:
    data = {"title": "T", "body": "b"}
    first, second = (words.mail("Announcement", data, "fr", PROJECT) for _ in range(2))
    assert isinstance(first, MailContent)
    assert first == second
    assert hash(first) == hash(second)
