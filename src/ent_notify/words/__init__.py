"""What people read: headlines, mail texts and push sentences, by event and language.

A language is a folder of :mod:`ent_notify.words.languages`: one template for each event and a ``catalogue.toml``.
A new language needs no code, only such a folder; a language that is not there is read in French.

    headline("HomeworkAssigned", data, "en")   -> 'Maths: homework for Tuesday 8 September'
    mail("HomeworkAssigned", data, "fr", Project(...))  -> MailContent, once per campaign and language
    wake_up("homework", "fr")                  -> 'Du nouveau dans le cahier de textes.'
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from ent_notify.model.delivery import MailContent
from ent_notify.words.library import FALLBACK, Project, Words

__all__ = ["FALLBACK", "Project", "Words", "headline", "languages", "mail", "wake_up"]


@cache
def _built_in() -> Words:
    return Words()


def languages() -> tuple[str, ...]:
    """The languages that are there, French first."""
    return _built_in().languages


def headline(event_type: str, data: Mapping[str, Any], language: str, timezone: str = "Europe/Paris") -> str:
    """One line of plain text for an inbox or a page. See :meth:`Words.headline`."""
    return _built_in().headline(event_type, data, language, timezone)


def mail(
    event_type: str, data: Mapping[str, Any], language: str, project: Project, timezone: str | None = None
) -> MailContent:
    """Subject, text and HTML with the personal places left open. See :meth:`Words.mail`."""
    return _built_in().mail(event_type, data, language, project, timezone)


def wake_up(category: str, language: str) -> str:
    """A neutral sentence for a push. See :meth:`Words.wake_up`."""
    return _built_in().wake_up(category, language)
