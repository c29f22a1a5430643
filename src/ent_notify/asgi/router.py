"""The route table's pieces: what a route takes and answers, from which requests are checked and OpenAPI is written."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import orjson
from pydantic import BaseModel

from ent_notify.asgi.problems import CONTENT_TYPE as PROBLEM
from ent_notify.asgi.problems import Problem, not_found, problem_body
from ent_notify.engine import Engine
from ent_notify.errors import RequestRefused
from ent_notify.model.inbox import Reader
from ent_notify.wire.forms import MSGPACK, write_body

Model = TypeVar("Model", bound=BaseModel)
JSON = "application/json"
HTML = "text/html; charset=utf-8"
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, whole. Header names are in lower case; ``path`` is below the place where the app is mounted."""

    method: str
    path: str
    root: str
    query: bytes
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response. ``headers`` are added to the usual ones."""

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, value: BaseModel, status: int = 200) -> Answer:
        """A model as JSON."""
        return cls(status, orjson.dumps(value.model_dump(), option=orjson.OPT_UTC_Z))

    @classmethod
    def packed(cls, value: BaseModel, status: int = 200) -> Answer:
        """A model as msgpack."""
        return cls(status, write_body(value.model_dump(mode="json"), MSGPACK), MSGPACK)

    @classmethod
    def problem(cls, refused: RequestRefused) -> Answer:
        """RFC 9457."""
        faults = refused.faults if isinstance(refused, Problem) else ()
        headers: tuple[tuple[str, str], ...] = ()
        if refused.retry_after is not None:
            headers += (("retry-after", str(refused.retry_after)),)
        if refused.status == 401:
            headers += (("www-authenticate", "Bearer"),)  # RFC 6750, 3
        return cls(refused.status, orjson.dumps(problem_body(refused, faults)), PROBLEM, headers)


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler is given: who asks, and what of, checked already."""

    engine: Engine
    reader: Reader
    path: Mapping[str, int] = field(default_factory=dict)
    query: BaseModel | None = None
    body: BaseModel | None = None

    def number(self, name: str) -> int:
        """A number of the path."""
        return self.path[name]

    def asked(self, kind: type[Model]) -> Model:
        """The query, as the route declares it."""
        return _as_declared(self.query, kind)

    def given(self, kind: type[Model]) -> Model:
        """The body, as the route declares it."""
        return _as_declared(self.body, kind)


def _as_declared(value: BaseModel | None, kind: type[Model]) -> Model:
    if not isinstance(value, kind):
        raise TypeError(f"this route declares {type(value).__name__}, and its handler takes {kind.__name__}")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route for a person with a bearer token. ``path`` has numbers as ``{name}``; ``answer`` is its body's model."""

    method: str
    path: str
    handler: Callable[[Call], Awaitable[BaseModel]]
    summary: str
    answer: type[BaseModel]
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    status: int = 200
    refuses: tuple[int, ...] = ()
    """Statuses beside those that any such route may answer."""
    packs: bool = False
    """Whether its bodies may be msgpack, too."""
    searches: bool = False
    """Whether it counts as a search, of which one person may ask only so many."""
    writes: Callable[[BaseModel], int] = lambda _: 1
    """How many writes a body counts as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRoute:
    """A route that asks for no token: what it does is proven otherwise, or is for everybody."""

    method: str
    path: str
    handler: Callable[[Engine, Request], Awaitable[Answer]]
    summary: str
    content_type: str
    query: type[BaseModel] | None = None
    takes: tuple[str, ...] = ()
    """Media types of its body."""
    refuses: tuple[int, ...] = ()


AnyRoute = Route | OpenRoute


class Router:
    """Finds a request's route."""

    def __init__(self, routes: Iterable[AnyRoute]) -> None:
        self._table: dict[str, dict[str, AnyRoute]] = {}
        for route in routes:
            methods = self._table.setdefault(route.path, {})
            if route.method in methods:
                raise ValueError(f"the route {route.method} {route.path} is taken; give this handler another path")
            methods[route.method] = route
        self._patterns = [
            (re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(path))), path) for path in self._table
        ]

    def methods(self, path: str) -> tuple[str, ...]:
        """The methods of a path that is there, HEAD with GET; Problem 404 otherwise."""
        methods = self._find(path)[0]
        return tuple(sorted({*methods, *(("HEAD",) if "GET" in methods else ()), "OPTIONS"}))

    def find(self, method: str, path: str) -> tuple[AnyRoute, dict[str, int]]:
        """The route and the numbers of its path. Raises Problem 404, or 405 with what the path takes."""
        methods, numbers = self._find(path)
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            raise Problem(405, "Method not allowed", f"This takes {', '.join(self.methods(path))}.")
        return route, numbers

    def _find(self, path: str) -> tuple[dict[str, AnyRoute], dict[str, int]]:
        for pattern, template in self._patterns:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            parts = match.groupdict()
            if not all(_NUMBER.fullmatch(part) for part in parts.values()):
                raise not_found()
            return self._table[template], {name: int(part) for name, part in parts.items()}
        raise not_found()
