"""What was used by day, team and person; and reservations."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "usage",
        sa.Column("day", sa.Double(), nullable=False, autoincrement=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("gpu_s", sa.Double(), nullable=False),
        sa.Column("cost", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("day", "team", "user", name=op.f("pk_usage")),
    )
    op.create_table(
        "reservations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("user", sa.Text()),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("gpus_milli", sa.BigInteger(), nullable=False),
        sa.Column("begins_at", sa.Double(), nullable=False),
        sa.Column("ends_at", sa.Double(), nullable=False),
        sa.Column("grace_s", sa.Double(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("made_at", sa.Double(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("used_at", sa.Double()),
        sa.Column("freed_at", sa.Double()),
        sa.Column("freed_why", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reservations")),
    )
    op.create_index("ix_reservations_ends", "reservations", ["ends_at"])


def downgrade() -> None:
    op.drop_table("reservations")
    op.drop_table("usage")
