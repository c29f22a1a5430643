"""The small town of the engine's tests, and the region of 20,000 people of the faults' tests."""

from __future__ import annotations

from tests.engine.conftest import town, town_dsn

__all__ = ["town", "town_dsn"]
