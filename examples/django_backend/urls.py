"""The host's addresses."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from django.contrib import admin
from django.db import DatabaseError
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from examples.django_backend.models import Absence

if TYPE_CHECKING:
    from django.http import HttpRequest


@csrf_exempt
@require_POST
def absences(request: HttpRequest) -> JsonResponse:
    """Record an absence; a terminal in the classroom asks for it (who it is stands elsewhere)."""
    asked = json.loads(request.body)
    try:
        absence = Absence.record(asked["pupil"], datetime.fromisoformat(asked["starts_at"]))
    except DatabaseError as refused:
        if not (getattr(refused.__cause__, "sqlstate", None) or "").startswith("EN"):
            raise
        # EN001, EN002: the event was refused, and the absence is not stored either
        return JsonResponse({"detail": str(refused).partition("\n")[0]}, status=422)
    return JsonResponse({"absence": absence.pk, "notification": absence.notification}, status=201)


urlpatterns = [path("absences", absences), path("admin/", admin.site.urls)]
