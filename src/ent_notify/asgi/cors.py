"""Whose pages may ask: exact origins, and our own."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from ent_notify.asgi.problems import Problem
from ent_notify.settings import Settings

MAX_AGE = 600
"""Seconds for which a browser keeps what it was allowed."""


class Origins:
    """The allow-list: ``gateway.origins``, the project's own address, and the API's."""

    def __init__(self, settings: Settings) -> None:
        own = {_origin(url) for url in (settings.project.url, settings.api.url) if url}
        self._allowed = own | set(settings.gateway.origins)

    def check(self, headers: Mapping[str, str]) -> str | None:
        """The request's origin; None when it has none (an app, a server). Raises Problem 403 for any other."""
        origin = headers.get("origin")
        if origin is not None and origin not in self._allowed:
            raise Problem(
                403, "Foreign origin", "Pages of this origin may not ask; add it to gateway.origins if they should."
            )
        return origin


def granted(origin: str) -> tuple[tuple[str, str], ...]:
    """What lets a page of ``origin`` read an answer. Without credentials: the token comes in a header."""
    return (
        ("access-control-allow-origin", origin),
        ("access-control-expose-headers", "retry-after"),
        ("vary", "origin"),
    )


def preflight(methods: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """What a preflight learns beside that."""
    return (
        ("access-control-allow-methods", ", ".join(methods)),
        ("access-control-allow-headers", "authorization, content-type"),
        ("access-control-max-age", str(MAX_AGE)),
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
