"""The store: PostgreSQL, embedded or not, through named queries."""

from ent_notify.store.database import Database, PoolLimits, Record, Session, Transaction
from ent_notify.store.migrate import check, migrate
from ent_notify.store.opening import open_database

__all__ = ["Database", "PoolLimits", "Record", "Session", "Transaction", "check", "migrate", "open_database"]
