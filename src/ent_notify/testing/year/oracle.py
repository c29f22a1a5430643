"""Who should have got what: an independent, simple model of the whole town, held in memory.

It knows the documents (who is addressed, what a pause is, when homework is reminded of), and nothing of the engine's
code. The driver tells it what happened in the outside world, what the engine answered, and what providers got.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from ent_notify.model.people import Profile, Provider
from ent_notify.testing.year.memory import (
    LIFE,
    WEB_ALONE,
    WEEK,
    Lessons,
    Post,
    Sent,
    Talk,
    Way,
    Ways,
    Work,
    ways_of,
)
from ent_notify.testing.year.people import Someone, Town

SETTLE = timedelta(seconds=60)


@dataclass(slots=True)
class Broken:
    """An invariant that does not hold: its name, and what was seen."""

    invariant: str
    seen: str


@dataclass(slots=True)
class Oracle:
    """The memory of the year."""

    town: Town
    posts: dict[int, Post] = field(default_factory=dict)
    """By the engine's number."""
    by_key: dict[str, Post] = field(default_factory=dict)
    newest: dict[str, Post] = field(default_factory=dict)
    """The newest post of each subject: the one that is shown."""
    mine: dict[str, list[Post]] = field(default_factory=lambda: defaultdict(list))
    """Posts by whom they were for."""
    awaited: dict[tuple[Any, ...], list[Post]] = field(default_factory=lambda: defaultdict(list))
    """Posts that the engine has to publish by itself, by what they are about."""
    works: dict[str, Work] = field(default_factory=dict)
    talks: dict[str, Talk] = field(default_factory=dict)
    lessons: dict[tuple[str, date], Lessons] = field(default_factory=dict)
    owners: dict[str, tuple[str, Provider]] = field(default_factory=dict)
    """Token to whose it is, by the host's word."""
    dead: dict[str, datetime] = field(default_factory=dict)
    """Tokens and mailboxes that their provider knows to be gone, and since when."""
    dropped: set[str] = field(default_factory=set)
    """Tokens and people's addresses that a provider's word has put out of use."""
    read: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    left: dict[str, datetime] = field(default_factory=dict)
    erased: dict[str, datetime] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    """Those of whom a provider said it to a worker that ended: it may have been noted or not."""
    looked_for: set[str] = field(default_factory=set)
    """The erased who were looked for already."""
    ill: set[str] = field(default_factory=set)
    """Providers that have been in trouble lately."""
    held: set[str] = field(default_factory=set)
    ever_held: set[str] = field(default_factory=set)
    rolled_back: set[str] = field(default_factory=set)
    sent: list[Sent] = field(default_factory=list)
    """What providers were handed since the last look."""
    arrivals: dict[str, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    crashed: int = 0
    broken: list[Broken] = field(default_factory=list)
    last_seq: int = 0

    # ------------------------------------------------------------ people

    def legal(self, pupil: str) -> list[str]:
        """The legal guardians of a pupil, those who are away too: who comes back finds what concerned their child."""
        links = self.town.people[pupil].links if pupil in self.town.people else {}
        return [who for who, level in links.items() if level in (1, 2)]

    def is_here(self, person: str) -> bool:
        """Whether somebody has an account that works."""
        return person in self.town.people and self.town.people[person].here

    def kept(self, person: str) -> bool:
        """Whether a hold keeps somebody: their own, or that of somebody with whom they share a conversation, or a
        notification that names both (docs/dpo.md)."""
        if not self.held or person in self.held:
            return person in self.held
        if any(person in talk.people and self.held & set(talk.people) for talk in self.talks.values()):
            return True
        mine = {post.key: post for who in self.held for post in self.mine[who]} | self._about(self.held)
        return any(person in post.named and self.held & post.named for post in mine.values())

    def _about(self, people: set[str]) -> dict[str, Post]:
        guardians = {who for person in people if person in self.town.people for who in self.town.people[person].links}
        return {post.key: post for who in guardians for post in self.mine[who]}

    def schools(self, person: str) -> set[str]:
        """Where somebody belongs: by their groups, or by those of the children whose legal guardian they are."""
        someone = self.town.people[person]
        children = [child for child in self.town.people.values() if child.here and self.town.guards(person, child.id)]
        return {self.town.school_of(group) for each in (someone, *children) for group in each.groups}

    def ways(self, audience: dict[str, Any]) -> Ways:
        """For whom an audience is at this moment; who has left and comes back in time finds it, too."""

        def members(group: str) -> list[tuple[str, bool]]:
            return [(each.id, not each.here) for each in self.town.members(group, away=True)]

        return ways_of(audience, members, self.legal)

    def came_back(self, person: str) -> None:
        """Somebody is there again: what was published meanwhile is theirs as if they had never left."""
        for post in self.by_key.values():
            for who, ways in post.ways.items():
                if any(way.away and (way.pupil or who) == person for way in ways):
                    post.ways[who] = {w._replace(away=w.away and (w.pupil or who) != person) for w in ways}

    def may_read(self, post: Post, person: str) -> bool:
        """Whether a post stands in somebody's inbox now."""
        if post.superseded or not self.is_here(person):
            return False
        ways = post.ways.get(person, ())
        return any(not w.away and (w.pupil is None or self.town.guards(person, w.pupil)) for w in ways)

    def may_send(self, post: Post, person: str) -> bool:
        """Whether somebody is still addressed: in the group still, guardian still."""
        return self.may_read(post, person) and any(self._stands(person, way) for way in post.ways[person])

    def _stands(self, person: str, way: Way) -> bool:
        if way.pupil is not None and not self.town.guards(person, way.pupil):
            return False
        member = self.town.people.get(way.pupil or person)
        if way.away:
            return False
        return way.group is None or (member is not None and member.here and way.group in member.groups)

    def targets(self, post: Post) -> set[tuple[str, str]]:
        """Where a post has to be sent as things stand: (provider, person or token)."""
        if post.kind in WEB_ALONE or post.superseded:
            return set()
        found = set()
        for person in post.ways:
            someone = self.town.people.get(person)
            if someone is None or not self.may_send(post, person) or post.number in self.read[person]:
                continue
            if (
                someone.email
                and person not in self.dropped | self.doubtful
                and (post.category, "email") not in someone.off
            ):
                found.add(("email", person))
            if (post.category, "push") not in someone.off:
                found |= {(self.owners[t][1].value, t) for t in someone.phones if t not in self.dropped | self.doubtful}
        return found

    def owner(self, target: str) -> Someone | None:
        """The person behind a target."""
        who = self.owners[target][0] if target in self.owners else target
        return self.town.people.get(who)

    # ------------------------------------------------------------ posts

    def publish(self, key: str, kind: str, audience: dict[str, Any], at: datetime, subject: str) -> Post:
        """A host's event was published."""
        post = Post(key, kind, at, self.ways(audience), subject)
        self._keep(post)
        return post

    def _keep(self, post: Post) -> None:
        """Whatever was told of a subject before is told anew."""
        self.by_key[post.key] = post
        before = self.newest.get(post.subject)
        if before is not None:
            before.superseded = True
            before.expected.clear()
        self.newest[post.subject] = post
        for person in post.ways:
            self.mine[person].append(post)

    def await_post(self, about: tuple[Any, ...], kind: str, ways: Ways, at: datetime, subject: str) -> None:
        """The engine has to publish something by itself."""
        self.awaited[about].append(Post("", kind, at, ways, subject))

    def found(self, row: dict[str, Any], about: tuple[Any, ...] | None) -> None:
        """The engine has a new notification: one of a host's, or one that was awaited."""
        post = self.by_key.get(row["key"])
        if post is None and about is not None and self.awaited.get(about):
            post = self.awaited[about].pop(0)
            post.key = row["key"]
            self._keep(post)
        if post is None:
            seen = f"notification {row['id']} ({row['type']}) was asked for by nobody: {row['key'].split(':')[0]}"
            self.broken.append(Broken("I2", seen))
            return
        post.number, post.seq, post.expires = row["id"], row["feed_seq"], row["expires_at"]
        life = LIFE.get(post.kind, WEEK)
        if post.expires > post.at + life + timedelta(minutes=2):
            self.broken.append(Broken("I11", f"{post.kind} lives until {post.expires}, not {life} at most"))
        self.posts[post.number] = post
        self.last_seq = max(self.last_seq, post.seq)
        post.expected = self.targets(post)

    def changed(self, *people: str) -> None:
        """Somebody is not who they were: what is no longer to be sent to them is expected no longer."""
        touched = set(people)
        for who in people:
            if who in self.town.people:
                touched |= self.town.people[who].links.keys()
        for post in {post.key: post for who in touched for post in self.mine[who] if not post.settled}.values():
            gone = post.expected - self.targets(post)
            post.expected -= {each for each in gone if each not in post.tried}
            post.excused |= gone

    def rebound(self, token: str) -> None:
        """A token is bound anew: what was under way is for its binding of before."""
        for post in self.open_posts():
            for key in [key for key in post.expected if key[1] == token]:
                post.excused.add(key)
                if key not in post.tried:
                    post.expected.discard(key)

    def open_posts(self) -> list[Post]:
        """Posts that may still be sent."""
        return [post for post in self.posts.values() if not post.settled]

    # ------------------------------------------------------------ what the engine publishes by itself

    def evening(self, at: datetime, uai: str, dues: Iterable[date]) -> None:
        """It is reminder time at a school: pupils with the same work to do share one reminder."""
        for due in dues:
            shared: dict[frozenset[str], list[str]] = defaultdict(list)
            for group, school in self.town.classes.items():
                if school != uai:
                    continue
                works = [w for w in self.works.values() if w.group == group and w.due == due and not w.withdrawn]
                for pupil in self.town.members(group) if works else ():
                    todo = frozenset(w.title for w in works if pupil.id not in w.done)
                    if todo and pupil.profile is Profile.PUPIL:
                        shared[todo].append(pupil.id)
            for todo, pupils in shared.items():
                ways: Ways = defaultdict(set)
                for pupil_id in pupils:
                    ways[pupil_id].add(Way())
                    for guardian in self.legal(pupil_id):
                        ways[guardian].add(Way(None, pupil_id))
                about = ("HomeworkReminder", due.isoformat(), todo)
                self.await_post(about, "HomeworkReminder", dict(ways), at, f"reminder {due} {sorted(todo)}")

    def posted(self, talk: Talk, at: datetime) -> None:
        """A message was written: all who take part and are here are told, but its author; who is away and comes back
        reads it in the conversation."""
        author = talk.lines[-1][0]
        ways: Ways = {who: {Way()} for who in talk.people if who != author and self.is_here(who)}
        if ways:
            number = len(talk.lines)
            self.await_post(("MessagePosted", talk.number), "MessagePosted", ways, at, f"talk {talk.name} {number}")

    def lessons_due(self, at: datetime) -> None:
        """Changed days that have settled are told: today's and the next school day's, the net change alone."""
        for day in self.lessons.values():
            if day.changed_at + SETTLE > at or (day.now == day.base and day.told is None) or day.told == day.now:
                continue
            day.told = day.now
            audience = {"union": [{"group": day.group}, {"guardians_of": {"group": day.group}}]}
            about = ("TimetableChanged", day.group, day.on.isoformat())
            self.await_post(about, "TimetableChanged", self.ways(audience), at, f"lessons {day.group} {day.on}")
