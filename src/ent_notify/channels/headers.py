"""Headers and what stands in them: addresses, URLs, and how the standard library folds them."""

from __future__ import annotations

import re
from email.headerregistry import BaseHeader, HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy, Policy
from typing import Any, ClassVar, Literal

LINE_LENGTH = 76
"""RFC 2045, 6.7 (quoted-printable) and RFC 2047, 2 (encoded words)."""

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_NO_UTF8_ATOM = r"\x00- \x7f-\xa0\"(),:;<>@\[\\\]\u2028\u2029\ud800-\udfff"
_UTF8_ADDRESS = re.compile(rf"[^{_NO_UTF8_ATOM}]{{1,64}}@[^{_NO_UTF8_ATOM}!-,/=?^_`{{-~]{{1,189}}")
_URL = re.compile(r"(?=.{1,900}\Z)https?://[!#-;=?-\[\]_a-z~]+")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What no line of text holds."""
_ENCODED_WORD = re.compile(r"=(?=\?[^?]*\?[bBqQ]\?)")


def is_address(address: str) -> bool:
    """Whether ``address`` can be written to: a dot-atom and a host name (RFC 5321), or their internationalised kin
    (RFC 6531). Quoted local parts and address literals are not taken."""
    if address.isascii():
        return is_plain_address(address)
    return _UTF8_ADDRESS.fullmatch(address) is not None and _fits(address)


def is_plain_address(address: str) -> bool:
    """Whether ``address`` can be written to by any server: ASCII alone."""
    return _ADDRESS.fullmatch(address) is not None and _fits(address)


def is_url(url: str) -> bool:
    """Whether ``url`` can stand in a header: http or https, ASCII, no more than 900 characters."""
    return _URL.fullmatch(url) is not None


def header_line(line: str) -> bytes:
    """A valid ASCII header without its line end; what is too long for a line is folded by the standard library."""
    if len(line) <= LINE_LENGTH:
        return line.encode("ascii")
    name, _, value = line.partition(": ")
    return folded(name, value)


def folded(name: str, value: str) -> bytes:
    """A header as the standard library folds it, without its last line end."""
    lines = POLICY.header_factory(name, value).fold(policy=POLICY)
    return str(lines).removesuffix("\r\n").encode("ascii")


def plain(text: str) -> str:
    """``text`` with nothing in it that reads as an encoded word: the standard library would decode it, and what it
    hides (a line break, say) would reach the header."""
    return _ENCODED_WORD.sub("=\N{WORD JOINER}", text)


class _UrlHeader(BaseHeader):
    """A header that holds one URL in angle brackets (RFC 2369), on one line however long.

    As an unstructured header it would become an encoded word past 76 characters, which no mail program reads.
    """

    max_count: ClassVar[Literal[1]] = 1

    @classmethod
    def parse(cls, value: str, kwds: dict[str, Any]) -> None:
        """The registry's hook: take the value as it is."""
        kwds["parse_tree"] = None
        kwds["decoded"] = value

    def fold(self, *, policy: Policy[Any]) -> str:
        """The header's one line; RFC 5322, 2.1.1 allows 998 octets, and a URL here is at most 900."""
        return f"{self.name}: {self}{policy.linesep}"


def _policy() -> EmailPolicy[EmailMessage]:
    registry = HeaderRegistry()
    registry.map_to_type("list-unsubscribe", _UrlHeader)
    return SMTP.clone(max_line_length=LINE_LENGTH, header_factory=registry)


POLICY = _policy()
UTF8_POLICY = POLICY.clone(utf8=True)


def _fits(address: str) -> bool:
    """Lengths of RFC 5321, 4.5.3.1; and nothing that reads as an encoded word."""
    return len(address) <= 254 and address.index("@") <= 64 and "=?" not in address
