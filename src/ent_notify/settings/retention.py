"""Settings of forgetting: the figures of each class, within the bounds of their law."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ent_notify.settings.base import Group


class RetentionSettings(Group):
    """How long what is kept, and what a nightly run may do without asking."""

    delivery_days: int = Field(default=30, ge=7, le=90)
    """Days for which it is known to whom each mail and push went; the account in numbers stays with the
    notification."""
    inbox_days: int = Field(default=90, ge=30, le=400)
    """Days for which a notification stays in inboxes."""
    messages_years: int = Field(default=1, ge=0, le=2)
    """School years for which messages are kept, beside the current one."""
    drafts_days: int = Field(default=365, ge=30, le=400)
    """Days after which a draft that nobody has touched goes."""
    leavers_days: int = Field(default=75, ge=1, le=85)
    """Days after which somebody who has left is purged; hidden they are from the first. The law's limit is three
    months."""
    leavers_alarm_days: int = Field(default=85, ge=2, le=90)
    """Days after which somebody who has left and is still there is an alarm."""
    leavers_messages: Literal["erase", "pseudonymise", "keep"] = "pseudonymise"
    """What becomes of a leaver's messages in threads that others share: their text goes, their author's name goes, or
    both stay until the messages' own time."""
    erased_messages: Literal["erase", "pseudonymise"] = "erase"
    """The same, for somebody who asked to be erased."""
    audit_days: int = Field(default=365, ge=180, le=1096)
    """Days for which it is known who looked at what; CNIL: 6 to 12 months, 3 years where that is justified."""
    proofs_days: int = Field(default=1826, ge=365, le=1826)
    """Days for which answered requests and lifted holds are kept as proof."""
    backups_days: int = Field(default=400, ge=1, le=3650)
    """Days for which a backup may still be restored: so long it is remembered who was erased."""
    ledger_file: Path | None = None
    """File outside the database, and outside its backups, in which workers keep the ledger of erasures. With it a
    backup that is restored in place, too, is noticed, and serves nobody before the ledger is replayed."""
    largest_share: float = Field(default=0.25, gt=0, le=1)
    """Part of a class that a run may remove without being asked; above it, and above `few`, it stops and asks."""
    few: int = Field(default=1000, ge=0, le=1_000_000)
    """Items of a class that a run may remove whatever their share."""
    slice: int = Field(default=500, ge=1, le=10_000)
    """Items that one transaction of a run removes: it holds their rows locked for some milliseconds."""
    night_hour: int = Field(default=3, ge=0, le=23)
    """Hour of the project's day from which a worker makes the nightly run."""
    nightly: bool = True
    """Whether workers make it at all; false where an operator runs `ent-notify retention run`."""

    @model_validator(mode="after")
    def _alarm_after_purge(self) -> RetentionSettings:
        if self.leavers_alarm_days <= self.leavers_days:
            raise ValueError("leavers_alarm_days is not above leavers_days: it would ring every day; raise it")
        return self


class SchoolRetention(Group):
    """A school's own figures, by its UAI in small letters; what is left out is the project's."""

    delivery_days: int | None = Field(default=None, ge=7, le=90)
    """Days for which it is known to whom the school's mails and pushes went."""
    inbox_days: int | None = Field(default=None, ge=30, le=400)
    """Days for which the school's notifications stay in inboxes."""
