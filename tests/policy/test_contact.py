"""Who may write to whom: the defaults as a table, rules as data, and what no combination of rules may do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ent_notify.errors import MalformedRules
from ent_notify.model.people import Profile
from ent_notify.policy.contact import ENT, Facts, Layer, Party, Relation, Rules
from ent_notify.policy.contact_rules import layer_data, layer_from

P, G, T, S = Profile.PUPIL, Profile.GUARDIAN, Profile.TEACHER, Profile.STAFF
HOME, OTHER = "0540001A", "0540002B"


def facts(a: Profile, b: Profile, *shared: Relation, elsewhere: frozenset[Relation] = frozenset()) -> Facts:
    return Facts(Party(a), Party(b), {HOME: frozenset(shared)} if shared else {}, elsewhere, frozenset({HOME}))


EXPECTED = {
    # (who, to whom): the relations of which each is enough, without a project's or a school's word
    (P, P): {"same_thread"}, (P, G): {"guardian", "same_thread"}, (P, T): {"same_school", "same_thread"},
    (P, S): {"same_school", "same_thread"}, (G, P): {"guardian", "same_thread"}, (G, G): {"same_thread"},
    (G, T): {"same_school", "same_thread"}, (G, S): {"same_school", "same_thread"},
    (T, P): {"same_school", "same_thread"}, (T, G): {"same_school", "same_thread"},
    (T, T): {"same_school", "same_thread"}, (T, S): {"same_school", "same_thread"},
    (S, P): {"same_school", "same_thread"}, (S, G): {"same_school", "same_thread"},
    (S, T): {"same_school", "same_thread"}, (S, S): {"same_school", "same_thread"},
}  # fmt: skip


@pytest.mark.parametrize("writer", Profile)
@pytest.mark.parametrize("recipient", Profile)
def test_the_defaults_are_this_table(writer: Profile, recipient: Profile) -> None:
    enough = EXPECTED[writer, recipient] | {"reply"}
    for relation in Relation:
        held = facts(writer, recipient, elsewhere=frozenset({relation}))
        if relation in (Relation.SAME_CLASS, Relation.SAME_SCHOOL, Relation.TEACHES):
            held = facts(writer, recipient, relation)
        assert Rules().decide(held).allowed is (relation in enough), relation


def test_strangers_and_people_of_other_schools_are_denied() -> None:
    for writer in Profile:
        for recipient in Profile:
            assert not Rules().decide(Facts(Party(writer), Party(recipient))).allowed


def rules(project: dict[str, Any] | None = None, **schools: dict[str, Any]) -> Rules:
    return Rules(layer_from(project or {}), {uai: layer_from(data) for uai, data in schools.items()})


def one(a: str, b: str, *when: str) -> dict[str, Any]:
    return {"from": a, "to": b, "when": list(when)}


def test_a_school_narrows_what_the_project_allows_and_widens_it_for_itself_alone() -> None:
    narrow = rules(**{HOME: {"allow": [one("guardian", "teacher", "teaches")]}})
    assert not narrow.decide(facts(G, T, Relation.SAME_SCHOOL)).allowed
    assert narrow.decide(facts(G, T, Relation.SAME_SCHOOL, Relation.TEACHES)).by is Relation.TEACHES
    wide = rules(**{HOME: {"allow": [one("guardian", "guardian", "same_class")]}})
    assert wide.decide(facts(G, G, Relation.SAME_CLASS)).allowed
    elsewhere = Facts(Party(G), Party(G), {OTHER: frozenset({Relation.SAME_CLASS})}, schools=frozenset({HOME, OTHER}))
    assert not wide.decide(elsewhere).allowed


def test_a_function_has_rules_of_its_own() -> None:
    head = rules({"allow": [one("staff:DIR", "guardian", "anywhere")]})
    far = Facts(Party(S, "DIR"), Party(G))
    assert head.decide(far).allowed
    assert not head.decide(Facts(Party(S, "EDU"), Party(G))).allowed
    assert not head.decide(Facts(Party(S), Party(G))).allowed


def test_a_prohibition_of_either_s_school_holds_though_another_allows() -> None:
    both = rules(
        {"allow": [one("pupil", "pupil", "same_class")]},
        **{OTHER: {"forbid": [one("pupil", "pupil", "same_class")]}},
    )
    known = Facts(Party(P), Party(P), {HOME: frozenset({Relation.SAME_CLASS})}, schools=frozenset({HOME}))
    assert both.decide(known).allowed
    assert not both.decide(Facts(known.writer, known.recipient, known.shared, schools=frozenset({HOME, OTHER}))).allowed


def test_a_reply_is_allowed_unless_replies_are_forbidden() -> None:
    replied = facts(P, P, Relation.SAME_CLASS, elsewhere=frozenset({Relation.REPLY}))
    assert Rules().decide(replied).by is Relation.REPLY
    assert rules({"forbid": [one("pupil", "pupil", "same_class")]}).decide(replied).allowed
    assert not rules({"forbid": [one("pupil", "pupil", "reply")]}).decide(replied).allowed


def test_groups_are_addressed_by_teachers_and_staff_unless_a_school_says_otherwise() -> None:
    near = {Relation.SAME_SCHOOL, Relation.SAME_CLASS}
    assert Rules().may_address(Party(T), G, HOME, near)
    assert not Rules().may_address(Party(T), G, HOME, set())
    opened: dict[str, Any] = {"allow": [one("guardian", "guardian", "same_class")]}
    assert not rules(opened).may_address(Party(G), G, HOME, near)  # each of them, but not all at once
    assert rules(opened | {"groups": ["guardian"]}).may_address(Party(G), G, HOME, near)
    assert not rules(**{HOME: {"groups": ["staff"]}}).may_address(Party(T), G, HOME, near)


def test_who_may_be_blocked() -> None:
    assert [p for p in Profile if Rules().may_block(p)] == [P, G]
    open_school: dict[str, Any] = {"unblockable": []}
    assert rules(**{HOME: open_school}).may_block(T, [HOME])
    assert not rules(**{HOME: open_school, OTHER: {"unblockable": ["teacher"]}}).may_block(T, [HOME, OTHER])


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"allowed": []}, "no 'allowed'"),
        ({"allow": {}}, "'allow' is a list"),
        ({"allow": [{"from": "pupil", "to": "pupil"}]}, "allow[0] is an object"),
        ({"allow": [one("parent", "pupil")]}, "allow[0].from is 'parent'"),
        ({"allow": [one("staff:", "pupil")]}, "allow[0].from is 'staff:'"),
        ({"allow": [one("pupil", "pupil", "friends")]}, "allow[0].when is ['friends']"),
        ({"allow": [one("pupil", "pupil", "reply")]}, "allow[0].when is ['reply']"),
        ({"forbid": [one("pupil", "pupil"), one("pupil", "pupil")]}, "forbid[1] speaks of pupil to pupil a second"),
        ({"groups": ["everybody"]}, "'groups' is ['everybody']"),
        ({"unblockable": "teacher"}, "'unblockable' is 'teacher'"),
        ([], "contact rules are an object"),
    ],
)
def test_data_that_is_no_rule_is_refused_with_its_place(data: Any, told: str) -> None:
    with pytest.raises(MalformedRules) as error:
        layer_from(data)
    assert told in str(error.value)


# ------------------------------------------------------------------ what no combination may do

parties = st.builds(Party, st.sampled_from(Profile), st.sampled_from([None, "DIR", "EDU"]))
held = st.frozensets(st.sampled_from([r for r in Relation if r is not Relation.REPLY]))
matrices = st.dictionaries(st.tuples(parties, parties), held, max_size=6)
profiles = st.none() | st.frozensets(st.sampled_from(Profile))
layers = st.builds(Layer, matrices, matrices, profiles, profiles)
anybody = st.builds(
    lambda a, b, shared, elsewhere, more: Facts(a, b, shared, elsewhere, frozenset(shared) | more),
    parties,
    parties,
    st.dictionaries(st.sampled_from([HOME, OTHER]), held),
    held,
    st.frozensets(st.sampled_from([HOME, OTHER])),
)
everything = st.builds(Rules, layers, st.dictionaries(st.sampled_from([HOME, OTHER]), layers), st.just(ENT))


def names(rule: tuple[Party, Party], asked: Facts) -> bool:
    return all(
        mine.profile is theirs.profile and mine.function in (None, theirs.function)
        for mine, theirs in zip(rule, (asked.writer, asked.recipient), strict=True)
    )


@given(everything, anybody)
def test_nothing_is_allowed_that_no_rule_allows(book: Rules, asked: Facts) -> None:
    said = [book.base, book.project, *book.schools.values()]
    spoken = {
        relation for layer in said for rule, when in layer.allow.items() if names(rule, asked) for relation in when
    }
    decision = book.decide(asked)
    assert decision.allowed is False or (decision.by in spoken and decision.by in asked.relations())


@given(everything, anybody)
def test_what_a_school_or_the_project_forbids_is_never_allowed(book: Rules, asked: Facts) -> None:
    said = [book.project, *(book.schools[uai] for uai in asked.schools if uai in book.schools)]
    barred = {
        relation for layer in said for rule, when in layer.forbid.items() if names(rule, asked) for relation in when
    }
    if barred & asked.relations():
        assert not book.decide(asked).allowed


@given(everything, anybody)
def test_whoever_may_be_written_to_may_reply(book: Rules, asked: Facts) -> None:
    if book.decide(asked).allowed:
        back = Facts(asked.recipient, asked.writer, asked.shared, asked.elsewhere | {Relation.REPLY}, asked.schools)
        assert book.decide(back).allowed


@given(anybody)
def test_without_rules_nobody_writes(asked: Facts) -> None:
    assert not Rules(base=Layer()).decide(asked).allowed


@given(layers)
def test_a_layer_is_read_back_as_it_was_written(layer: Layer) -> None:
    assert layer_from(layer_data(layer)) == layer
