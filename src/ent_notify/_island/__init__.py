"""The island: the one place where asyncio runs. Everything else in the house is trio."""

from ent_notify._island.loop import Island, open_island

__all__ = ["Island", "open_island"]
