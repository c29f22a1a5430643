"""What pages of conversations cost among 260,000 messages: read by index, and only as far as the page goes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from tests.plans.conftest import NOW, POPULATION, Watch

from ent_notify._island import open_island
from ent_notify.store import migrate, open_database
from ent_notify.store.embedded import EmbeddedServer

TALKS = Path(__file__).with_name("talks.sql").read_text(encoding="utf-8")
LARGE = frozenset({
    "conversation", "conversation_key", "participant", "message", "message_words", "message_draft", "person",
    "membership", "guardian_link",
})  # fmt: skip
"""Tables that grow with people or with time."""
GUARDIAN, TEACHER = 900, 1_740
FAR = datetime(2100, 1, 1, tzinfo=UTC)
PAST = datetime(2000, 1, 1, tzinfo=UTC)
LONG = 500
"""A conversation of 20,000 messages."""


def post(conversation: int, author: int, **more: Any) -> dict[str, Any]:
    return {
        "conversation_id": conversation, "author_id": author, "body": "B", "now": NOW,
        "check_after": NOW - timedelta(minutes=10), "checked": True, "answers": None, **more,
    }  # fmt: skip


def threads(person: int, **more: Any) -> dict[str, Any]:
    return {
        "person_id": person, "now": NOW, "one": None, "before_at": FAR, "before": 2**62, "most": 50, "archived": False,
        "favourite": None, "label": None, **more,
    }  # fmt: skip


def book(person: int, **more: Any) -> dict[str, Any]:
    return {
        "author_id": person, "now": NOW, "by_school": [1, 2, 3, 4], "by_class": [], "family": True, "words": [],
        "after_name": "", "after_id": 0, "most": 50, **more,
    }  # fmt: skip


def places(person: int, **more: Any) -> dict[str, Any]:
    return {"person_id": person, "now": NOW, "since": PAST, "until": FAR, "label": None, "child": None, **more}


def hits(person: int, conversations: list[int], **more: Any) -> dict[str, Any]:
    return {
        "person_id": person, "now": NOW, "conversations": conversations, "asked": None, "author": None, "since": PAST,
        "until": FAR, "before_at": FAR, "before_conversation": 2**62, "before_seq": 0, "most": 21, **more,
    }  # fmt: skip


QUESTIONS: dict[str, tuple[str, int, dict[str, Any]]] = {
    # what is asked: (query, rows that it may fetch at most, its parameters)
    "a thread's page": (
        "conversations.messages", 400,
        {"conversation_id": LONG, "person_id": LONG + 1, "after": 0, "most": 100, "now": NOW}),
    "a page far into it": (
        "conversations.messages", 400,
        {"conversation_id": LONG, "person_id": LONG + 1, "after": 19_000, "most": 100, "now": NOW}),
    "a class's thread": (
        "conversations.messages", 400,
        {"conversation_id": 20_025, "person_id": 1, "after": 0, "most": 100, "now": NOW}),
    "how it is to a reader": (
        "conversations.take_part", 60, {"conversation_id": LONG, "person_id": LONG + 1, "now": NOW}),
    "the list of threads": ("conversations.threads", 1_200, threads(GUARDIAN)),
    "one of them": ("conversations.threads", 300, threads(LONG + 1, one=LONG)),
    "the address book of a teacher": ("contacts.book", 2_600 * 4, book(TEACHER)),
    "the address book, by a name": ("contacts.book", 2_600 * 4, book(TEACHER, words=["nom12"])),
    "the address book of a family": ("contacts.book", 400, book(GUARDIAN, by_school=[])),
    "its groups": ("contacts.book_groups", 300, {"author_id": TEACHER, "now": NOW, "words": []}),
    "what two people have to do with each other": (
        "contacts.facts", 200, {"author_id": TEACHER, "people": [GUARDIAN, 1], "now": NOW}),
    "a post": ("conversations.post", 30, post(LONG, LONG + 1)),
    "a read mark": (
        "conversations.mark", 20, {"conversation_id": LONG, "person_id": LONG + 1, "seq": 9, "now": NOW}),
    "is anything waiting": ("announcing.waiting", 10, {"now": NOW}),
    "what is announced next": ("announcing.take", 1_000, {"most": 200, "now": NOW}),
    "whom it is for": (
        "announcing.recipients", 300,
        {"conversations": [LONG], "seqs": [20_000], "authors": [LONG + 1], "now": NOW}),
    "where to look for a word": ("search.places", 1_500, places(GUARDIAN)),
    "where to look for a child's": ("search.places", 2_500, places(GUARDIAN, child="P116")),
    "a word that many have written": (
        "search.hits", 700, hits(LONG + 1, [LONG, LONG + 1], asked="'bonjour':*")),
    "a word that few have written": (
        "search.hits", 200, hits(GUARDIAN, [GUARDIAN - 1, 15_000 + GUARDIAN - 1], asked="'absent':*")),
    "messages of somebody": ("search.hits", 700, hits(LONG + 1, [LONG], author=f"P{LONG + 1}")),
    "sync": (
        "sync.conversations", 1_500,
        {"person_id": GUARDIAN, "now": NOW, "since": 1, "after": 0, "most": 21, "most_messages": 20,
         "most_bytes": 64_000}),
}  # fmt: skip


@pytest.fixture(scope="module")
def talks(postgres: EmbeddedServer) -> Iterator[str]:
    """The address of the database. Tests leave it as it is."""
    name = "talks"
    postgres.cluster.create_database(name)

    async def fill() -> None:
        async with open_island() as island, open_database(postgres.dsn(name), island, check_schema=False) as database:
            await migrate(database, now=NOW)
            seeded = "set bench.people = '15000'; set bench.seed = '20260901';"
            await database.script(seeded + POPULATION.read_text(encoding="utf-8"))
            await database.script(TALKS)
            await database.script("analyze")

    trio.run(fill)
    yield postgres.dsn(name)
    postgres.cluster.drop_database(name)


@pytest.fixture(params=["generic plan", "custom plan"])
async def watch(talks: str, request: pytest.FixtureRequest) -> AsyncIterator[Watch]:
    """Both ways in which a prepared statement may be planned."""
    async with open_island() as island, open_database(talks, island) as database:
        yield Watch(database, generic=request.param == "generic plan")


@pytest.mark.parametrize("question", QUESTIONS)
async def test_no_page_reads_a_large_table_from_end_to_end(watch: Watch, question: str) -> None:
    name, most, parameters = QUESTIONS[question]
    touched = await watch.touched(name, **parameters)
    assert touched.scanned.keys() & LARGE == set()
    assert sum(count for table, count in touched.rows.items() if table in LARGE) <= most, touched.rows
    assert touched.answer
