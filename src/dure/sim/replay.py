"""Replays a trace under a policy: plain ones by their own fast code, platform files by the production decisions.

The same decider that runs the platform decides here, driven by simulated time. The trap: what the platform believes
of a job's run time and how long it truly runs are two things; the trace's run time is the truth, and the belief is the
trace's prediction, or the truth with the error asked for.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dure.core.forecast.calibration import Calibration
from dure.core.model import (
    WHOLE_GPU_MILLI,
    Budget,
    BudgetMode,
    ClusterKind,
    Job,
    Kind,
    Platform,
    Request,
)
from dure.core.queueing.counting import CountingDecider
from dure.core.queueing.forward import Step, What, Work, World, forward
from dure.core.queueing.limits import Bounds
from dure.core.reservations import Reservation
from dure.core.usage import month_of
from dure.sim.plain import PLAIN, Task, Turn
from dure.sim.policies import Policy
from dure.sim.traces import Trace, TraceJob

_LOOKS_EVERY_S = 60.0

Progress = Callable[[int], None]
"""Told how many jobs have ended so far."""


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What is believed of run times that the trace does not predict: the truth, off by a normal error, from a seed.

    `checkpoint_s`: how often jobs save their work that the trace does not say it of; None: a preempted one begins anew.
    """

    error: float = 0.0
    seed: int = 1
    checkpoint_s: float | None = None


@dataclass(frozen=True, slots=True)
class Spell:
    """A time during which a job held GPUs."""

    from_s: float
    to_s: float
    public: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of one job. `ended_at` None: it fitted nowhere and never ran. Money as the policy's prices say."""

    job: TraceJob
    ended_at: float | None = None
    waited_s: float = 0.0
    preemptions: int = 0
    private_cost: float = 0.0
    public_cost: float = 0.0
    spells: list[Spell] = field(default_factory=list)
    burst: Mapping[str, Any] | None = None

    @property
    def completion_s(self) -> float:
        """From submission to end; 0 for a job that never ran."""
        return 0.0 if self.ended_at is None else self.ended_at - self.job.submitted_at


@dataclass(frozen=True, slots=True)
class Replay:
    """One policy's history: outcomes in the trace's order, and how many private GPUs there were."""

    policy: Policy
    outcomes: tuple[Outcome, ...]
    private_gpus: int
    currency: str = ""


def replay(trace: Trace, policy: Policy, beliefs: Beliefs, progress: Progress = lambda _ended: None) -> Replay:
    """Return what would have become of every job of the trace under the policy. Deterministic."""
    if policy.platform is None:
        return _plain(trace, policy)
    platform = policy.platform
    outcomes = {job.id: Outcome(job) for job in _distinct(trace.jobs)}
    ended = 0
    reservations = (*trace.reservations, *policy.reservations)
    for step in steps(platform, [outcome.job for outcome in outcomes.values()], beliefs, reservations):
        outcome = outcomes[step.job.id]
        _note(outcome, step, platform)
        if step.what is What.ENDED:
            ended += 1
            progress(ended)
    gpus = sum(n.gpus for c in platform.clusters for n in c.nodes if c.kind is ClusterKind.PRIVATE)
    return Replay(policy, tuple(outcomes.values()), gpus, platform.currency)


def steps(
    platform: Platform, jobs: list[TraceJob], beliefs: Beliefs, reservations: Iterable[Reservation] = ()
) -> Iterator[Step]:
    """Return everything that happens to the jobs on the platform, by the production decisions.

    Unused reservations are freed when this platform says so, whatever was said when they were made.
    """
    grace_s = platform.reservations.grace_s
    bounds = Bounds(reservations=tuple(dataclasses.replace(one, grace_s=grace_s) for one in reservations))
    maker = _Maker(platform, beliefs)
    usual = beliefs.checkpoint_s
    works = (Work(maker.job(job), job.run_s, usual if job.checkpoint_s is None else job.checkpoint_s) for job in jobs)
    begins = jobs[0].submitted_at if jobs else 0.0
    world = World(month_start=month_of)
    for step in forward(CountingDecider(platform, bounds, explains=False), platform, begins, (), works, world=world):
        maker.learn(step)
        yield step


def _distinct(jobs: tuple[TraceJob, ...]) -> Iterator[TraceJob]:
    """Yield the jobs, each with an id of its own: traces of several clusters may use one twice."""
    seen: dict[str, int] = {}
    for job in jobs:
        count = seen[job.id] = seen.get(job.id, 0) + 1
        yield job if count == 1 else _renamed(job, f"{job.id}#{count}")


def _renamed(job: TraceJob, job_id: str) -> TraceJob:
    return dataclasses.replace(job, id=job_id)


class _Maker:
    """Makes platform jobs of trace jobs."""

    def __init__(self, platform: Platform, beliefs: Beliefs) -> None:
        self._beliefs = beliefs
        self._calibration = Calibration()
        self._running: dict[str, tuple[float, float]] = {}  # what was predicted, and when it began
        self._looked_at = float("-inf")
        self._random = random.Random(beliefs.seed)  # noqa: S311 - a seeded model of errors, no secret
        self._tiers = {tier.name for tier in platform.tiers}
        self._teams = {team.name for team in platform.teams}
        self._first_team = platform.teams[0].name
        self._priorities = {priority.name: priority.value for priority in platform.priorities}
        self._classes = {kind.name for kind in platform.data_classes}
        self._first_class = "open" if "open" in self._classes else platform.data_classes[0].name
        self._largest: dict[str | None, int] = {}
        for cluster in platform.clusters:
            for node in cluster.nodes:
                for tier in (None, node.tier):
                    self._largest[tier] = max(self._largest.get(tier, 0), node.gpus)

    def job(self, job: TraceJob) -> Job:
        tier = job.tier if job.tier in self._tiers else None
        team = job.team if job.team in self._teams else self._first_team
        numbered = isinstance(job.priority, int)
        predicted_s = self._predicted_s(job)
        self._look(job.submitted_at)
        return Job(
            id=job.id,
            name=job.name,
            kind=Kind.COMMAND,
            user=job.user or team,
            team=team,
            request=Request(job.gpus_milli, tier, nodes=job.nodes or self._nodes(job.gpus_milli, tier)),
            submitted_at=job.submitted_at,
            queued_at=job.submitted_at,
            priority="normal" if numbered else str(job.priority or "normal"),
            priority_value=int(job.priority or 0) if numbered else self._priorities.get(str(job.priority), 0),
            budget=Budget(BudgetMode.STRICT if job.budget == "strict" else BudgetMode.FLEX),
            deadline_at=job.deadline_at,
            burstable=job.burstable,
            data_class=job.data_class if job.data_class in self._classes else self._first_class,
            predicted_s=predicted_s,
            expected_s=self._calibration.expected_s(predicted_s),
        )

    def learn(self, step: Step) -> None:
        """Take note of what runs, and of how long a job ran that has ended."""
        job = step.job
        if job.predicted_s is None:
            return
        if step.what is What.BEGAN:
            self._running[job.id] = job.predicted_s, step.at
        elif step.what in (What.PREEMPTED, What.LOST, What.ENDED):
            self._running.pop(job.id, None)
        if step.what is What.ENDED and job.began_at is not None and job.ended_at is not None:
            self._calibration.learn(job.predicted_s, job.ended_at - job.began_at)

    def _look(self, now: float) -> None:
        """Tell of what runs, now and then, as the platform does."""
        if now - self._looked_at >= _LOOKS_EVERY_S:
            self._looked_at = now
            self._calibration.overdue((predicted_s, now - at) for predicted_s, at in self._running.values())

    def _nodes(self, gpus_milli: int, tier: str | None) -> int:
        """Return the least number of nodes that the GPUs divide among evenly; 1 where none is."""
        gpus, largest = gpus_milli // WHOLE_GPU_MILLI, self._largest.get(tier, 0)
        if gpus <= 1 or largest == 0:
            return 1
        return next((n for n in range(-(-gpus // largest), gpus + 1) if gpus % n == 0), 1)

    def _predicted_s(self, job: TraceJob) -> float:
        if job.predicted_s is not None:
            return job.predicted_s
        if self._beliefs.error <= 0.0:
            return job.run_s
        return max(0.0, self._random.gauss(job.run_s, self._beliefs.error * job.run_s))


def _note(outcome: Outcome, step: Step, platform: Platform) -> None:
    if step.what is What.ADMITTED:
        outcome.burst = step.burst
        outcome.spells.append(Spell(step.at, step.at, _public(platform, step)))
    elif step.what in (What.PREEMPTED, What.LOST, What.ENDED):
        last = outcome.spells[-1]
        outcome.spells[-1] = Spell(last.from_s, step.at, last.public)
        paid = outcome.private_cost + outcome.public_cost
        if last.public:
            outcome.public_cost += step.job.cost - paid
        else:
            outcome.private_cost += step.job.cost - paid
        outcome.preemptions += step.what is What.PREEMPTED
        outcome.waited_s = step.job.waited_s
        if step.what is What.ENDED:
            outcome.ended_at = step.at


def _public(platform: Platform, step: Step) -> bool:
    lease = step.lease
    return lease is not None and any(
        cluster.name == lease.cluster and cluster.kind is ClusterKind.PUBLIC for cluster in platform.clusters
    )


def _plain(trace: Trace, policy: Policy) -> Replay:
    cluster = policy.plain
    assert cluster is not None
    first = int(trace.jobs[0].submitted_at)
    tasks = [
        Task(int(job.submitted_at) - first, int(job.run_s), -(-job.gpus_milli // WHOLE_GPU_MILLI)) for job in trace.jobs
    ]
    turns = PLAIN[policy.name](tasks, cluster)
    outcomes = tuple(_turned(job, turn, first) for job, turn in zip(trace.jobs, turns, strict=True))
    return Replay(policy, outcomes, cluster.nodes * cluster.gpus)


def _turned(job: TraceJob, turn: Turn, first: int) -> Outcome:
    if turn.start_s < 0:
        return Outcome(job)
    spells = [Spell(first + begins, first + ends) for begins, ends in turn.spells or [(turn.start_s, turn.end_s)]]
    return Outcome(job, float(first + turn.end_s), float(turn.waited_s), turn.preemptions, spells=spells)
