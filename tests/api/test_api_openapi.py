"""The OpenAPI document: it says what the app does. schemathesis asks the real app, on the real database, whether so."""

from __future__ import annotations

from pathlib import Path

import orjson

from ent_notify.asgi.openapi import document
from ent_notify.asgi.routes import ROUTES
from ent_notify.cli.door import to_json

from .api_house import House

COMMITTED = Path(__file__).parents[2] / "docs/reference/openapi.json"


def test_the_committed_document_is_the_apps() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == to_json(document(ROUTES)) + "\n", (
        "write it again: ent-notify api openapi --output docs/reference/openapi.json"
    )


async def test_the_app_serves_it_for_the_place_where_it_is_mounted(house: House) -> None:
    got = await house.ask("GET", "/v1/openapi.json")
    assert got.status == 200 and got.json == orjson.loads(COMMITTED.read_bytes())
    got = await house.ask("GET", "/v1/openapi.json", root="/notify")
    assert got.json["servers"] == [{"url": "/notify"}]


def test_every_reference_leads_somewhere() -> None:
    text = COMMITTED.read_text(encoding="utf-8")
    schemas = document(ROUTES)["components"]["schemas"]
    used = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert used == set(schemas)
