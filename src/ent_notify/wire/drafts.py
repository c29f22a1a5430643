"""Drafts as they are stored: a conversation to be opened, or a message, as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ent_notify.model.acknowledgement import Ask, AskKind, Quorum
from ent_notify.model.conversations import Circle, LateJoiners, NewConversation, Replies, Scope, Shape


def draft_data(new: NewConversation | None, body: str) -> dict[str, Any]:
    """The JSON of a draft: of ``new`` when it opens a conversation, else of a message's ``body``."""
    if new is None:
        return {"body": body}
    return {
        "body": new.body,
        "new": {
            "shape": int(new.shape),
            "subject": new.subject,
            "to": list(new.to),
            "copy": list(new.copy),
            "blind": list(new.blind),
            "circles": [[circle.group, int(circle.scope)] for circle in new.circles],
            "about": new.about,
            "replies": int(new.replies),
            "late": int(new.late),
            "language": new.language,
            "replying": None if new.replying is None else list(new.replying),
            "ask": None if new.ask is None else _ask_data(new.ask),
        },
    }


def draft_from(data: Mapping[str, Any]) -> tuple[NewConversation | None, str]:
    """What ``draft_data`` wrote; nothing of one that was sent."""
    body = str(data.get("body", ""))
    held = data.get("new")
    if held is None:
        return None, body
    replying, ask = held["replying"], held.get("ask")
    return NewConversation(
        shape=Shape(held["shape"]),
        body=body,
        subject=held["subject"],
        to=tuple(held["to"]),
        copy=tuple(held["copy"]),
        blind=tuple(held["blind"]),
        circles=tuple(Circle(group, Scope(scope)) for group, scope in held["circles"]),
        about=held["about"],
        replies=Replies(held["replies"]),
        late=LateJoiners(held["late"]),
        language=held["language"],
        replying=None if replying is None else (replying[0], replying[1]),
        ask=None if ask is None else _ask_from(ask),
    ), body


def _ask_data(ask: Ask) -> dict[str, Any]:
    return {
        "kind": int(ask.kind),
        "quorum": int(ask.quorum),
        "deadline": None if ask.deadline is None else ask.deadline.isoformat(),
        "remind_seconds": None if ask.remind_every is None else ask.remind_every.total_seconds(),
    }


def _ask_from(held: Mapping[str, Any]) -> Ask:
    deadline, seconds = held["deadline"], held["remind_seconds"]
    return Ask(
        kind=AskKind(held["kind"]),
        quorum=Quorum(held["quorum"]),
        deadline=None if deadline is None else datetime.fromisoformat(deadline),
        remind_every=None if seconds is None else timedelta(seconds=seconds),
    )
