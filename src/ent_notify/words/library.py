"""The languages on disk, and the templates rendered from them (Jinja2), with dates and times as CLDR has them (Babel).

One event template holds two blocks, ``headline`` and ``body``. The body is rendered twice, by an environment that
escapes for HTML and by one that writes plain text, so both parts of a mail say the same.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from ent_notify.errors import SettingsError
from ent_notify.model.delivery import MailContent
from ent_notify.words.values import FIELDS, for_line, for_mail, literal

FALLBACK = "fr"
OTHER = "Other"
"""The template, and the push sentence, of what has none of its own."""

_HERE = Path(__file__).parent
_SPACES = re.compile("[ \n]+")


@dataclass(frozen=True, slots=True)
class Project:
    """What a mail says of the platform that sends it. ``url`` is where its reader is sent; https or http."""

    name: str
    url: str
    timezone: str = "Europe/Paris"

    def __post_init__(self) -> None:
        if not self.url.startswith(("https://", "http://")):
            raise SettingsError(f"the project's url is {self.url!r}; it has to begin with https://")
        _zone(self.timezone)


@dataclass(frozen=True, slots=True)
class _Catalogue:
    """A language's ``catalogue.toml``: its locale, date formats, common words and push sentences."""

    tag: str
    locale: Locale
    formats: Mapping[str, str]
    words: Mapping[str, str]
    wake_up: Mapping[str, str]

    def day(self, day: date) -> str:
        """A day, as in « mardi 8 septembre »; the first of a month may be written otherwise (« 1er »)."""
        pattern = self.formats["first_day"] if day.day == 1 else self.formats["day"]
        return format_date(day, pattern, locale=self.locale)

    def time(self, instant: datetime) -> str:
        """A time of day in the instant's own zone, as in 10:00."""
        return format_time(instant, self.formats["time"], tzinfo=instant.tzinfo, locale=self.locale)


class Words:
    """Every text in every language, from the built-in folder and any ``folders`` of a host, which win over it.

    ``folders`` are the operator's, laid out like ``words/languages``: templates are code, so never point it at what
    users write. Raises SettingsError if a catalogue is incomplete.
    """

    def __init__(self, *folders: Path) -> None:
        self._folders = (*folders, _HERE / "languages")
        found = {entry.parent.name for folder in self._folders for entry in folder.glob("*/catalogue.toml")}
        self.languages: tuple[str, ...] = (FALLBACK, *sorted(found - {FALLBACK}))
        self._catalogues = {language: self._read(language) for language in self.languages}
        for catalogue in self._catalogues.values():
            _check_complete(catalogue, self._catalogues[FALLBACK])
        loader = FileSystemLoader([*self._folders, _HERE / "layout"])
        self._html = _environment(loader, html=True)
        self._text = _environment(loader, html=False)
        self._found = frozenset(loader.list_templates())

    def headline(self, event_type: str, data: Mapping[str, Any], language: str, timezone: str = "Europe/Paris") -> str:
        """One line of plain text (never HTML: escape it where you put it) for an inbox or a page.

        ``data`` is the event's data as on the wire; dates and times are in the reader's language and ``timezone``. An
        event without a template of its own gets a neutral line. Raises MalformedEvent if ``data`` lacks a field.
        """
        catalogue, template = self._template(self._text, event_type, language)
        return self._headline(catalogue, template, for_line(data, event_type, _zone(timezone)))

    def mail(
        self,
        event_type: str,
        data: Mapping[str, Any],
        language: str,
        project: Project,
        timezone: str | None = None,
    ) -> MailContent:
        """A campaign's mail in one language, with ``{name}``, ``{children}`` and ``{unsubscribe_url}`` left open.

        ``timezone`` is the project's unless given. Raises MalformedEvent if ``data`` lacks a field.
        """
        zone = _zone(timezone or project.timezone)
        catalogue, template = self._template(self._text, event_type, language)
        subject = self._headline(catalogue, template, for_mail(data, event_type, zone, lines=True))
        values = for_mail(data, event_type, zone, lines=False)
        parts = {}
        for kind, environment in (("txt", self._text), ("html", self._html)):
            _, template = self._template(environment, event_type, language)
            layout = environment.get_template(f"mail.{kind}.j2")
            context = template.new_context(values | self._tools(catalogue, html=kind == "html"))
            body = "".join(template.blocks["body"](context))
            parts[kind] = layout.render(
                tag=catalogue.tag,
                direction=catalogue.locale.text_direction,
                words={key: word.replace("{project}", literal(project.name)) for key, word in catalogue.words.items()},
                url=literal(project.url),
                subject=subject,
                body=Markup(body) if kind == "html" else body,  # noqa: S704 - rendered with autoescape just above
            )
        return MailContent(subject=subject, text=parts["txt"], html=parts["html"])

    def unsubscribe_page(self, state: Literal["ask", "done", "unknown"], language: str, project: Project) -> str:
        """The HTML page behind a mail's unsubscribe link: a form that asks, or what has become of it."""
        catalogue = self._catalogues[self.resolve(language)]
        return self._html.get_template("unsubscribe.html.j2").render(
            tag=catalogue.tag,
            direction=catalogue.locale.text_direction,
            words={key: word.replace("{project}", project.name) for key, word in catalogue.words.items()},
            state=state,
        )

    def wake_up(self, category: str, language: str) -> str:
        """A neutral sentence for a push: no name, no text, no class. An unknown category has the common one."""
        sentences = self._catalogues[self.resolve(language)].wake_up
        return sentences.get(category, sentences[OTHER.lower()])

    def resolve(self, language: str) -> str:
        """The language that is there for a reader of ``language`` (``en-GB`` reads ``en``); French if none is."""
        if language in self._catalogues:
            return language
        base = language.replace("_", "-").split("-")[0].lower()
        return base if base in self._catalogues else FALLBACK

    def _template(self, environment: Environment, event_type: str, language: str) -> tuple[_Catalogue, Template]:
        found = self.resolve(language)
        for folder in (found, FALLBACK):
            if event_type in FIELDS and f"{folder}/{event_type}.j2" in self._found:
                return self._catalogues[folder], environment.get_template(f"{folder}/{event_type}.j2")
        folder = found if f"{found}/{OTHER}.j2" in self._found else FALLBACK
        return self._catalogues[folder], environment.get_template(f"{folder}/{OTHER}.j2")

    def _headline(self, catalogue: _Catalogue, template: Template, values: dict[str, Any]) -> str:
        context = template.new_context(values | self._tools(catalogue, html=False))
        return _SPACES.sub(" ", "".join(template.blocks["headline"](context))).strip(" ")

    @staticmethod
    def _tools(catalogue: _Catalogue, *, html: bool) -> dict[str, Callable[..., Any]]:
        """What a template may call beside its values."""
        tools: dict[str, Callable[..., Any]] = {"day": catalogue.day, "time": catalogue.time}
        return tools | (_HTML if html else _TEXT)

    def _read(self, language: str) -> _Catalogue:
        path = next(path for folder in self._folders if (path := folder / language / "catalogue.toml").is_file())
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
            return _Catalogue(
                tag=language,
                locale=Locale.parse(raw["locale"]),
                formats={"first_day": raw["formats"]["day"]} | raw["formats"],
                words=raw["words"],
                wake_up=raw["wake_up"],
            )
        except (AttributeError, KeyError, TypeError, ValueError, UnknownLocaleError) as problem:
            raise SettingsError(
                f"the catalogue {path} cannot be used: {problem!r}; compare it with the French one"
            ) from problem


def _check_complete(catalogue: _Catalogue, model: _Catalogue) -> None:
    for section in ("formats", "words", "wake_up"):
        missing = getattr(model, section).keys() - getattr(catalogue, section).keys()
        if missing:
            raise SettingsError(
                f"the catalogue of {catalogue.tag!r} lacks {', '.join(sorted(missing))} in [{section}]; "
                f"translate them from the French one"
            )


def _environment(loader: FileSystemLoader, *, html: bool) -> Environment:
    return Environment(
        loader=loader,
        autoescape=html,  # noqa: S701 - the environment without escaping writes text/plain only
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SettingsError(f"{name!r} is not a time zone; use an IANA name such as Europe/Paris") from None


def _text_paragraph(caller: Callable[[], str]) -> str:
    return caller().strip() + "\n\n"


def _text_fact(label: str, caller: Callable[[], str]) -> str:
    return f"{label} {caller().strip()}\n\n"


def _html_paragraph(caller: Callable[[], str]) -> str:
    return Markup("<p>{}</p>\n").format(_html_lines(caller()))


def _html_fact(label: str, caller: Callable[[], str]) -> str:
    return Markup("<p><strong>{}</strong> {}</p>\n").format(label, _html_lines(caller()))


def _html_lines(text: str) -> Markup:
    return Markup("<br>\n").join(text.strip().split("\n"))


def _paragraphs(text: str) -> list[str]:
    """The paragraphs of a text, which blank lines part."""
    paragraphs: list[list[str]] = [[]]
    for line in text.split("\n"):
        if line.strip():
            paragraphs[-1].append(line.strip())
        elif paragraphs[-1]:
            paragraphs.append([])
    return ["\n".join(lines) for lines in paragraphs if lines]


_TEXT: dict[str, Callable[..., Any]] = {"p": _text_paragraph, "fact": _text_fact, "paragraphs": _paragraphs}
_HTML: dict[str, Callable[..., Any]] = {"p": _html_paragraph, "fact": _html_fact, "paragraphs": _paragraphs}
