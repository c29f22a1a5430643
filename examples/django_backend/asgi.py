"""Django and the API of ent_notify in one ASGI application: ``/notify/...`` is the API's, the rest is Django's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from django.core.asgi import get_asgi_application
from examples.django_backend.notify import notify

from ent_notify import load_settings
from ent_notify.asgi import create_app

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "examples.django_backend.settings")
django = get_asgi_application()
api = create_app(load_settings(), host=notify)


async def application(
    scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Awaitable[None]]
) -> None:
    """ASGI 3."""
    if scope["type"] == "lifespan":
        await api(scope, receive, send)
    elif scope["path"].startswith("/notify/"):
        await api({**scope, "root_path": scope.get("root_path", "") + "/notify"}, receive, send)
    else:
        await django(scope, receive, send)
