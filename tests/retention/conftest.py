"""The town of the engine's tests, with what forgetting needs beside it."""

from __future__ import annotations

from tests.engine.conftest import town, town_dsn

__all__ = ["town", "town_dsn"]
