"""Are these drops credible? Devices go at a steady, small rate; a jump means that we are wrong, not they.

A build for the wrong environment, a token column cut short by a migration, a key of another project: each makes a
provider call thousands of good devices bad within minutes. Dropping a device is therefore a proposal, to be carried
out while the rate of such answers is believable. When it is not, the channel is paused and nothing is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ent_notify.model.delivery import Verdict, VerdictKind, all_accepted


@dataclass(frozen=True, slots=True)
class DropBounds:
    """What a healthy app's answers look like, per kind of drop.

    ``gone`` is the share of answers that may call a device gone (an app loses a few devices in a hundred between two
    campaigns; the first after a long silence, more); ``quarantined`` the share that may call a token bad or of another
    sender, which a healthy app hardly sees. Below ``least`` such answers in a window nothing is concluded.
    """

    gone: float = 0.20
    quarantined: float = 0.02
    least: int = 20


@dataclass(frozen=True, slots=True)
class WindowCounts:
    """Answers of one provider and app in one window of time (minutes): all, and those that propose a drop."""

    answers: int = 0
    gone: int = 0
    quarantined: int = 0

    def __add__(self, other: WindowCounts) -> WindowCounts:
        return WindowCounts(self.answers + other.answers, self.gone + other.gone, self.quarantined + other.quarantined)

    def __sub__(self, other: WindowCounts) -> WindowCounts:
        return WindowCounts(self.answers - other.answers, self.gone - other.gone, self.quarantined - other.quarantined)


def count(verdicts: Sequence[Verdict]) -> WindowCounts:
    """The counts of some verdicts. What no provider answered (``Unknown``) counts as nothing."""
    if all_accepted(verdicts):
        return WindowCounts(len(verdicts))
    answers = gone = quarantined = 0
    for verdict in verdicts:
        if verdict.kind is VerdictKind.UNKNOWN:
            continue
        answers += 1
        if verdict.kind is VerdictKind.DROP_TARGET:
            if verdict.quarantine:
                quarantined += 1
            else:
                gone += 1
    return WindowCounts(answers, gone, quarantined)


def judge(window: WindowCounts, bounds: DropBounds | None = None) -> Verdict | None:
    """None if the window's drops are credible; else the PauseChannel that takes their place.

    A share is held to be above its bound only when chance hardly explains it: three standard deviations of a binomial
    count above the bound, so that a small window does not pause a channel by bad luck.
    """
    bounds = bounds or DropBounds()
    if _is_abnormal(window.quarantined, window.answers, bounds.quarantined, bounds.least):
        return Verdict(VerdictKind.PAUSE_CHANNEL, "drops.quarantined")
    if _is_abnormal(window.gone, window.answers, bounds.gone, bounds.least):
        return Verdict(VerdictKind.PAUSE_CHANNEL, "drops.gone")
    return None


def _is_abnormal(hits: int, answers: int, share: float, least: int) -> bool:
    if hits < least:
        return False
    return hits > answers * share + 3 * math.sqrt(answers * share * (1 - share))
