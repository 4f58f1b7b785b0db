"""Who goes first: people of a team by priority, then past use, then time; teams by Kueue's shares.

Past use is Kueue's AdmissionFairSharing with its half-life, at equal priority. The trap: a deadline changes the order
of waiting only; preemption compares priorities as they are in the platform file, so a deadline never stops anyone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from dure.core.burst import predicted_s
from dure.core.model import WHOLE_GPU_MILLI, Job, Platform
from dure.core.queueing.gates import Holder
from dure.core.queueing.meters import whole_us

ENTRY_S = 300.0
ENTRY_US = whole_us(ENTRY_S)
_HELD_PER_GPU_S = WHOLE_GPU_MILLI * whole_us(1.0)
_MIN_HORIZON_S = 3600.0
_MAX_AGE_HALF_LIVES = 60.0

Person = tuple[str, str]
"""(team, user): whose past use counts together; Kueue's LocalQueue."""


def faded(gpu_s: float, age_s: float, half_life_s: float) -> float:
    """Return what GPU-seconds used so long ago still count: half after each half-life, nothing without one."""
    if half_life_s <= 0:
        return 0.0
    half_lives = min(max(0.0, age_s) / half_life_s, _MAX_AGE_HALF_LIVES)
    return float(gpu_s * 0.5**half_lives)


def effective_priority(job: Job, platform: Platform, now: float) -> float:
    """Return the priority that the job waits with: a deadline lifts it towards the highest class as slack runs out.

    Least slack first (Dertouzos and Mok 1989), bounded: slack is deadline - now - predicted runtime; the lift begins
    when slack falls below twice the runtime (at least an hour) and is whole when none is left. Once the deadline has
    passed nothing is gained by going first, and the lift ends.
    """
    value = float(job.priority_value)
    if job.deadline_at is None or now >= job.deadline_at:
        return value
    runs_s = predicted_s(job, platform)
    slack_s, horizon_s = job.deadline_at - now - runs_s, max(2 * runs_s, _MIN_HORIZON_S)
    if slack_s >= horizon_s:
        return value
    top = max((one.value for one in platform.priorities), default=0)
    lift = 1.0 - max(0.0, slack_s) / horizon_s
    return value + max(0.0, top - value) * max(0.0, lift)


@dataclass(frozen=True, slots=True)
class Usage:
    """What each person used lately, in faded GPU-seconds, with what they hold now; entering costs at least ENTRY_S.

    `held` is in thousandths of a GPU x microseconds, and belongs to this decision: what its plan gives is entered.
    """

    platform: Platform
    now: float
    past: Mapping[Person, float]
    held: dict[Person, int] = field(default_factory=dict)

    def enter(self, holder: Holder) -> None:
        """Count a job that the plan gives GPUs."""
        self._add(holder, 1)

    def leave(self, holder: Holder) -> None:
        """Count a job no longer that the plan gave GPUs and takes them back from."""
        self._add(holder, -1)

    def _add(self, holder: Holder, sign: int) -> None:
        key = (holder.job.team, holder.job.user)
        self.held[key] = self.held.get(key, 0) + sign * holder.lease.gpus_milli * ENTRY_US

    def counts(self, team: str) -> bool:
        """Return whether past use orders the people of a team: not where the platform file gives no half-life."""
        policy, kueue = self.platform.queueing, self.platform.kueue
        if not policy.fair_sharing or policy.half_life_s <= 0:
            return False
        return kueue is None or team not in kueue.memoryless

    def of(self, team: str, user: str) -> float:
        """Return a person's use; 0 for everyone where it does not count."""
        if not self.counts(team):
            return 0.0
        person = (team, user)
        return self.past.get(person, 0.0) + self.held.get(person, 0) / _HELD_PER_GPU_S

    def key(self, job: Job) -> tuple[float, float, float, str]:
        """Return what the jobs of a team are ordered by."""
        return (
            -effective_priority(job, self.platform, self.now),
            self.of(job.team, job.user),
            job.submitted_at,
            job.id,
        )


def lifted_from(job: Job, platform: Platform) -> float:
    """Return when a deadline begins to lift the job's priority, no later than it does; never without a deadline."""
    if job.deadline_at is None:
        return math.inf
    runs_s = predicted_s(job, platform)
    return job.deadline_at - runs_s - max(2 * runs_s, _MIN_HORIZON_S) - 1.0
