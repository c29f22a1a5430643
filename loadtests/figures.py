"""From evidence to figures: latencies by phase and kind, and how each storm went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadtests.judge import Evidence
from loadtests.oracle import Published
from loadtests.record import Kind

Floats = NDArray[np.float64]
_LOST_WITHIN_NS = 15_000_000_000
"""A stream that ends so soon after a process was killed ended for that."""


def latencies(
    evidence: Evidence,
    feed: Sequence[Published],
    published: Sequence[Mapping[str, Any]],
    phases: Sequence[Mapping[str, Any]],
) -> dict[str, Floats]:
    """Milliseconds from the moment at which a notification was meant to be published until a reader had it, by
    ``phase: kind``. Messages of people count from their commit.

    Readers whose own stream was away at some time of the phase are left out: their time tells how long they were away.
    """
    meant = {row["notification"]: (row["kind"], row["intended_ns"]) for row in published}
    heard = evidence.of(Kind.HEARD)
    order = np.argsort(heard.numbers, kind="stable")
    seqs = heard.numbers[order]
    away = {phase["name"]: _away(evidence, phase) for phase in phases}
    found: dict[str, list[Floats]] = {}
    for item in feed:
        kind, start = meant.get(item.notification, (None, item.published_ns))
        phase = _phase_at(phases, start)
        label = kind or f"{phase}: message"
        low, high = np.searchsorted(seqs, [item.seq, item.seq + 1])
        rows = order[low:high]
        if phase in away:
            rows = rows[~np.isin(heard.readers[rows], away[phase])]
        if len(rows):
            found.setdefault(label, []).append((heard.at[rows] - start) / 1e6)
    return {label: np.concatenate(parts) for label, parts in found.items()}


def summary(values: Floats) -> dict[str, float | int]:
    """Count, percentiles and the last, in milliseconds."""
    p50, p95, p99 = np.percentile(values, [50, 95, 99])
    return {
        "deliveries": len(values),
        "p50_ms": round(float(p50), 2),
        "p95_ms": round(float(p95), 2),
        "p99_ms": round(float(p99), 2),
        "last_ms": round(float(values.max()), 2),
    }


def last_by_broadcast(
    evidence: Evidence, feed: Sequence[Published], published: Sequence[Mapping[str, Any]], phase: Mapping[str, Any]
) -> list[dict[str, float | int]]:
    """For each announcement to everyone of a phase: when half of the readers had it, 99 % and the last, who were there
    all the time."""
    rows = [row for row in published if row["kind"] == f"{phase['name']}: everyone"]
    seqs = {item.notification: item.seq for item in feed}
    heard = evidence.of(Kind.HEARD)
    away = _away(evidence, phase)
    there = ~np.isin(heard.readers, away)
    told = []
    for row in rows:
        chosen = there & (heard.numbers == seqs[row["notification"]])
        if chosen.any():
            told.append(summary((heard.at[chosen] - row["intended_ns"]) / 1e6))
    return told


def storm(evidence: Evidence, phase: Mapping[str, Any], slack_seconds: float) -> dict[str, Any]:
    """Who lost their stream when processes were killed, and when each was back."""
    killed_ns, window = phase["killed_ns"], phase["window_seconds"]
    chosen = (evidence.at >= killed_ns) & (evidence.at <= phase["ended_ns"])
    readers, kinds, numbers, at = (
        column[chosen] for column in (evidence.readers, evidence.kinds, evidence.numbers, evidence.at)
    )
    lost = (kinds == Kind.LOST) & (at - killed_ns < _LOST_WITHIN_NS)
    lost_at = dict(zip(readers[lost].tolist(), at[lost].tolist(), strict=True))
    back_at: dict[int, int] = {}
    back = kinds == Kind.BACK
    for reader, moment in zip(readers[back].tolist(), at[back].tolist(), strict=True):
        back_at.setdefault(reader, moment)
    waits = np.array([(back_at[r] - at) / 1e9 for r, at in lost_at.items() if r in back_at and back_at[r] > at])
    statuses = Counter(str(status) for status in numbers[kinds == Kind.REFUSED].tolist())
    late = int((waits > window + slack_seconds).sum())
    return {
        "processes_killed": phase["killed"],
        "streams_lost": len(lost_at),
        "streams_back": len(waits),
        "window_seconds": window,
        "slack_seconds": slack_seconds,
        "back_p50_seconds": round(float(np.median(waits)), 2) if len(waits) else None,
        "back_p99_seconds": round(float(np.percentile(waits, 99)), 2) if len(waits) else None,
        "back_last_seconds": round(float(waits.max()), 2) if len(waits) else None,
        "within_window": int((waits <= window).sum()),
        "later_than_window_and_slack": late,
        "refusals_by_status": dict(statuses),
        "holds": bool(lost_at) and len(waits) == len(lost_at) and not late and set(statuses) <= {"503"},
        "waits": waits,
    }


def refusals(evidence: Evidence) -> dict[str, int]:
    """Refused requests of streams and tickets in the whole run, by status; 0: the connection failed."""
    return dict(Counter(str(status) for status in evidence.of(Kind.REFUSED).numbers.tolist()))


def _phase_at(phases: Sequence[Mapping[str, Any]], moment_ns: int) -> str:
    for phase in phases:
        if phase["began_ns"] <= moment_ns <= phase["ended_ns"]:
            return str(phase["name"])
    return "end"


def _away(evidence: Evidence, phase: Mapping[str, Any]) -> NDArray[np.int64]:
    """Readers whose stream was lost or came back in a phase (and so was away for some of it)."""
    until = phase.get("measured_until_ns", phase["ended_ns"])
    during = (evidence.at >= phase["began_ns"]) & (evidence.at <= until)
    moved = during & np.isin(evidence.kinds, (Kind.LOST, Kind.LEFT, Kind.BACK))
    return np.unique(evidence.readers[moved])
