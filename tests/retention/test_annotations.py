"""Every table and column is annotated, and the record of processing says what the annotations say."""

from __future__ import annotations

from pathlib import Path

import pytest

from ent_notify.engine.register import register_page
from ent_notify.errors import StoreError
from ent_notify.model.retention import Kept
from ent_notify.settings import ProjectSettings, RetentionSettings, Settings
from ent_notify.store import Database
from ent_notify.store.personal_data import live_columns, personal_data, read_annotations, uncovered
from ent_notify.store.rights import EXPORTED, NOT_EXPORTED
from ent_notify.store.sql import Query

PAGE = Path(__file__).parents[2] / "docs/reference/register.md"


async def test_every_table_and_column_of_the_schema_is_annotated(database: Database) -> None:
    changes = uncovered(await live_columns(database), personal_data().tables.values())
    assert changes == [], "src/ent_notify/store/personal_data.toml:\n" + "\n".join(changes)


async def test_what_is_new_or_gone_is_said_with_what_to_add(database: Database) -> None:
    await database.script(
        "create table ent_notify.diary (person_id int, entry text);"
        " alter table ent_notify.person add column nickname text;"
        " alter table ent_notify.school drop column join_id; drop table ent_notify.zone cascade;"
    )
    changes = uncovered(await live_columns(database), personal_data().tables.values())
    assert len(changes) == 4
    assert any("[table.diary]" in each and 'other = ["person_id", "entry"]' in each for each in changes)
    assert (
        "column person.nickname is not annotated; add it to [table.person], as personal with its kind, or to other"
        in changes
    )
    assert "column school.join_id is annotated and not there; take it out of [table.school]" in changes
    assert "table zone is annotated and not there; take out [table.zone]" in changes


async def test_columns_that_are_said_to_hold_people_do(database: Database) -> None:
    """Each is a number or a list of numbers, and every column whose name says so is among the personal ones."""
    rows = await database.fetch(
        Query("test.types", "", "select table_name::text, column_name::text, data_type::text "
              "from information_schema.columns where table_schema = 'ent_notify'", ())
    )  # fmt: skip
    types = {(row["table_name"], row["column_name"]): row["data_type"] for row in rows}
    for table in personal_data().tables.values():
        for column in table.people:
            assert types[table.name, column] in ("integer", "bigint"), (table.name, column)
            assert column in table.personal, (table.name, column)
        named = {c for c in table.columns if c in ("person_id", "pupil_id", "guardian_id", "author_id", "email")}
        assert named <= table.personal.keys(), table.name


def test_a_class_of_an_annotation_is_one_that_runs_remove() -> None:
    words = {
        table.kept for table in personal_data().tables.values() if " " not in table.kept and table.kept != "always"
    }
    assert words <= {kept.value for kept in Kept}
    assert words >= {"delivery", "inbox", "messages", "leavers", "audit", "proofs"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            ('purpose = "accounts"\npeople = ["id"]', 'purpose = "fun"\npeople = ["id"]'),
            "purpose 'fun' is not described",
        ),
        (('email = "contact"', 'email = "magic"'), "kind .*magic.* is not described"),
        (('other = ["source",', 'other = ["email", "source",'), "email stands in both"),
    ],
)
def test_an_annotation_that_says_nothing_is_refused(change: tuple[str, str], complaint: str) -> None:
    from ent_notify.store.personal_data import FILE

    text = FILE.read_text(encoding="utf-8")
    assert change[0] in text
    with pytest.raises(StoreError, match=complaint):
        read_annotations(text.replace(*change))


def test_the_record_of_processing_is_as_written_down() -> None:
    assert PAGE.read_text(encoding="utf-8") == register_page(Settings()), (
        "run `ent-notify gdpr register --output docs/reference/register.md`"
    )


def test_the_record_carries_the_projects_name_and_figures() -> None:
    page = register_page(Settings(project=ProjectSettings(name="MBN"), retention=RetentionSettings(inbox_days=60)))
    assert "Service: MBN" in page
    assert "| inbox | kept for 60 days" in page
    assert "`person` | id: `id`, `external_id`; identity: `profile`" in page
    assert "Arrêté du 30 novembre 2006, art. 6" in page


def test_every_table_with_peoples_rows_is_in_an_export_or_says_why_not() -> None:
    exported = {table for tables in EXPORTED.values() for table in tables}
    people = {table.name for table in personal_data().tables.values() if table.people}
    assert people - exported - NOT_EXPORTED.keys() == set(), "say in store/rights.py which part of an export has it"
    assert exported & NOT_EXPORTED.keys() == set()
    assert exported | NOT_EXPORTED.keys() <= personal_data().tables.keys()
