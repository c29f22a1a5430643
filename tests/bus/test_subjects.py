"""Which subjects news have, and which hints say it: at most one a notification and node, and never none."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from ent_notify.bus.wire import decode, encode
from ent_notify.model.delivery import Urgency
from ent_notify.model.feed import Clause, FeedHint, FeedItem, Happened, Key, TalkHint
from ent_notify.model.subjects import EVERYONE, GROUP_SUBJECTS, HeldSubjects, subject_of, subjects_of
from ent_notify.policy.hints import MOST_HINTS, MOST_SUBJECTS, MergedHint, hints_of

refs = st.integers(1, 6) | st.integers(990, 1_010) | st.integers(1, 5_000)
keys = st.tuples(st.integers(1, 4), refs) | st.tuples(st.just(0), st.integers(0, 4))
clauses = st.lists(
    st.builds(Clause, st.lists(keys, min_size=1, max_size=3).map(tuple), st.lists(keys, max_size=2).map(tuple)),
    min_size=1,
    max_size=3,
).map(tuple)
talks = st.builds(
    TalkHint,
    st.integers(1, 2**62),
    st.integers(1, 2**31 - 1),
    st.sampled_from(Happened),
    st.lists(keys, max_size=5).map(tuple),
)
hints = st.builds(
    FeedHint,
    talks=st.lists(talks, max_size=4, unique=True).map(tuple),
    seq=st.none() | st.integers(0, 2**53),
    subjects=st.none() | st.frozensets(keys.map(subject_of), max_size=20),
)


def item(seq: int, addressed: tuple[Clause, ...]) -> FeedItem:
    return FeedItem(
        seq, seq, "Announcement", "announcement", Urgency.NORMAL, datetime(2026, 9, 8, tzinfo=UTC), addressed
    )


def held_by(held: frozenset[Key]) -> HeldSubjects:
    subjects = HeldSubjects()
    for key in held:
        subjects.hold(key)
    return subjects


@given(batch=st.lists(clauses, min_size=1, max_size=60), held=st.frozensets(keys, max_size=8))
def test_a_node_gets_a_hint_for_what_concerns_it_and_at_most_one_a_notification(
    batch: list[tuple[Clause, ...]], held: frozenset[Key]
) -> None:
    items = [item(seq, addressed) for seq, addressed in enumerate(batch, start=1)]
    node = held_by(held)
    given_hints = hints_of(items)
    mine = [hint for hint in given_hints if node.concerns(hint.subjects)]
    concerned = [each for each in items if node.concerns(subjects_of(each.clauses))]
    addressed = [each for each in items if any(held & set(clause.included) for clause in each.clauses)]
    assert {each.seq for each in addressed} <= {each.seq for each in concerned}
    if concerned:
        assert 1 <= len(mine) <= max(len(concerned), 1)
        assert max(hint.seq or 0 for hint in mine) >= max(each.seq for each in concerned)
    assert len(given_hints) <= min(len(items), MOST_HINTS)
    assert all(hint.subjects is None or len(hint.subjects) <= MOST_SUBJECTS for hint in given_hints)


def test_a_class_and_its_guardians_are_one_subject_and_one_hint() -> None:
    (hint,) = hints_of([item(7, (Clause(((1, 50), (2, 50))),))])
    assert hint == FeedHint(seq=7, subjects=frozenset({"group.50"}))


def test_a_large_batch_is_one_hint_to_everybody() -> None:
    batch = [item(seq, (Clause(((1, seq),)),)) for seq in range(1, 101)]
    assert hints_of(batch) == [FeedHint(seq=100)]
    assert hints_of([*batch[:3], item(4, (Clause(((0, 0),)),))]) == [FeedHint(seq=4)]


def test_subjects_are_few_however_many_keys_there_are() -> None:
    groups = {subject_of((scope, ref)) for scope in (1, 2) for ref in range(50_000)}
    people = {subject_of((scope, ref)) for scope in (3, 4) for ref in range(50_000)}
    assert len(groups) == GROUP_SUBJECTS
    assert len(people) == 50
    assert {subject_of((0, profile)) for profile in range(5)} == {EVERYONE}


@given(st.lists(st.tuples(st.booleans(), keys), max_size=60))
def test_held_subjects_follow_joins_and_leaves_and_tell_once_until_asked(moves: list[tuple[bool, Key]]) -> None:
    held, model, tellings = HeldSubjects(), set[Key](), count()
    held.on_change = lambda: next(tellings)
    for joins, key in moves:
        if joins and key not in model:
            model.add(key)
            held.hold(key)
        elif not joins and key in model:
            model.remove(key)
            held.release(key)
    joined = any(joins for joins, _ in moves)
    assert held.names() == {subject_of(key) for key in model}
    held.hold((3, 9_999_999))
    assert next(tellings) == joined + 1


@given(hints)
def test_a_hint_survives_the_wire(hint: FeedHint) -> None:
    assert decode(encode(hint)) == hint
    assert decode(encode(hint).decode()) == hint


@given(
    st.binary(max_size=200)
    | st.text(max_size=50)
    | st.just(b"[" * 100_000)
    | st.just(b'{"seq":true,"subjects":[1]}')
    | st.sampled_from([b'{"talks":[[1,2,"x",[]]]}', b'{"talks":[[1,-2,"read",[[3]]]],"news":false}', b'{"talks":7}'])
)
def test_whatever_comes_is_a_hint_at_most(data: bytes | str) -> None:
    hint = decode(data)
    assert hint.seq is None or hint.seq >= 0
    assert hint.talks == ()


def test_what_the_relay_notifies_is_a_sequence() -> None:
    assert decode("812") == FeedHint(seq=812)
    assert decode("") == FeedHint()


@given(st.lists(hints, min_size=1, max_size=5))
def test_hints_that_wait_are_one_which_says_no_less(waiting: list[FeedHint]) -> None:
    merged = MergedHint()
    for hint in waiting:
        merged.add(hint)
    seqs = [hint.seq for hint in waiting]
    readers = frozenset[int]().union(*(hint.readers for hint in waiting))
    talks = tuple(dict.fromkeys(talk for hint in waiting for talk in hint.talks))
    seq = None if None in seqs else max(each or 0 for each in seqs)
    assert merged.take() == FeedHint(seq=seq, readers=readers, talks=talks)
    assert merged.take() == FeedHint(news=False)


@given(st.lists(st.frozensets(st.integers(1, 9), min_size=1), min_size=1, max_size=5))
def test_what_was_read_alone_is_no_news(read: list[frozenset[int]]) -> None:
    merged = MergedHint()
    for readers in read:
        merged.add(FeedHint(readers=readers, news=False))
    assert merged.take() == FeedHint(readers=frozenset[int]().union(*read), news=False)
