"""What Alembic runs for each command: our migrations, on the connection and in the transaction of `upgrading`."""

from alembic import context

from dure.adapters.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can undo DDL too, since our connections begin their transactions themselves.
    transactional_ddl=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
