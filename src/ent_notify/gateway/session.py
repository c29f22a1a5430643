"""How a reader shows who they are: a ticket once, then a stream session, in a cookie or in a header.

A browser's EventSource cannot set headers and connects again by itself, to the same address: its ticket is spent by
then, and the cookie stands for it. An app shows its ticket in a header, and gets its session in one.
"""

from __future__ import annotations

from ent_notify.errors import RequestRefused
from ent_notify.gateway.http import Request
from ent_notify.model.feed import Entrance, Entry
from ent_notify.settings import GatewaySettings

TICKET_HEADER = "ent-notify-ticket"
SESSION_HEADER = "ent-notify-session"
COOKIE = "ent_notify_stream"
SECURE_COOKIE = f"__Host-{COOKIE}"
"""The prefix makes browsers refuse it unless it is Secure, for this host alone and for every path (RFC 6265bis)."""
_LONGEST = 512


class Sessions:
    """Reads what a request shows, and says what its reader keeps."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._tls = settings.tls
        self._seconds = round(settings.session_hours * 3600)

    def entry(self, request: Request) -> Entry:
        """What ``request`` shows. Raises RequestRefused 401 when it shows nothing that could be good."""
        ticket = request.headers.get(TICKET_HEADER) or request.query.get("ticket") or None
        session = request.headers.get(SESSION_HEADER) or request.cookie(self._cookie(request)) or None
        if not (ticket or session) or len(ticket or "") > _LONGEST or len(session or "") > _LONGEST:
            raise RequestRefused(401, "Ticket required", "take a ticket and open the stream with ?ticket=TICKET")
        return Entry(ticket, session)

    def headers(self, request: Request, entrance: Entrance) -> tuple[tuple[str, str], ...]:
        """The response headers that hand a new session to its reader; none when they go on with the one they have."""
        if entrance.secret is None:
            return ()
        if TICKET_HEADER in request.headers:
            return ((SESSION_HEADER, entrance.secret),)
        name = self._cookie(request)
        secure = "; Secure" if name == SECURE_COOKIE else ""
        cookie = f"{name}={entrance.secret}; Path=/; Max-Age={self._seconds}; HttpOnly; SameSite=Strict{secure}"
        return (("set-cookie", cookie),)

    def _cookie(self, request: Request) -> str:
        return SECURE_COOKIE if self._tls or request.secure else COOKIE
