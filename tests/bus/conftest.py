"""The small town, for readers of the live feed."""

from __future__ import annotations

from tests.engine.conftest import town_dsn

__all__ = ["town_dsn"]
