"""The host's own data: absences, each with the notification that told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models, transaction
from examples.django_backend import outbox

from ent_notify import AbsenceRecorded

if TYPE_CHECKING:
    from datetime import datetime


class Absence(models.Model):
    """A pupil was not there. Guardians are told."""

    pupil = models.CharField("élève", max_length=64)
    starts_at = models.DateTimeField("début")
    notification = models.BigIntegerField(null=True, editable=False)

    class Meta:
        verbose_name = "absence"
        ordering = ("-starts_at",)

    def __str__(self) -> str:
        return f"{self.pupil}, {self.starts_at:%d/%m/%Y %H:%M}"

    def tell(self) -> None:
        """Store it and publish what it is, in one transaction. Its number makes the key: nobody is told twice."""
        with transaction.atomic():
            self.save()
            event = AbsenceRecorded(key=f"absence-{self.pk}", pupil=self.pupil, starts_at=self.starts_at)
            self.notification = outbox.publish(event)
            self.save(update_fields=["notification"])

    @classmethod
    def record(cls, pupil: str, starts_at: datetime) -> Absence:
        """A new absence, stored and told."""
        absence = cls(pupil=pupil, starts_at=starts_at)
        absence.tell()
        return absence
