"""Each row of the table of SMTP replies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ent_notify.model.delivery import Verdict, VerdictKind
from ent_notify.policy.mail_verdicts import GROUP_WAIT, POLICY_WAIT, Phase, dsn_verdict, smtp_verdict

ACCEPTED, RETRY, UNKNOWN, DROP, BAD, PAUSE = (
    VerdictKind.ACCEPTED,
    VerdictKind.RETRY_AT,
    VerdictKind.UNKNOWN,
    VerdictKind.DROP_TARGET,
    VerdictKind.BAD_MESSAGE,
    VerdictKind.PAUSE_CHANNEL,
)


@pytest.mark.parametrize(
    ("phase", "code", "status", "verdict"),
    [
        (Phase.CONTENT, 250, "2.0.0", Verdict(ACCEPTED)),
        # 421 and 4.7.x: later, and the whole mail domain with it
        (Phase.MAIL, 421, "4.3.2", Verdict(RETRY, "smtp.4.3.2", GROUP_WAIT, pause_group=True)),
        (Phase.RCPT, 421, "", Verdict(RETRY, "smtp.421", GROUP_WAIT, pause_group=True)),
        (Phase.RCPT, 450, "4.7.1", Verdict(RETRY, "smtp.4.7.1", GROUP_WAIT, pause_group=True)),
        (Phase.CONTENT, 451, "4.7.650", Verdict(RETRY, "smtp.4.7.650", GROUP_WAIT, pause_group=True)),
        # 450, 451, 452, x.2.2: later, this one alone
        (Phase.RCPT, 450, "4.2.0", Verdict(RETRY, "smtp.4.2.0")),
        (Phase.RCPT, 451, "4.3.0", Verdict(RETRY, "smtp.4.3.0")),
        (Phase.RCPT, 452, "4.2.2", Verdict(RETRY, "smtp.4.2.2")),
        (Phase.RCPT, 552, "5.2.2", Verdict(RETRY, "smtp.5.2.2")),
        (Phase.RCPT, 450, "", Verdict(RETRY, "smtp.450")),
        (Phase.RCPT, 552, "", Verdict(RETRY, "smtp.552")),
        (Phase.MAIL, 451, "4.4.2", Verdict(RETRY, "smtp.4.4.2")),
        # 550 5.1.x: no such address
        (Phase.RCPT, 550, "5.1.1", Verdict(DROP, "smtp.5.1.1")),
        (Phase.RCPT, 550, "5.1.10", Verdict(DROP, "smtp.5.1.10")),
        (Phase.CONTENT, 550, "5.1.1", Verdict(DROP, "smtp.5.1.1")),
        (Phase.RCPT, 550, "", Verdict(DROP, "smtp.550")),
        (Phase.RCPT, 551, "", Verdict(DROP, "smtp.551")),
        (Phase.RCPT, 553, "", Verdict(DROP, "smtp.553")),
        (Phase.RCPT, 556, "", Verdict(DROP, "smtp.556")),
        (Phase.RCPT, 550, "5.2.1", Verdict(DROP, "smtp.5.2.1", quarantine=True)),
        (Phase.RCPT, 550, "5.4.4", Verdict(DROP, "smtp.5.4.4", quarantine=True)),
        (Phase.RCPT, 501, "", Verdict(DROP, "smtp.501", quarantine=True)),
        # the sender is not welcome: nobody's mail would pass
        (Phase.RCPT, 550, "5.1.8", Verdict(PAUSE, "smtp.5.1.8")),
        (Phase.MAIL, 550, "5.7.1", Verdict(PAUSE, "smtp.5.7.1")),
        (Phase.MAIL, 554, "", Verdict(PAUSE, "smtp.554")),
        # 5.7.x: policy of that domain
        (Phase.RCPT, 550, "5.7.1", Verdict(PAUSE, "smtp.5.7.1", POLICY_WAIT, pause_group=True)),
        (Phase.CONTENT, 554, "5.7.26", Verdict(PAUSE, "smtp.5.7.26", POLICY_WAIT, pause_group=True)),
        # 530, 535: we are not logged in
        (Phase.MAIL, 530, "5.7.0", Verdict(PAUSE, "smtp.5.7.0")),
        (Phase.RCPT, 530, "", Verdict(PAUSE, "smtp.530")),
        (Phase.MAIL, 535, "5.7.8", Verdict(PAUSE, "smtp.5.7.8")),
        # 552 5.3.4 and their kin: this message
        (Phase.MAIL, 552, "5.3.4", Verdict(BAD, "smtp.5.3.4")),
        (Phase.CONTENT, 552, "5.3.4", Verdict(BAD, "smtp.5.3.4")),
        (Phase.MAIL, 552, "", Verdict(BAD, "smtp.552")),
        (Phase.MAIL, 553, "5.6.7", Verdict(BAD, "smtp.5.6.7")),
        (Phase.CONTENT, 554, "5.6.0", Verdict(BAD, "smtp.5.6.0")),
        (Phase.RCPT, 552, "5.2.3", Verdict(BAD, "smtp.5.2.3")),
        (Phase.CONTENT, 550, "", Verdict(BAD, "smtp.550")),
        (Phase.CONTENT, 554, "", Verdict(BAD, "smtp.554")),
        # no sense in it
        (Phase.CONTENT, 354, "", Verdict(UNKNOWN, "smtp.354")),
        (Phase.DATA, 250, "2.0.0", Verdict(RETRY, "smtp.2.0.0")),
        (Phase.RCPT, 550, "4.2.2", Verdict(DROP, "smtp.550")),
    ],
)
def test_replies(phase: Phase, code: int, status: str, verdict: Verdict) -> None:
    assert smtp_verdict(phase, code, status) == verdict


@pytest.mark.parametrize(
    ("action", "status", "verdict"),
    [
        ("failed", "5.1.1", Verdict(DROP, "dsn.5.1.1")),
        ("failed", "5.0.0", Verdict(DROP, "dsn.5.0.0")),
        ("failed", "", Verdict(DROP, "dsn.failed")),
        ("failed", "4.4.7", Verdict(DROP, "dsn.4.4.7", quarantine=True)),
        ("failed", "5.2.2", Verdict(RETRY, "dsn.5.2.2")),
        ("failed", "5.7.1", Verdict(PAUSE, "dsn.5.7.1", POLICY_WAIT, pause_group=True)),
        ("failed", "5.6.0", Verdict(BAD, "dsn.5.6.0")),
        ("delayed", "4.4.1", None),
        ("relayed", "2.0.0", None),
        ("expanded", "2.0.0", None),
        ("delivered", "2.0.0", Verdict(ACCEPTED)),
    ],
)
def test_notifications(action: str, status: str, verdict: Verdict | None) -> None:
    assert dsn_verdict(action, status) == verdict


@given(phase=st.sampled_from(Phase), code=st.integers(0, 999), status=st.text(max_size=12))
def test_every_reply_has_a_verdict_and_its_reason_is_a_short_word(phase: Phase, code: int, status: str) -> None:
    verdict = smtp_verdict(phase, code, status)
    assert len(verdict.reason) <= 15
    assert verdict.reason.isascii()
    assert (verdict.kind is ACCEPTED) == (phase is Phase.CONTENT and 200 <= code < 300)
