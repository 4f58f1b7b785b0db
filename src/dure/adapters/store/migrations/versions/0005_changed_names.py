"""Which names each version of a session changed, shortly."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("session_versions", sa.Column("changed", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("session_versions", "changed")
