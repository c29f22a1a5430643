"""A few events to publish from the demo's page, so that one sees them arrive."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta

from ent_notify.engine import Engine
from ent_notify.errors import NotFound
from ent_notify.model.audience import Group, GuardiansOf, Person, School
from ent_notify.model.events import AbsenceRecorded, Announcement, Event, HomeworkAssigned, LessonChanged
from ent_notify.model.inbox import Reader
from ent_notify.model.people import Profile


@dataclass(frozen=True, slots=True)
class Sample:
    """One button of the page: ``label`` says, in French, what it publishes and for whom."""

    id: str
    label: str


@dataclass(frozen=True, slots=True)
class _Around:
    """A class, a pupil of it, and their school (external ids and names)."""

    class_id: str
    class_name: str
    pupil: str
    pupil_name: str
    uai: str
    school: str


class Samples:
    """What can be published around a person."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def offered(self, reader: Reader) -> list[Sample]:
        """What this person's page offers; nothing for somebody without a class near them."""
        around = await self._around(reader)
        if around is None:
            return []
        samples = [Sample("homework", f"Un travail à faire en {around.class_name}")]
        if reader.profile != Profile.TEACHER:
            samples.append(Sample("lesson", f"Un cours déplacé en {around.class_name}"))
        if reader.profile == Profile.GUARDIAN:
            samples.append(Sample("absence", f"Une absence de {around.pupil_name}"))
        samples.append(Sample("announcement", f"Une information à tous : {around.school}"))
        if reader.profile == Profile.TEACHER:
            samples.append(Sample("message", "Un message d’un responsable"))
        else:
            samples.append(Sample("message", "Un message d’un enseignant"))
        return samples

    async def publish(self, sample: str, reader: Reader) -> None:
        """Publish one. Raises NotFound if it is not offered to this person."""
        around = await self._around(reader)
        if around is None or sample not in {each.id for each in await self.offered(reader)}:
            raise NotFound(f"there is no sample {sample[:40]!r} for this person")
        if sample == "message":
            await self._message(around, reader)
        else:
            await self._engine.publish(self._event(sample, around, reader))

    def _event(self, sample: str, around: _Around, reader: Reader) -> Event:
        now = self._engine.clock.now()
        key = f"demo:page:{uuid.uuid4()}"
        tomorrow = (now + timedelta(days=1)).replace(minute=0, second=0, microsecond=0)
        if sample == "homework":
            # The author sees it too: so that whoever presses the button as a teacher gets an answer.
            whom = Group(around.class_id) | GuardiansOf(Group(around.class_id)) | Person(reader.id)
            return HomeworkAssigned(
                key=key,
                audience=whom,
                group=around.class_id,
                subject="Mathématiques",
                title="Exercices 12 et 13, page 84",
                due=tomorrow.date(),
            )
        if sample == "lesson":
            return LessonChanged(
                key=key,
                group=around.class_id,
                subject="Histoire-géographie",
                change="moved",
                starts_at=tomorrow,
                moved_to=tomorrow + timedelta(hours=2),
                room="C204",
            )
        if sample == "absence":
            return AbsenceRecorded(key=key, pupil=around.pupil, starts_at=now - timedelta(minutes=30))
        return Announcement(
            key=key,
            audience=School(around.uai),
            title="Photographies de classe",
            body="Le photographe passera mardi matin.",
            sender=around.school,
        )

    async def _message(self, around: _Around, reader: Reader) -> None:
        if reader.profile == Profile.TEACHER:
            author = await self._engine.db.fetchval("scenes.guardian", pupil=around.pupil)
            subject, body = "Sortie de vendredi", "Bonjour, je peux accompagner la classe vendredi après-midi."
        else:
            author = await self._engine.db.fetchval("scenes.teacher", uai=around.uai)
            subject, body = "Prise de contact", "Bonjour, pourriez-vous me confirmer la bonne réception de ce message ?"
        if author is None:
            raise NotFound("nobody around this person can write to them")
        await self._engine.start_conversation(author, [reader.id], subject, body)

    async def _around(self, reader: Reader) -> _Around | None:
        row = await self._engine.db.fetchrow("pages.around", person_id=reader.person, now=self._engine.clock.now())
        return None if row is None else _Around(**dict(row))
