"""The database's tables. A job is one JSON document, beside it the columns that queries need and the large parts.

The trap: these definitions and migrations/versions must say the same, and REVISION must be the newest of those;
tests/contracts/test_store_migrations.py compares them. Why JSON lies in text columns: docs/decisions/0003-store.md.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

REVISION = "0005"
HEAD_ROW = 1

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user", Text, nullable=False),
    Column("team", Text, nullable=False),
    Column("request_key", Text),
    Column("phase", Text, nullable=False),
    Column("goal", Text, nullable=False),
    Column("submitted_at", Double, nullable=False),
    Column("queued_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("cost", Double, nullable=False),
    Column("version", BigInteger, nullable=False),
    # All of the job but the three parts below, which may be megabytes and are read for one job at a time.
    Column("document", Text, nullable=False),
    Column("blobs", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("result", Text),
    UniqueConstraint("user", "request_key"),
)
# Each ends in the order of listing, so that a page is read from the index alone.
Index("ix_jobs_submitted", jobs.c.submitted_at, jobs.c.id)
Index("ix_jobs_phase", jobs.c.phase, jobs.c.submitted_at, jobs.c.id)
Index("ix_jobs_user", jobs.c.user, jobs.c.submitted_at, jobs.c.id)
Index("ix_jobs_team", jobs.c.team, jobs.c.submitted_at, jobs.c.id)
# Holds ended jobs only and covers `spent`, which sums a month of them.
Index(
    "ix_jobs_ended",
    jobs.c.ended_at,
    jobs.c.team,
    jobs.c.cost,
    sqlite_where=jobs.c.ended_at.is_not(None),
    postgresql_where=jobs.c.ended_at.is_not(None),
)

events = Table(
    "events",
    metadata,
    # In SQLite only INTEGER is the row's own number, which needs no second index.
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("team", Text),
    Column("data", Text, nullable=False),
    Index("ix_events_subject", "subject", "seq"),
)

# One row: who leads, and the log's last number. Every writer updates it first, so it is also the one write lock.
head = Table(
    "head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("holder", Text),
    Column("until", Double, nullable=False),
    CheckConstraint(f"id = {HEAD_ROW}", name="one_row"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user", Text, nullable=False),
    Column("team", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("used_at", Double, nullable=False),
    Column("newest", Integer, nullable=False),
    Column("shared", Text, nullable=False),
    UniqueConstraint("user", "team", "name"),
)
Index("ix_sessions_used", sessions.c.used_at)

# What a version holds lies in the team's blobs; `document` is the digest of what describes it.
session_versions = Table(
    "session_versions",
    metadata,
    Column("session", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("parent", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("kernel", Text, nullable=False),
    Column("cell", Integer, nullable=False),
    Column("document", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("new_bytes", BigInteger, nullable=False),
    Column("variables", Integer, nullable=False),
    Column("unsaved", Integer, nullable=False),
    Column("python", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("origin", Integer),
    Column("changed", Text, nullable=False, server_default=""),
)

# What attempts that ended used, by UTC day.
usage = Table(
    "usage",
    metadata,
    Column("day", Double, primary_key=True),
    Column("team", Text, primary_key=True),
    Column("user", Text, primary_key=True),
    Column("gpu_s", Double, nullable=False),
    Column("cost", Double, nullable=False),
)

# GPUs that are kept for somebody for a while; `freed_at` is when it was given up or went unused.
reservations = Table(
    "reservations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("team", Text, nullable=False),
    Column("user", Text),
    Column("tier", Text, nullable=False),
    Column("gpus_milli", BigInteger, nullable=False),
    Column("begins_at", Double, nullable=False),
    Column("ends_at", Double, nullable=False),
    Column("grace_s", Double, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("made_at", Double, nullable=False),
    Column("note", Text, nullable=False),
    Column("used_at", Double),
    Column("freed_at", Double),
    Column("freed_why", Text),
    Index("ix_reservations_ends", "ends_at"),
)

# What was estimated of a job's start, and when it really began.
estimates = Table(
    "estimates",
    metadata,
    Column("job_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("issued_at", Double, nullable=False),
    Column("raw50_s", Double, nullable=False),
    Column("raw90_s", Double, nullable=False),
    Column("p50_s", Double, nullable=False),
    Column("p90_s", Double, nullable=False),
    Column("began_at", Double),
    Index("ix_estimates_began", "began_at"),
)
