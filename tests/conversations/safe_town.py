"""The town of conversations with a pupil-life office: Rosa (P32) works in it; Noa (P31) is the direction."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import trio
from tests.engine.conftest import Town

from ent_notify._island import open_island
from ent_notify.model.conversations import Circle, NewConversation, Scope, Shape
from ent_notify.model.inbox import Reader
from ent_notify.model.safety import Moderator
from ent_notify.store import open_database

from .conftest import CLASS, who

MINUTE = timedelta(minutes=1)
OFFICE = """
set search_path = ent_notify;
insert into person (id, external_id, source, profile, function, given_name, family_name, created_at)
overriding system value values (32, 'P32', 'test', 4, 'EDU', 'Rosa', 'Exemple', '2026-09-01');
insert into membership (group_id, person_id, valid_from)
select id, 32, '2026-09-01' from people_group where external_id = '0540001A/staff';
insert into device (person_id, provider, app, token, registered_at)
values (32, 'fcm', 'fr.ent', 'tok-32', '2026-09-01');
"""


def add_office(dsn: str, *more: str) -> str:
    """The town's database, once Rosa works there; ``more`` SQL follows."""

    async def fill() -> None:
        async with open_island() as island, open_database(dsn, island) as database:
            for sql in (OFFICE, *more):
                await database.script(sql)

    trio.run(fill)
    return dsn


async def moderators(town: Town) -> tuple[Moderator, Moderator, Moderator]:
    """The office, the direction, and whoever runs the platform."""
    safety = town.engine.safety
    rosa, noa = await who(town, "P32", "P31")
    return await safety.moderator(rosa), await safety.moderator(noa), safety.operator("operator")


async def direct(town: Town, author: Reader, to: str, body: str = "Un") -> int:
    """A direct conversation with one message."""
    new = NewConversation(shape=Shape.DIRECT, body=body, to=(to,))
    return (await town.engine.conversations.open(author, new))[0]


async def class_thread(town: Town, author: Reader, body: str = "Un") -> int:
    """A thread of the class and its guardians."""
    circles = (Circle(CLASS), Circle(CLASS, Scope.GUARDIANS))
    new = NewConversation(shape=Shape.CIRCLE, subject="Classe", body=body, circles=circles)
    return (await town.engine.conversations.open(author, new))[0]


async def work(town: Town) -> None:
    """Let the worker do what there is to do."""
    await town.engine.worker().run_until_idle()


async def inbox_types(town: Town, person: str) -> list[str]:
    """What somebody finds in their inbox, oldest first."""
    entries = await town.engine.inbox(await town.engine.reader(person), most=200)
    return [entry.type for entry in reversed(entries)]


async def outcome_of(act: Any, *arguments: Any, **named: Any) -> str:
    """``done``, or the class of the error."""
    try:
        await act(*arguments, **named)
    except Exception as error:  # noqa: BLE001 - which one it is, is what is asked
        return type(error).__name__
    return "done"
