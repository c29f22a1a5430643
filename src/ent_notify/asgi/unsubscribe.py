"""Unsubscribing by one click (RFC 8058): a mail program posts to the signed link of a mail's List-Unsubscribe header.

The link itself is the proof, so nobody has to sign in. Opening it in a browser shows a form and changes nothing:
programs that look at every link of a mail must not unsubscribe its reader.
"""

from __future__ import annotations

from email.message import Message
from email.parser import BytesParser
from typing import Annotated
from urllib.parse import parse_qs

from pydantic import Field

from ent_notify.asgi.problems import Problem
from ent_notify.asgi.router import HTML, Answer, OpenRoute, Request
from ent_notify.asgi.shapes import Shape, read_query
from ent_notify.engine import Engine
from ent_notify.errors import NotFound
from ent_notify.words import Project

FIELD, VALUE = "List-Unsubscribe", "One-Click"
URL_ENCODED, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"


class Link(Shape):
    """The signed link."""

    t: Annotated[str, Field(min_length=1, max_length=300)]
    """What the mail's link carries."""


async def show(engine: Engine, request: Request) -> Answer:
    """The page with the form."""
    try:
        link = await engine.personal.unsubscribe_link(_token(request))
    except NotFound:
        return _page(engine, "unknown", _preferred(request), 404)
    return _page(engine, "ask", link.language, 200)


async def unsubscribe(engine: Engine, request: Request) -> Answer:
    """Take somebody out, by a mail program's post or by the form."""
    token = _token(request)
    if not _is_one_click(request):
        raise Problem(400, "Malformed request", f"Send {FIELD}={VALUE} as a form, as RFC 8058 says.")
    try:
        link = await engine.personal.unsubscribe(token)
    except NotFound:
        return _page(engine, "unknown", _preferred(request), 404)
    return _page(engine, "done", link.language, 200)


def _token(request: Request) -> str:
    link = read_query(Link, request.query)
    return link.t if link is not None else ""


def _is_one_click(request: Request) -> bool:
    """Whether the body is the form that RFC 8058 asks for, in either of its two encodings."""
    content_type = request.headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == URL_ENCODED:
        return parse_qs(request.body.decode("latin-1"), max_num_fields=8).get(FIELD) == [VALUE]
    if kind != MULTIPART:
        raise Problem(415, "Unsupported media type", f"Send a form: {MULTIPART} or {URL_ENCODED}.")
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    form: Message = BytesParser().parsebytes(head + request.body)
    return any(
        part.get_param("name", header="content-disposition") == FIELD and str(part.get_payload()).strip() == VALUE
        for part in (form.get_payload() if form.is_multipart() else ())
        if isinstance(part, Message)
    )


def _preferred(request: Request) -> str:
    """The browser's first language."""
    return request.headers.get("accept-language", "fr")[:2].lower()


def _page(engine: Engine, state: str, language: str, status: int) -> Answer:
    chosen = engine.settings.project
    project = Project(chosen.name, chosen.url, chosen.timezone)
    html = engine.words.unsubscribe_page(
        "ask" if state == "ask" else "done" if state == "done" else "unknown", language, project
    )
    return Answer(
        status,
        html.encode(),
        HTML,
        (
            (
                "content-security-policy",
                "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            ),
        ),
    )


ROUTES = (
    OpenRoute(
        method="GET",
        path="/v1/unsubscribe",
        handler=show,
        query=Link,
        content_type="text/html",
        refuses=(404,),
        summary="A page that asks whether to unsubscribe; it changes nothing",
    ),
    OpenRoute(
        method="POST",
        path="/v1/unsubscribe",
        handler=unsubscribe,
        query=Link,
        takes=(URL_ENCODED, MULTIPART),
        content_type="text/html",
        refuses=(400, 404, 413, 415),
        summary="Unsubscribe by one click (RFC 8058)",
    ),
)
