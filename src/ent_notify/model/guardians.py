"""What the resolver of guardians answers."""

from __future__ import annotations

from dataclasses import dataclass

from ent_notify.model.inbox import DeliveryExplained


@dataclass(frozen=True, slots=True)
class GuardianTreated:
    """One guardian of a pupil and one notification: how they stand to the pupil, whether it was for them, what became
    of it by channel, and under which other identities the same human is known (declared, never guessed)."""

    guardian: str
    name: str
    legal_level: int
    standing: str
    addressed: bool
    deliveries: tuple[DeliveryExplained, ...]
    identities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Treatment:
    """How the guardians of a pupil were treated: ``alike``, or the ``differences`` in sentences."""

    notification: int
    pupil: str
    guardians: tuple[GuardianTreated, ...]
    differences: tuple[str, ...]

    @property
    def alike(self) -> bool:
        """Whether every guardian who is to be told was treated like the others."""
        return not self.differences


@dataclass(frozen=True, slots=True)
class Child:
    """A child of one human: by which of their identities, how they stand to the child, and the schools it attends."""

    pupil: str
    name: str
    guardian: str
    standing: str
    schools: tuple[str, ...]
