"""A decider that keeps by itself what the platform keeps beside it: accounts of use and the calendar of reservations.

Futures and replays drive it. The trap: limits by day and month see what has ended only through these accounts, and a
reservation that nobody uses ends only here; without them every day looks unused and every reservation stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dure.core.model import Job, Platform
from dure.core.queueing.decide import Decider
from dure.core.queueing.limits import Bounds
from dure.core.queueing.order import Person
from dure.core.queueing.plan import Plan
from dure.core.reservations import Unfolding
from dure.core.usage import Use, uses_of


class CountingDecider(Decider):
    """Adds to `bounds` what every job used that gives its GPUs back, and frees reservations that nobody uses.

    It must be told of jobs in order of time.
    """

    def __init__(self, platform: Platform, bounds: Bounds | None = None, *, explains: bool = True) -> None:
        super().__init__(platform, explains=explains)
        self.bounds = bounds or Bounds()
        self._calendar = Unfolding(self.bounds.reservations, platform)
        self._held: dict[str, Job] = {}
        self._uses: list[Use] = []

    def put(self, job: Job) -> None:
        """Take a new or changed job; one that has ended leaves."""
        if self.kept.limited:
            self._count(job)
        self._calendar.put(job)
        super().put(job)

    def decide(
        self,
        now: float,
        spent: Mapping[str, float] | None = None,
        unavailable: frozenset[str] = frozenset(),
        used: Mapping[Person, float] | None = None,
    ) -> Plan:
        """Return the plan for the jobs as they are, with what was used and reserved until now."""
        self.bounds = replace(self.bounds, reservations=self._calendar.at(now))
        if self._uses:
            self.bounds = replace(self.bounds, past=self.bounds.past.at(now).plus(self._uses))
            self._uses = []
        plan = super().decide(now, spent, unavailable, used)
        given_back_at = self._calendar.given_back_at()
        if given_back_at is None:
            return plan
        return replace(plan, wake_at=min(given_back_at, plan.wake_at or given_back_at))

    def _count(self, job: Job) -> None:
        before = self._held.pop(job.id, None)
        if job.phase.holds_gpus:
            self._held[job.id] = job
        elif before is not None and before.lease is not None:
            self._uses += uses_of(before, job.ended_at if job.ended_at is not None else job.queued_at)
