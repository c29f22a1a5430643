"""Settings of what people have before their eyes."""

from __future__ import annotations

from pydantic import Field

from ent_notify.settings.base import Group


class EvidenceSettings(Group):
    """Pushes to somebody who is reading on the web: whether they wait to be seen there, and what reading takes away."""

    grace_seconds: float = Field(default=30.0, ge=0, le=600)
    """Seconds for which a push waits when its reader looks at a page that was given the notification: seen there, it is
    not sent; else it leaves at the end of them, or when the last page is closed. Urgent ones never wait. 0: none
    does."""
    linger_seconds: float = Field(default=2.0, ge=0, le=60)
    """Seconds after which somebody whose last page was closed is gone: a page that leads to another comes back at
    once."""
    clear_after_seconds: float = Field(default=5.0, ge=0, le=600)
    """Seconds after somebody has read something in which what else they read is cleared along with it: one silent push
    takes the alerts away from each of their phones and browsers that got one, and sets the badge. 0: nothing is
    cleared."""
    lease_seconds: float = Field(default=15.0, ge=3, le=60)
    """Seconds after which those whom a gateway held are gone, if it was killed."""
