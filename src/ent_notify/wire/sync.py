"""Deltas and writes on the wire.

A delta::

    {"cursor": "...", "more": false, "now": "2026-09-08T08:00:00.000000Z",
     "reset": null | {"reason": "too_old", "remedy": "..."},
     "floor": 0, "range": null | [low, high],
     "items": [{"seq", "notification", "type", "category", "urgency", "data", "published_at", "expires_at",
                "children", "headline"}],
     "gone": [seq, ...],
     "read": null | {"upto": seq, "seqs": [seq, ...]},
     "unread": null | 0-99, "unread_is_more": false,
     "conversations": [{"id", "subject", "last_seq", "read_seq", "told_after",
                        "messages": [{"seq", "author", "author_name", "body", "posted_at"}]}]}

A batch of writes, and its answer::

    {"writes": [{"client_id": "...", "kind": "post", "conversation": 7, "body": "..."}]}
    {"answers": [{"client_id": "...", "done": true, "result": {...}},
                 {"client_id": "...", "done": false, "error": "..."}]}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ent_notify.errors import MalformedSync
from ent_notify.model.sync import CAPPED_AT, Delta, MovedConversation, Refused, SyncItem, Write, WriteAnswer, WriteKind
from ent_notify.wire.forms import instant

MOST_WRITES = 100
"""Writes of one batch."""
MOST_SEQS = 500
"""Entries that one write marks."""
MOST_CLIENT_ID = 64
MOST_BODY = 20_000
_LARGEST = 2**62


def delta_form(delta: Delta) -> dict[str, Any]:
    """A delta as plain values."""
    unread = delta.unread
    return {
        "cursor": delta.cursor,
        "more": delta.more,
        "now": instant(delta.now),
        "reset": delta.reset and {"reason": delta.reset.value, "remedy": delta.reset.remedy},
        "floor": delta.floor,
        "range": delta.range and list(delta.range),
        "items": [_item(item) for item in delta.items],
        "gone": list(delta.gone),
        "read": delta.read and {"upto": delta.read.upto, "seqs": list(delta.read.seqs)},
        "unread": unread if unread is None else min(unread, CAPPED_AT),
        "unread_is_more": unread is not None and unread > CAPPED_AT,
        "conversations": [_conversation(each) for each in delta.conversations],
    }


def answers_form(answers: Sequence[WriteAnswer]) -> dict[str, Any]:
    """The answer to a batch as plain values."""
    return {
        "answers": [
            {"client_id": each.client_id, "done": True, "result": dict(each.result)}
            if each.done
            else {"client_id": each.client_id, "done": False, "error": each.error}
            for each in answers
        ]
    }


def read_writes(values: Any) -> list[Write | Refused]:
    """A batch of writes; one that is wrong becomes a Refused that says how, and the others stand.

    Raises MalformedSync for a body that is no batch, is too long, or whose writes cannot be told apart.
    """
    if not isinstance(values, Mapping) or set(values) != {"writes"} or not isinstance(values["writes"], list):
        raise MalformedSync('a batch of writes is an object {"writes": [...]}')
    batch = values["writes"]
    if len(batch) > MOST_WRITES:
        raise MalformedSync(f"a batch holds at most {MOST_WRITES} writes, not {len(batch)}; send it as several")
    seen: set[str] = set()
    for write in batch:
        name = write.get("client_id") if isinstance(write, Mapping) else None
        if not isinstance(name, str) or not 1 <= len(name) <= MOST_CLIENT_ID or "\0" in name:
            raise MalformedSync(f'each write has a "client_id", a text of 1 to {MOST_CLIENT_ID} characters')
        if name in seen:
            raise MalformedSync(f"the client id {name!r} stands in the batch twice; give each write one of its own")
        seen.add(name)
    return [_write(write) for write in batch]


def _write(values: Mapping[Any, Any]) -> Write | Refused:
    name: str = values["client_id"]
    try:
        kind = WriteKind(values.get("kind"))
    except ValueError:
        known = ", ".join(each.value for each in WriteKind)
        return Refused(name, f'"kind" is one of {known}, not {str(values.get("kind"))[:40]!r}')
    fields = _FIELDS[kind]
    if (surplus := set(values) - {"client_id", "kind", *fields}) or (missing := set(fields) - set(values)):
        wrong = f"has no field {str(min(map(str, surplus)))[:40]!r}" if surplus else f"lacks its field {min(missing)!r}"
        return Refused(name, f"a write {kind.value!r} {wrong}; it has {', '.join(fields)}")
    for field, check in fields.items():
        if (error := check(values[field])) is not None:
            return Refused(name, f'"{field}" {error}')
    return Write(
        name,
        kind,
        seqs=tuple(values.get("seqs", ())),
        upto=values.get("upto", 0),
        notification=values.get("notification", 0),
        conversation=values.get("conversation", 0),
        body=values.get("body", ""),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _LARGEST


def _number(value: Any) -> str | None:
    return None if _is_number(value) else "is a whole number above 0"


def _numbers(value: Any) -> str | None:
    if isinstance(value, list) and 1 <= len(value) <= MOST_SEQS and all(map(_is_number, value)):
        return None
    return f"is a list of 1 to {MOST_SEQS} whole numbers above 0"


def _text(value: Any) -> str | None:
    if not isinstance(value, str) or not value.strip() or len(value) > MOST_BODY:
        return f"is a text of 1 to {MOST_BODY} characters, and not blank"
    if "\0" in value:
        return "holds the character NUL, which no text may; take it out"
    return None if value.isascii() or _encodes(value) else "holds half a character (a lone surrogate); take it out"


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


_FIELDS: dict[WriteKind, dict[str, Callable[[Any], str | None]]] = {
    WriteKind.READ: {"seqs": _numbers},
    WriteKind.READ_ALL: {"upto": _number},
    WriteKind.READ_CONVERSATION: {"conversation": _number, "upto": _number},
    WriteKind.ACKNOWLEDGE: {"notification": _number},
    WriteKind.POST: {"conversation": _number, "body": _text},
}


def _item(item: SyncItem) -> dict[str, Any]:
    return {
        "seq": item.seq,
        "notification": item.notification,
        "type": item.type,
        "category": item.category,
        "urgency": item.urgency,
        "data": dict(item.data),
        "published_at": instant(item.published_at),
        "expires_at": instant(item.expires_at),
        "children": list(item.children),
        "headline": item.headline,
    }


def _conversation(each: MovedConversation) -> dict[str, Any]:
    return {
        "id": each.id,
        "subject": each.subject,
        "last_seq": each.last_seq,
        "read_seq": each.read_seq,
        "told_after": each.told_after,
        "messages": [
            {
                "seq": message.seq,
                "author": message.author,
                "author_name": message.author_name,
                "body": message.body,
                "posted_at": instant(message.posted_at),
            }
            for message in each.messages
        ],
    }
