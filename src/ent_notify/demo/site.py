"""The demo's site: two static pages and the small JSON API behind them, served by the gateway.

There is no password here: whoever opens the page may be anybody of a made-up region. So it answers only to the names
of this machine (DNS rebinding), takes posts from its own pages only, and shows a person to the browser session that
has entered as that person.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from ent_notify.demo.samples import Samples
from ent_notify.engine import Engine
from ent_notify.errors import RequestRefused
from ent_notify.gateway import GatewayStatistics, Request, Response, Router, check_origin
from ent_notify.model.inbox import InboxEntry, Reader
from ent_notify.model.people import Profile, Provider
from ent_notify.model.webpush import read_subscription
from ent_notify.testing.devices import APP

COOKIE = "ent_demo"
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_PAGE_SIZE = 50
_PEOPLE = 12
_MAX_SESSIONS = 1_000
_MAX_PEOPLE_OF_SESSION = 20
_MAX_BODY = 20_000
_OPERATOR_AGE = timedelta(seconds=0.8)
"""Age up to which one look at the ledgers serves every operator's page."""

_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_STATIC = {
    "/": ("person.html", "text/html; charset=utf-8"),
    "/operator": ("operator.html", "text/html; charset=utf-8"),
    "/static/style.css": ("style.css", "text/css; charset=utf-8"),
    "/static/common.js": ("common.js", "text/javascript; charset=utf-8"),
    "/static/person.js": ("person.js", "text/javascript; charset=utf-8"),
    "/static/operator.js": ("operator.js", "text/javascript; charset=utf-8"),
    "/static/icon.svg": ("icon.svg", "image/svg+xml"),
}
_PROFILES = {profile.name.lower(): profile for profile in Profile}


@dataclass(frozen=True, slots=True)
class _Look:
    """The operator's view as it was at ``at``."""

    at: datetime
    view: dict[str, Any]


class Site:
    """The pages and their API. ``statistics`` tells what the gateway holds; ``hosts`` are the names it answers to."""

    def __init__(
        self, engine: Engine, statistics: Callable[[], GatewayStatistics], hosts: Iterable[str] = LOOPBACK_NAMES
    ) -> None:
        self._engine = engine
        self._statistics = statistics
        self._hosts = frozenset(hosts)
        self._samples = Samples(engine)
        self._sessions: dict[str, list[str]] = {}
        self._look: _Look | None = None

    def add_to(self, router: Router) -> None:
        """Add every route."""
        folder = files("ent_notify.demo") / "pages"
        for path, (name, content_type) in _STATIC.items():
            router.add("GET", path, self._guarded(_static((folder / name).read_bytes(), content_type)))
        for path, handler in (
            ("/api/people", self._people),
            ("/api/inbox", self._inbox),
            ("/api/conversation/", self._conversation),
            ("/api/operator", self._operator),
            ("/api/push", self._push),
        ):
            router.add("GET", path, self._guarded(handler))
        for path, handler in (
            ("/api/enter", self._enter),
            ("/api/ticket", self._ticket),
            ("/api/read", self._read),
            ("/api/post", self._post),
            ("/api/publish", self._publish),
            ("/api/device", self._device),
        ):
            router.add("POST", path, self._guarded(handler))

    def _guarded(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def guard(request: Request) -> Response:
            host = request.headers.get("host", "")
            if urlsplit(f"//{host}").hostname not in self._hosts:
                raise RequestRefused(
                    421, "Misdirected request", "the demo answers to the names of its own machine only"
                )
            if request.method == "POST":
                if "origin" not in request.headers:
                    raise RequestRefused(403, "Foreign origin", "a post must come from the demo's own page")
                check_origin(request, {f"http://{host}", f"https://{host}"})
            return await handler(request)

        return guard

    # ------------------------------------------------------------ who one is

    async def _people(self, request: Request) -> Response:
        profile = _PROFILES.get(request.query.get("profile", "pupil"))
        if profile is None:
            raise RequestRefused(400, "Unknown profile", f"profile is one of {', '.join(_PROFILES)}")
        found = await self._engine.choose_people(profile, request.query.get("q", "").strip()[:60], _PEOPLE)
        return Response.json({"people": [{"id": person, "name": name} for person, name in found]})

    async def _enter(self, request: Request) -> Response:
        reader = await self._engine.reader(_text(request.json(), "person"))
        session = request.cookie(COOKIE)
        if session is None or session not in self._sessions:
            session = secrets.token_urlsafe(32)
        people = [person for person in self._sessions.pop(session, []) if person != reader.id]
        self._sessions[session] = [*people, reader.id][-_MAX_PEOPLE_OF_SESSION:]
        while len(self._sessions) > _MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        return Response.json(
            {
                "person": {"id": reader.id, "name": reader.name, "profile": Profile(reader.profile).name.lower()},
                "samples": [asdict(sample) for sample in await self._samples.offered(reader)],
            },
            headers=(("set-cookie", f"{COOKIE}={session}; HttpOnly; SameSite=Strict; Path=/"),),
        )

    async def _ticket(self, request: Request) -> Response:
        reader = await self._entered(request, _text(request.json(), "person"))
        return Response.json({"ticket": await self._engine.stream_ticket(reader)})

    async def _entered(self, request: Request, person: str) -> Reader:
        """The person, if this browser session has entered as them; ``RequestRefused`` 401 if not."""
        if person not in self._sessions.get(request.cookie(COOKIE) or "", ()):
            raise RequestRefused(401, "Enter first", "this browser has not entered as that person")
        return await self._engine.reader(person)

    # ------------------------------------------------------------ what one reads and writes

    async def _inbox(self, request: Request) -> Response:
        reader = await self._entered(request, request.query.get("person", ""))
        before = request.query.get("before")
        # The head first: whatever comes between the two looks is in the page and in the stream, never in neither.
        head = await self._engine.feed.feed_head()
        entries = await self._engine.inbox(
            reader, None if before is None else _number(before, "before"), _PAGE_SIZE + 1
        )
        return Response.json(
            {
                "head": head,
                "entries": [self._entry(entry, reader) for entry in entries[:_PAGE_SIZE]],
                "more": len(entries) > _PAGE_SIZE,
            }
        )

    def _entry(self, entry: InboxEntry, reader: Reader) -> dict[str, Any]:
        return {
            "seq": entry.seq,
            "notification": entry.notification,
            "type": entry.type,
            "category": entry.category,
            "headline": self._engine.headline(entry, reader),
            "published_at": entry.published_at,
            "read": entry.is_read,
            "children": entry.children if reader.profile == Profile.GUARDIAN else (),
            "conversation": entry.data.get("conversation") if entry.category == "message" else None,
        }

    async def _read(self, request: Request) -> Response:
        body = request.json()
        reader = await self._entered(request, _text(body, "person"))
        if "upto" in body:
            await self._engine.mark_all_read(reader, _number(body["upto"], "upto"))
        else:
            seqs = body.get("seqs")
            if not isinstance(seqs, list) or len(seqs) > _PAGE_SIZE:
                raise RequestRefused(400, "Malformed body", f'"seqs" is a list of at most {_PAGE_SIZE} numbers')
            await self._engine.mark_read(reader, [_number(seq, "seqs") for seq in seqs])
        return Response.json({})

    async def _conversation(self, request: Request) -> Response:
        reader = await self._entered(request, request.query.get("person", ""))
        number = _number(request.path.rpartition("/")[2], "conversation")
        conversation = await self._engine.conversation(number, reader)
        return Response.json(
            {
                "id": conversation.id,
                "subject": conversation.subject,
                "messages": [
                    {
                        "seq": message.seq,
                        "author": message.author_name,
                        "mine": message.author == reader.id,
                        "body": message.body,
                        "posted_at": message.posted_at,
                    }
                    for message in conversation.messages
                ],
            }
        )

    async def _post(self, request: Request) -> Response:
        body = request.json()
        reader = await self._entered(request, _text(body, "person"))
        text = _text(body, "body").strip()
        if not text or len(text) > _MAX_BODY:
            raise RequestRefused(400, "Malformed body", f"a message has 1 to {_MAX_BODY} characters")
        number = _number(body.get("conversation"), "conversation")
        return Response.json({"seq": await self._engine.post(number, reader.id, text)})

    async def _publish(self, request: Request) -> Response:
        body = request.json()
        reader = await self._entered(request, _text(body, "person"))
        await self._samples.publish(_text(body, "sample"), reader)
        return Response.json({}, status=202)

    async def _push(self, request: Request) -> Response:
        sends = APP in self._engine.settings.webpush
        return Response.json({"key": self._engine.webpush.public_key(APP) if sends else None})

    async def _device(self, request: Request) -> Response:
        body = request.json()
        reader = await self._entered(request, _text(body, "person"))
        subscription = read_subscription(body.get("subscription") or {})
        await self._engine.register_device(reader.id, Provider.WEBPUSH, APP, subscription.token)
        return Response.json({}, status=201)

    # ------------------------------------------------------------ what an operator sees

    async def _operator(self, request: Request) -> Response:
        now = self._engine.clock.now()
        if self._look is None or not timedelta(0) <= now - self._look.at < _OPERATOR_AGE:
            self._look = _Look(now, await self._operator_view(now))
        return Response.json(self._look.view | {"gateway": asdict(self._statistics())})

    async def _operator_view(self, now: datetime) -> dict[str, Any]:
        accounts = await self._engine.ledgers(most=_PAGE_SIZE)
        return {
            "at": now,
            "campaigns": [
                asdict(ledger) | {"adds_up": ledger.adds_up, "channels": [asdict(part) for part in parts]}
                for ledger, parts in accounts
            ],
            "lanes": [
                {
                    "name": lane.name,
                    "channel": lane.channel,
                    "provider": lane.provider,
                    "per_second": lane.per_second,
                    "reserved_seconds": _ahead(lane.tat, now),
                    "paused_seconds": _ahead(lane.paused_until, now),
                    "pause_reason": lane.pause_reason,
                }
                for lane in await self._engine.lanes()
            ],
        }


def _ahead(instant: datetime, now: datetime) -> float:
    return max(0.0, (instant - now).total_seconds())


def _static(body: bytes, content_type: str) -> Callable[[Request], Awaitable[Response]]:
    response = Response(
        body=body,
        content_type=content_type,
        headers=(("cache-control", "no-cache"), ("content-security-policy", _CSP), ("x-frame-options", "DENY")),
    )

    async def serve(request: Request) -> Response:
        return response

    return serve


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise RequestRefused(400, "Malformed body", f'"{name}" must be a text')
    return value


def _number(value: object, name: str) -> int:
    """A place or an id: 0 or more, and no more than PostgreSQL's bigint holds."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    raise RequestRefused(400, "Malformed value", f'"{name}" must be a whole number')
