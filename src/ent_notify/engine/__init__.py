"""The engine: what a host imports. It puts the house together and decides nothing.

::

    async with open_engine(settings) as engine:
        published = await engine.publish(HomeworkAssigned(key="hw-1", group="0541234A/class/6A", ...))
        await engine.worker().run()
"""

from ent_notify.engine.assembly import connect_channels
from ent_notify.engine.facade import Engine
from ent_notify.engine.opening import open_engine

__all__ = ["Engine", "connect_channels", "open_engine"]
