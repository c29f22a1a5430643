"""A school platform on FastAPI that publishes events and mounts the API for its own web and mobile clients.

Run it (ent-notify.toml or the environment as for the command line; see docs/api.md)::

    uvicorn examples.fastapi_backend.app:create_host --factory --port 8000

The engine runs on trio, on a thread of its own; it is opened and closed with this application.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import date
from typing import TYPE_CHECKING

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from ent_notify import Engine, HomeworkAssigned, PublishError, load_settings
from ent_notify.asgi import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Homework(BaseModel):
    """What a teacher gives, in the host's own terms."""

    id: int
    group: str
    subject: str
    title: str
    due: date


def create_host() -> FastAPI:
    """The host's application."""
    notify = create_app(load_settings())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Whatever else the host opens stands beside it.
        async with notify.lifespan():
            yield

    app = FastAPI(title="A school platform", lifespan=lifespan)
    app.mount("/notify", notify)

    @app.post("/homework", status_code=201)
    async def assign(homework: Homework) -> dict[str, int | bool]:
        """Keep it (not shown), and tell whom it concerns. Its id makes the key, so that a retry tells nobody twice."""
        event = HomeworkAssigned(
            key=f"homework-{homework.id}",
            group=homework.group,
            subject=homework.subject,
            title=homework.title,
            due=homework.due,
        )
        try:
            published = await notify.call(Engine.publish, event)
        except PublishError as refused:
            raise HTTPException(422, str(refused)) from refused
        return {"notification": published.notification, "created": published.created}

    return app
