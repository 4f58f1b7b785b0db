"""A decider that counts by itself what jobs use, as the platform's accounts do: futures and replays have none.

The trap: limits by day and month see what has ended only through these accounts; without them every day looks unused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from dure.core.model import Job, Platform
from dure.core.queueing.decide import Decider
from dure.core.queueing.order import Person
from dure.core.queueing.plan import Plan
from dure.core.usage import Use, uses_of


class CountingDecider(Decider):
    """Adds to its `bounds` what every job used that gives its GPUs back. It must be told of jobs in order of time."""

    def __init__(self, platform: Platform, *, explains: bool = True) -> None:
        super().__init__(platform, explains=explains)
        self._held: dict[str, Job] = {}
        self._uses: list[Use] = []

    def put(self, job: Job) -> None:
        """Take a new or changed job; one that has ended leaves."""
        if self.kept.limited:
            self._count(job)
        super().put(job)

    def decide(
        self,
        now: float,
        spent: Mapping[str, float] | None = None,
        unavailable: frozenset[str] = frozenset(),
        used: Mapping[Person, float] | None = None,
    ) -> Plan:
        """Return the plan for the jobs as they are, with what was used until now."""
        if self._uses:
            self.bounds = replace(self.bounds, past=self.bounds.past.at(now).plus(self._uses))
            self._uses = []
        return super().decide(now, spent, unavailable, used)

    def _count(self, job: Job) -> None:
        before = self._held.pop(job.id, None)
        if job.phase.holds_gpus:
            self._held[job.id] = job
        elif before is not None and before.lease is not None:
            self._uses += uses_of(before, job.ended_at if job.ended_at is not None else job.queued_at)
