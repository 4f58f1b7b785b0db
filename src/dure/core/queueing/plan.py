"""What `decide` reads and returns. The Queueing work replaces `decide`'s inside; these shapes stay.

The invariant, checked in `Plan.check`: placed and explained jobs together are exactly the queued ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dure.core.model import Job, Lease, Phase, Platform, Promise
from dure.core.queueing.limits import Bounds
from dure.core.queueing.warm import Warm
from dure.core.reasons import Verdict


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a decision may depend on. `spent` is each team's money this month; `now` is seconds since the epoch.

    `jobs` are all that have not ended; `unavailable` names clusters whose executor does not answer: nothing is
    placed there; `used` is each person's past use (team, name) in GPU-seconds, faded to `now`;
    `bounds` are what limits and reservations go by; `warm` is what earlier jobs read where, None for `jobs` only.
    """

    now: float
    platform: Platform
    jobs: tuple[Job, ...]
    spent: Mapping[str, float] = field(default_factory=dict)
    unavailable: frozenset[str] = frozenset()
    used: Mapping[tuple[str, str], float] = field(default_factory=dict)
    warm: Warm | None = None
    bounds: Bounds = field(default_factory=Bounds)


@dataclass(frozen=True, slots=True)
class Admission:
    """One job to admit now. `burst` holds the inputs of the burst decision when it goes to a public cluster."""

    job_id: str
    lease: Lease
    burst: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Preemption:
    """One job that must give its GPUs to the job `by`, and why: Kueue's reason, such as `InCohortReclamation`."""

    job_id: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, and why all else waits. `wake_at` is when time alone would change it: a burst falls due.

    `changed` are the waiting jobs whose recorded reason is not the code of their verdict; `overdrawn` the teams whose
    soft budget is used up: their jobs run after everybody else's. `promises` are made to those for whom `preemptions`
    are. A plan that gives GPUs stops nobody, for it changes who goes first: `again` when the next one may.
    """

    admissions: tuple[Admission, ...] = ()
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    wake_at: float | None = None
    preemptions: tuple[Preemption, ...] = ()
    changed: tuple[str, ...] = ()
    overdrawn: frozenset[str] = frozenset()
    promises: Mapping[str, Promise] = field(default_factory=dict)
    again: bool = False

    def check(self, snapshot: Snapshot) -> None:
        """Raise AssertionError unless placed and explained jobs are exactly the queued ones, each once."""
        placed = [admission.job_id for admission in self.admissions]
        queued = {job.id for job in snapshot.jobs if job.phase is Phase.QUEUED}
        if (
            len(set(placed)) != len(placed)
            or set(placed) & set(self.verdicts)
            or set(placed) | set(self.verdicts) != queued
        ):
            raise AssertionError(
                f"placed {placed} and explained {sorted(self.verdicts)} are not exactly queued {sorted(queued)}"
            )
