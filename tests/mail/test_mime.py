"""A filled template and a message that the standard library built whole are the same bytes."""

from __future__ import annotations

import email
import email.policy
import re
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ent_notify import words
from ent_notify.channels.headers import is_address
from ent_notify.channels.mime import DateLine, MailTemplate, Sender, compose
from ent_notify.errors import MalformedMail, SettingsError
from ent_notify.model.delivery import MailContent, Outgoing, Verdict, VerdictKind

DATE = datetime(2026, 9, 8, 6, 30, 5, tzinfo=UTC)
SENDER = Sender("Mon Bureau Numérique", "ne-pas-repondre@bureau.example", return_path="retours@bureau.example")
PROJECT = words.Project("Mon Bureau Numérique", "https://bureau.example/")
HOMEWORK = {"group": "g", "subject": "Mathématiques", "title": "Exercices 3 & 4 <p. 12>", "due": "2026-09-08"}
CONTENT = words.mail("HomeworkAssigned", HOMEWORK, "fr", PROJECT)
TEMPLATE = MailTemplate(CONTENT, "fr", SENDER)
ID = "6f1c2b9e-4b1d-5a1e-9c3a-0d6a6c8f7e21"

names = st.one_of(
    st.text(max_size=40),
    st.text(min_size=60, max_size=400),
    st.sampled_from(
        ["Zoé", "D'Arc & Fils", "=20", ".", "From x", "a" * 76, "%(name)s", "{name}", "é" * 80, "=?utf-8?q?a=0Db?="]
    ),
)
addresses = st.from_regex(r"[a-z0-9'+_=-]{1,40}(\.[a-z]{1,10})?@[a-z]{1,30}(\.[a-z]{1,15}){0,4}", fullmatch=True)
urls = st.from_regex(r"https://bureau\.example/u/[A-Za-z0-9_=&?%/-]{0,300}", fullmatch=True)


@st.composite
def outgoings(draw: st.DrawFn) -> Outgoing:
    personal = {}
    if draw(st.booleans()):
        personal["name"] = draw(names)
    if draw(st.booleans()):
        personal["children"] = draw(names)
    if draw(st.booleans()):
        personal["unsubscribe_url"] = draw(urls)
    dedup_id = str(draw(st.uuids()))
    return Outgoing(1, draw(addresses), "fr", dedup_id, personal=personal)


def filled(content: MailContent, outgoing: Outgoing, sender: Sender = SENDER) -> bytes:
    message = MailTemplate(content, "fr", sender).fill(outgoing, DateLine(DATE))
    assert isinstance(message, bytes)
    return message


def whole(content: MailContent, outgoing: Outgoing, sender: Sender = SENDER) -> bytes:
    return compose(content, "fr", sender, outgoing, DATE).as_bytes()


def read(message: bytes) -> EmailMessage:
    return email.message_from_bytes(message, policy=email.policy.SMTP)


def parts(message: bytes) -> tuple[str, ...]:
    """The texts of a mail's parts, with \\n between lines."""
    found = []
    for part in read(message).iter_parts():
        assert isinstance(part, EmailMessage)
        found.append(part.get_content().replace("\r\n", "\n"))
    return tuple(found)


def person(**personal: str) -> Outgoing:
    return Outgoing(1, "parent@exemple.fr", "fr", ID, personal=personal)


@given(outgoing=outgoings())
def test_both_ways_give_the_same_bytes(outgoing: Outgoing) -> None:
    assert TEMPLATE.fill(outgoing, DateLine(DATE)) == whole(CONTENT, outgoing)


lines = st.lists(
    st.one_of(
        st.sampled_from(
            ["{name}", "{?name}{name}{/name}", "{children}, {name}", " ", ".", "{{", "}}", "%", "%(name)s", "é", "="]
        ),
        st.text(max_size=90).map(lambda text: text.replace("{", "{{").replace("}", "}}")),
        st.just("\n"),
        st.just("Date: x\n"),
        st.just("\r\n.\r\n"),
    ),
    max_size=12,
).map("".join)
subjects = st.one_of(
    st.sampled_from(["{name}", "Pour {children}", "=?utf-8?q?a=0D=0ABcc:_x@y?=", "2+2=?", "é" * 200, "x" * 300]),
    st.text(max_size=80).map(lambda text: re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029{}]", "", text)),
)


@given(subject=subjects, text=lines, html=lines, name=names, children=names)
@example(subject="s", text="{name}", html="{name}", name="x" * 75 + " é", children="")
@example(subject="s", text="{name}", html="{name}", name=".", children="")
def test_any_text_gives_the_same_bytes_both_ways(subject: str, text: str, html: str, name: str, children: str) -> None:
    content = MailContent(subject, text, html)
    outgoing = person(name=name, children=children)
    message = MailTemplate(content, "fr", SENDER).fill(outgoing, DateLine(DATE))
    if isinstance(message, Verdict):  # a place without a value: the other way refuses too
        assert message.reason == "mail.personal"
        with pytest.raises(MalformedMail, match="has no value"):
            whole(content, outgoing)
    else:
        assert message == whole(content, outgoing)


EXPECTED = [
    "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted",
    "List-Unsubscribe", "List-Unsubscribe-Post", "MIME-Version", "Content-Type", "Content-Language",
]  # fmt: skip


@given(subject=subjects, outgoing=outgoings(), extra=names)
def test_no_value_adds_a_header(subject: str, outgoing: Outgoing, extra: str) -> None:
    personal = {"name": extra, "children": extra, **outgoing.personal}
    outgoing = Outgoing(1, outgoing.address, "fr", outgoing.dedup_id, personal=personal)
    content = MailContent(subject.replace("{children}", "{?children}{children}{/children}"), "{?name}{name}{/name}", "")
    message = MailTemplate(content.__class__(subject, content.text, ""), "fr", SENDER).fill(outgoing, DateLine(DATE))
    if isinstance(message, Verdict):
        return
    head = message.split(b"\r\n\r\n")[0]
    found = [line.split(b":")[0].decode() for line in head.split(b"\r\n") if line[:1] not in (b" ", b"\t")]
    assert found == [name for name in EXPECTED if "unsubscribe_url" in personal or "List" not in name]
    assert max(map(len, head.split(b"\r\n"))) <= 998
    assert b"\r" not in head.replace(b"\r\n", b"")


@given(value=st.text(max_size=30), breaking=st.sampled_from(["\r", "\n", "\r\n", "\x00", "\u2028", "\x85"]))
def test_a_line_break_in_a_header_is_refused(value: str, breaking: str) -> None:
    hostile = value.replace("{", "").replace("}", "") + breaking + "Bcc: autre@exemple.fr"
    with pytest.raises(MalformedMail):
        MailTemplate(MailContent(hostile, "t", "h"), "fr", SENDER)
    with pytest.raises(MalformedMail):
        MailTemplate(CONTENT, hostile, SENDER)
    template = MailTemplate(CONTENT, "fr", SENDER)
    for outgoing, reason in (
        (Outgoing(1, hostile, "fr", ID), "mail.address"),
        (Outgoing(1, "parent@exemple.fr" + breaking, "fr", ID), "mail.address"),
        (Outgoing(1, "parent@exemple.fr", "fr", ID + breaking), "mail.dedup_id"),
        (person(unsubscribe_url="https://bureau.example/" + breaking + "x"), "mail.unsubscribe_url"),
    ):
        verdict = template.fill(outgoing, DateLine(DATE))
        assert isinstance(verdict, Verdict)
        assert (verdict.kind, verdict.reason) == (VerdictKind.BAD_MESSAGE, reason)
        with pytest.raises(MalformedMail):
            whole(CONTENT, outgoing)
    with pytest.raises(SettingsError):
        Sender(hostile, "a@b.example")
    with pytest.raises(SettingsError):
        Sender("a", f"a@b.example{breaking}")


def test_an_encoded_word_from_outside_is_only_text() -> None:
    """Python before 3.11.10 decodes it and writes the line break that it hides into the header (CVE-2024-6923)."""
    title = "=?utf-8?q?Sujet=0D=0ABcc:_autre@exemple.fr?="
    message = read(filled(MailContent(title, "t", "h"), person()))
    assert "Bcc" not in message
    assert message["Subject"].replace("\u2060", "") == title
    message = read(filled(MailContent("{name}", "t", "h"), person(name=title)))
    assert "Bcc" not in message
    assert message["Subject"].replace("\u2060", "") == title


def test_a_mail_reads_as_it_should() -> None:
    url = "https://bureau.example/u/" + "k" * 90 + "?a=1"
    raw = filled(CONTENT, person(name="Zoé", children="Tom <3, Léa", unsubscribe_url=url))
    message = read(raw)
    assert message.defects == []
    assert str(message["From"]) == "Mon Bureau Numérique <ne-pas-repondre@bureau.example>"
    assert message["To"].addresses[0].addr_spec == "parent@exemple.fr"
    assert message["Subject"] == "Mathématiques\u00a0: travail à faire pour le mardi 8 septembre"
    assert message["Date"].datetime == DATE
    assert message["Message-ID"] == f"<{ID}@bureau.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["List-Unsubscribe"] == f"<{url}>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["Content-Language"] == "fr"
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    text, html = parts(raw)
    assert "Bonjour Zoé,\n" in text
    assert "Concerne\u00a0: Tom <3, Léa\n" in text
    assert f"\n{url}\n" in text
    assert "Tom &lt;3, Léa" in html
    assert f'href="{url}"' in html
    assert "Exercices 3 &amp; 4 &lt;p. 12&gt;" in html


def test_answers_go_where_the_sender_says() -> None:
    sender = Sender("Bureau", "info@bureau.example", reply_to="vie.scolaire@bureau.example", domain="ent.example")
    message = read(filled(CONTENT, person(), sender))
    assert (message["Reply-To"], message["Message-ID"]) == ("vie.scolaire@bureau.example", f"<{ID}@ent.example>")
    assert filled(CONTENT, person(), sender) == whole(CONTENT, person(), sender)
    assert "Reply-To" not in read(filled(CONTENT, person()))
    for wrong in ({"reply_to": "a b@c"}, {"domain": "-x"}, {"return_path": "@"}, {"address": "é@b.example"}):
        with pytest.raises(SettingsError, match="cannot be a mail's sender"):
            Sender(**{"name": "Bureau", "address": "info@bureau.example", **wrong})


def test_what_a_recipient_lacks_leaves_no_trace() -> None:
    raw = filled(CONTENT, person())
    message = read(raw)
    text, html = parts(raw)
    assert text.startswith("Bonjour,\n")
    for part in (text, html):
        assert "Concerne" not in part
        assert "Ne plus recevoir" not in part
    assert "List-Unsubscribe" not in message
    assert "List-Unsubscribe-Post" not in message


def test_a_control_character_in_a_name_is_a_space() -> None:
    text = parts(filled(CONTENT, person(name="Zo\r\n.\r\né\ud800")))[0]
    assert "Bonjour Zo  .  é,\n" in text


def test_a_repeat_has_the_same_message_id_and_boundary() -> None:
    first, second = (filled(CONTENT, person(name="Zoé")) for _ in range(2))
    assert first == second


def test_an_international_address_gets_utf8_headers() -> None:
    outgoing = Outgoing(1, "zoé@école.example", "fr", ID, personal={"name": "Zoé"})
    template = MailTemplate(CONTENT, "fr", SENDER)
    assert isinstance(template.fill(outgoing, DateLine(DATE)), Verdict)
    message = whole(CONTENT, outgoing)
    assert "To: zoé@école.example\r\n".encode() in message
    assert read(message)["Message-ID"] == f"<{ID}@bureau.example>"


@pytest.mark.parametrize(
    "address",
    [
        "", "@", "a@", "@b", "a b@c", "a@b c", "a@-b", "a@b..c", ".a@b", "a.@b", "a..b@c", "<a@b>", "a@b>", '"a b"@c',
        "a@[127.0.0.1]", "a@b@c", "a,b@c", "a@b,c@d", "=?utf-8?q?a?=@b.example", "a" * 65 + "@b.example",
        "a@" + "b." * 130 + "c", "zoé", "zoé@é,é", "zoé @é.fr", "z\u00a0é@é.fr", "a@b.example\n", "é" * 65 + "@b.fr",
    ],
)  # fmt: skip
def test_no_address(address: str) -> None:
    assert not is_address(address)


@pytest.mark.parametrize("address", ["a@b", "o'brien+ent@mail.exemple.fr", "zoé@école.example", "a_b=c@x-y.example"])
def test_an_address(address: str) -> None:
    assert is_address(address)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a { b", "lone '{' stands at character 2"),
        ("a } b", "lone '}'"),
        ("{Name}", "lone '{'"),
        ("{?name}", "never closed"),
        ("{/name}", "not open"),
        ("{?name}{?children}{/name}{/children}", "not open"),
    ],
)
def test_a_wrong_place_is_named(text: str, said: str) -> None:
    with pytest.raises(MalformedMail, match=re.escape(said)):
        MailTemplate(MailContent("s", text, "h"), "fr", SENDER)


def test_sections_nest() -> None:
    content = MailContent("s", "{?name}a{?children}b{/children}c{/name}{{d}}", "h")
    text = parts(filled(content, person(name="x", children="y")))[0]
    assert text == "abc{d}\n"
    text = parts(filled(content, person(name="x")))[0]
    assert text == "ac{d}\n"


def test_odd_personal_keys_do_not_pile_up() -> None:
    template = MailTemplate(CONTENT, "fr", SENDER)
    for number in range(70):
        template.fill(person(**{f"key{number}": "x"}), DateLine(DATE))
    assert len(template._shapes) <= 64
