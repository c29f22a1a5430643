"""From a request to its answer, on the engine's own trio run: origin, token, limit, checks, handler, errors."""

from __future__ import annotations

from typing import Any

import trio

from ent_notify.asgi.cors import Origins, granted, preflight
from ent_notify.asgi.limits import PersonLimit
from ent_notify.asgi.problems import Problem, internal, problem_of, unauthorized
from ent_notify.asgi.router import Answer, Call, OpenRoute, Request, Route, Router
from ent_notify.asgi.routes import ROUTES
from ent_notify.asgi.shapes import read_body, read_query
from ent_notify.asgi.tokens import TokenLog, open_tokens
from ent_notify.engine import Engine
from ent_notify.errors import EntNotifyError, NotFound, RequestRefused
from ent_notify.model.inbox import Reader
from ent_notify.observe import get_logger
from ent_notify.settings import Settings
from ent_notify.wire.forms import MSGPACK, chosen

SECONDS = 20.0
"""How long one request may take; then it is given up, and what it did not commit is undone."""

_log = get_logger(__name__)


class Desk:
    """Answers requests. Raises SettingsError when the keys of the settings cannot be used."""

    def __init__(self, settings: Settings) -> None:
        self._tokens = open_tokens(settings.api)
        self._refusals = TokenLog()
        self._origins = Origins(settings)
        self._writes = PersonLimit(settings.api.writes_per_minute)
        self._reads = PersonLimit(settings.api.reads_per_minute)
        self._searches = PersonLimit(settings.conversations.searches_per_minute)
        self._router = Router(ROUTES)

    async def answer(self, engine: Engine, request: Request) -> Answer:
        """The answer to one request. Raises nothing of its own."""
        headers: tuple[tuple[str, str], ...] = ()
        try:
            if not self._is_open(request):
                origin = self._origins.check(request.headers)
                headers = granted(origin) if origin is not None else ()
            if request.method == "OPTIONS":
                methods = self._router.methods(request.path)
                return Answer(200, content_type="text/plain", headers=(*headers, *preflight(methods)))
            with trio.move_on_after(SECONDS):
                answer = await self._routed(engine, request)
                return Answer(answer.status, answer.body, answer.content_type, (*answer.headers, *headers))
            refused: RequestRefused = Problem(503, "Too slow", "This took too long; try again.", retry_after=5)
        except EntNotifyError as error:
            refused = problem_of(error)
            if refused.status >= 500:
                _log.error("request_failed", error=error, status=refused.status)
        except Exception as error:  # noqa: BLE001 - one handler's bug is one answer of 500
            _log.error("handler_failed", error=error)
            refused = internal()
        problem = Answer.problem(refused)
        if refused.status == 405:
            headers += (("allow", ", ".join(self._router.methods(request.path))),)
        return Answer(problem.status, problem.body, problem.content_type, (*problem.headers, *headers))

    def _is_open(self, request: Request) -> bool:
        """Whether any page may send this: the form of the unsubscribe page has no origin (its referrer is hidden)."""
        try:
            return isinstance(self._router.find(request.method, request.path)[0], OpenRoute)
        except RequestRefused:
            return False

    async def _routed(self, engine: Engine, request: Request) -> Answer:
        route, numbers = self._router.find(request.method, request.path)
        if isinstance(route, OpenRoute):
            if route.query is None:
                read_query(None, request.query)
            return await route.handler(engine, request)
        return await self._for_person(engine, route, numbers, request)

    async def _for_person(self, engine: Engine, route: Route, numbers: dict[str, int], request: Request) -> Answer:
        person = self._authenticated(engine, request)
        query = read_query(route.query, request.query)
        body = None
        if route.body is not None:
            body = read_body(route.body, request.headers.get("content-type", ""), request.body, packs=route.packs)
        elif request.body:
            raise Problem(422, "Malformed request", "This takes no body.")
        if route.searches and (wait := self._searches.take(person, engine.clock.now().timestamp())):
            raise Problem(
                429, "Too many searches", "One person may not search so often; wait a little.", retry_after=wait
            )
        self._count(person, engine.clock.now().timestamp(), route, body)
        reader = await self._reader(engine, person)
        found = await route.handler(Call(engine, reader, numbers, query, body))
        if route.packs and chosen(request.headers.get("accept", "")) == MSGPACK:
            return Answer.packed(found, route.status)
        return Answer.of(found, route.status)

    def _count(self, person: str, now: float, route: Route, body: Any) -> None:
        """Raises Problem when this person asks too much."""
        if route.method == "GET":
            what, wait = "reads", self._reads.take(person, now)
        else:
            what, wait = "writes", self._writes.take(person, now, 1 if body is None else route.writes(body))
        if wait:
            raise Problem(429, f"Too many {what}", f"One person has too many {what}; wait a little.", retry_after=wait)

    def _authenticated(self, engine: Engine, request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise unauthorized()
        now = engine.clock.now()
        try:
            return self._tokens.person(token.strip(), now)
        except EntNotifyError as refused:
            self._refusals.note(refused, now)
            raise unauthorized() from None

    @staticmethod
    async def _reader(engine: Engine, person: str) -> Reader:
        try:
            return await engine.reader(person)
        except NotFound:
            raise Problem(
                403, "Unknown person", "The token is good, but its person is not in the directory, or has left."
            ) from None
