"""Named queries: every one described, known to PostgreSQL, and strict about its parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
from prepared_queries import misunderstood

from ent_notify.errors import StoreError
from ent_notify.store import Database
from ent_notify.store.sql import queries, query, read_queries


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one file of queries."""
    (tmp_path / "people.sql").write_text(
        """
-- name: of_class
-- Who is in a class at an instant.
-- More about it.
select person_id, ':not_one' from membership
where group_id = :class_id::int and valid_from <= :now and :now < valid_until;

-- name: all$
-- How many there are.
select count(*) from person;
"""
    )
    return tmp_path


def test_a_query_is_ready_for_the_wire(folder: Path) -> None:
    found = read_queries(folder)
    assert set(found) == {"people.of_class", "people.all"}
    of_class = found["people.of_class"]
    assert of_class.description == "Who is in a class at an instant."
    assert of_class.parameters == ("class_id", "now")
    assert "group_id = $1::int and valid_from <= $2 and $2 < valid_until" in of_class.sql
    assert "':not_one'" in of_class.sql
    assert of_class.bind({"now": 2, "class_id": 1}) == (1, 2)


def test_a_missing_or_superfluous_parameter_is_named(folder: Path) -> None:
    of_class = read_queries(folder)["people.of_class"]
    with pytest.raises(StoreError, match=r"people.of_class needs the parameter 'now'; it takes class_id, now"):
        of_class.bind({"class_id": 1})
    with pytest.raises(StoreError, match=r"people.of_class has no parameter school; it takes class_id, now"):
        of_class.bind({"class_id": 1, "now": 2, "school": 3})
    with pytest.raises(StoreError, match=r"needs the parameter 'class_id'"):
        of_class.bind({"klass_id": 1, "now": 2})


def test_a_name_given_twice_is_refused(folder: Path) -> None:
    with (folder / "people.sql").open("a") as more:
        more.write("\n-- name: all$\n-- Again.\nselect 1;\n")
    with pytest.raises(StoreError, match="two queries are named"):
        read_queries(folder)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(StoreError, match=r"there is no query 'people.nobody'"):
        query("people.nobody")


def test_every_query_is_described_in_one_sentence() -> None:
    assert queries()
    undescribed = [name for name, found in queries().items() if not found.description.endswith(".")]
    assert undescribed == []


async def test_every_query_is_understood_by_the_migrated_database(database: Database) -> None:
    assert await misunderstood(database) == {}
