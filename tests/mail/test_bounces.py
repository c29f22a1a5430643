"""Notifications in the forms that common servers give them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ent_notify.channels.bounces import SIZE_LIMIT, Bounce, parse_dsn
from ent_notify.model.delivery import VerdictKind
from ent_notify.policy.mail_verdicts import dsn_verdict

ID = "6f1c2b9e-4b1d-5a1e-9c3a-0d6a6c8f7e21"


def report(
    status: str, returned: str = "", kind: str = "message/delivery-status", returned_kind: str = "message/rfc822"
) -> bytes:
    third = f"--B\nContent-Type: {returned_kind}\n\n{returned}\n" if returned else ""
    text = (
        "From: MAILER-DAEMON@mx.exemple.fr\nTo: retours@bureau.example\nSubject: Undelivered Mail\n"
        'MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary="B"\n\n'
        "This is a MIME-encapsulated message.\n\n--B\nContent-Type: text/plain; charset=us-ascii\n\n"
        "I'm sorry to have to inform you: <parti@exemple.fr> 550 5.1.1 status 4.2.2\n\n"
        f"--B\nContent-Type: {kind}\n\n{status}\n{third}--B--\n"
    )
    return text.replace("\n", "\r\n").encode()


ORIGINAL = f"From: info@bureau.example\nTo: parti@exemple.fr\nMessage-ID: <{ID}@bureau.example>\nSubject: x\n\ntexte\n"
MESSAGE_ID = f"<{ID}@bureau.example>"

POSTFIX = report(
    "Reporting-MTA: dns; mx.exemple.fr\nX-Postfix-Queue-ID: 4F1A22\nX-Postfix-Sender: rfc822; retours@bureau.example\n"
    "Arrival-Date: Tue,  8 Sep 2026 08:00:00 +0200 (CEST)\n\n"
    "Final-Recipient: rfc822; parti@exemple.fr\nOriginal-Recipient: rfc822;parti@exemple.fr\nAction: failed\n"
    "Status: 5.1.1\nRemote-MTA: dns; mx2.exemple.fr\n"
    "Diagnostic-Code: smtp; 550 5.1.1 <parti@exemple.fr>: Recipient address rejected:\n"
    "    User unknown in local table\n",
    ORIGINAL,
)
EXCHANGE = report(
    "Reporting-MTA: dns;AM0PR01.outlook.example\nReceived-From-MTA: dns;relay.bureau.example\n"
    f"Original-Envelope-Id: {ID}\nArrival-Date: Tue, 8 Sep 2026 06:00:00 +0000\n\n"
    "Final-Recipient: rfc822;plein@exemple.fr\nAction: failed\nStatus: 5.2.2\n"
    'Diagnostic-Code: smtp;554 5.2.2 mailbox full; STOREDRV.Deliver; "QuotaExceededException" [a@b]\n'
    "X-Display-Name: Quelqu'un\n",
)
GMAIL = report(
    "Reporting-MTA: dns; googlemail.com\nArrival-Date: Mon, 07 Sep 2026 23:00:00 -0700 (PDT)\n"
    f"X-Original-Message-ID: {MESSAGE_ID}\n\n"
    "Final-Recipient: rfc822; parti@exemple.fr\nAction: delayed\nStatus: 4.4.1\n"
    "Diagnostic-Code: smtp; The recipient server did not accept our requests to connect.\n"
    "Last-Attempt-Date: Tue, 08 Sep 2026 05:00:00 -0700 (PDT)\n"
    "Will-Retry-Until: Thu, 10 Sep 2026 00:00:00 -0700 (PDT)\n",
    ORIGINAL,
)
EXIM = report(
    "Reporting-MTA: dns; smtp.exemple.fr\n\n"
    "Action: failed\nFinal-Recipient: rfc822;un@exemple.fr\nStatus: 5.0.0\nRemote-MTA: dns; mx\n"
    "Diagnostic-Code: smtp; 554 Message rejected\n\n"
    "Action: Failed\nFinal-Recipient: rfc822;<deux@exemple.fr>\nStatus: 5.7.1 (policy)\n",
    ORIGINAL.split("\n\n")[0],
    returned_kind="text/rfc822-headers",
)
SENDMAIL_DELIVERED = report(
    "Reporting-MTA: dns; mail.exemple.fr\n\n"
    "Final-Recipient: RFC822; bien@exemple.fr\nAction: delivered (to mailbox)\nStatus: 2.1.5\n",
    ORIGINAL,
)
INTERNATIONAL = report(
    "Reporting-MTA: dns; mx.exemple.fr\n\n"
    "Final-Recipient: utf-8; zo\\x{E9}@exemple.fr\nAction: failed\nStatus: 5.6.7\n\n"
    "Final-Recipient: rfc822; b@exemple.fr\nAction: failed\nStatus: 5.1.1\n",
    ORIGINAL,
    kind="message/global-delivery-status",
    returned_kind="message/global",
)


@pytest.mark.parametrize(
    ("mail", "bounces"),
    [
        (POSTFIX, [Bounce(ID, MESSAGE_ID, "parti@exemple.fr", "failed", "5.1.1", "smtp.550")]),
        (EXCHANGE, [Bounce(ID, "", "plein@exemple.fr", "failed", "5.2.2", "smtp.554")]),
        (GMAIL, [Bounce(ID, MESSAGE_ID, "parti@exemple.fr", "delayed", "4.4.1", "")]),
        (
            EXIM,
            [
                Bounce(ID, MESSAGE_ID, "un@exemple.fr", "failed", "5.0.0", "smtp.554"),
                Bounce(ID, MESSAGE_ID, "deux@exemple.fr", "failed", "5.7.1", ""),
            ],
        ),
        (SENDMAIL_DELIVERED, [Bounce(ID, MESSAGE_ID, "bien@exemple.fr", "delivered", "2.1.5", "")]),
        (
            INTERNATIONAL,
            [
                Bounce(ID, MESSAGE_ID, "zoé@exemple.fr", "failed", "5.6.7", ""),
                Bounce(ID, MESSAGE_ID, "b@exemple.fr", "failed", "5.1.1", ""),
            ],
        ),
    ],
    ids=["postfix", "exchange", "gmail", "exim", "sendmail", "international"],
)
def test_what_common_servers_send(mail: bytes, bounces: list[Bounce]) -> None:
    assert parse_dsn(mail) == bounces
    assert parse_dsn(mail.replace(b"\r\n", b"\n")) == bounces


def test_from_a_notification_to_a_verdict() -> None:
    (bounce,) = parse_dsn(POSTFIX)
    verdict = dsn_verdict(bounce.action, bounce.status)
    assert verdict is not None
    assert (verdict.kind, verdict.reason) == (VerdictKind.DROP_TARGET, "dsn.5.1.1")


@pytest.mark.parametrize(
    "mail",
    [
        b"",
        b"Subject: Absent du bureau\r\nAuto-Submitted: auto-replied\r\n\r\nJe reviens lundi. Status: 5.1.1\r\n",
        report("Reporting-MTA: dns; x\n"),  # about nobody
        report("Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; a@b\nAction: exploded\nStatus: 5.1.1\n"),
        report("Reporting-MTA: dns; x\n\nFinal-Recipient: x400; a@b\nAction: failed\nStatus: 5.1.1\n"),
        POSTFIX.replace(b"message/delivery-status", b"text/plain"),
    ],
)
def test_what_is_no_notification(mail: bytes) -> None:
    assert parse_dsn(mail) == []


def test_a_wrong_status_is_left_out() -> None:
    (bounce,) = parse_dsn(POSTFIX.replace(b"Status: 5.1.1", b"Status: five"))
    assert bounce.status == ""
    assert dsn_verdict(bounce.action, bounce.status) is not None


def test_the_servers_words_are_left_out() -> None:
    for mail in (POSTFIX, EXCHANGE, EXIM):
        for bounce in parse_dsn(mail):
            assert "unknown" not in repr(bounce)
            assert "Quota" not in repr(bounce)


def test_parts_nested_without_end() -> None:
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(5_000))
    assert parse_dsn(nested) == []


def test_a_huge_returned_mail_costs_nothing() -> None:
    mail = POSTFIX.replace(b"texte", b"x" * 20 * SIZE_LIMIT)
    assert [bounce.status for bounce in parse_dsn(mail)] == ["5.1.1"]


@given(mail=st.binary(max_size=2_000))
def test_any_bytes(mail: bytes) -> None:
    assert parse_dsn(mail) == []


@given(
    sample=st.sampled_from([POSTFIX, EXCHANGE, GMAIL, EXIM, INTERNATIONAL]),
    at=st.integers(0, 1_500),
    length=st.integers(0, 200),
    put=st.binary(max_size=60),
)
def test_any_damage(sample: bytes, at: int, length: int, put: bytes) -> None:
    for bounce in parse_dsn(sample[:at] + put + sample[at + length :]):
        assert bounce.action in ("failed", "delayed", "delivered", "relayed", "expanded")
        assert "@" in bounce.recipient
        dsn_verdict(bounce.action, bounce.status)
