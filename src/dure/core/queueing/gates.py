"""What keeps a job out whatever GPUs are free: an ordered list of small rules, most severe first.

A gate looks at the head of a line and answers with a waiting code and its numbers, or None to let it pass; the first
answer counts. The trap: a gate may read of a job only what `lines.kind_of` tells apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dure.core.model import WHOLE_GPU_MILLI, Goal, Job, Lease, Platform
from dure.core.queueing import limits
from dure.core.queueing.limits import Bounds
from dure.core.reasons import Waiting

Refusal = tuple[Waiting, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Holder:
    """A job that has GPUs, or gets them in this very plan."""

    job: Job
    lease: Lease


@dataclass(frozen=True, slots=True)
class Standing:
    """What gates may look at: the time, the platform, this month's money by team, who has GPUs now, other bounds.

    `holders` are by job id and include what this very plan admitted so far.
    """

    now: float
    platform: Platform
    spent: Mapping[str, float] = field(default_factory=dict)
    holders: Mapping[str, Holder] = field(default_factory=dict)
    bounds: Bounds = field(default_factory=Bounds)

    def held(self) -> Iterator[tuple[Job, Lease]]:
        """Yield who has GPUs now, and which."""
        return ((holder.job, holder.lease) for holder in self.holders.values())


Gate = Callable[[Job, Standing], Refusal | None]


def cancelling(job: Job, _standing: Standing) -> Refusal | None:
    """Refuse what is being cancelled."""
    return (Waiting.DEACTIVATED, {"why": "cancelling"}) if job.goal is Goal.CANCEL else None


def on_hold(job: Job, standing: Standing) -> Refusal | None:
    """Refuse what waits in a stopped queue."""
    for queue in standing.platform.queues:
        if queue.team == job.team and queue.stopped:
            return Waiting.ON_HOLD, {"team": job.team, "queue": queue.name}
    return None


def known(job: Job, standing: Standing) -> Refusal | None:
    """Refuse what names a team, tier or environment that an edit of the platform file took away."""
    platform, tier = standing.platform, job.request.tier
    if all(team.name != job.team for team in platform.teams):
        return Waiting.MISCONFIGURED, {"what": "team", "name": job.team}
    if tier is not None and all(one.name != tier for one in platform.tiers):
        return Waiting.MISCONFIGURED, {"what": "tier", "name": tier, "choices": [one.name for one in platform.tiers]}
    if all(one.name != job.environment for one in platform.environments):
        environments = sorted(environment.name for environment in platform.environments)
        return Waiting.MISCONFIGURED, {"what": "environment", "name": job.environment, "choices": environments}
    return None


def possible(job: Job, _standing: Standing) -> Refusal | None:
    """Refuse numbers of GPUs that cannot be: none, or more than one with a fraction."""
    gpus_milli = job.request.gpus_milli
    if gpus_milli <= 0 or (gpus_milli > WHOLE_GPU_MILLI and gpus_milli % WHOLE_GPU_MILLI):
        return Waiting.MISCONFIGURED, {"what": "gpus", "gpus_milli": gpus_milli}
    return None


def limited(job: Job, standing: Standing) -> Refusal | None:
    """Refuse what is over a limit of its team or person."""
    return limits.refusal(job, standing.platform, standing.bounds.past, standing.held(), standing.now)


GATES: tuple[Gate, ...] = (cancelling, on_hold, known, possible, limited)


def refusal(job: Job, standing: Standing) -> Refusal | None:
    """Return the first gate's answer that keeps the job out, or None when all let it pass."""
    for gate in GATES:
        answer = gate(job, standing)
        if answer is not None:
            return answer
    return None
