"""Ids of deliveries, and the short ways that must come to what the long ones do."""

from __future__ import annotations

from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from ent_notify.flows.outbox import dedup_id
from ent_notify.model.delivery import ACCEPTED, Verdict, VerdictKind, all_accepted
from ent_notify.policy.drops import WindowCounts, count

OURS = UUID("6f0f3b0a-5b7e-4b7c-9a86-3d3d0a3c9f11")
"""For ever: a repeat that carries another id would be shown twice."""

GONE = Verdict(VerdictKind.DROP_TARGET, "apns.Unregistered")
BAD = Verdict(VerdictKind.DROP_TARGET, "apns.BadDeviceToken", quarantine=True)
LOST = Verdict(VerdictKind.UNKNOWN, "apns.Timeout")


@given(
    notification=st.integers(1, 2**63 - 1), channel=st.sampled_from(["push", "email"]), target=st.integers(0, 2**31 - 1)
)
def test_a_dedup_id_is_a_uuid_of_the_name(notification: int, channel: str, target: int) -> None:
    assert dedup_id(notification, channel, target) == str(uuid5(OURS, f"{channel}:{notification}:{target}"))


@given(st.lists(st.sampled_from([ACCEPTED, Verdict(VerdictKind.ACCEPTED), GONE, BAD, LOST])))
def test_a_window_is_counted_the_same_by_either_way(verdicts: list[Verdict]) -> None:
    assert all_accepted(verdicts) is all(verdict.kind is VerdictKind.ACCEPTED for verdict in verdicts)
    parts = sum((count([verdict]) for verdict in verdicts), WindowCounts())
    assert count(verdicts) == parts
    assert parts - parts == WindowCounts()
