"""The plain model that phones are compared with: people, groups, notifications and conversations in lists and dicts.

It knows the rules of an inbox and no cursor, page, delta or statement.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

FOREVER = datetime.max.replace(tzinfo=UTC)
ALWAYS = datetime.min.replace(tzinfo=UTC)
Key = tuple[str, str]


@dataclass
class Sent:
    """A notification: for whoever holds a key of ``included`` and none of ``excluded``."""

    title: str
    at: datetime
    included: frozenset[Key]
    excluded: frozenset[Key] = frozenset()
    replaces: Sent | None = None
    takes_back: bool = False
    seq: int = 0
    superseded: bool = False
    recalled: bool = False

    def versions(self) -> list[Sent]:
        return [self, *(self.replaces.versions() if self.replaces else [])]


@dataclass
class Talk:
    """A conversation."""

    people: tuple[str, ...]
    bodies: list[str] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=dict)


@dataclass
class World:
    """Everything. ``members``: (person, group) -> since and until; ``children``: (guardian, child) -> allowed."""

    members: dict[tuple[str, str], tuple[datetime, datetime]]
    children: dict[tuple[str, str], bool]
    feed: list[Sent] = field(default_factory=list)
    waiting: list[Sent] = field(default_factory=list)
    watermark: dict[str, int] = field(default_factory=dict)
    above: dict[str, set[int]] = field(default_factory=dict)
    talks: dict[int, Talk] = field(default_factory=dict)

    def relay(self) -> None:
        for sent in self.waiting:
            self.feed.append(sent)
            sent.seq = len(self.feed)
            if sent.replaces is not None and not sent.takes_back:
                for earlier in sent.replaces.versions():
                    earlier.superseded = True
        self.waiting = []

    def recall(self, sent: Sent, at: datetime) -> None:
        for version in sent.versions():
            version.recalled = True
        self.waiting.append(Sent("", at, frozenset(), replaces=sent, takes_back=True))

    def keys(self, person: str, now: datetime) -> list[tuple[Key, datetime, datetime]]:
        always = (ALWAYS, FOREVER)
        held = [(("all", ""), *always), (("person", person), *always)]
        held += [(("in", group), *time) for (who, group), time in self.members.items() if who == person]
        for (guardian, child), allowed in self.children.items():
            if guardian == person and allowed:
                held += [(("families", group), *time) for (who, group), time in self.members.items() if who == child]
        return [key for key in held if key[1] <= now]

    def inbox(self, person: str, now: datetime) -> dict[int, Sent]:
        keys = self.keys(person, now)
        return {
            sent.seq: sent
            for sent in self.feed
            if not sent.superseded
            and any(key in sent.included and since <= sent.at < until for key, since, until in keys)
            and not any(key in sent.excluded and since <= sent.at < until for key, since, until in keys)
        }

    def mark(self, person: str, seqs: list[int], now: datetime) -> None:
        mark = self.watermark.get(person, 0)
        theirs = self.inbox(person, now)
        self.above.setdefault(person, set()).update(seq for seq in seqs if seq in theirs and seq > mark)

    def mark_all(self, person: str, upto: int) -> None:
        mark = max(self.watermark.get(person, 0), min(upto, len(self.feed)))
        self.watermark[person] = mark
        self.above[person] = {seq for seq in self.above.get(person, ()) if seq > mark}

    def unread(self, person: str, now: datetime) -> int:
        read = self.above.get(person, set())
        return sum(1 for seq in self.inbox(person, now) if seq > self.watermark.get(person, 0) and seq not in read)

    def post(self, number: int, author: str, body: str, at: datetime) -> int:
        talk = self.talks[number]
        talk.bodies.append(body)
        talk.read[author] = len(talk.bodies)
        others = frozenset(("person", who) for who in talk.people if who != author)
        self.waiting.append(Sent(f"talk {number}", at, others))
        return len(talk.bodies)

    def write(self, person: str, write: dict[str, Any], now: datetime) -> dict[str, Any]:
        """What a write of a device does, and answers, the first time that it arrives."""
        answer = {"client_id": write["client_id"], "done": True, "result": {}}
        if write["kind"] == "read":
            self.mark(person, write["seqs"], now)
        elif write["kind"] == "read_all" and write["upto"] > (head := len(self.feed)):
            beyond = f"the feed ends at {head}, and what is yet to come cannot be read up to {write['upto']}"
            return {"client_id": write["client_id"], "done": False, "error": beyond}
        elif write["kind"] == "read_all":
            self.mark_all(person, write["upto"])
        elif person not in self.talks.get(write["conversation"], Talk(())).people:
            nothing = f"there is no conversation {write['conversation']} for {person!r}"
            return {"client_id": write["client_id"], "done": False, "error": nothing}
        elif write["kind"] == "post":
            seq = self.post(write["conversation"], person, write["body"], now)
            answer["result"] = {"conversation": write["conversation"], "seq": seq}
        else:
            talk = self.talks[write["conversation"]]
            talk.read[person] = max(talk.read.get(person, 0), min(write["upto"], len(talk.bodies)))
        return answer
