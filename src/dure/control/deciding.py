"""The loop's decider, told of changed jobs only, and what people used before: everything that plans are made of.

The trap: a decider holds what it was told and not what was committed; whenever a write is refused it is thrown away
with everything else (`forget`), and made anew from what is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dure.core.model import TERMINAL, WHOLE_GPU_MILLI, Job, Platform
from dure.core.queueing.decide import Decider
from dure.core.queueing.limits import Bounds
from dure.core.queueing.order import Person, faded
from dure.core.queueing.plan import Plan
from dure.core.queueing.warm import Warm
from dure.ports import JobQuery, Store

DECIDE_ANEW_S = 5.0
HISTORY_JOBS = 5000


@dataclass(slots=True)
class PastUse:
    """GPU-seconds of ended jobs by person, fading with the platform's half-life.

    `amounts` are as they count at `since`. A job that ends after that, which is a decision ago, is counted as if it
    ended then.
    """

    half_life_s: float = 0.0
    since: float = 0.0
    amounts: dict[Person, float] = field(default_factory=dict)

    @classmethod
    def read(cls, store: Store, platform: Platform, now: float) -> PastUse:
        """Return the past use of the newest ended jobs."""
        past = cls(platform.queueing.half_life_s, now)
        if platform.queueing.fair_sharing and past.half_life_s > 0:
            for job in store.jobs(JobQuery(phases=tuple(sorted(TERMINAL)), limit=HISTORY_JOBS)):
                past.add(job)
        return past

    def add(self, job: Job) -> None:
        """Count a job that ended."""
        if job.ended_at is None or job.ran_s <= 0 or self.half_life_s <= 0:
            return
        gpu_s = job.request.gpus_milli / WHOLE_GPU_MILLI * job.ran_s
        key = (job.team, job.user)
        counted = faded(gpu_s, self.since - job.ended_at, self.half_life_s)
        self.amounts[key] = self.amounts.get(key, 0.0) + counted

    def at(self, now: float) -> Mapping[Person, float]:
        """Return what everyone's past use counts at a later time, from which amounts count from then on."""
        self.amounts = {key: faded(amount, now - self.since, self.half_life_s) for key, amount in self.amounts.items()}
        self.since = now
        return dict(self.amounts)


class Planner:
    """Makes plans while one process leads. `plan` is the last one, None until there is one."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self._decider: Decider | None = None
        self._changed: dict[str, Job] = {}
        self._past: PastUse | None = None
        self._warm = Warm()
        self._inputs: tuple[Any, ...] = ()
        self._at = float("-inf")

    def forget(self) -> None:
        """Throw away all that was told, after a write was refused."""
        self._decider = None
        self._changed.clear()
        self._inputs = ()

    def step_down(self) -> None:
        """Forget the plan and past use, too: another leads now."""
        self.forget()
        self.plan, self._past, self._warm = None, None, Warm()

    def tell(self, jobs: Iterable[Job]) -> None:
        """Take note of changed jobs, ended ones too."""
        for job in jobs:
            self._changed[job.id] = job

    def ended(self, jobs: Iterable[Job]) -> None:
        """Count what ended jobs used, once that is committed."""
        if self._past is not None:
            for job in jobs:
                self._past.add(job)

    def decide(  # noqa: PLR0917 -- what a decision is made of
        self,
        store: Store,
        platform: Platform,
        jobs: Mapping[str, Job],
        now: float,
        spent: Mapping[str, float],
        unavailable: frozenset[str],
        bounds: Bounds,
    ) -> Plan | None:
        """Return a new plan for all unfinished `jobs`, or None while the last one still holds."""
        if self._past is None:
            self._past = PastUse.read(store, platform, now)
        if self._decider is None or self._decider.platform is not platform:
            if self._past.half_life_s != platform.queueing.half_life_s:
                self._past = PastUse.read(store, platform, now)
            self._decider = Decider(platform, self._warm)
            self._changed = dict(jobs)
            self._inputs = ()
        inputs = (dict(spent), unavailable, bounds)
        if not self._changed and inputs == self._inputs and self._holds(now):
            return None
        for job in self._changed.values():
            self._decider.put(job)
        self._changed.clear()
        self._inputs, self._at = inputs, now
        self._decider.bounds = bounds
        return self._decider.decide(now, spent, unavailable, self._past.at(now))

    def _holds(self, now: float) -> bool:
        """Return whether nothing but a few seconds lies between the last plan and now."""
        plan = self.plan
        if plan is None or plan.admissions or plan.preemptions or not 0.0 <= now - self._at < DECIDE_ANEW_S:
            return False
        return plan.wake_at is None or now < plan.wake_at
