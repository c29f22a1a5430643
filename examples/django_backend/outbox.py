"""Publishing in Django's own transaction: what it commits is published once, what it rolls back never was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from django.db import connection

if TYPE_CHECKING:
    from ent_notify import Event


def publish(event: Event) -> int:
    """Publish ``event`` within the transaction that is open; its notification, whether this call made it or an earlier.

    Raises django.db.Error with the reason, and the transaction is rolled back.
    """
    with connection.cursor() as cursor:
        cursor.execute("select ent_notify.publish(%s)", [json.dumps(event.to_json())])
        (answer,) = cursor.fetchone()
    return int((json.loads(answer) if isinstance(answer, str) else answer)["notification"])
