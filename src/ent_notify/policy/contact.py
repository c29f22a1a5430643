"""Who may write to whom: relations of two people in, a decision out; denied unless something allows it.

A rule speaks of a pair (who writes, to whom), each a profile and perhaps a function (``staff:DIR``), and of the
relations in which it holds. Three layers: the engine's defaults for an ENT, the project's, and each school's, as data
(``contact_rules`` reads them). Of the same pair the nearest layer that names it counts; a school's layer counts where
both are in that school. What any layer forbids stays forbidden, whatever another one allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ent_notify.model.people import Profile


class Relation(StrEnum):
    """What two people have to do with each other. All but REPLY are the same seen from either side."""

    GUARDIAN = "guardian"
    """One is a legal guardian of the other, and no court restricts it."""
    TEACHES = "teaches"
    """One teaches the other, or a child of the other (they share a class or a teaching group)."""
    SAME_CLASS = "same_class"
    """Both are in a class, themselves or by a child."""
    SAME_SCHOOL = "same_school"
    """Both are in a school, themselves or by a child."""
    SAME_THREAD = "same_thread"
    """Both take part in a thread, not a direct one, which a teacher or staff opened: the writer did, or everybody may
    answer in it."""
    ANYWHERE = "anywhere"
    """Both are in the project: every pair is."""
    REPLY = "reply"
    """The other one wrote first. Allowed unless it is forbidden."""


@dataclass(frozen=True, slots=True)
class Party:
    """One side of a rule or of a question. A rule without a function is for every function."""

    profile: Profile
    function: str | None = None

    def covers(self, other: Party) -> bool:
        """Whether a rule for this party is one for ``other``."""
        return self.profile is other.profile and self.function in (None, other.function)

    def __str__(self) -> str:
        name = self.profile.name.lower()
        return name if self.function is None else f"{name}:{self.function}"


Pair = tuple[Party, Party]
Matrix = Mapping[Pair, frozenset[Relation]]
"""(who writes, to whom) -> the relations of which one is enough."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What a project or a school says. ``groups`` and ``unblockable``: None where it says nothing of it."""

    allow: Matrix = field(default_factory=dict)
    """Takes the place of the layer below, pair by pair; an empty set takes the pair's permission away."""
    forbid: Matrix = field(default_factory=dict)
    """A pair that has one of these relations is refused, whatever allows it."""
    groups: frozenset[Profile] | None = None
    """Who may address a whole class or school."""
    unblockable: frozenset[Profile] | None = None
    """Whom nobody may block."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a decision knows. ``shared``: by school (UAI), the relations of the two in it; ``elsewhere``: relations
    that belong to no school; ``schools``: every school of either."""

    writer: Party
    recipient: Party
    shared: Mapping[str, frozenset[Relation]] = field(default_factory=dict)
    elsewhere: frozenset[Relation] = frozenset()
    schools: frozenset[str] = frozenset()

    def relations(self) -> frozenset[Relation]:
        """Every relation of the two."""
        return frozenset({Relation.ANYWHERE, *self.elsewhere}.union(*self.shared.values()))


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether it is allowed, and by (or against) which relation; None: nothing allows it."""

    allowed: bool
    by: Relation | None = None


_STAFF = (Profile.TEACHER, Profile.STAFF)
_FAMILY = (Profile.PUPIL, Profile.GUARDIAN)


def _ent() -> dict[Pair, frozenset[Relation]]:
    school, own, thread = (frozenset({r}) for r in (Relation.SAME_SCHOOL, Relation.GUARDIAN, Relation.SAME_THREAD))
    pairs = {(Party(a), Party(b)): school | thread for a in Profile for b in Profile if a in _STAFF or b in _STAFF}
    pairs |= {(Party(a), Party(a)): thread for a in _FAMILY}
    pairs |= {(Party(a), Party(b)): own | thread for a in _FAMILY for b in _FAMILY if a is not b}
    return pairs


ENT = Layer(allow=_ent(), groups=frozenset(_STAFF), unblockable=frozenset(_STAFF))
"""The defaults: within a school teachers and staff write to everybody and everybody to them; a family among itself;
pupils and guardians reach peers only in a thread that a teacher or staff opened for it."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The layers that one decision looks at. ``schools`` by UAI; one that is not there says nothing of its own."""

    project: Layer = field(default_factory=Layer)
    schools: Mapping[str, Layer] = field(default_factory=dict)
    base: Layer = ENT

    def matrix(self, school: str | None = None) -> dict[Pair, frozenset[Relation]]:
        """What is allowed in a school, or where there is none in common."""
        nearest = {} if school is None or school not in self.schools else self.schools[school].allow
        return {**self.base.allow, **self.project.allow, **nearest}

    def decide(self, facts: Facts) -> Decision:
        """Whether one may write to the other. What these two have in one school counts with the rules of that school
        alone; a prohibition of any school of either counts always."""
        held = facts.relations()
        barred = self._barred(facts) & held
        if Relation.REPLY in held and Relation.REPLY not in barred:
            return Decision(allowed=True, by=Relation.REPLY)
        if against := barred - {Relation.REPLY}:
            return Decision(allowed=False, by=min(against))
        common = (facts.elsewhere | {Relation.ANYWHERE}) - {Relation.REPLY}
        for school, relations in facts.shared.items():
            if by := _allowed(self.matrix(school), facts, relations | common):
                return Decision(allowed=True, by=by)
        by = None if facts.shared else _allowed(self.matrix(), facts, common)
        return Decision(allowed=by is not None, by=by)

    def may_address(self, writer: Party, members: Profile, school: str, relations: Iterable[Relation]) -> bool:
        """Whether somebody may write to all pupils, guardians, teachers or staff of a group of ``school``, to which
        they have ``relations``, without being told who is in it."""
        layers = (self.schools.get(school, Layer()), self.project, self.base)
        who = next((layer.groups for layer in layers if layer.groups is not None), frozenset[Profile]())
        facts = Facts(writer, Party(members), {school: frozenset(relations)}, schools=frozenset({school}))
        return writer.profile in who and self.decide(facts).allowed

    def may_block(self, other: Profile, schools: Iterable[str] = ()) -> bool:
        """Whether somebody of this profile may be blocked; a school that protects its people protects them."""
        base = next(
            (each.unblockable for each in (self.project, self.base) if each.unblockable is not None),
            frozenset[Profile](),
        )
        told = [self.schools[uai].unblockable for uai in schools if uai in self.schools]
        return all(other not in (base if kept is None else kept) for kept in told or [None])

    def _barred(self, facts: Facts) -> frozenset[Relation]:
        layers = [self.base, self.project, *(self.schools[uai] for uai in facts.schools if uai in self.schools)]
        return frozenset(
            relation
            for layer in layers
            for (writer, recipient), when in layer.forbid.items()
            if writer.covers(facts.writer) and recipient.covers(facts.recipient)
            for relation in when
        )


def _allowed(matrix: Matrix, facts: Facts, relations: frozenset[Relation]) -> Relation | None:
    enough = {
        relation
        for (writer, recipient), when in matrix.items()
        if writer.covers(facts.writer) and recipient.covers(facts.recipient)
        for relation in when & relations
    }
    return min(enough, default=None)
