"""The town of the engine's tests, with the API on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import trio

from ent_notify._island import open_island
from ent_notify.asgi import create_app
from ent_notify.engine import open_engine
from ent_notify.settings import settings_from
from ent_notify.store import open_database

from .api_house import AUDIENCE, ISSUER, NOW, House, Signer, write_keys

TOWN = (Path(__file__).parents[1] / "engine/town.sql").read_text(encoding="utf-8")


class SetClock:
    """A clock that stands where it is put."""

    def __init__(self, at: datetime = NOW) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    async def sleep(self, seconds: float) -> None:
        """Time does not pass: whoever sleeps is woken by what happens, or not at all."""
        del seconds
        await trio.sleep_forever()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def town(dsn: str) -> str:
    """The address of a database with the town in it."""

    async def fill() -> None:
        async with open_island() as island, open_database(dsn, island) as database:
            await database.script(TOWN)

    trio.run(fill)
    return dsn


@pytest.fixture
def signer() -> Signer:
    return Signer("2026-09")


@pytest.fixture
def keys(tmp_path: Path, signer: Signer) -> Path:
    """The host's key set, as the settings name it."""
    file = tmp_path / "keys.json"
    write_keys(file, signer)
    return file


@pytest.fixture
def values(town: str, keys: Path) -> dict[str, Any]:
    """Settings of a host on the town."""
    return {
        "store": {"dsn": town},
        "project": {"url": ISSUER},
        "email": {"unsubscribe_key": "k" * 32},
        "gateway": {"origins": ["https://app.ent.example"]},
        "api": {"keys_file": str(keys), "issuer": ISSUER, "audience": AUDIENCE},
    }


Open = Callable[..., AbstractAsyncContextManager[House]]


@pytest.fixture
def open_house(values: dict[str, Any], signer: Signer, clock: SetClock) -> Open:
    """Opens the API on an engine of this trio run; ``groups`` of settings go over the usual ones."""

    @asynccontextmanager
    async def opened(**groups: dict[str, Any]) -> AsyncIterator[House]:
        chosen = {name: {**values.get(name, {}), **groups.get(name, {})} for name in values.keys() | groups.keys()}
        settings = settings_from(chosen)
        async with open_engine(settings, clock=clock) as engine:
            yield House(create_app(settings, engine=engine), engine, signer)

    return opened


@pytest.fixture
async def house(open_house: Open) -> AsyncIterator[House]:
    async with open_house() as house:
        yield house
