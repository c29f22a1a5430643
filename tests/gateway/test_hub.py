"""The hub against a model made of plain sets."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from live_peers import addresses

from ent_notify.gateway.hub import Hub, Reader
from ent_notify.model.feed import Clause, Key, clauses_from_json
from ent_notify.model.subjects import HeldSubjects, subject_of

keys = st.tuples(st.integers(0, 4), st.integers(0, 3))
key_sets = st.frozensets(keys, max_size=6)
clauses = st.lists(
    st.builds(Clause, st.lists(keys, max_size=4).map(tuple), st.lists(keys, max_size=3).map(tuple)), max_size=4
)


class HubModel(RuleBasedStateMachine):
    """Readers join, move and leave in any order; at each step every audience finds exactly whom it means."""

    def __init__(self) -> None:
        super().__init__()
        self.held = HeldSubjects()
        self.hub: Hub[Reader] = Hub(self.held)
        self.readers: list[Reader] = []
        self.model: dict[Reader, frozenset[Key]] = {}

    @rule(held=key_sets)
    def join(self, held: frozenset[Key]) -> None:
        reader = Reader()
        self.readers.append(reader)
        self.model[reader] = held
        self.hub.set_keys(reader, held)

    @rule(data=st.data(), held=key_sets)
    def move_or_leave(self, data: st.DataObject, held: frozenset[Key]) -> None:
        if self.readers:
            reader = data.draw(st.sampled_from(self.readers))
            self.model[reader] = held
            self.hub.set_keys(reader, held)

    @rule(audience=clauses)
    def look_up(self, audience: list[Clause]) -> None:
        found = self.hub.addressed(audience)
        assert len(found) == len(list(found))
        assert set(found) == {reader for reader, held in self.model.items() if addresses(audience, held)}

    @invariant()
    def no_topic_without_reader(self) -> None:
        held = frozenset[Key]().union(*self.model.values())
        assert len(self.hub) == len(held)
        assert self.held.names() == {subject_of(key) for key in held}


TestHubAgainstModel = HubModel.TestCase


@given(audience=clauses)
def test_nobody_is_addressed_in_an_empty_hub(audience: list[Clause]) -> None:
    assert not Hub[Reader]().addressed(audience)


def test_a_minus_takes_out_of_its_own_clause_only() -> None:
    hub: Hub[Reader] = Hub()
    parent, both, teacher = Reader(), Reader(), Reader()
    hub.set_keys(parent, {(2, 7)})
    hub.set_keys(both, {(2, 7), (1, 9)})
    hub.set_keys(teacher, {(1, 9)})
    audience = clauses_from_json([{"in": [[2, 7]], "not": [[1, 9]]}])
    assert set(hub.addressed(audience)) == {parent}
    audience = clauses_from_json([{"in": [[2, 7]], "not": [[1, 9]]}, {"in": [[1, 9]]}])
    assert set(hub.addressed(audience)) == {parent, both, teacher}
