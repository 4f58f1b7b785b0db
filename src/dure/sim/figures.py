"""What is told of a replay: waits, completions, use, fairness, preemptions, money, deadlines; and curves for plots.

The trap: utilisation is taken while jobs arrive, from the first submission to the last, since the long tail after it
says how long the longest job was and nothing of the policy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dure.sim.replay import Outcome, Replay

LEAST_RUN_S = 10.0  # shorter runs would make slowdown a measure of rounding ("bounded slowdown")
_POINTS = 240


@dataclass(frozen=True, slots=True)
class Figures:
    """One policy's result. Times in seconds, shares from 0 to 1; money in `currency`, None where nothing has a price.

    `fairness` is Jain's index over the groups' mean bounded slowdown; `deadlines` how many jobs had one.
    """

    policy: str
    jobs: int
    never_ran: int
    mean_wait_s: float
    p50_wait_s: float
    p90_wait_s: float
    p99_wait_s: float
    mean_completion_s: float
    p50_completion_s: float
    p90_completion_s: float
    p99_completion_s: float
    utilisation: float
    fairness: float
    fairness_over: str
    preemptions: int
    cloud_jobs: int
    cloud_gpu_hours: float
    cloud_cost: float | None
    private_cost: float | None
    currency: str
    deadlines: int
    deadlines_met: int
    makespan_s: float

    def document(self) -> dict[str, Any]:
        """Return every figure as plain JSON."""
        return asdict(self)


def figures(replay: Replay) -> Figures:
    """Return the figures of one replay."""
    done = [outcome for outcome in replay.outcomes if outcome.ended_at is not None]
    waits = sorted(outcome.waited_s for outcome in done)
    completions = sorted(outcome.completion_s for outcome in done)
    over, groups = grouped(replay.outcomes)
    dated = [outcome for outcome in replay.outcomes if outcome.job.deadline_at is not None]
    priced = replay.policy.platform is not None
    return Figures(
        policy=replay.policy.name,
        jobs=len(done),
        never_ran=len(replay.outcomes) - len(done),
        mean_wait_s=_mean(waits),
        p50_wait_s=quantile(waits, 0.5),
        p90_wait_s=quantile(waits, 0.9),
        p99_wait_s=quantile(waits, 0.99),
        mean_completion_s=_mean(completions),
        p50_completion_s=quantile(completions, 0.5),
        p90_completion_s=quantile(completions, 0.9),
        p99_completion_s=quantile(completions, 0.99),
        utilisation=_utilisation(replay),
        fairness=jain([_mean([slowdown(one) for one in group]) for group in groups.values()]),
        fairness_over=over,
        preemptions=sum(outcome.preemptions for outcome in replay.outcomes),
        cloud_jobs=sum(1 for outcome in done if any(spell.public for spell in outcome.spells)),
        cloud_gpu_hours=sum(
            (spell.to_s - spell.from_s) * one.job.gpus / 3600.0
            for one in replay.outcomes
            for spell in one.spells
            if spell.public
        ),
        cloud_cost=sum(outcome.public_cost for outcome in replay.outcomes) if priced else None,
        private_cost=sum(outcome.private_cost for outcome in replay.outcomes) if priced else None,
        currency=replay.currency,
        deadlines=len(dated),
        deadlines_met=sum(
            1 for one in dated if one.ended_at is not None and one.ended_at <= (one.job.deadline_at or 0)
        ),
        makespan_s=max((one.ended_at or 0.0 for one in done), default=0.0) - _begins(replay) if done else 0.0,
    )


def grouped(outcomes: Iterable[Outcome]) -> tuple[str, dict[str, list[Outcome]]]:
    """Return "team" or, where there is but one team, "user", and the jobs that ended by it."""
    teams: dict[str, list[Outcome]] = defaultdict(list)
    users: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.ended_at is not None:
            teams[outcome.job.team].append(outcome)
            users[outcome.job.user].append(outcome)
    return ("team", dict(teams)) if len(teams) > 1 or len(users) < 2 else ("user", dict(users))


def slowdown(outcome: Outcome) -> float:
    """Return how many times longer than its run a job took, runs below `LEAST_RUN_S` counted as that."""
    return max(1.0, outcome.completion_s / max(outcome.job.run_s, LEAST_RUN_S))


def jain(values: Sequence[float]) -> float:
    """Return Jain's fairness index of positive values: 1 when all are equal, 1/n when one has everything."""
    if not values:
        return 1.0
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the sorted values do not exceed; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def busy_curve(replay: Replay, *, public: bool) -> list[tuple[float, float]]:
    """Return the mean number of GPUs in use over time: pairs of seconds since the first arrival and GPUs.

    Curves of one replay end together: when the last job does, or well after the last arrival.
    """
    begins = _begins(replay)
    ends = max((spell.to_s for one in replay.outcomes for spell in one.spells), default=begins) - begins
    spells = [
        (spell.from_s - begins, spell.to_s - begins, one.job.gpus)
        for one in replay.outcomes
        for spell in one.spells
        if spell.public is public
    ]
    ends = min(ends, 1.5 * _arriving_s(replay) or ends)
    if ends <= 0.0:
        return []
    width = ends / _POINTS
    steps = [0.0] * (_POINTS + 2)
    whole = [0.0] * (_POINTS + 1)
    for from_s, to_s, gpus in spells:
        first, last = int(from_s / width), int(min(to_s, ends) / width)
        if first >= _POINTS:
            continue
        last = min(last, _POINTS)
        if first == last:
            steps[first] += gpus * (min(to_s, ends) - from_s)
            continue
        steps[first] += gpus * ((first + 1) * width - from_s)
        whole[first + 1] += gpus
        whole[last] -= gpus
        steps[last] += gpus * (min(to_s, ends) - last * width)
    level, curve = 0.0, []
    for i in range(_POINTS):
        level += whole[i]
        curve.append(((i + 0.5) * width, level + steps[i] / width))
    return curve


def wait_curve(replay: Replay) -> list[tuple[float, float]]:
    """Return the distribution of waits: pairs of seconds and the share of jobs that waited at most so long."""
    waits = sorted(outcome.waited_s for outcome in replay.outcomes if outcome.ended_at is not None)
    if not waits:
        return []
    places = sorted({min(len(waits) - 1, i * len(waits) // _POINTS) for i in range(_POINTS + 1)} | {len(waits) - 1})
    return [(waits[i], (i + 1) / len(waits)) for i in places]


def by_group(replay: Replay) -> list[Mapping[str, Any]]:
    """Return one row a team (or user): jobs, mean wait, mean slowdown, GPU-hours; the largest first."""
    _, groups = grouped(replay.outcomes)
    rows: list[Mapping[str, Any]] = [
        {
            "name": name,
            "jobs": len(group),
            "mean_wait_s": _mean([one.waited_s for one in group]),
            "mean_slowdown": _mean([slowdown(one) for one in group]),
            "gpu_hours": sum(one.job.run_s * one.job.gpus for one in group) / 3600.0,
        }
        for name, group in groups.items()
    ]
    return sorted(rows, key=lambda row: -row["gpu_hours"])


def _utilisation(replay: Replay) -> float:
    begins, arriving_s = _begins(replay), _arriving_s(replay)
    until = begins + arriving_s
    if arriving_s <= 0.0:
        until = max((one.ended_at or 0.0 for one in replay.outcomes), default=begins)
    if until <= begins or replay.private_gpus == 0:
        return 0.0
    held = sum(
        max(0.0, min(spell.to_s, until) - spell.from_s) * one.job.gpus
        for one in replay.outcomes
        for spell in one.spells
        if not spell.public
    )
    return held / (replay.private_gpus * (until - begins))


def _begins(replay: Replay) -> float:
    return replay.outcomes[0].job.submitted_at if replay.outcomes else 0.0


def _arriving_s(replay: Replay) -> float:
    return replay.outcomes[-1].job.submitted_at - _begins(replay) if replay.outcomes else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
