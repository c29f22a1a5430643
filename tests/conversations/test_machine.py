"""Random lives of conversations against a plain model: total order, no gaps, unread exact, nobody sees or misses what
they may not, and everybody is told once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.engine.conftest import Town
from tests.sync.test_histories import House, open_house

from ent_notify.errors import NotAllowed, NotFound
from ent_notify.model.conversations import LateJoiners, NewConversation, Shape
from ent_notify.model.inbox import Reader

T = TypeVar("T")

OPENER, OTHERS = "P21", ("P11", "P12", "P13")
PEOPLE = (OPENER, *OTHERS)
NEVER_TOLD = " (never told)"
"""Marks, in the model, the author of a message that was taken back before anybody was told of it."""
CLEAN = """
set search_path = ent_notify;
truncate notification, audience, campaign, chunk, outcome, reading, campaign_action, recalled_reader, fair_share,
    retraction, acknowledgement, acknowledgement_request, acknowledgement_given,
    conversation, participant, message, conversation_key, message_change, message_due, message_draft, sender_cells,
    lately_written, restraint
restart identity cascade;
update feed set last_seq = 0;
"""


@dataclass
class Part:
    """One person in one conversation."""

    first: int
    read: int
    until: int | None = None
    cleared: int = 0
    gone: set[int] = field(default_factory=set)
    muted: bool = False


@dataclass
class Talk:
    """A conversation: bodies in order, their authors, who takes part."""

    late: LateJoiners
    bodies: list[str]
    authors: list[str]
    parts: dict[str, Part]
    recalled: set[int] = field(default_factory=set)
    told: int = 0
    """Messages up to here have been announced."""

    @property
    def last(self) -> int:
        return len(self.bodies)

    def sees(self, person: str) -> list[int]:
        part = self.parts[person]
        first = max(part.first, part.cleared + 1)
        last = self.last if part.until is None else part.until
        return [seq for seq in range(first, last + 1) if seq not in part.gone]

    def unread(self, person: str) -> int:
        part = self.parts[person]
        return sum(seq > part.read for seq in self.sees(person))


class Conversing(RuleBasedStateMachine):
    """A teacher, three guardians, and group conversations that the teacher opens."""

    house: House

    def __init__(self) -> None:
        super().__init__()
        self.town: Town = self.house.town
        self.talks: dict[int, Talk] = {}
        self.inbox: Counter[tuple[str, int]] = Counter()

    def call(self, act: Callable[..., Awaitable[T]], *arguments: Any, **named: Any) -> T:
        return self.house.call(act, *arguments, **named)

    @initialize()
    def clean(self) -> None:
        self.call(self.town.engine.db.script, CLEAN)
        self.engine = self.town.engine.conversations
        self.readers: dict[str, Reader] = {p: self.call(self.town.engine.reader, p) for p in PEOPLE}
        self.open(["P11"], LateJoiners.FROM_JOINING)

    @precondition(lambda self: len(self.talks) < 3)
    @rule(to=st.lists(st.sampled_from(OTHERS), min_size=1, unique=True), late=st.sampled_from(LateJoiners))
    def open(self, to: list[str], late: LateJoiners) -> None:
        new = NewConversation(shape=Shape.GROUP, subject="S", body="Un", to=tuple(to), late=late)
        number, seq = self.call(self.engine.open, self.readers[OPENER], new)
        assert (number in self.talks, seq) == (False, 1)
        parts = {person: Part(1, 0) for person in to} | {OPENER: Part(1, 1)}
        self.talks[number] = Talk(late, ["Un"], [OPENER], parts)
        self.wait()

    @rule(data=st.data(), person=st.sampled_from(PEOPLE), body=st.text("aé😀", min_size=1, max_size=3))
    def post(self, data: st.DataObject, person: str, body: str) -> None:
        number, talk = self.pick(data)
        part = talk.parts.get(person)
        if part is None or part.until is not None:
            with pytest.raises(NotFound if part is None else NotAllowed):
                self.call(self.engine.post, number, self.readers[person], body)
            return
        assert self.call(self.engine.post, number, self.readers[person], body) == talk.last + 1
        talk.bodies.append(body)
        talk.authors.append(person)
        part.read = talk.last
        self.wait()

    @rule(data=st.data(), person=st.sampled_from(PEOPLE), seq=st.integers(0, 12))
    def read(self, data: st.DataObject, person: str, seq: int) -> None:
        number, talk = self.pick(data)
        if person not in talk.parts:
            with pytest.raises(NotFound):
                self.call(self.engine.mark_read, self.readers[person], number, seq)
            return
        part = talk.parts[person]
        last = talk.last if part.until is None else part.until
        part.read = max(part.read, part.first - 1, min(seq, last))
        assert self.call(self.engine.mark_read, self.readers[person], number, seq) == part.read

    @rule(data=st.data(), person=st.sampled_from(PEOPLE), recalls=st.booleans())
    def change(self, data: st.DataObject, person: str, recalls: bool) -> None:
        number, talk = self.pick(data)
        seq = data.draw(st.integers(1, talk.last))
        reader = self.readers[person]
        visible = person in talk.parts and seq in range(
            max(talk.parts[person].first, talk.parts[person].cleared + 1),
            (talk.last if talk.parts[person].until is None else talk.parts[person].until or 0) + 1,
        )
        act = self.engine.recall if recalls else self.engine.edit
        arguments = (number, seq, reader) if recalls else (number, seq, reader, "changé")
        author = talk.authors[seq - 1].removesuffix(NEVER_TOLD)
        if not visible or author != person or (seq in talk.recalled and not recalls):
            with pytest.raises(NotAllowed if visible else NotFound):
                self.call(act, *arguments)
            return
        had_read = {
            name
            for name, part in talk.parts.items()
            if name != person and part.first <= seq <= min(part.read, part.until or part.read)
        }
        result = self.call(act, *arguments)
        if recalls and seq not in talk.recalled:
            assert result is not None
            assert set(result.readers) == had_read
            talk.recalled.add(seq)
            if seq > talk.told:
                talk.authors[seq - 1] += NEVER_TOLD
        talk.bodies[seq - 1] = "" if recalls else "changé"

    @rule(data=st.data(), person=st.sampled_from(OTHERS))
    def leave(self, data: st.DataObject, person: str) -> None:
        number, talk = self.pick(data)
        part = talk.parts.get(person)
        if part is None or part.until is not None:
            with pytest.raises(NotFound):
                self.call(self.engine.leave, number, self.readers[person])
            return
        self.call(self.engine.leave, number, self.readers[person])
        part.until = talk.last

    @rule(data=st.data(), person=st.sampled_from(OTHERS))
    def add(self, data: st.DataObject, person: str) -> None:
        number, talk = self.pick(data)
        self.call(self.engine.add, number, self.readers[OPENER], [person])
        first = 1 if talk.late is LateJoiners.EVERYTHING else talk.last + 1
        part = talk.parts.setdefault(person, Part(first, first - 1))
        if part.until is not None:
            part.first, part.until = max(part.first, first), None
            part.read = max(part.read, part.first - 1)

    @rule(data=st.data(), person=st.sampled_from(OTHERS), muted=st.booleans())
    def mute(self, data: st.DataObject, person: str, muted: bool) -> None:
        number, talk = self.pick(data)
        if person in talk.parts:
            self.call(self.engine.keep, number, self.readers[person], muted=muted)
            talk.parts[person].muted = muted

    @rule(data=st.data(), person=st.sampled_from(OTHERS), whole=st.booleans())
    def delete(self, data: st.DataObject, person: str, whole: bool) -> None:
        number, talk = self.pick(data)
        if not (person in talk.parts and (seen := talk.sees(person))):
            return
        part = talk.parts[person]
        if whole:
            self.call(self.engine.delete, number, self.readers[person])
            part.cleared = part.read = talk.last if part.until is None else part.until
            part.gone = set()
        else:
            seq = data.draw(st.sampled_from(seen))
            self.call(self.engine.delete, number, self.readers[person], seq)
            part.gone.add(seq)

    @rule()
    def work(self) -> None:
        self.call(self.town.engine.worker().tick)
        for number, talk in self.talks.items():
            for seq in range(talk.told + 1, talk.last + 1):
                for person, part in talk.parts.items():
                    until = talk.last if part.until is None else part.until
                    author = talk.authors[seq - 1]
                    if part.first <= seq <= until and not part.muted and author != person and " " not in author:
                        self.inbox[person, number] += 1
            talk.told = talk.last

    @invariant()
    def everybody_sees_what_the_model_says(self) -> None:
        for number, talk in self.talks.items():
            for person, reader in self.readers.items():
                if person not in talk.parts:
                    with pytest.raises(NotFound):
                        self.call(self.engine.messages, number, reader)
                    continue
                seen = self.call(self.engine.messages, number, reader)
                expected = [(seq, talk.bodies[seq - 1]) for seq in talk.sees(person)]
                assert [(m.seq, m.body) for m in seen] == expected
                found = {t.id: t for t in self.call(self.engine.threads, reader, archived=None)}
                if number in found:
                    assert found[number].unread == talk.unread(person)
                    assert found[number].active is (talk.parts[person].until is None)
                else:
                    assert expected == []

    def teardown(self) -> None:
        if not self.talks:
            return
        self.work()
        for person, reader in self.readers.items():
            entries = self.call(self.town.engine.inbox, reader)
            posted = Counter(e.data["conversation"] for e in entries if e.type == "MessagePosted")
            withdrawn = sum(e.type == "Withdrawn" for e in entries)
            told = {number: count for (name, number), count in self.inbox.items() if name == person and count}
            assert sum(posted.values()) + withdrawn == sum(told.values())
            assert all(posted[number] <= told.get(number, 0) for number in posted)

    def pick(self, data: st.DataObject) -> tuple[int, Talk]:
        number = data.draw(st.sampled_from(sorted(self.talks)))
        return number, self.talks[number]

    def wait(self) -> None:
        self.town.clock.advance(timedelta(seconds=1))


def test_conversations_are_what_the_plain_model_says(taught_dsn: str) -> None:
    with open_house(taught_dsn) as house:
        here = type("Here", (Conversing,), {"house": house})
        run_state_machine_as_test(here, settings=settings(max_examples=20, stateful_step_count=25, deadline=None))
