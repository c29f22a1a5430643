"""Routes beside the stream: method and path to an async handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ent_notify.errors import RequestRefused
from ent_notify.gateway.http import Request, Response

Handler = Callable[[Request], Awaitable[Response]]


class Router:
    """Exact paths, and folders (a path that ends in ``/`` takes one more segment, which the handler reads itself).

    ``fallback`` answers whatever else is asked for.
    """

    def __init__(self, fallback: Handler | None = None) -> None:
        self._fallback = fallback
        self._exact: dict[str, dict[str, Handler]] = {}
        self._folders: dict[str, dict[str, Handler]] = {}

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Serve ``method path`` (GET also answers HEAD). ``ValueError`` if the route is taken."""
        table = self._folders if path.endswith("/") and path != "/" else self._exact
        methods = table.setdefault(path, {})
        for name in ("GET", "HEAD") if method == "GET" else (method,):
            if name in methods:
                raise ValueError(f"the route {name} {path} is taken; give this handler another path")
            methods[name] = handler

    def fall_back_to(self, handler: Handler) -> None:
        """Let another ``fallback`` answer from now on; what the one before has begun it ends."""
        self._fallback = handler

    async def handle(self, request: Request) -> Response:
        """The handler's answer; ``RequestRefused`` 404 or 405 when there is none."""
        methods = self._exact.get(request.path)
        if methods is None:
            folder, _, segment = request.path.rpartition("/")
            methods = self._folders.get(folder + "/") if segment else None
        if methods is None and self._fallback is not None:
            return await self._fallback(request)
        if methods is None:
            raise RequestRefused(404, "Not found", f"nothing is served at {request.path[:200]}")
        handler = methods.get(request.method)
        if handler is None:
            allowed = ", ".join(sorted(methods))
            raise RequestRefused(405, "Method not allowed", f"{request.path[:200]} takes {allowed}")
        return await handler(request)
