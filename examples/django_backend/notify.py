"""The engine of this process, for plain Django code: views, admin, commands, Celery tasks.

It is opened by the first call in each process, so a server that imports this module and then forks does no harm.
"""

from __future__ import annotations

from ent_notify import load_settings
from ent_notify.hosts import ProcessHost

notify = ProcessHost(load_settings)
