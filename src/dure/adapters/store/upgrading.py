"""Brings the database's tables up to what this version of Dure expects, with the migrations inside the package.

The whole upgrade is one transaction under the write lock, so a second process waits for the first, and a kill leaves
the old version. The trap: Alembic is imported only when there is something to do, because it costs a start 0.2 s.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from dure.adapters.store.tables import REVISION
from dure.ports import StoreNewerError

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Engine

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x44555245  # "DURE": any number that nobody else locks in this database


def upgrade(writer: Engine) -> None:
    """Bring the database behind `writer` to REVISION; raises StoreNewerError when it is past that already."""
    with writer.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        found = _revision(connection)
        if found == REVISION:
            return
        _migrate(connection, found)


def config(connection: Connection) -> Config:
    """Return what Alembic needs to know to run our migrations on `connection`."""
    from alembic.config import Config

    settings = Config()
    # Alembic reads this through configparser, which gives "%" a meaning.
    settings.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    settings.set_main_option("path_separator", "os")
    settings.attributes["connection"] = connection
    return settings


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _migrate(connection: Connection, found: str | None) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory

    settings = config(connection)
    known = {script.revision for script in ScriptDirectory.from_config(settings).walk_revisions()}
    if found is not None and found not in known:
        raise StoreNewerError(
            f"The database was written by a newer Dure (its tables are at revision {found}, this Dure knows up to "
            f"{REVISION}): install that newer Dure again with `pip install -U dure`; nothing was changed."
        )
    command.upgrade(settings, REVISION)
