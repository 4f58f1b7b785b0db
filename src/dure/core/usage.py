"""What people used: GPU-seconds and money by day, team and person, counted when an attempt gives its GPUs back.

Days and months are UTC's. What runs is not in here yet: whoever compares with a limit adds it. The trap: an attempt
that runs over midnight counts on both days, so what a day shows may grow until its last attempts have ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from dure.core.model import WHOLE_GPU_MILLI, Job
from dure.core.pricing import cost_of

DAY_S = 86_400.0
HOUR_S = 3_600.0

Whose = tuple[str, str | None]
"""A team and one of its people, or None for all of them."""


@dataclass(frozen=True, slots=True)
class Use:
    """What one person used for a team on the UTC day that began at `day` (seconds since the epoch)."""

    day: float
    team: str
    user: str
    gpu_s: float
    cost: float


@dataclass(frozen=True, slots=True)
class Account:
    """What was used today and this month, in GPU-seconds and money."""

    day_gpu_s: float = 0.0
    month_gpu_s: float = 0.0
    month_cost: float = 0.0


@dataclass(frozen=True, slots=True)
class Past:
    """Everyone's account in the day and the month that a decision lies in; an absent one has used nothing."""

    day: float = 0.0
    month: float = 0.0
    accounts: Mapping[Whose, Account] = field(default_factory=dict)

    def of(self, team: str, user: str | None = None) -> Account:
        """Return the account of a team, or of one of its people."""
        return self.accounts.get((team, user), _NOTHING)

    def at(self, now: float) -> Past:
        """Return the accounts as they are at a later time if nothing more is used: a new day and month begin empty."""
        day, month = day_of(now), month_of(now)
        if day == self.day:
            return self
        if month != month_of(self.day):
            return Past(day, month)
        return Past(day, self.month, {whose: replace(one, day_gpu_s=0.0) for whose, one in self.accounts.items()})

    def plus(self, uses: Iterable[Use]) -> Past:
        """Return the accounts with uses added; those of an earlier month are passed over."""
        accounts = {**self.accounts}
        for use in uses:
            today_gpu_s = use.gpu_s if use.day == self.day else 0.0
            for whose in ((use.team, None), (use.team, use.user)) if use.day >= self.month else ():
                one = accounts.get(whose, _NOTHING)
                accounts[whose] = Account(
                    one.day_gpu_s + today_gpu_s, one.month_gpu_s + use.gpu_s, one.month_cost + use.cost
                )
        return Past(self.day, self.month, accounts)


_NOTHING = Account()


def day_of(at: float) -> float:
    """Return when the UTC day of `at` began."""
    return at // DAY_S * DAY_S


def month_of(at: float) -> float:
    """Return when the UTC month of `at` began: budgets begin anew there."""
    first = datetime.fromtimestamp(at, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first.timestamp()


def next_month(at: float) -> float:
    """Return when the UTC month after that of `at` begins."""
    return month_of(month_of(at) + 32 * DAY_S)


def uses_of(job: Job, until: float) -> tuple[Use, ...]:
    """Return what the job's present attempt used from its admission to `until`, one for each day."""
    lease, since = job.lease, job.admitted_at
    if lease is None or since is None:
        return ()
    found = []
    while since < until:
        day = day_of(since)
        end = min(until, day + DAY_S)
        gpu_s = lease.gpus_milli / WHOLE_GPU_MILLI * (end - since)
        found.append(Use(day, job.team, job.user, gpu_s, cost_of(lease, end - since)))
        since = end
    return tuple(found)


class Ledger:
    """The uses of one month, summed as they come."""

    def __init__(self, month: float, uses: Iterable[Use] = ()) -> None:
        self.month = month
        self._days: dict[tuple[float, Whose], float] = {}
        self._months: dict[Whose, tuple[float, float]] = {}
        for use in uses:
            self.add(use)

    def add(self, use: Use) -> None:
        """Count a use; one of an earlier month is passed over."""
        if use.day < self.month:
            return
        for whose in ((use.team, None), (use.team, use.user)):
            key = (use.day, whose)
            self._days[key] = self._days.get(key, 0.0) + use.gpu_s
            gpu_s, cost = self._months.get(whose, (0.0, 0.0))
            self._months[whose] = (gpu_s + use.gpu_s, cost + use.cost)

    def past(self, now: float) -> Past:
        """Return everyone's account as of `now`, which lies in the ledger's month."""
        day = day_of(now)
        accounts = {
            whose: Account(self._days.get((day, whose), 0.0), gpu_s, cost)
            for whose, (gpu_s, cost) in self._months.items()
        }
        return Past(day, self.month, accounts)
