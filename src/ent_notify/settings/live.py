"""Which settings a running service takes on when it is told to read them again, and which wait for its next start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel

from ent_notify.settings.groups import Settings

Service = Literal["worker", "gateway"]

_EVERY = ("store", "bus", "metrics", "tracing")
FIXED: dict[Service, tuple[str, ...]] = {
    "worker": (*_EVERY, "worker.drain_seconds"),
    "gateway": (
        *_EVERY,
        "evidence",
        "gateway.host",
        "gateway.port",
        "gateway.admin_port",
        "gateway.max_connections",
        "gateway.max_pending_bytes",
        "gateway.session_hours",
        "gateway.refresh_seconds",
        "gateway.heartbeat_seconds",
        "gateway.drain_seconds",
    ),
}
"""Groups, and single settings, that a service reads once: what it is connected to, where it listens, how much it holds.
Every other one it takes on at once."""


def taken_on(service: Service, running: Settings, read: Settings) -> tuple[Settings, tuple[str, ...]]:
    """What ``service`` runs with once it has ``read`` other settings; and the names of those that wait for a start."""
    values: dict[str, Any] = {}
    waiting: list[str] = []
    for name in FIXED[service]:
        group, _, field = name.partition(".")
        before, after = getattr(running, group), values.get(group, getattr(read, group))
        waiting += _changed(group, before, after, field)
        values[group] = after.model_copy(update={field: getattr(before, field)}) if field else before
    return read.model_copy(update=values), tuple(waiting)


def _changed(group: str, before: BaseModel, after: BaseModel, field: str) -> Iterator[str]:
    for each in [field] if field else type(before).model_fields:
        if getattr(before, each) != getattr(after, each):
            yield f"{group}.{each}"
