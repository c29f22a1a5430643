"""The school office's page: it records absences, and sees what became of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from examples.django_backend.models import Absence
from examples.django_backend.notify import notify

from ent_notify import Engine, NotFound

if TYPE_CHECKING:
    from django.http import HttpRequest


class AbsenceForm(forms.ModelForm):
    """Refuses a pupil who is not in the directory, before anything is written."""

    class Meta:
        model = Absence
        fields = ("pupil", "starts_at")

    def clean_pupil(self) -> str:
        """The pupil's id."""
        pupil = self.cleaned_data["pupil"]
        try:
            notify.call_sync(Engine.reader, pupil)
        except NotFound as error:
            raise forms.ValidationError("Cet élève n'est pas dans l'annuaire.") from error
        return str(pupil)


@admin.register(Absence)
class AbsenceAdmin(admin.ModelAdmin):
    """Absences, and how many people were reached."""

    form = AbsenceForm
    list_display = ("pupil", "starts_at", "told")

    def save_model(self, request: HttpRequest, obj: Absence, form: Any, change: bool) -> None:
        """Store and publish, in the transaction that the admin has opened."""
        obj.tell()

    @admin.display(description="Familles prévenues")
    def told(self, absence: Absence) -> str:
        """Deliveries: accepted of planned, or that it waits for a worker."""
        try:
            ledger = notify.call_sync(Engine.ledger, absence.notification)
        except NotFound:
            return "en attente"
        return f"{ledger.accepted} / {ledger.planned}"
