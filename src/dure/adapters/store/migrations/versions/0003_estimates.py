"""Estimates of starts, and what became of them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "estimates",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("issued_at", sa.Double(), nullable=False),
        sa.Column("raw50_s", sa.Double(), nullable=False),
        sa.Column("raw90_s", sa.Double(), nullable=False),
        sa.Column("p50_s", sa.Double(), nullable=False),
        sa.Column("p90_s", sa.Double(), nullable=False),
        sa.Column("began_at", sa.Double()),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_estimates"),
    )
    op.create_index("ix_estimates_began", "estimates", ["began_at"])


def downgrade() -> None:
    op.drop_table("estimates")
