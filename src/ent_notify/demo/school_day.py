"""A school day: what a school's software publishes between a morning and an evening."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from ent_notify.model.audience import Everyone, School
from ent_notify.model.events import AbsenceRecorded, Announcement, Event, HomeworkAssigned, LessonChanged

_HOMEWORK = (
    ("Mathématiques", "Exercices 4 à 7, page 52"),
    ("Français", "Lire le chapitre 3"),
    ("Histoire-géographie", "Apprendre la leçon sur les fleuves"),
    ("Anglais", "Préparer un exposé de deux minutes"),
    ("SVT", "Dessiner le cycle de l’eau"),
)


@dataclass(frozen=True, slots=True)
class Cast:
    """Who plays: some classes, some pupils, a school, a teacher and a guardian (external ids)."""

    classes: tuple[str, ...]
    pupils: tuple[str, ...]
    school: str
    school_name: str
    teacher: str
    guardian: str


def school_day(cast: Cast, now: datetime, seed: int) -> list[Event]:
    """The day's events but the evening's: homework, a moved lesson, absences, an announcement to a school and one to
    everybody. The same seed gives the same day."""
    dice = random.Random(seed)  # noqa: S311 - a scenario, not a secret
    tomorrow = now.date() + timedelta(days=1)
    events: list[Event] = []
    for number, group in enumerate(cast.classes):
        subject, title = dice.choice(_HOMEWORK)
        events.append(
            HomeworkAssigned(key=f"demo:homework:{number}", group=group, subject=subject, title=title, due=tomorrow)
        )
    lesson = (now + timedelta(days=1)).replace(minute=0, second=0, microsecond=0)
    events.append(
        LessonChanged(
            key="demo:lesson",
            group=cast.classes[0],
            subject="Anglais",
            change="moved",
            starts_at=lesson,
            moved_to=lesson + timedelta(hours=2),
            room="B12",
        )
    )
    events += [
        AbsenceRecorded(key=f"demo:absence:{number}", pupil=pupil, starts_at=now - timedelta(hours=1))
        for number, pupil in enumerate(cast.pupils)
    ]
    events.append(
        Announcement(
            key="demo:school",
            audience=School(cast.school),
            title="Journée portes ouvertes",
            body="Le collège ouvre ses portes samedi matin, de 9 h à 12 h.",
            sender=cast.school_name,
        )
    )
    events.append(
        Announcement(
            key="demo:everybody",
            audience=Everyone(),
            title="Maintenance de la plateforme",
            body="La plateforme sera indisponible dimanche, de 6 h à 8 h.",
            sender="La région",
        )
    )
    return events


def evening(cast: Cast) -> Event:
    """What is published late: held by the pause, and let go in the morning."""
    return Announcement(
        key="demo:evening",
        audience=School(cast.school),
        title="Sortie de jeudi",
        body="N’oubliez pas le pique-nique et des chaussures de marche.",
        sender=cast.school_name,
    )
