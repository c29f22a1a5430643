"""A gateway with its admin port and the operator page, on the town's engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import trio
from pages_house import TOWN
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from ent_notify.engine import Engine, open_engine
from ent_notify.gateway import Gateway, Router
from ent_notify.gateway.operator import OperatorPage
from ent_notify.gateway.supervisor import reserved
from ent_notify.policy.pause import PauseHours
from ent_notify.settings import GatewaySettings, Settings, StoreSettings

KEY = "k" * 40


@dataclass
class OperatorHouse:
    """``url`` is the admin port's, ``public`` the other's."""

    engine: Engine
    url: str
    public: str

    async def ask(self, path: str, body: object = None, key: str = KEY, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient() as client:
            method = "GET" if body is None else "POST"
            given = {"authorization": f"Bearer {key}", **headers}
            return await client.request(method, f"{self.url}/operator{path}", json=body, headers=given)


@asynccontextmanager
async def open_operator(dsn: str, *, works: bool = True) -> AsyncIterator[OperatorHouse]:
    """The town, its engine, a gateway, and a worker when it ``works``."""
    with reserved("127.0.0.1", 0) as admin:
        pass
    async with open_engine(Settings(store=StoreSettings(dsn=SecretStr(dsn)))) as engine:
        await engine.db.script(TOWN.read_text(encoding="utf-8"))
        router = Router()
        gateway = Gateway(
            engine.feed,
            settings=GatewaySettings(port=0, admin_port=admin, drain_seconds=1),
            clock=engine.clock,
            registry=CollectorRegistry(),
            admin=router,
        )
        OperatorPage(engine, KEY, gateway.statistics).add_to(router)
        async with trio.open_nursery() as nursery:
            if works:
                nursery.start_soon(engine.worker("operator", pause=PauseHours(enabled=False)).run)
            port = await nursery.start(gateway.run)
            yield OperatorHouse(engine, f"http://127.0.0.1:{admin}", f"http://127.0.0.1:{port}")
            nursery.cancel_scope.cancel()
