"""The small town of the engine's tests, where Lou (P21) teaches 6A and Noa (P31) is the head of its school."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from tests.engine.conftest import Town, open_town, town_dsn

from ent_notify._island import open_island
from ent_notify.model.inbox import Reader
from ent_notify.store import open_database

__all__ = ["town_dsn"]

SCHOOL, OTHER, CLASS = "0540001A", "0540002B", "0540001A/class/6A"
TAUGHT = """
insert into ent_notify.membership (group_id, person_id, valid_from)
select id, 21, '2026-09-01' from ent_notify.people_group where external_id = '0540001A/class/6A';
update ent_notify.person set function = 'DIR' where id = 31;
"""


@pytest.fixture
def taught_dsn(town_dsn: str) -> str:
    """The town's database, once its class is taught."""

    async def teach() -> None:
        async with open_island() as island, open_database(town_dsn, island) as database:
            await database.script(TAUGHT)

    trio.run(teach)
    return town_dsn


@pytest.fixture
async def town(taught_dsn: str) -> AsyncIterator[Town]:
    """The engine on it."""
    async with open_town(taught_dsn) as town:
        yield town


async def who(town: Town, *names: str) -> list[Reader]:
    """Readers by external id."""
    return [await town.engine.reader(name) for name in names]


async def bodies(town: Town, conversation: int, reader: Reader) -> list[str]:
    """What a reader sees of a conversation."""
    return [message.body for message in await town.engine.conversations.messages(conversation, reader)]


async def told(town: Town, **asked: Any) -> dict[str, list[int]]:
    """Who finds which messages (seq) of any conversation in their inbox, after the worker has worked."""
    await town.engine.worker(**asked).run_until_idle()
    found: dict[str, list[int]] = {}
    for number in (1, 2, 3, 4, 5, 11, 12, 13, 14, 15, 21, 22, 31):
        reader = await town.engine.reader(f"P{number}")
        entries = [e for e in await town.engine.inbox(reader) if e.type in ("MessagePosted", "Withdrawn")]
        if entries:
            found[f"P{number}"] = [entry.data.get("conversation", 0) for entry in entries]
    return found
