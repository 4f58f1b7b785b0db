"""What keeps a job out whatever GPUs are free: an ordered list of small rules, most severe first.

A gate looks at the head of a line and answers with a waiting code and its numbers, or None to let it pass; the first
answer counts. The trap: a gate may read of a job only what `lines.kind_of` tells apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dure.core.model import WHOLE_GPU_MILLI, Goal, Job, Lease, Platform, Team
from dure.core.queueing import limits
from dure.core.queueing.limits import NOTHING, Bounds, Holding, Limited
from dure.core.reasons import Waiting

Refusal = tuple[Waiting, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Holder:
    """A job that has GPUs, or gets them in this very plan.

    `ends_at` is when it should end, long ago where that is to be asked of `holds.Ends` each time.
    """

    job: Job
    lease: Lease
    ends_at: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Standing:
    """What gates may look at: the time, the platform, this month's money by team, who has GPUs now, other bounds.

    `holders` are by team and job id, and include what this very plan admitted so far; `changed` says that they did.
    `promised` are those for whom others leave: to limits they count as if they had their GPUs. `limited` are the teams
    that have any limit.
    """

    now: float
    platform: Platform
    spent: Mapping[str, float] = field(default_factory=dict)
    holders: Mapping[str, Mapping[str, Holder]] = field(default_factory=dict)
    bounds: Bounds = field(default_factory=Bounds)
    limited: Mapping[str, Team] = field(default_factory=dict)
    promised: dict[str, tuple[Job, Lease]] = field(default_factory=dict)
    _bound: dict[str, Limited] = field(default_factory=dict)

    def held(self) -> Iterator[tuple[Job, Lease]]:
        """Yield who has GPUs now, and which."""
        return ((holder.job, holder.lease) for some in self.holders.values() for holder in some.values())

    def holding(self, team: str, user: str) -> Mapping[str, Holding]:
        """Return what a team and one person of it hold, as `limits.levels` reads it."""
        held = self.bound(team).held
        return {"team": held[None], "user": held.get(user, NOTHING)}

    def bound(self, team: str) -> Limited:
        """Return what keeps the jobs of a limited team out, as it is now."""
        found = self._bound.get(team)
        if found is None:
            held = [(holder.job, holder.lease) for holder in self.holders.get(team, {}).values()]
            held += self.promised.values()
            now_held = limits.held_by(self.platform, team, held, self.now)
            found = self._bound[team] = Limited(self.limited[team], self.platform, self.bounds.past, now_held)
        return found

    def lets(self, job: Job) -> bool:
        """Return whether no limit of its team or person keeps the job out."""
        return job.team not in self.limited or self.bound(job.team).lets(job)

    def promise(self, job: Job, lease: Lease) -> None:
        """Let a job count that waits until others are gone."""
        self.promised[job.id] = (job, lease)
        self.changed(job.team)

    def changed(self, team: str) -> None:
        """Look again at who of a team has GPUs."""
        self._bound.pop(team, None)


FixedGate = Callable[[Job, Platform], Refusal | None]


def cancelling(job: Job, _platform: Platform) -> Refusal | None:
    """Refuse what is being cancelled."""
    return (Waiting.DEACTIVATED, {"why": "cancelling"}) if job.goal is Goal.CANCEL else None


def on_hold(job: Job, platform: Platform) -> Refusal | None:
    """Refuse what waits in a stopped queue."""
    for queue in platform.queues:
        if queue.team == job.team and queue.stopped:
            return Waiting.ON_HOLD, {"team": job.team, "queue": queue.name}
    return None


def known(job: Job, platform: Platform) -> Refusal | None:
    """Refuse what names a team, tier or environment that an edit of the platform file took away."""
    tier = job.request.tier
    if all(team.name != job.team for team in platform.teams):
        return Waiting.MISCONFIGURED, {"what": "team", "name": job.team}
    if tier is not None and all(one.name != tier for one in platform.tiers):
        return Waiting.MISCONFIGURED, {"what": "tier", "name": tier, "choices": [one.name for one in platform.tiers]}
    for level in (job.request.required_topology, job.request.preferred_topology):
        if level is not None and level not in platform.topology:
            return Waiting.MISCONFIGURED, {"what": "topology level", "name": level, "choices": [*platform.topology]}
    if all(one.name != job.environment for one in platform.environments):
        environments = sorted(environment.name for environment in platform.environments)
        return Waiting.MISCONFIGURED, {"what": "environment", "name": job.environment, "choices": environments}
    return None


def possible(job: Job, _platform: Platform) -> Refusal | None:
    """Refuse numbers of GPUs that cannot be: none, or more than one with a fraction."""
    gpus_milli = job.request.gpus_milli
    if gpus_milli <= 0 or (gpus_milli > WHOLE_GPU_MILLI and gpus_milli % WHOLE_GPU_MILLI):
        return Waiting.MISCONFIGURED, {"what": "gpus", "gpus_milli": gpus_milli}
    return None


FIXED: tuple[FixedGate, ...] = (cancelling, on_hold, known, possible)
"""Look at what is equal in a line and at the platform file alone: the answer stands as long as the line does."""


def fixed_refusal(job: Job, platform: Platform) -> Refusal | None:
    """Return what keeps all jobs of a line out as long as the platform file is as it is, or None."""
    return next((answer for gate in FIXED if (answer := gate(job, platform)) is not None), None)


def bar(job: Job, standing: Standing) -> Refusal | None:
    """Return what keeps out all that its person asks for like this until somebody of the team gets or gives GPUs."""
    team = standing.limited.get(job.team)
    return None if team is None else limits.bar(job, team, standing.holding(job.team, job.user))
