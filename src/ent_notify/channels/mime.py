"""Mails as bytes: encoded by the standard library once for a campaign, then filled for each recipient.

``compose`` builds one recipient's ``EmailMessage``, which costs a millisecond or two. ``MailTemplate``
lets the same function build the message once, with a mark on every line that has a personal place, keeps what lies
between the marks, and afterwards writes those lines alone. Both ways give the same bytes: a property test holds them
to it. A line that is long or not plain ASCII goes through the standard library's own encoder each time.
"""

from __future__ import annotations

import re
from binascii import b2a_qp
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.quoprimime import body_encode
from email.utils import format_datetime
from hashlib import sha256
from html import escape

from ent_notify.channels import places
from ent_notify.channels.headers import (
    CONTROL,
    LINE_LENGTH,
    POLICY,
    UTF8_POLICY,
    folded,
    header_line,
    is_address,
    is_plain_address,
    is_url,
    plain,
)
from ent_notify.errors import MalformedMail, SettingsError
from ent_notify.model.delivery import MailContent, Outgoing, Verdict, VerdictKind

_DEDUP_ID = re.compile(r"[0-9A-Za-z]+(?:[._-][0-9A-Za-z]+)*")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")
_MARKUP = re.compile("[&<>\"']")
_NEW_FIELD = re.compile(r"\n(?![ \t]|\Z)")

_BAD_ADDRESS = Verdict(VerdictKind.BAD_MESSAGE, "mail.address", quarantine=True)
_BAD_ID = Verdict(VerdictKind.BAD_MESSAGE, "mail.dedup_id")
_BAD_UNSUBSCRIBE = Verdict(VerdictKind.BAD_MESSAGE, "mail.unsubscribe_url")
_NO_VALUE = Verdict(VerdictKind.BAD_MESSAGE, "mail.personal")


@dataclass(frozen=True, slots=True)
class Sender:
    """Whom mails are from. Raises SettingsError if it cannot stand in a header.

    ``domain`` ends each Message-ID (default: the address's own); ``return_path`` gets the bounces (default: the
    address); ``reply_to`` gets the answers, if any are wanted.
    """

    name: str
    address: str
    domain: str = ""
    return_path: str = ""
    reply_to: str = ""

    def __post_init__(self) -> None:
        for address in (self.address, self.envelope, f"x@{self.message_domain}", self.reply_to or self.address):
            if not is_plain_address(address):
                raise SettingsError(
                    f"{address!r} cannot be a mail's sender; give a plain address such as info@bureau.example"
                )
        if CONTROL.search(self.name):
            raise SettingsError(f"the mail sender's name {self.name!r} has a control character in it; take it out")

    @property
    def message_domain(self) -> str:
        """The right side of each Message-ID."""
        return self.domain or self.address.rpartition("@")[2]

    @property
    def envelope(self) -> str:
        """The address of MAIL FROM."""
        return self.return_path or self.address


@dataclass(frozen=True, slots=True)
class DateLine:
    """A Date header, written once for a whole batch."""

    date: datetime
    line: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "line", f"Date: {format_datetime(self.date)}".encode())


def compose(content: MailContent, language: str, sender: Sender, outgoing: Outgoing, date: datetime) -> EmailMessage:
    """One recipient's message, built whole by the standard library. Raises MalformedMail.

    For an address outside ASCII its headers are UTF-8 (RFC 6532): it needs a relay that offers SMTPUTF8.
    """
    if not is_address(outgoing.address) or not _DEDUP_ID.fullmatch(outgoing.dedup_id):
        raise MalformedMail(f"delivery {outgoing.dedup_id!r} has an address or id that no header can bear")
    values = _values(outgoing.personal)
    escaped = {key: escape(value) for key, value in values.items()}
    texts = (places.parse(_newlines(part)) for part in (content.subject, content.text, content.html))
    try:
        subject, text, html = (places.pattern(nodes, values) for nodes in texts)
    except places.MissingValue as missing:
        raise MalformedMail(f"the mail has a place for {missing} and the recipient has no value for it") from None
    return _message(
        subject=subject % values,
        text=text % values,
        html=html % escaped,
        language=language,
        sender=sender,
        to=outgoing.address,
        message_id=f"{outgoing.dedup_id}@{sender.message_domain}",
        unsubscribe=values.get("unsubscribe_url"),
        date=date,
        boundary=_boundary(content),
        policy=POLICY if outgoing.address.isascii() else UTF8_POLICY,
    )


class MailTemplate:
    """A campaign's mail in one language, ready to be filled. Raises MalformedMail if the content cannot be a mail.

    It keeps a skeleton for each shape (which personal values a recipient has): two or three in practice.
    """

    def __init__(self, content: MailContent, language: str, sender: Sender) -> None:
        self._language = language
        self._sender = sender
        self._boundary = _boundary(content)
        self._parts = [
            places.parse(_newlines(_encodable(part))) for part in (content.subject, content.text, content.html)
        ]
        self._message_domain = sender.message_domain
        self._shapes: dict[frozenset[str], _Shape | None] = {}
        self._shape(frozenset(("children", "name", "unsubscribe_url")))

    def fill(self, outgoing: Outgoing, date: DateLine) -> bytes | Verdict:
        """The recipient's message, or the verdict that says why there is none.

        ``outgoing.address`` has to be ASCII; ``compose`` is for the others.
        """
        address = outgoing.address
        if not is_plain_address(address):
            return _BAD_ADDRESS
        if not _DEDUP_ID.fullmatch(outgoing.dedup_id):
            return _BAD_ID
        values = _values(outgoing.personal)
        keys = frozenset(values)
        shape = self._shapes[keys] if keys in self._shapes else self._shape(keys)
        if shape is None:
            return _NO_VALUE
        lines = [header_line(f"To: {address}")]
        if shape.subject is not None:
            lines.append(folded("Subject", plain(shape.subject % values)))
        lines += (date.line, header_line(f"Message-ID: <{outgoing.dedup_id}@{self._message_domain}>"))
        if "unsubscribe_url" in values:
            url = values["unsubscribe_url"]
            if not is_url(url):
                return _BAD_UNSUBSCRIBE
            lines.append(f"List-Unsubscribe: <{url}>".encode())
        if shape.count:
            lines += _encoded(shape.fill(values), shape.count)
        chunks = shape.chunks.copy()
        chunks[1::2] = lines
        return b"".join(chunks)

    def _shape(self, keys: frozenset[str]) -> _Shape | None:
        """The skeleton for recipients who have values for ``keys``; None if a place would stay empty."""
        if len(self._shapes) >= 64:  # a handful of keys makes a handful of shapes; odd ones must not pile up
            self._shapes.clear()
        try:
            subject, text, html = (places.pattern(nodes, keys) for nodes in self._parts)
        except places.MissingValue:
            self._shapes[keys] = None
            return None
        marks = _Marks(self._boundary)
        message = _message(
            subject=marks.new() if places.has_place(subject) else subject % {},
            text=marks.on_lines(text),
            html=marks.on_lines(html),
            language=self._language,
            sender=self._sender,
            to=f"{marks.new()}@x",
            message_id=f"{marks.new()}@x",
            unsubscribe=f"https://{marks.new()}" if "unsubscribe_url" in keys else None,
            date=datetime(2000, 1, 1, tzinfo=UTC),
            boundary=self._boundary,
            policy=POLICY,
        )
        self._shapes[keys] = shape = _Shape(
            chunks=marks.cut(message.as_bytes()),
            subject=subject if places.has_place(subject) else None,
            text=[line for line in text.split("\n") if places.has_place(line)],
            html=[line for line in html.split("\n") if places.has_place(line)],
        )
        return shape


class _Shape:
    """A message as chunks of bytes. Each second one is a line to be written for each recipient, without its line end:
    To, Subject if it has places, Date, Message-ID, List-Unsubscribe if they have a link, then lines of the parts."""

    def __init__(self, chunks: list[bytes], subject: str | None, text: list[str], html: list[str]) -> None:
        self.chunks = chunks
        self.subject = subject
        self.count = len(text) + len(html)
        self._text = "\n".join(text)
        self._html = "\n".join(html)
        self._gap = "\n" if text and html else ""

    def fill(self, values: dict[str, str]) -> str:
        """The parts' lines, filled, one under the other."""
        escaped = (
            {key: escape(value) for key, value in values.items()}
            if any(map(_MARKUP.search, values.values()))
            else values
        )
        return f"{self._text % values}{self._gap}{self._html % escaped}"


class _Marks:
    """Marks on the lines that differ from one recipient to the next; ``cut`` finds them in the encoded message."""

    def __init__(self, salt: str) -> None:
        self._mark = f"mark{salt.strip('=_')[:16]}x"  # nothing a host wrote can hold it: it is a hash of all that

    def new(self) -> str:
        """A short ASCII word that no encoding changes and no line breaks."""
        return self._mark

    def on_lines(self, pattern: str) -> str:
        """The text of ``pattern`` with a mark in place of each line that has something to fill."""
        return "\n".join(self._mark if places.has_place(line) else line % {} for line in pattern.split("\n"))

    def cut(self, message: bytes) -> list[bytes]:
        """The encoded message in chunks: each marked line, and the Date, is one of its own, and empty."""
        chunks: list[bytes] = []
        start = 0
        head = message.index(b"\r\n\r\n")
        for found in re.finditer(rf"(?m)^(?:.*{self._mark}.*|(Date): .*)\r$".encode(), message):
            if found[1] and found.start() > head:
                continue  # a line of the text that begins so
            chunks += (message[start : found.start()], b"")
            start = found.end() - 1
        return [*chunks, message[start:]]


def _message(
    *,
    subject: str,
    text: str,
    html: str,
    language: str,
    sender: Sender,
    to: str,
    message_id: str,
    unsubscribe: str | None,
    date: datetime,
    boundary: str,
    policy: EmailPolicy[EmailMessage],
) -> EmailMessage:
    """The one place where a message is made. Order of headers and parts is fixed; text/plain comes first, as the
    less rich alternative does (RFC 2046, 5.1.4)."""
    if (problem := CONTROL.search(subject)) is not None:
        raise MalformedMail(f"the subject has {problem[0]!r} in it; a subject is one line of text")
    if not _LANGUAGE.fullmatch(language):
        raise MalformedMail(f"{language!r} is not a language tag; give one such as fr or en-GB")
    if unsubscribe is not None and not is_url(unsubscribe):
        raise MalformedMail("the unsubscribe_url is no URL that a header can bear; give an https one in ASCII")
    message = EmailMessage(policy)
    message["From"] = Address(plain(sender.name), addr_spec=sender.address)
    message["To"] = to
    message["Subject"] = plain(subject)
    message["Date"] = date
    message["Message-ID"] = f"<{message_id}>"
    if sender.reply_to:
        message["Reply-To"] = sender.reply_to
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834, 5: no out-of-office replies
    if unsubscribe is not None:
        message["List-Unsubscribe"] = f"<{unsubscribe}>"  # RFC 2369
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"  # RFC 8058
    message.set_content(_encodable(text), cte="quoted-printable")
    message.add_alternative(_encodable(html), subtype="html", cte="quoted-printable")
    message.set_boundary(boundary)
    message["Content-Language"] = language  # RFC 3282; set_content drops any earlier Content- header
    if _NEW_FIELD.search(message["Subject"].fold(policy=policy)):
        raise MalformedMail("the subject would become a header of its own; a subject is one line of text")
    return message


def _encoded(lines: str, count: int) -> list[bytes]:
    """Lines of a part in quoted-printable, each as the standard library's ``EmailMessage`` writes it.

    Its encoder in C agrees with the one in Python (which ``EmailMessage`` uses) on all lines that need no soft break,
    but for a lone full stop.
    """
    encoded = b2a_qp(lines.encode())
    found = encoded.split(b"\n")
    if len(found) == count and b"=2E" not in encoded:
        return found
    return [
        body_encode(line.encode().decode("latin-1"), LINE_LENGTH, "\r\n").encode("ascii") for line in lines.split("\n")
    ]


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _values(personal: Mapping[str, str]) -> dict[str, str]:
    """What the recipient has: values on one line, without those that are empty."""
    values = {}
    for key, value in personal.items():
        clean = value if value.isprintable() else CONTROL.sub(" ", value)
        if clean := clean.strip():
            values[key] = clean
    return values


def _boundary(content: MailContent) -> str:
    """The same for the same content. Quoted-printable never writes ``=_``, so no part can hold it (RFC 2045, 6.7)."""
    digest = sha256()
    for part in (content.subject, content.text, content.html):
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return f"=_{digest.hexdigest()[:32]}"
