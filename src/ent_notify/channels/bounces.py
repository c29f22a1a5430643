"""Bounces: delivery status notifications (RFC 3464, and RFC 6533 for international addresses), read by the standard
library.

Anybody can write such a mail. Believe only a bounce whose ``dedup_id`` is that of a delivery of yours to that
recipient; what it means is then ``policy.mail_verdicts.dsn_verdict(bounce.action, bounce.status)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import policy
from email.message import Message
from email.parser import BytesParser, HeaderParser

SIZE_LIMIT = 262_144
"""Octets of a notification that are read: the status comes first, the returned mail after it."""

_STATUS_TYPES = frozenset({"message/delivery-status", "message/global-delivery-status"})
_RETURNED_TYPES = frozenset(
    {"message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers", "message/rfc822-headers"}
)
_ACTIONS = frozenset({"failed", "delayed", "delivered", "relayed", "expanded"})
_STATUS = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})(?!\d)")
_REPLY = re.compile(r"\D{0,20}([245]\d\d)(?!\d)")
_MESSAGE_ID = re.compile(r"<([^<>@\s]{1,200})@([^<>@\s]{1,255})>")
_ENVELOPE_ID = re.compile(r"[0-9A-Za-z._-]{1,100}")
_ESCAPED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
"""RFC 6533, 3: how an international address is written in ASCII."""


@dataclass(frozen=True, slots=True)
class Bounce:
    """What one notification says of one recipient.

    ``message_id`` is that of our mail, with its brackets, and ``dedup_id`` the delivery's; each is empty if the
    notification does not tell. ``action`` is one of RFC 3464's five, ``status`` an enhanced code such as ``5.1.1`` or
    empty, ``diagnostic`` the kind and code of the answer that the reporting server had (``smtp.550``) or empty. The
    server's own words, which may hold anything, are left out.
    """

    dedup_id: str
    message_id: str
    recipient: str
    action: str
    status: str
    diagnostic: str


def parse_dsn(data: bytes) -> list[Bounce]:
    """The bounces in a mail, one for each recipient it reports on; empty for any other mail. Never raises."""
    try:
        return _parse(data[:SIZE_LIMIT])
    except (RecursionError, ValueError, LookupError, TypeError, AttributeError, AssertionError):
        # A mail made to break its reader (parts nested a thousand deep, an impossible charset) is no notification.
        return []


def _parse(data: bytes) -> list[Bounce]:
    mail = BytesParser(policy=policy.compat32).parsebytes(data)
    status: Message | None = None
    message_id = ""
    for part in mail.walk():
        kind = part.get_content_type()
        if status is None:
            status = part if kind in _STATUS_TYPES else None
        elif kind in _RETURNED_TYPES:
            message_id = _message_id(part)
            break
    if status is None:
        return []
    blocks = list(_blocks(status))
    envelope_id = _text(blocks[0], "Original-Envelope-Id") if blocks else ""
    if not _ENVELOPE_ID.fullmatch(envelope_id):
        found = _MESSAGE_ID.fullmatch(message_id)
        envelope_id = found[1] if found else ""
    return [
        Bounce(
            dedup_id=envelope_id,
            message_id=message_id,
            recipient=_address(block),
            action=action,
            status=_first(_STATUS, _text(block, "Status")),
            diagnostic=_diagnostic(_text(block, "Diagnostic-Code")),
        )
        for block in blocks[1:]
        if (action := _text(block, "Action").lower()) in _ACTIONS and _address(block)
    ]


def _blocks(status: Message) -> Iterator[Message]:
    """The groups of fields: the first is about the mail, each further one about a recipient (RFC 3464, 2.1)."""
    payload = status.get_payload()
    if not isinstance(payload, list):
        return
    for block in payload:
        if not isinstance(block, Message) or not block.keys():
            continue
        yield block
        # The standard library parts the groups of message/delivery-status only; those of the international form
        # stay behind the first one, as text.
        rest = block.get_payload()
        if isinstance(rest, str):
            for text in re.split(r"\r?\n\r?\n", rest):
                further = HeaderParser(policy=policy.compat32).parsestr(text.lstrip("\r\n"), headersonly=True)
                if further.keys():
                    yield further


def _text(block: Message, name: str) -> str:
    """A field on one line, comments (RFC 3464, 2.1.1) taken out."""
    value = " ".join(str(block.get(name, "")).split())
    return re.sub(r"\s*\([^()]*\)", "", value).strip()


def _address(block: Message) -> str:
    """The recipient as we wrote it, if that is told; else as the reporting server had it."""
    for name in ("Original-Recipient", "Final-Recipient"):
        kind, _, address = _text(block, name).partition(";")
        kind, address = kind.strip(), address.strip().strip("<>")
        if kind.lower() in ("rfc822", "utf-8") and "@" in address and len(address) <= 320:
            return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), address) if kind.lower() == "utf-8" else address
    return ""


def _diagnostic(text: str) -> str:
    kind, _, answer = text.partition(";")
    code = _first(_REPLY, answer)
    return f"smtp.{code}" if kind.strip().lower() == "smtp" and code else ""


def _message_id(part: Message) -> str:
    """The Message-ID of the returned mail, or of its headers."""
    payload = part.get_payload()
    if isinstance(payload, list):
        headers = payload[0] if payload else None
    else:
        headers = HeaderParser(policy=policy.compat32).parsestr(str(payload).lstrip("\r\n"), headersonly=True)
    if not isinstance(headers, Message):
        return ""
    found = _MESSAGE_ID.search(str(headers.get("Message-ID", "")))
    return found[0] if found else ""


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.match(text)
    return found[1] if found else ""
