"""A sync cursor as an opaque text: versioned, of bounded length, bound to its person, with a check of its own.

It is not signed, and need not be: whatever a made-up cursor asks for, its answer is read under the reader's own keys,
and holds nothing that the same reader's inbox does not. The check finds what was cut, mixed up or belongs to somebody
else, so that it is refused with a word instead of answered with a hole.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct

from ent_notify.errors import MalformedSync
from ent_notify.model.sync import Cursor

VERSION = 1
"""The form of a cursor. A device with another one starts again."""
MOST_CHARACTERS = 256
REMEDY = "sync without a cursor to start again"
_FIELDS = struct.Struct(">QIQQ8sQI8sQQQ")
_CHECK = 8


def write_cursor(cursor: Cursor) -> str:
    """The text of a cursor: letters, digits, ``-`` and ``_``."""
    fields = _FIELDS.pack(
        cursor.cluster,
        cursor.issued,
        cursor.high,
        cursor.floor,
        cursor.keys,
        cursor.before,
        cursor.left,
        cursor.read,
        cursor.moved,
        cursor.moving,
        cursor.conversation,
    )
    whole = bytes([VERSION]) + fields
    return base64.urlsafe_b64encode(whole + _check(whole, cursor.person)).rstrip(b"=").decode()


def read_cursor(text: str, person: int) -> Cursor | None:
    """The cursor that was written for ``person``; None for one of another form, whose device starts again.

    Raises MalformedSync for a text that is no cursor, was changed, or was given to somebody else.
    """
    if len(text) > MOST_CHARACTERS:
        raise MalformedSync(f"a cursor has at most {MOST_CHARACTERS} characters, not {len(text)}; {REMEDY}")
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        raise MalformedSync(f"the cursor {text[:20]!r}... is none of ours; {REMEDY}") from None
    whole, check = raw[:-_CHECK], raw[-_CHECK:]
    if not whole or check != _check(whole, person):
        raise MalformedSync(
            f"the cursor {text[:20]!r}... was cut or changed on its way, or was given to somebody else; {REMEDY}"
        )
    if whole[0] != VERSION or len(whole) != 1 + _FIELDS.size:
        return None
    cluster, issued, high, floor, keys, before, left, read, moved, moving, conversation = _FIELDS.unpack(whole[1:])
    return Cursor(person, cluster, issued, high, floor, keys, before, left, read, moved, moving, conversation)


def _check(whole: bytes, person: int) -> bytes:
    return hashlib.blake2b(whole, digest_size=_CHECK, key=person.to_bytes(8, "big"), person=b"ent_notify.sync").digest()
