"""An empty database is brought up to date, and says the same as the table definitions; a newer one is left alone."""

import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

from dure.adapters.store import SqlStore, tables
from dure.adapters.store.upgrading import MIGRATIONS, config
from dure.ports import StoreNewerError
from tests.contracts.jobs import a_job, submit
from tests.contracts.test_store_sessions import a_version, save


def test_migrations_and_table_definitions_say_the_same(store):
    with store._writer.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []


def test_sqlite_indexes_and_constraints_say_the_same_to_the_letter(tmp_path):
    """Alembic's comparison does not look at partial indexes and checks."""
    SqlStore(f"sqlite:///{tmp_path / 'migrated.db'}").migrate()
    tables.metadata.create_all(create_engine(f"sqlite:///{tmp_path / 'defined.db'}"))
    assert definitions(tmp_path / "migrated.db") == definitions(tmp_path / "defined.db")


def definitions(path):
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE tbl_name NOT LIKE 'alembic%'").fetchall()
    connection.close()
    # The order of a table's parts carries no meaning, nor do its lines.
    return {name: sorted(part.strip() for part in re.split("[,\n]", sql or "") if part.strip()) for name, sql in rows}


def test_the_newest_migration_is_what_the_code_expects():
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == tables.REVISION


def test_migrating_again_changes_nothing(store):
    submit(store, a_job())
    store.migrate()
    assert store.job("j-00000001") == a_job()


def test_what_was_saved_before_versions_told_what_they_changed_tells_nothing(store):
    save(store, 1)
    with store._writer.begin() as connection:
        command.downgrade(config(connection), "0004")
    store.migrate()
    assert list(store.sessions.versions(["s-1"])) == [replace(a_version(1), changed="")]


def test_many_that_start_at_once_migrate_once(store_url):
    stores = [SqlStore(store_url) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(SqlStore.migrate, stores))
    assert stores[0].last_seq() == 0
    for store in stores:
        store.close()


def test_going_back_leaves_no_table_of_ours(store):
    with store._writer.begin() as connection:
        command.downgrade(config(connection), "base")
    with store._writer.connect() as connection:
        assert set(inspect(connection).get_table_names()) == {"alembic_version"}


def test_a_database_of_a_newer_dure_is_refused_and_left_alone(store):
    submit(store, a_job())
    with store._writer.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreNewerError, match=r"newer Dure .*revision 9999.*pip install -U dure"):
        store.migrate()
    assert store.job("j-00000001") == a_job()


def test_a_failing_migration_leaves_the_database_as_it_was(store_url, monkeypatch):
    store = SqlStore(store_url)

    def fails(*_, **__):
        raise RuntimeError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr("alembic.operations.ops.BulkInsertOp.bulk_insert", fails)
        with pytest.raises(RuntimeError, match="power cut"):
            store.migrate()
    with store._writer.connect() as connection:
        assert inspect(connection).get_table_names() == []
    store.migrate()
    assert store.last_seq() == 0
    store.close()
