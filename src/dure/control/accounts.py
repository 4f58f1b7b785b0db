"""Keeps what everyone used while one process leads: read from the store once, then counted as attempts end.

The trap: a use is written in the transaction that ends the attempt, and counted here only once that is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dure.core.model import Job
from dure.core.usage import Ledger, Past, Use, day_of, uses_of
from dure.ports import Store


class Accounts:
    """This month's uses. `forget` them when another leads or a write was refused."""

    def __init__(self, store: Store, month_start: Callable[[float], float]) -> None:
        self._store = store
        self._month_start = month_start
        self._ledger: Ledger | None = None
        self._past: Past | None = None

    def forget(self) -> None:
        """Read anew when asked next."""
        self._ledger = self._past = None

    def past(self, now: float) -> Past:
        """Return everyone's account as of `now`; the same object until it changes."""
        month = self._month_start(now)
        if self._ledger is None or self._ledger.month != month:
            self._ledger, self._past = Ledger(month, self._store.uses(month)), None
        if self._past is None or self._past.day != day_of(now):
            self._past = self._ledger.past(now)
        return self._past

    def committed(self, uses: Iterable[Use]) -> None:
        """Count uses that are in the store now."""
        for use in uses:
            self._past = None
            if self._ledger is not None:
                self._ledger.add(use)


def uses_between(before: Job, after: Job, now: float) -> tuple[Use, ...]:
    """Return what the attempt that ended between two states of a job used, nothing while it goes on."""
    if not before.phase.holds_gpus or (after.phase.holds_gpus and after.attempt == before.attempt):
        return ()
    return uses_of(before, now)
