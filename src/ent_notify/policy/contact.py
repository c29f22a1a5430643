"""Who may write to whom: a table by profile, deny by default.

Staff and teachers may open a conversation with anybody; guardians and pupils only with teachers and staff. Whoever
takes part in a conversation may answer in it.
"""

from __future__ import annotations

from ent_notify.model.people import Profile

_MAY_OPEN: frozenset[tuple[Profile, Profile]] = frozenset(
    {(writer, reader) for writer in (Profile.TEACHER, Profile.STAFF) for reader in Profile}
    | {(writer, reader) for writer in (Profile.GUARDIAN, Profile.PUPIL) for reader in (Profile.TEACHER, Profile.STAFF)}
)


def may_open(writer: Profile, reader: Profile) -> bool:
    """Whether somebody of one profile may open a conversation with somebody of another."""
    return (writer, reader) in _MAY_OPEN
