"""The JavaScript client as files that the gateway serves: a module for pages, and a service worker for Web Push."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files

from ent_notify.gateway.http import Request, Response
from ent_notify.gateway.router import Router

CLIENT_PATH = "/v1/client/ent-notify.js"
WORKER_PATH = "/v1/client/sw.js"
_TYPE = "text/javascript; charset=utf-8"
_CSP = "default-src 'none'; connect-src 'self'; frame-ancestors 'none'"
"""For the worker, whose own policy is that of its script; it loads nothing."""


def add_client(router: Router) -> None:
    """Add both files. Browsers keep the module for five minutes, and look at a worker anew whenever they start it."""
    folder = files("ent_notify.gateway") / "static"
    for path, extra in (
        (CLIENT_PATH, ()),
        (WORKER_PATH, (("content-security-policy", _CSP), ("service-worker-allowed", "/"))),
    ):
        router.add("GET", path, _file((folder / path.rpartition("/")[2]).read_bytes(), extra))


def _file(body: bytes, extra: tuple[tuple[str, str], ...]) -> Callable[[Request], Awaitable[Response]]:
    response = Response(body=body, content_type=_TYPE, headers=(("cache-control", "max-age=300"), *extra))

    async def serve(request: Request) -> Response:
        return response

    return serve
