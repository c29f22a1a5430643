"""Audiences: expressions over groups, schools, guardians and single people.

Write them with ``|`` (union) and ``-`` (minus)::

    GuardiansOf(Group("0541234A/class/6A")) | School("0541234A", Profile.TEACHER) - Person("AAF-77")

The right side of a minus, and the inside of ``GuardiansOf``, are plain unions: that keeps every audience a short
list of indexed look-ups, whoever reads it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from ent_notify.model.people import Profile


class Audience(ABC):
    """Base of all audience expressions."""

    __slots__ = ()

    def __or__(self, other: Audience) -> Union:
        left = self.parts if isinstance(self, Union) else (self,)
        right = other.parts if isinstance(other, Union) else (other,)
        return Union(left + right)

    def __sub__(self, other: Audience) -> Minus:
        return Minus(self, other)

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The form that crosses to SQL and to other languages."""


@dataclass(frozen=True, slots=True)
class Everyone(Audience):
    """The whole project, or everybody of one profile in it."""

    profile: Profile | None = None

    def to_json(self) -> dict[str, Any]:
        return {"everyone": True} | _profile(self.profile)


@dataclass(frozen=True, slots=True)
class School(Audience):
    """Everybody of a school (pupils, their guardians, teachers, staff), or one profile of it."""

    uai: str
    profile: Profile | None = None

    def to_json(self) -> dict[str, Any]:
        return {"school": self.uai} | _profile(self.profile)


@dataclass(frozen=True, slots=True)
class Group(Audience):
    """The members of a class, a teaching group or any other group."""

    id: str

    def to_json(self) -> dict[str, Any]:
        return {"group": self.id}


@dataclass(frozen=True, slots=True)
class Person(Audience):
    """One person, by external id."""

    id: str

    def to_json(self) -> dict[str, Any]:
        return {"person": self.id}


@dataclass(frozen=True, slots=True)
class GuardiansOf(Audience):
    """The legal guardians (level 1 or 2, not restricted) of the pupils in ``pupils``."""

    pupils: Audience

    def to_json(self) -> dict[str, Any]:
        return {"guardians_of": self.pupils.to_json()}


@dataclass(frozen=True, slots=True)
class Union(Audience):
    """Everybody who is in any part."""

    parts: tuple[Audience, ...]

    def to_json(self) -> dict[str, Any]:
        return {"union": [part.to_json() for part in self.parts]}


@dataclass(frozen=True, slots=True)
class Minus(Audience):
    """Everybody of ``base`` who is not in ``removed``."""

    base: Audience
    removed: Audience

    def to_json(self) -> dict[str, Any]:
        return {"minus": [self.base.to_json(), self.removed.to_json()]}


def _profile(profile: Profile | None) -> dict[str, Any]:
    return {} if profile is None else {"profile": profile.name.lower()}
