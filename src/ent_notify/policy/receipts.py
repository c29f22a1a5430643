"""What a verdict that comes after its send says of the delivery: pure functions from verdicts to receipts."""

from __future__ import annotations

from ent_notify.model.delivery import Verdict, VerdictKind
from ent_notify.model.receipts import Known

LATE = "late"
"""Reason of an acceptance that came after the send was called Unknown."""
DELIVERED = "delivered"
"""Reason of an acceptance that a delivery status notification has told."""

_FINAL = (VerdictKind.DROP_TARGET, VerdictKind.BAD_MESSAGE)


def late(verdict: Verdict) -> tuple[Known, str] | None:
    """What a provider's late answer says; None if the doubt stays. A refusal for now leaves the retry as planned:
    only its reason becomes the true one, so that the bounds of a known refusal hold for it and not those of doubt."""
    if verdict.kind is VerdictKind.ACCEPTED:
        return Known.ACCEPTED, LATE
    if verdict.kind is VerdictKind.UNKNOWN:
        return None
    return (Known.FAILED if verdict.kind in _FINAL else Known.RETRY), verdict.reason or verdict.kind.value


def bounced(verdict: Verdict) -> tuple[Known, str]:
    """What a delivery status notification says. The relay has given up: whatever is not delivered has failed, a full
    mailbox too."""
    if verdict.kind is VerdictKind.ACCEPTED:
        return Known.ACCEPTED, DELIVERED
    return Known.FAILED, verdict.reason or verdict.kind.value


def drops(verdict: Verdict) -> bool:
    """Whether a verdict proposes to take its target out of use."""
    return verdict.kind is VerdictKind.DROP_TARGET or verdict.quarantine
