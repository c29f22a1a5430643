"""Who may write to whom, in PostgreSQL: rules as data, relations looked up, the address book. It decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ent_notify.errors import NotFound
from ent_notify.model.conversations import Replies, Shape
from ent_notify.model.people import GroupKind, Profile
from ent_notify.policy.contact import Facts, Layer, Party, Relation, Rules
from ent_notify.policy.contact_rules import layer_data, layer_from
from ent_notify.policy.threads import is_supervised
from ent_notify.store.database import Database, Record, Session

PROFILE_OF = {
    GroupKind.SCHOOL_PUPILS: Profile.PUPIL,
    GroupKind.SCHOOL_TEACHERS: Profile.TEACHER,
    GroupKind.SCHOOL_STAFF: Profile.STAFF,
}
"""Whom a group of a school holds; every other one holds pupils (and those who teach them)."""

FAMILY = frozenset({Profile.PUPIL, Profile.GUARDIAN})


@dataclass(frozen=True, slots=True)
class Near:
    """A line of an address book before the rules are asked. ``place``: where the next page begins."""

    person: int
    id: str
    name: str
    profile: Profile
    function: str | None
    place: tuple[str, int]


@dataclass(frozen=True, slots=True)
class GroupNear:
    """A group that a writer may have to do with."""

    id: str
    kind: GroupKind
    name: str
    school: str
    within: bool


class PostgresContacts:
    """Rules, relations, the address book and blocks; people are internal ids here."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def rules(self, schools: Iterable[str], session: Session | None = None) -> Rules:
        """The rules that count where ``schools`` (UAIs) are concerned."""
        rows = await (session or self._db).fetch("contacts.rules", schools=sorted(set(schools)))
        layers: dict[str | None, Layer] = {row["uai"]: layer_from(row["data"]) for row in rows}
        return Rules(
            project=layers.pop(None, Layer()), schools={uai: layer for uai, layer in layers.items() if uai is not None}
        )

    async def set_rules(self, school: str | None, layer: Layer, by: str, now: datetime) -> None:
        """Keep what the project, or a school, says. Raises NotFound for an unknown school."""
        kept = await self._db.execute(
            "contacts.set_rules", school=school, data=layer_data(layer), now=now, changed_by=by
        )
        if not kept:
            raise NotFound(f"there is no school {school!r}; give its UAI, such as 0541234A")

    async def facts(
        self, writer: int, party: Party, people: Sequence[int], now: datetime, session: Session | None = None
    ) -> dict[int, tuple[str, Facts]]:
        """(external id, facts) of each of ``people`` who is still there."""
        rows = await (session or self._db).fetch("contacts.facts", author_id=writer, people=list(people), now=now)
        return {row["person_id"]: (row["external_id"], facts_of(row, party)) for row in rows}

    async def schools(self, person: int, now: datetime) -> list[str]:
        """Every school of somebody, their own and their children's."""
        return [row["uai"] for row in await self._db.fetch("contacts.schools", person_id=person, now=now)]

    async def function(self, person: int) -> str | None:
        """Somebody's function, if they have one."""
        found = await self._db.fetchval("contacts.function", person_id=person)
        return None if found is None else str(found)

    async def words(self, search: str) -> list[str]:
        """``search`` as plain words."""
        return list(await self._db.fetchval("contacts.words", search=search) or [])

    async def near(
        self,
        writer: int,
        ways: Mapping[Relation, frozenset[Profile]],
        words: Sequence[str],
        after: tuple[str, int],
        most: int,
        now: datetime,
    ) -> list[Near]:
        """The next people, by name, to whom ``writer`` has one of the relations of ``ways`` with those profiles."""
        by_class = ways.get(Relation.TEACHES, frozenset()) | ways.get(Relation.SAME_CLASS, frozenset())
        rows = await self._db.fetch(
            "contacts.book",
            author_id=writer,
            by_school=sorted(ways.get(Relation.SAME_SCHOOL, frozenset())),
            by_class=sorted(by_class),
            family=bool(ways.get(Relation.GUARDIAN)),
            words=list(words),
            after_name=after[0],
            after_id=after[1],
            most=most,
            now=now,
        )
        return [
            Near(
                person=row["id"],
                id=row["external_id"],
                name=full_name(row),
                profile=Profile(row["profile"]),
                function=row["function"],
                place=(row["name"], row["id"]),
            )
            for row in rows
        ]

    async def groups_near(self, writer: int, words: Sequence[str], now: datetime) -> list[GroupNear]:
        """The groups of a writer's schools."""
        rows = await self._db.fetch("contacts.book_groups", author_id=writer, words=list(words), now=now)
        return [
            GroupNear(
                id=row["external_id"],
                kind=GroupKind(row["kind"]),
                name=row["name"],
                school=row["uai"],
                within=row["within"],
            )
            for row in rows
        ]

    async def block(self, person: int, other: int, now: datetime) -> None:
        """Want no messages of somebody."""
        await self._db.execute("contacts.block", person_id=person, blocked_id=other, now=now)

    async def unblock(self, person: int, other: int) -> None:
        """Want them again."""
        await self._db.execute("contacts.unblock", person_id=person, blocked_id=other)

    async def blocked(self, person: int) -> list[tuple[str, str]]:
        """(id, name) of those whom somebody has blocked."""
        rows = await self._db.fetch("contacts.blocked", person_id=person)
        return [(row["external_id"], full_name(row)) for row in rows]


def facts_of(row: Record | Mapping[str, Any], writer: Party, *extra: Relation) -> Facts:
    """A row of ``contact_facts`` as the policy takes it."""
    elsewhere = frozenset(extra) | ({Relation.GUARDIAN} if row["guardian"] else frozenset())
    return Facts(
        writer=writer,
        recipient=Party(Profile(row["profile"]), row["function"]),
        shared={uai: frozenset(map(Relation, relations)) for uai, relations in row["shared"].items()},
        elsewhere=elsewhere,
        schools=frozenset(row["schools"]),
    )


def group_relations(writer: Profile, members: Profile, *, within: bool, same_school: bool) -> frozenset[Relation]:
    """What somebody who is in a group (or has a child in it), or in its school, has to do with its members."""
    held = {Relation.SAME_SCHOOL} if same_school else set[Relation]()
    teachers = (writer is Profile.TEACHER) + (members is Profile.TEACHER)
    if within and teachers == 1:
        held.add(Relation.TEACHES)
    if within and writer in FAMILY and members in FAMILY:
        held.add(Relation.SAME_CLASS)
    return frozenset(held)


def thread_relations(head: Record, author: int) -> tuple[Relation, ...]:
    """What those who take part have to do with each other by that alone."""
    supervised = is_supervised(
        Shape(head["shape"]),
        Replies(head["replies"]),
        Profile(head["opener_profile"]),
        is_opener=head["started_by"] == author,
    )
    return (Relation.SAME_THREAD,) if supervised else ()


def group_facts(rows: Sequence[Record], party: Party, thread: Sequence[Relation]) -> list[Facts]:
    """Facts of the groups whose members take part by key, one for each key."""
    return [
        Facts(
            writer=party,
            recipient=Party(members),
            shared={
                row["uai"]: group_relations(
                    party.profile, members, within=row["within"], same_school=row["same_school"]
                )
            },
            elsewhere=frozenset(thread),
            schools=frozenset({row["uai"]}),
        )
        for row in rows
        if row["uai"] is not None
        for members in [members_of(row["kind"], row["scope"])]
    ]


def members_of(kind: int, scope: int) -> Profile:
    """Whom a key of a group lets in: its members, or (scope 2) their guardians."""
    return Profile.GUARDIAN if scope == 2 else PROFILE_OF.get(GroupKind(kind), Profile.PUPIL)


def full_name(row: Record | Mapping[str, Any]) -> str:
    """Given name and family name of a row."""
    return f"{row['given_name'] or ''} {row['family_name'] or ''}".strip()
