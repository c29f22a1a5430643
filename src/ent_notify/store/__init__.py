"""The store: PostgreSQL, embedded or not, through named queries."""

from ent_notify.store.database import Database, PoolLimits, Record, Session, Transaction, open_database
from ent_notify.store.migrate import check, migrate

__all__ = ["Database", "PoolLimits", "Record", "Session", "Transaction", "check", "migrate", "open_database"]
