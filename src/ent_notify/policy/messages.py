"""What a conversation may hold: texts that the database can keep, and that somebody can read."""

from __future__ import annotations

from ent_notify.errors import MalformedMessage

MAX_SUBJECT = 200
"""Characters of a subject, at most; the schema holds the same."""
MAX_BODY = 20_000
"""Characters of a message, at most; the schema holds the same."""


def check_subject(text: str) -> None:
    """Raises MalformedMessage unless ``text`` can be a conversation's subject."""
    _check("the subject", text, MAX_SUBJECT)


def check_body(text: str) -> None:
    """Raises MalformedMessage unless ``text`` can be a message."""
    _check("the message", text, MAX_BODY)


def _check(what: str, text: str, most: int) -> None:
    if not text.strip():
        raise MalformedMessage(f"{what} is empty; give it a text")
    if len(text) > most:
        raise MalformedMessage(f"{what} has {len(text)} characters; shorten it to {most}")
    if "\0" in text:
        raise MalformedMessage(f"{what} holds a NUL character, which no text can; take it out")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise MalformedMessage(f"{what} holds half a character (U+{ord(text[error.start]):04X}); take it out") from None
