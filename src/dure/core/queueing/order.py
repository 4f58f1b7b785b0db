"""Who goes first: people of a team by priority, then past use, then time; teams by Kueue's shares.

Past use is Kueue's AdmissionFairSharing with its half-life, at equal priority. The trap: a deadline changes the order
of waiting only; preemption compares priorities as they are in the platform file, so a deadline never stops anyone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dure.core.burst import predicted_s
from dure.core.model import WHOLE_GPU_MILLI, Job, Platform
from dure.core.queueing.gates import Holder

ENTRY_S = 300.0
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


@dataclass(slots=True)
class Usage:
    """What each person used lately, in faded GPU-seconds, with what they hold now; entering costs at least ENTRY_S."""

    platform: Platform
    now: float
    past: Mapping[Person, float]
    _held: dict[Person, float] = field(default_factory=dict)

    def enter(self, holders: Iterable[Holder]) -> None:
        """Count jobs that have GPUs."""
        for holder in holders:
            self._add(holder, 1)

    def leave(self, holder: Holder) -> None:
        """Count a job no longer that the plan gave GPUs and takes them back from."""
        self._add(holder, -1)

    def _add(self, holder: Holder, sign: int) -> None:
        job = holder.job
        since = self.now if job.admitted_at is None or not job.phase.holds_gpus else job.admitted_at
        gpu_s = holder.lease.gpus_milli / WHOLE_GPU_MILLI * max(self.now - since, ENTRY_S)
        key = (job.team, job.user)
        self._held[key] = self._held.get(key, 0.0) + sign * gpu_s

    def of(self, team: str, user: str) -> float:
        """Return a person's use; 0 for everyone when the platform file gives no half-life."""
        if not self.platform.queueing.fair_sharing or self.platform.queueing.half_life_s <= 0:
            return 0.0
        if self.platform.kueue is not None and team in self.platform.kueue.memoryless:
            return 0.0
        return self.past.get((team, user), 0.0) + self._held.get((team, user), 0.0)

    def key(self, job: Job) -> tuple[float, float, float, str]:
        """Return what the jobs of a team are ordered by."""
        return (
            -effective_priority(job, self.platform, self.now),
            self.of(job.team, job.user),
            job.submitted_at,
            job.id,
        )
