"""What an SMTP reply means: one pure table, one verdict for each reply.

Sources: RFC 5321, 4.2 (reply codes); RFC 3463 and the IANA registry of enhanced status codes; RFC 4954, 6 (530, 534,
535, 538); RFC 7504 (556). An enhanced code says more than the reply code and so goes first.

``pause_group`` on a verdict means that everybody behind the same mail exchangers has to wait, not this person alone.
"""

from __future__ import annotations

import re
from dataclasses import replace
from enum import Enum

from ent_notify.model.delivery import ACCEPTED, Verdict, VerdictKind

GROUP_WAIT = 300.0
"""Seconds that a mail domain waits after a 421 or a 4.7.x. Greylisting asks for 300 s as a rule (RFC 6647, 5)."""

POLICY_WAIT = 3600.0
"""Seconds that a mail domain waits after a 5.7.x: somebody has to look first."""

_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_KIND = VerdictKind


class Phase(Enum):
    """What a reply answers."""

    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    CONTENT = "content"
    """The final dot."""
    RSET = "rset"
    QUIT = "quit"


_LOGIN_CODES = frozenset({530, 534, 535, 538})
_SENDER_STATUSES = frozenset({"5.1.7", "5.1.8"})
"""The sender's address is the wrong one: nobody's mail would pass."""

_STATUSES: dict[str, tuple[VerdictKind, bool]] = {
    "5.2.2": (_KIND.RETRY_AT, False),  # mailbox full: a soft bounce, whatever its code says
    "5.2.3": (_KIND.BAD_MESSAGE, False),  # longer than that mailbox takes
    "5.3.4": (_KIND.BAD_MESSAGE, False),  # longer than that system takes
}
"""Exact statuses; the flag is ``quarantine``."""

_SUBJECTS: dict[str, tuple[VerdictKind, bool]] = {
    "5.1": (_KIND.DROP_TARGET, False),  # no such address
    "5.2": (_KIND.DROP_TARGET, True),  # a mailbox that is closed just now (5.2.1)
    "5.4": (_KIND.DROP_TARGET, True),  # no way to that domain
    "5.6": (_KIND.BAD_MESSAGE, False),  # content or its encoding
}
"""Statuses by class and subject."""

_RCPT_CODES: dict[int, tuple[VerdictKind, bool]] = {
    501: (_KIND.DROP_TARGET, True),
    550: (_KIND.DROP_TARGET, False),
    551: (_KIND.DROP_TARGET, False),
    552: (_KIND.RETRY_AT, False),
    553: (_KIND.DROP_TARGET, False),
    556: (_KIND.DROP_TARGET, False),
}
"""Replies to RCPT without an enhanced status."""


def smtp_verdict(phase: Phase, code: int, status: str = "") -> Verdict:
    """The verdict of one reply to one recipient's transaction.

    ``code`` is the reply code, ``status`` its enhanced one or empty. The verdict's reason is ``smtp.`` and the
    status, or the code when there is none; never the server's text.
    """
    if phase is Phase.CONTENT and 200 <= code < 300:
        return ACCEPTED
    if not _STATUS.fullmatch(status) or status[0] != str(code)[0]:
        status = ""
    reason = f"smtp.{status or code}"
    if code == 421 or status.startswith("4.7."):
        return Verdict(_KIND.RETRY_AT, reason, GROUP_WAIT, pause_group=True)
    if 400 <= code < 500:
        return Verdict(_KIND.RETRY_AT, reason)
    if not 500 <= code < 600:  # no sense in it: the mail may have been taken only if it had been sent
        return Verdict(_KIND.UNKNOWN if phase is Phase.CONTENT else _KIND.RETRY_AT, reason)
    if code in _LOGIN_CODES or status in _SENDER_STATUSES or (phase is Phase.MAIL and not _about_message(code, status)):
        return Verdict(_KIND.PAUSE_CHANNEL, reason)
    if status.startswith("5.7."):
        return Verdict(_KIND.PAUSE_CHANNEL, reason, POLICY_WAIT, pause_group=True)
    kind, quarantine = _STATUSES.get(status) or _SUBJECTS.get(status[:3]) or _by_code(phase, code)
    return Verdict(kind, reason, quarantine=quarantine)


def dsn_verdict(action: str, status: str) -> Verdict | None:
    """The verdict of a delivery status notification (RFC 3464, 2.3.3); None for what changes nothing (``delayed``,
    ``relayed``, ``expanded``).

    ``failed`` drops the target, unless its status says that the fault is not the address's. A relay that gave up
    (``4.x.x``) leaves the address in doubt: quarantine.
    """
    if action == "failed":
        reason = f"dsn.{status if _STATUS.fullmatch(status) else 'failed'}"
        if status.startswith("4."):
            return Verdict(_KIND.DROP_TARGET, reason, quarantine=True)
        return replace(smtp_verdict(Phase.RCPT, 550, status), reason=reason)
    return ACCEPTED if action == "delivered" else None


def _about_message(code: int, status: str) -> bool:
    """Whether a refused MAIL speaks of this message (its size, its encoding) rather than of the sender."""
    return status in _STATUSES or status.startswith("5.6.") or (code == 552 and not status)


def _by_code(phase: Phase, code: int) -> tuple[VerdictKind, bool]:
    if phase is Phase.RCPT and code in _RCPT_CODES:
        return _RCPT_CODES[code]
    return _KIND.BAD_MESSAGE, False
