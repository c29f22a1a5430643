"""What goes into an SMTP session and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ent_notify.channels.smtp.reply import Reply
from ent_notify.policy.mail_verdicts import Phase


@dataclass(frozen=True, slots=True)
class Login:
    """User and password at the relay."""

    user: str
    password: str = field(repr=False)


@dataclass(slots=True, eq=False)
class Mail:
    """One mail to one recipient. Addresses and ``envelope_id`` are valid already; ``content`` has CRLF line ends.

    ``number`` is the caller's; ``returns`` counts how often it came back from a connection that was lost.
    """

    number: int
    sender: str
    recipient: str
    content: bytes
    envelope_id: str = ""
    utf8: bool = False
    returns: int = 0


NO_CONNECTION = Reply(451, "4.4.2", ("the connection was lost or fell silent",))
"""Our own answer for a mail that no connection could carry (RFC 3463, X.4.2)."""


class Refused(NamedTuple):
    """Why a session did not open."""

    phase: Phase
    reply: Reply
    reason: str


class Answered(NamedTuple):
    """The server (or the limits it told us) has decided on a mail."""

    mail: Mail
    phase: Phase
    reply: Reply


class Returned(NamedTuple):
    """A mail that was certainly not taken: another connection may send it.

    ``blamed`` marks the one at which the connection was lost; it may be the reason for that.
    """

    mail: Mail
    blamed: bool = False


class Lost(NamedTuple):
    """A mail whose final dot had left when the connection was lost: it may have been taken."""

    mail: Mail


Outcome = Answered | Returned | Lost
