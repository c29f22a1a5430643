"""The operator page: what a look at the whole service shows, and the few acts that it offers.

It is served on the admin port alone, and every question carries ``operator.key`` as a bearer token: the page keeps it
for its tab, and no cookie is set, so no other page can ask in its name. An act names who does it and why; a look at one
person is added to the trail of who looked.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any

from ent_notify.engine import Engine
from ent_notify.errors import RequestRefused
from ent_notify.gateway.http import Request, Response, check_origin
from ent_notify.gateway.router import Handler, Router
from ent_notify.gateway.server import GatewayStatistics
from ent_notify.model.safety import Tier

NEWEST = 30
"""Campaigns, runs and requests of one look."""
LOOK_AGE = timedelta(seconds=1.5)
"""Age up to which one look serves every operator."""
PAGE = "/operator"
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_FILES = {
    PAGE: ("operator.html", "text/html; charset=utf-8"),
    f"{PAGE}/operator.css": ("operator.css", "text/css; charset=utf-8"),
    f"{PAGE}/operator.js": ("operator.js", "text/javascript; charset=utf-8"),
    f"{PAGE}/words.js": ("words.js", "text/javascript; charset=utf-8"),
}


@dataclass(frozen=True, slots=True)
class _Look:
    at: datetime
    view: dict[str, Any]


class OperatorPage:
    """The page and its questions. ``statistics`` tells what this gateway process holds."""

    def __init__(self, engine: Engine, key: str, statistics: Callable[[], GatewayStatistics]) -> None:
        self._engine = engine
        self._key = key.encode()
        self._statistics = statistics
        self._last: _Look | None = None

    def take_on(self, engine: Engine, key: str) -> None:
        """Ask another engine, and let in by another key, from now on."""
        self._engine, self._key, self._last = engine, key.encode(), None

    def add_to(self, router: Router) -> None:
        """Add every route."""
        folder = files("ent_notify.gateway") / "operator_page"
        for path, (name, content_type) in _FILES.items():
            router.add("GET", path, _file((folder / name).read_bytes(), content_type))
        router.add("GET", f"{PAGE}/look", self._guarded(self._look))
        router.add("POST", f"{PAGE}/explain", self._guarded(self._explain))
        router.add("POST", f"{PAGE}/act", self._guarded(self._act))

    def _guarded(self, handler: Handler) -> Handler:
        async def guard(request: Request) -> Response:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._key):
                raise RequestRefused(401, "Not allowed", "this needs the key that operator.key_file holds")
            host = request.headers.get("host", "")
            check_origin(request, {f"http://{host}", f"https://{host}"})
            return await handler(request)

        return guard

    # ------------------------------------------------------------ looking

    async def _look(self, request: Request) -> Response:
        now = self._engine.clock.now()
        if self._last is None or not timedelta(0) <= now - self._last.at < LOOK_AGE:
            self._last = _Look(now, await self._view(now))
        return Response.json(self._last.view | {"gateway": asdict(self._statistics())})

    async def _view(self, now: datetime) -> dict[str, Any]:
        engine = self._engine
        accounts = await engine.ledgers(most=NEWEST)
        open_ones = [ledger.campaign for ledger, _ in accounts if ledger.pending or ledger.held]
        ends = await engine.campaigns.ends(open_ones) if open_ones else {}
        return {
            "at": now,
            "campaigns": [
                asdict(ledger)
                | {
                    "adds_up": ledger.adds_up,
                    "ends_at": ends.get(ledger.campaign),
                    "channels": [asdict(part) for part in parts],
                }
                for ledger, parts in accounts
            ],
            "lanes": [
                {
                    "name": lane.name,
                    "channel": lane.channel,
                    "provider": lane.provider,
                    "per_second": lane.per_second,
                    "reserved_seconds": max(0.0, (lane.tat - now).total_seconds()),
                    "paused_until": lane.paused_until if lane.paused_until > now else None,
                    "pause_reason": lane.pause_reason,
                    "failures": lane.failures,
                }
                for lane in await engine.lanes()
            ],
            "queues": [dict(row) for row in await engine.db.fetch("health.queues", now=now)],
            "unplanned": await engine.db.fetchval("health.unplanned"),
            "freezes": [
                {
                    "area": freeze.area,
                    "tier": freeze.tier.name.lower(),
                    "since": freeze.since,
                    "by": freeze.by,
                    "reason": freeze.reason,
                }
                for freeze in await engine.safety.freezes()
            ],
            "retention": [asdict(run) for run in (await engine.retention.runs())[:NEWEST]],
            "requests": [asdict(each) for each in await engine.data_rights.requests(most=NEWEST)],
            "holds": [asdict(each) for each in (await engine.holds.standing())[:NEWEST]],
            "overdue": asdict(await engine.data_rights.overdue()),
        }

    async def _explain(self, request: Request) -> Response:
        body = request.json()
        by, person, number = _text(body, "by"), _text(body, "person"), _number(body, "notification")
        found = await self._engine.explain(number, person)
        await self._engine.data_rights.note(by, "operator", "explain", person, f"notification {number}")
        return Response.json(asdict(found))

    # ------------------------------------------------------------ acting

    async def _act(self, request: Request) -> Response:
        body = request.json()
        by, reason = _text(body, "by"), _text(body, "reason")
        engine = self._engine
        match _text(body, "action"):
            case "pause":
                changed = (await engine.campaigns.pause(_number(body, "campaign"), by=by, reason=reason)).changed
            case "resume":
                changed = (await engine.campaigns.resume(_number(body, "campaign"), by=by, reason=reason)).changed
            case "freeze":
                tier = body.get("tier")
                if tier not in {each.name.lower() for each in Tier}:
                    raise RequestRefused(400, "Malformed body", '"tier" is direction, staff or nobody')
                who = engine.safety.operator(by)
                changed = await engine.safety.freeze(who, _text(body, "area"), Tier[tier.upper()], reason)
            case "unfreeze":
                changed = await engine.safety.unfreeze(engine.safety.operator(by), _text(body, "area"), reason)
            case other:
                known = "pause, resume, freeze or unfreeze"
                raise RequestRefused(400, "Malformed body", f'"action" is {known}, not {other!r}')
        self._last = None
        return Response.json({"changed": changed})


def _file(body: bytes, content_type: str) -> Callable[[Request], Awaitable[Response]]:
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
    if not isinstance(value, str) or not value.strip() or len(value) > 500:
        raise RequestRefused(400, "Malformed body", f'"{name}" must be a text of 1 to 500 characters')
    return value.strip()


def _number(body: dict[str, Any], name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**63:
        raise RequestRefused(400, "Malformed body", f'"{name}" must be a number above 0')
    return value
