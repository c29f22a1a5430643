"""Settings of the safety of conversations."""

from __future__ import annotations

from pydantic import Field

from ent_notify.settings.base import Group
from ent_notify.settings.kinds import Names


class SafetySettings(Group):
    """How many people each role may write to, and who moderates. A message to a group counts its members."""

    pupil_most: int = Field(default=150, ge=1)
    """People that one message of a pupil may go to: a class with its guardians and teachers."""
    pupil_new: int = Field(default=150, ge=1)
    """People to whom a pupil may write in `refill_hours` who were not written to within a day."""
    guardian_most: int = Field(default=200, ge=1)
    """People that one message of a guardian may go to."""
    guardian_new: int = Field(default=200, ge=1)
    """People to whom a guardian may newly write in `refill_hours`."""
    teacher_most: int = Field(default=600, ge=1)
    """People that one message of a teacher may go to."""
    teacher_new: int = Field(default=2_000, ge=1)
    """People to whom a teacher may newly write in `refill_hours`."""
    staff_most: int = Field(default=2_000, ge=1)
    """People that one message of a member of staff may go to."""
    staff_new: int = Field(default=6_000, ge=1)
    """People to whom a member of staff may newly write in `refill_hours`."""
    direction_most: int = Field(default=20_000, ge=1)
    """People that one message of the direction may go to: writing to the whole school is for the direction."""
    direction_new: int = Field(default=60_000, ge=1)
    """People to whom the direction may newly write in `refill_hours`."""
    refill_hours: float = Field(default=12.0, gt=0, le=168)
    """Hours in which a used-up allowance of new people is full again."""
    strikes: int = Field(default=25, ge=1, le=1_000)
    """Strikes within an hour after which an account is quarantined by itself: a message to whom the rules forbid is
    one, one to more people than are allowed is ten."""
    office_functions: Names = ("EDU", "AED", "ASE", "SUR")
    """Functions of the pupil-life office: who is reached by a pupil's line, and sees the moderation queue."""
    direction_functions: Names = ("DIR",)
    """Functions of the direction."""
    project_moderators: Names = ()
    """Ids of those who moderate every school, and freeze an academy or the project."""
