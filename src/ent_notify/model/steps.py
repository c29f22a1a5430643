"""The steps on the way of a notification, as a trace shows them."""

from __future__ import annotations

from enum import StrEnum


class Step(StrEnum):
    """One step."""

    PUBLISH = "publish"
    PLAN = "plan"
    SEND = "send"
    """One chunk, or several claimed together."""
    RECEIPT = "receipt"
    """A bounce, a late answer, or a device's own word."""
