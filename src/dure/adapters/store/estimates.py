"""Estimates of starts in the database: small rows, written together, the oldest forgotten.

The trap: these writes do not pass by the event log's row, so they must never hold anything that a job's story needs.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from sqlalchemy import Connection, bindparam, delete, select

from dure.adapters.store.tables import estimates
from dure.core.forecast.record import Issued

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    Opened = Callable[[], AbstractContextManager[Connection]]

_DELETE = delete(estimates).where(
    estimates.c.job_id == bindparam("of_job"), estimates.c.number == bindparam("of_number")
)


class SqlEstimates:
    """ports.EstimateStore beside the jobs."""

    def __init__(self, reading: Opened, writing: Opened) -> None:
        self._reading = reading
        self._writing = writing

    def write(self, written: Sequence[Issued], dropped: Sequence[str], keep: int) -> None:
        """Put estimates on record, or over those of the same job and number; forget those of `dropped` jobs."""
        began = estimates.c.began_at
        oldest = select(began).where(began.is_not(None)).order_by(began.desc()).offset(keep).limit(1)
        with self._writing() as connection:
            if written:
                connection.execute(_DELETE, [{"of_job": one.job_id, "of_number": one.number} for one in written])
                connection.execute(estimates.insert(), [asdict(one) for one in written])
            if dropped:
                connection.execute(delete(estimates).where(estimates.c.job_id.in_(list(dropped))))
            connection.execute(delete(estimates).where(began <= oldest.scalar_subquery()))

    def recent(self, limit: int) -> Sequence[Issued]:
        """Return all open estimates and the newest of those that came true, at most `limit` of each, oldest first."""
        began, issued = estimates.c.began_at, estimates.c.issued_at
        settled = select(estimates).where(began.is_not(None)).order_by(began.desc()).limit(limit)
        unsettled = select(estimates).where(began.is_(None)).order_by(issued.desc()).limit(limit)
        with self._reading() as connection:
            rows = [*connection.execute(settled), *connection.execute(unsettled)]
        return sorted((Issued(*row) for row in rows), key=lambda one: (one.began_at or one.issued_at, one.number))
