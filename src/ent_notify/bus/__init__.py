"""The bus: hints from whoever changed something to whoever shows it, so that nobody has to wait for the next poll.

``process`` within one process, ``postgres`` by LISTEN and NOTIFY, ``nats`` between many nodes. All of them may lose,
double and reorder hints: the feed's cursor is the truth. ``wire`` is what a hint looks like outside a process.
"""

from ent_notify.bus.postgres import PostgresBus
from ent_notify.bus.process import ProcessBus

__all__ = ["PostgresBus", "ProcessBus"]
