"""The database: SQLite by default, PostgreSQL for many. `SqlStore` is all that others need."""

from dure.adapters.store.store import SqlStore

__all__ = ["SqlStore"]
