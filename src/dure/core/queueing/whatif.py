"""What would start a waiting job sooner: it is changed in one way, and the platform's own decisions run forward again.

No rule of thumb says what helps: an option is told only when the changed job really begins earlier in the same future.
That future has every runtime at its middle, so that two runs differ by the change alone; how sure a start is belongs to
the estimate of the job itself, which is drawn many times. On a long queue one more run answers all: the changed twins
of the job wait in it too, just before it, and give their GPUs back the moment they begin. The trap: twins of two jobs
in one run would open gaps for each other, and a short queue would feel even one job's; there each change has its run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from dure.core.forecast.draws import Remaining
from dure.core.forecast.starts import HORIZON_S, Course, Present, course
from dure.core.model import WHOLE_GPU_MILLI, Budget, BudgetMode, ClusterKind, Job, Lease, Platform
from dure.core.pricing import cost_of

_COARSER = 0.06
_SOONER_S = 30.0
_SOONER_PART = 0.1
_MIDDLE = 0.5
_EARLIER_S = 1e-5  # twins wait before their job, or what is kept for it would be kept from them
MAX_OPTIONS = 12


class Change(StrEnum):
    """How a job, or what its team may use, would have to differ."""

    FEWER_GPUS = "fewer_gpus"
    TIER = "tier"
    BUDGET_FLEX = "budget_flex"
    BURST = "burst"
    BORROW = "borrow"


@dataclass(frozen=True, slots=True)
class Option:
    """One change that starts the job sooner: in so many seconds instead of `instead_s` (None: never), for what price.

    `data` holds what the change needs said: `gpus_milli`, `tier`, `team`. `held_s` is how long it then has its GPUs.
    """

    change: Change
    in_s: float
    instead_s: float | None
    lease: Lease
    cost: float
    held_s: float
    data: Mapping[str, Any] = field(default_factory=dict)

    def told(self) -> Mapping[str, Any]:
        """Return the option as a help of a verdict (`Verdict.helps`)."""
        found = {"code": self.change.value, "found": True, "in_s": self.in_s, "price": self.cost}
        return {**found, "cluster": self.lease.cluster, **self.data}


@dataclass(frozen=True, slots=True)
class Ahead:
    """What stands before a job: GPU-hours of jobs that run on its tiers, and of those that start before it.

    `after` counts, over the courses, the job whose end made room on its node just before it began.
    """

    held_gpu_hours: float
    waiting_gpu_hours: float
    waiting_jobs: int
    after: Mapping[str, float]


def options(
    present: Present, job: Job, remaining: Remaining, *, more: Callable[[], bool] = lambda: True
) -> tuple[Option, ...]:
    """Return the changes that would start the waiting `job` noticeably sooner, the soonest first, then the cheapest.

    `more` is asked before each trial: what is not tried when it says no is not told.
    """
    now_s = _trial(present, job, remaining)
    found: list[Option] = []
    for change, changed, platform, data in _changes(present.platform, job, present.jobs):
        if len(found) >= MAX_OPTIONS or not more():
            break
        most_s = _most_s(None if now_s is None else now_s[0])
        if most_s < 0.0:
            break
        trial = _trial(replace(present, platform=platform), changed, remaining, most_s)
        if trial is None:
            continue
        in_s, lease = trial
        instead_s = None if now_s is None else now_s[0]
        found.append(_option(change, changed, data, in_s, instead_s, lease, platform, remaining))
    return by_start(found)


def together(
    present: Present,
    job: Job,
    remaining: Remaining,
    base: Course,
    *,
    between: Callable[[], None] = lambda: None,
) -> tuple[Option, ...]:
    """Return as `options` does, found in one future beside `base`, the one in which nothing is changed (`middle`).

    A change of what a team may use is not among them: that is another platform, and a run of its own (`borrowed`).
    """
    own = base.starts.get(job.id)
    instead_s = None if own is None else own.in_s
    most_s = _most_s(instead_s)
    twins: dict[str, tuple[Change, Job, Mapping[str, Any]]] = {}
    for change, changed, _, data in _changes(present.platform, job, present.jobs):
        if change is not Change.BORROW and len(twins) < MAX_OPTIONS:
            before = job.submitted_at - (len(twins) + 1) * _EARLIER_S
            twin = replace(changed, id=f"{job.id}+{len(twins)}", submitted_at=before, promise=None)
            twins[twin.id] = change, twin, data
    if most_s < 0.0 or not twins:
        return ()
    crowd = replace(present, jobs=(*present.jobs, *(twin for _, twin, _ in twins.values())))
    future = middle(crowd, remaining, frozenset(twins), most_s, between, at_once=frozenset(twins))
    return by_start(
        _option(change, twin, data, start.in_s, instead_s, start.lease, present.platform, remaining)
        for twin_id, (change, twin, data) in twins.items()
        if (start := future.starts.get(twin_id)) is not None
    )


def middle(
    present: Present,
    remaining: Remaining,
    watched: frozenset[str],
    most_s: float = HORIZON_S,
    between: Callable[[], None] = lambda: None,
    *,
    at_once: frozenset[str] = frozenset(),
) -> Course:
    """Return the future without arrivals in which every runtime is at its middle, and none of those over `at_once`."""
    return course(
        replace(present, recent=()),
        lambda known, _part: 0.0 if known.id in at_once else remaining(known, _MIDDLE),
        0,
        watched=watched,
        grain=_COARSER,
        horizon_s=most_s,
        between=between,
    )


def borrowed(present: Present, job: Job, remaining: Remaining, instead_s: float | None) -> tuple[Option, ...]:
    """Return what would start the job sooner if its team might use more, each tier tried in a run of its own."""
    found = []
    for change, changed, platform, data in _changes(present.platform, job, present.jobs):
        if change is Change.BORROW and (most_s := _most_s(instead_s)) >= 0.0:
            trial = _trial(replace(present, platform=platform), changed, remaining, most_s)
            if trial is not None:
                found.append(_option(change, changed, data, trial[0], instead_s, trial[1], platform, remaining))
    return tuple(found)


def by_start(found: Iterable[Option]) -> tuple[Option, ...]:
    """Return options, the soonest first, then the cheapest, without fewer GPUs where more of them begin as soon."""
    return tuple(_without_idle(sorted(found, key=lambda option: (option.in_s, option.cost))))


def _most_s(instead_s: float | None) -> float:
    """Return by when a changed job has to begin for the change to be told."""
    return HORIZON_S if instead_s is None else instead_s * (1.0 - _SOONER_PART) - _SOONER_S


def _option(  # noqa: PLR0917 -- the parts of one trial
    change: Change,
    changed: Job,
    data: Mapping[str, Any],
    in_s: float,
    instead_s: float | None,
    lease: Lease,
    platform: Platform,
    remaining: Remaining,
) -> Option:
    held_s = remaining(changed, _MIDDLE)
    cost = cost_of(lease, held_s + _provision_s(platform, lease))
    return Option(change, in_s, instead_s, lease, cost, held_s, data)


def ahead(present: Present, job: Job, remaining: Remaining, courses: Sequence[Course]) -> Ahead:
    """Return what stands before `job`, over courses that were followed at least to its start."""
    tiers = {tier.name for tier in present.platform.tiers} if job.request.tier is None else {job.request.tier}
    by_id = {known.id: known for known in present.jobs}
    held = sum(
        _gpu_hours(holder.lease.gpus_milli, remaining(holder, _MIDDLE))
        for holder in present.jobs
        if holder.lease is not None and holder.phase.holds_gpus and holder.lease.tier in tiers
    )
    hours, count = 0.0, 0
    after: Counter[str] = Counter()
    for known in courses:
        mine = known.starts.get(job.id)
        if mine is not None and mine.after is not None:
            after[mine.after] += 1
        for other_id, start in known.starts.items():
            if other_id == job.id or start.lease.tier not in tiers or other_id not in by_id:
                continue
            if mine is None or start.in_s <= mine.in_s:
                hours += _gpu_hours(start.lease.gpus_milli, remaining(by_id[other_id], _MIDDLE))
                count += 1
    runs = max(1, len(courses))
    shares = {job_id: times / runs for job_id, times in after.most_common(3)}
    return Ahead(held, hours / runs, round(count / runs), shares)


def _trial(present: Present, job: Job, remaining: Remaining, most_s: float = HORIZON_S) -> tuple[float, Lease] | None:
    """Return when and where `job` begins with every runtime at its middle, None when not by `most_s`."""
    jobs = tuple(job if known.id == job.id else known for known in present.jobs)
    found = middle(replace(present, jobs=jobs), remaining, frozenset({job.id}), most_s).starts.get(job.id)
    return None if found is None else (found.in_s, found.lease)


def _changes(
    platform: Platform, job: Job, jobs: Sequence[Job]
) -> Iterator[tuple[Change, Job, Platform, Mapping[str, Any]]]:
    """Yield what may be tried, the likeliest first."""
    request = job.request
    for tier in platform.tiers:
        if request.tier is not None and tier.name != request.tier:
            changed = replace(job, request=replace(request, tier=tier.name))
            yield Change.TIER, changed, platform, {"tier": tier.name}
    if request.nodes > 1:  # as many GPUs on each, on fewer nodes
        for nodes in (request.nodes >> power for power in range(1, request.nodes.bit_length())):
            milli = request.node_milli * nodes
            changed = replace(job, request=replace(request, gpus_milli=milli, nodes=nodes))
            yield Change.FEWER_GPUS, changed, platform, {"gpus_milli": milli, "nodes": nodes}
    for gpus_milli in _fewer(request.gpus_milli) if request.nodes == 1 else ():
        changed = replace(job, request=replace(request, gpus_milli=gpus_milli))
        yield Change.FEWER_GPUS, changed, platform, {"gpus_milli": gpus_milli}
    if any(cluster.kind is ClusterKind.PUBLIC for cluster in platform.clusters):
        if job.budget.mode is not BudgetMode.FLEX:
            yield Change.BUDGET_FLEX, replace(job, budget=Budget(BudgetMode.FLEX), burstable=True), platform, {}
        elif not job.burstable:
            yield Change.BURST, replace(job, burstable=True), platform, {}
    for tier in platform.tiers:
        if request.tier in {None, tier.name}:
            yield from _borrowed(platform, job, tier.name, jobs)


def _borrowed(
    platform: Platform, job: Job, tier: str, jobs: Sequence[Job]
) -> Iterator[tuple[Change, Job, Platform, Mapping[str, Any]]]:
    """Yield the platform in which the job's team may use as much of the tier as it does now, and this job more."""
    team = next((team for team in platform.teams if team.name == job.team), None)
    limit = None if team is None else team.borrowing_milli.get(tier)
    if team is None or limit is None or platform.kueue is not None:
        return
    used = sum(
        known.lease.gpus_milli
        for known in jobs
        if known.lease is not None and known.phase.holds_gpus and (known.team, known.lease.tier) == (job.team, tier)
    )
    more = used + job.request.gpus_milli - team.quota_milli.get(tier, 0) - limit
    if more <= 0:
        return
    larger = replace(team, borrowing_milli={**team.borrowing_milli, tier: limit + more})
    teams = tuple(larger if known.name == team.name else known for known in platform.teams)
    yield Change.BORROW, job, replace(platform, teams=teams), {"team": team.name, "tier": tier, "gpus_milli": more}


def _fewer(gpus_milli: int) -> Iterator[int]:
    """Yield half of the GPUs, half of that… down to one, then half a GPU."""
    while gpus_milli > WHOLE_GPU_MILLI:
        gpus_milli = gpus_milli // (2 * WHOLE_GPU_MILLI) * WHOLE_GPU_MILLI or WHOLE_GPU_MILLI
        yield gpus_milli
    if gpus_milli == WHOLE_GPU_MILLI:
        yield WHOLE_GPU_MILLI // 2


def _without_idle(found: Sequence[Option]) -> Iterator[Option]:
    """Leave out fewer GPUs where more of them begin as soon."""
    for option in found:
        better = any(
            other.change is option.change is Change.FEWER_GPUS
            and other.data["gpus_milli"] > option.data["gpus_milli"]
            and other.in_s <= option.in_s + _SOONER_S
            for other in found
        )
        if not better:
            yield option


def _gpu_hours(gpus_milli: int, seconds: float) -> float:
    return gpus_milli / WHOLE_GPU_MILLI * seconds / 3600.0


def _provision_s(platform: Platform, lease: Lease) -> float:
    cluster = next((known for known in platform.clusters if known.name == lease.cluster), None)
    return cluster.provision_s if cluster is not None and cluster.kind is ClusterKind.PUBLIC else 0.0
