"""Settings of conversations."""

from __future__ import annotations

from pydantic import Field

from ent_notify.settings.base import Group


class ConversationSettings(Group):
    """Messages among people."""

    edit_minutes: int = Field(default=15, ge=0, le=1440)
    """Minutes in which the author of a message may change it; moderators see what it was before."""
    searches_per_minute: int = Field(default=60, ge=1, le=100_000)
    """Searches of one person in each process that serves the API; half of that may come at once."""
    moderators: tuple[str, ...] = ("DIR", "EDU")
    """Functions of staff (codes of the AAF) who see, in their schools, what messages were before they were changed."""
