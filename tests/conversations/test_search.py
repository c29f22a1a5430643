"""Looking for messages: French words without accents, filters, pages, and nothing that a reader may not see."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.engine.conftest import Town

from ent_notify.errors import MalformedMessage
from ent_notify.model.conversations import Circle, Copy, LateJoiners, NewConversation, Scope, Shape
from ent_notify.model.inbox import Reader
from ent_notify.model.search import Hit, Place, Question
from ent_notify.store.search import PostgresSearch
from ent_notify.store.sql import Query

from .conftest import CLASS, who

MINUTE = timedelta(minutes=1)


async def found(town: Town, reader: Reader, words: str = "", **more: object) -> list[tuple[int, int]]:
    """(conversation, seq) of what a reader finds."""
    answer = await town.engine.search.find(reader, Question(words=words, **more))  # type: ignore[arg-type]  # filters by name
    return [(hit.conversation, hit.seq) for hit in answer.hits]


async def talk(town: Town, author: Reader, *bodies: str, to: tuple[str, ...] = ("P11",), subject: str = "Sujet") -> int:
    """A group conversation with these messages, a minute apart."""
    talks = town.engine.conversations
    conversation, _ = await talks.open(
        author, NewConversation(shape=Shape.GROUP, subject=subject, body=bodies[0], to=to)
    )
    for body in bodies[1:]:
        town.clock.advance(MINUTE)
        await talks.post(conversation, author, body)
    return conversation


@pytest.fixture(params=["as soon as posted", "once announced"])
def announced(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "once announced")


ASKED: dict[str, list[int]] = {
    "reunion": [1],
    "RÉUNION": [1],
    "réu": [1],  # a beginning
    "eleves": [2, 1],  # a stem: "élève" and "élèves"
    "élève": [2, 1],
    "eleves reunion": [1],
    "oeuvre": [2],
    "oe": [2],
    "musee": [3],
    "d'art": [3],
    "6a": [1],
    "le musée": [3],  # a word that says nothing is left out
    "bravo": [3],
    "مرحبا": [3],
    "rien de tel": [],
    "!!!": [],
    "' \\ & | <-> :* (": [],
    "réunion!": [1],
}


async def test_french_words_are_found_without_accents_by_beginnings_and_stems(town: Town) -> None:
    lou, gil = await who(town, "P21", "P11")
    conversation = await talk(
        town,
        lou,
        "Bonjour, la Réunion des élèves de 6A aura lieu jeudi.",
        "Chaque ÉLÈVE apporte une œuvre",
        "On va au musée d’art — 🎉bravo مرحبا",
    )
    expected = {words: [(conversation, seq) for seq in seqs] for words, seqs in ASKED.items()}
    assert {words: await found(town, gil, words) for words in ASKED} == expected
    await town.engine.worker().run_until_idle()
    assert {words: await found(town, lou, words) for words in ASKED} == expected


async def test_the_subject_counts_with_the_first_message_that_one_sees(town: Town) -> None:
    lou, gil = await who(town, "P21", "P11")
    conversation = await talk(town, lou, "Bonjour", "Encore", subject="Sortie à Nancy")
    assert await found(town, gil, "nancy") == [(conversation, 1)]
    assert await found(town, gil, "nancy bonjour") == [(conversation, 1)]
    await town.engine.conversations.add(conversation, lou, ["P12"])
    (hal,) = await who(town, "P12")
    assert await found(town, hal, "nancy") == []
    await town.engine.conversations.post(conversation, lou, "Bienvenue")
    assert await found(town, hal, "nancy") == [(conversation, 3)]


async def test_filters_by_person_child_date_and_label(town: Town) -> None:
    talks = town.engine.conversations
    lou, gil = await who(town, "P21", "P11")
    begun = town.clock.now()
    first = await talk(town, lou, "Le musée, un")
    town.clock.advance(MINUTE)
    await talks.post(first, gil, "Le musée, deux")
    town.clock.advance(MINUTE)
    of_class, _ = await talks.open(
        lou,
        NewConversation(
            shape=Shape.CIRCLE, subject="S", body="Le musée, trois", circles=(Circle(CLASS, Scope.GUARDIANS),)
        ),
    )
    every = [(of_class, 1), (first, 2), (first, 1)]
    assert await found(town, gil, "musee") == every
    assert await found(town, gil) == every
    assert await found(town, gil, "musee", author="P11") == [(first, 2)]
    assert await found(town, gil, "musee", author="nobody") == []
    assert await found(town, gil, since=begun + MINUTE) == every[:2]
    assert await found(town, gil, until=begun + MINUTE) == every[2:]
    assert await found(town, gil, since=begun + MINUTE, until=begun + 2 * MINUTE) == [(first, 2)]
    await talks.keep(first, gil, labels=["Ada"])
    assert await found(town, gil, "musee", label="Ada") == every[1:]
    assert await found(town, lou, "musee", label="Ada") == []
    assert await found(town, gil, "musee", child="P1") == [(of_class, 1)]
    assert await found(town, gil, "musee", child="P5") == []
    assert await found(town, lou, "musee", child="P1") == []  # it reaches her as the teacher


async def test_a_conversation_about_a_pupil_is_found_by_the_child(town: Town) -> None:
    head, lou, gil = await who(town, "P31", "P21", "P11")
    about, _ = await town.engine.conversations.open(
        head, NewConversation(shape=Shape.STAFF, subject="Suivi", body="Confidentiel", to=("P21",), about="P1")
    )
    assert await found(town, lou, "confid", child="P1") == [(about, 1)]
    assert await found(town, gil, "confid", child="P1") == []


async def test_nobody_finds_what_they_do_not_see(town: Town, announced: bool) -> None:
    talks = town.engine.conversations
    lou, gil, hal, stranger = await who(town, "P21", "P11", "P12", "P5")
    conversation, _ = await talks.open(
        lou, NewConversation(shape=Shape.GROUP, subject="S", body="secret un", to=("P11",), blind=("P12",))
    )
    for body in ("secret deux", "secret trois", "secret quatre"):
        town.clock.advance(MINUTE)
        await talks.post(conversation, lou, body)
    if announced:
        await town.engine.worker().run_until_idle()
    assert await found(town, hal, "secret") == [(conversation, 1)]  # a blind copy is of the first
    assert await found(town, stranger, "secret") == []
    await talks.delete(conversation, gil, 3)
    assert await found(town, gil, "secret") == [(conversation, 4), (conversation, 2), (conversation, 1)]
    await talks.recall(conversation, 2, lou)
    assert await found(town, gil, "secret") == [(conversation, 4), (conversation, 1)]
    assert await found(town, gil, author="P21") == [(conversation, 4), (conversation, 1)]
    await talks.edit(conversation, 4, lou, "public")
    assert await found(town, gil, "secret") == [(conversation, 1)]
    assert await found(town, gil, "public") == [(conversation, 4)]
    await talks.add(conversation, lou, ["P13"], Copy.TO)
    (late,) = await who(town, "P13")
    assert await found(town, late, "secret") == []
    await talks.delete(conversation, gil)
    assert await found(town, gil, "secret") == []
    assert await found(town, lou, "secret") == [(conversation, 3), (conversation, 1)]


async def test_a_late_joiner_finds_what_the_conversation_lets_them_see(town: Town) -> None:
    talks = town.engine.conversations
    lou, ivy = await who(town, "P21", "P13")
    new = NewConversation(shape=Shape.GROUP, subject="S", body="secret", to=("P11",), late=LateJoiners.EVERYTHING)
    conversation, _ = await talks.open(lou, new)
    await talks.add(conversation, lou, ["P13"])
    assert await found(town, ivy, "secret") == [(conversation, 1)]
    await talks.leave(conversation, ivy)
    town.clock.advance(MINUTE)
    await talks.post(conversation, lou, "secret d'après")
    assert await found(town, ivy, "secret") == [(conversation, 1)]


async def test_what_a_recalled_message_was_found_by_is_kept_nowhere(town: Town) -> None:
    (lou,) = await who(town, "P21")
    conversation = await talk(town, lou, "confidentiel")
    await town.engine.worker().run_until_idle()
    kept = Query("kept", "", "select count(*) from message_words where conversation_id = $1", ("conversation",))
    assert await town.engine.db.fetchval(kept, conversation=conversation) == 1
    await town.engine.conversations.recall(conversation, 1, lou)
    assert await town.engine.db.fetchval(kept, conversation=conversation) == 0


async def test_pages_hold_each_message_once_whatever_is_written_meanwhile(town: Town) -> None:
    (lou,) = await who(town, "P21")
    talks = [await talk(town, lou, "jeudi un", "jeudi deux", "vendredi", "jeudi trois") for _ in range(8)]
    every = {(conversation, seq) for conversation in talks for seq in (1, 2, 4)}
    store = PostgresSearch(town.engine.db, first_slice=2)  # and then the other six
    hits: list[Hit] = []
    place: Place | None = None
    while True:
        page = await store.find(lou, Question(words="jeudi"), place, 5, town.clock.now())
        hits += page.hits
        if page.next is None:
            break
        place = page.next
        town.clock.advance(MINUTE)
        await town.engine.conversations.post(talks[len(hits) % 8], lou, "jeudi nouveau")
    places = [(hit.posted_at, hit.conversation, hit.seq) for hit in hits]
    assert places == sorted(places, reverse=True)
    assert {(hit.conversation, hit.seq) for hit in hits} == every
    assert len(hits) == len(every)


async def test_a_hit_says_where_it_stands(town: Town) -> None:
    lou, gil = await who(town, "P21", "P11")
    conversation = await talk(
        town, lou, "Bonjour. " * 50 + "Le rendez-vous est à midi, devant l’École. " + "Merci. " * 50
    )
    (hit,) = (await town.engine.search.find(gil, Question(words="ecole"))).hits
    assert (hit.conversation, hit.seq, hit.author, hit.subject) == (conversation, 1, "P21", "Sujet")
    assert hit.author_name
    assert "École" in hit.excerpt
    assert len(hit.excerpt) <= 160
    with pytest.raises(MalformedMessage, match="200"):
        await town.engine.search.find(gil, Question(words="a" * 201))
