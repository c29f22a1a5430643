"""The long run in short; by hand: ``python -m benchmarks.push_soak --sends 200000``."""

from __future__ import annotations

import pytest
from benchmarks.push_soak import soak


@pytest.mark.parametrize("kind", ["apns", "fcm"])
async def test_thousands_of_sends_through_trouble_leave_nothing_behind(kind: str) -> None:
    report = await soak(kind, 4_000, late_window=0.2)
    assert report.faults() == []
    assert {"accepted", "drop_target", "retry_at"} <= set(report.verdicts)
