"""When a waiting job may leave for a public cluster: a pure rule whose every input is kept in its decision.

The allowed wait grows with the predicted GPU-hours (`proportional`) and ends early enough to meet a deadline; hours and
money are reckoned with `expected_s`, what jobs predicted so really took (docs/BENCHMARKS.md has the replay behind it).
The trap: what may not leave, or may not cost, never leaves however long it waits; only the wait turns true by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dure.core.model import WHOLE_GPU_MILLI, BudgetMode, BurstPolicy, ClusterKind, Job, Node, Platform, Request

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A place on a public cluster. `price_per_gpu_hour` is what it costs there; `provision_s` is paid as well.

    `private_chance` is False when no private GPUs could ever take the job: waiting would be pointless.
    """

    cluster: str
    tier: str
    price_per_gpu_hour: float
    provision_s: float = 0.0
    private_chance: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstDecision:
    """Whether a job may go now, and everything that was looked at. `failing` names the conditions that do not hold.

    `rule_wait_s` is the rule's parameter: the wait, or the wait per predicted GPU-hour. Conditions in order:
    `disabled`, `not_burstable`, `data_stays`, `strict`, `amount` (limit below cost), `team_budget`, `wait`.
    `due_at` is when the wait ends; `budget_left` None means that the team has no budget of its own.
    """

    go: bool
    failing: tuple[str, ...]
    now: float
    due_at: float
    rule: str
    rule_wait_s: float
    waited_s: float
    allowed_wait_s: float
    predicted_s: float
    expected_s: float
    predicted_gpu_hours: float
    predicted_cost: float
    cluster: str
    tier: str
    price_per_gpu_hour: float
    provision_s: float
    burstable: bool
    data_class: str
    may_leave: bool
    budget: str
    budget_limit: float | None
    budget_left: float | None
    deadline_at: float | None

    def document(self) -> Mapping[str, Any]:
        """Return every field as plain JSON, for the event log."""
        return asdict(self) | {"failing": list(self.failing)}


def predicted_s(job: Job, platform: Platform) -> float:
    """Return how long the job is taken to run: its prediction or the platform's, at most its time limit."""
    seconds = job.predicted_s if job.predicted_s is not None else platform.burst.default_predicted_s
    return seconds if job.timeout_s is None else min(seconds, job.timeout_s)


def expected_s(job: Job, platform: Platform) -> float:
    """Return how long jobs predicted so run in the mean, at most its time limit: money is reckoned with it."""
    if job.predicted_s is None or job.expected_s is None:
        return predicted_s(job, platform)
    return job.expected_s if job.timeout_s is None else min(job.expected_s, job.timeout_s)


def expected_gpu_hours(job: Job, platform: Platform) -> float:
    """Return the GPU-hours that the job is taken to need."""
    return expected_s(job, platform) / _HOUR_S * job.request.gpus_milli / WHOLE_GPU_MILLI


def predicted_cost(job: Job, platform: Platform, offer: Offer) -> float:
    """Return the money that the job is taken to cost there, provisioning included."""
    held_s = expected_s(job, platform) + offer.provision_s
    return offer.price_per_gpu_hour * job.request.gpus_milli / WHOLE_GPU_MILLI * held_s / _HOUR_S


def allowed_wait_s(policy: BurstPolicy, gpu_hours: float) -> float:
    """Return the wait that the rule allows before a job of so many predicted GPU-hours may leave."""
    if policy.rule == "fixed":
        return policy.wait_s
    return min(max(policy.wait_s * gpu_hours, policy.min_wait_s), policy.max_wait_s)


def due_at(job: Job, platform: Platform, offer: Offer) -> float:
    """Return when the job has waited long enough to leave, in seconds since the epoch; never before it queued.

    A deadline brings it forward to the last moment that still leaves time to provision and run.
    """
    if not offer.private_chance:
        return job.queued_at
    due = job.queued_at - job.waited_s + allowed_wait_s(platform.burst, expected_gpu_hours(job, platform))
    if job.deadline_at is not None:
        due = min(due, job.deadline_at - predicted_s(job, platform) - offer.provision_s)
    return max(due, job.queued_at)


def decide_burst(
    job: Job, now: float, platform: Platform, offer: Offer, budget_left: float | None = None
) -> BurstDecision:
    """Return whether `job` may take `offer` at `now`, with every input and every condition that fails.

    `budget_left` is the team's money for this month that is neither spent nor promised to running jobs; None: no limit.
    """
    due = due_at(job, platform, offer)
    cost = predicted_cost(job, platform, offer)
    may_leave = any(kind.name == job.data_class and kind.may_leave for kind in platform.data_classes)
    limit = job.budget.limit
    over_limit = job.budget.mode is BudgetMode.AMOUNT and (limit is None or job.cost + cost > limit)
    conditions = (
        ("disabled", not platform.burst.enabled),
        ("not_burstable", not job.burstable),
        ("data_stays", not may_leave),
        ("strict", job.budget.mode is BudgetMode.STRICT),
        ("amount", over_limit),
        ("team_budget", budget_left is not None and cost > budget_left),
        ("wait", due > now),
    )
    failing = tuple(name for name, fails in conditions if fails)
    return BurstDecision(
        go=not failing,
        failing=failing,
        now=now,
        due_at=due,
        rule=platform.burst.rule,
        rule_wait_s=platform.burst.wait_s,
        waited_s=job.waited_s + max(0.0, now - job.queued_at),
        allowed_wait_s=due - (job.queued_at - job.waited_s),
        predicted_s=predicted_s(job, platform),
        expected_s=expected_s(job, platform),
        predicted_gpu_hours=expected_gpu_hours(job, platform),
        predicted_cost=cost,
        cluster=offer.cluster,
        tier=offer.tier,
        price_per_gpu_hour=offer.price_per_gpu_hour,
        provision_s=offer.provision_s,
        burstable=job.burstable,
        data_class=job.data_class,
        may_leave=may_leave,
        budget=job.budget.mode.value,
        budget_limit=limit,
        budget_left=budget_left,
        deadline_at=job.deadline_at,
    )


def staying(job: Job, now: float, platform: Platform, jobs: Iterable[Job]) -> dict[str, Any]:
    """Return what staying would mean, as plain JSON: `stays_until`, the earliest start here, and `stays_cost` of that.

    As if nobody were ahead: when enough of the GPUs that `jobs` hold are predicted to be free, so never too late.
    `stays_until` is None where no private GPUs could ever take the job.
    """
    held: dict[tuple[str, str], list[tuple[float, tuple[tuple[int, int], ...]]]] = {}
    for other in jobs:
        if other.lease is None or not other.phase.holds_gpus:
            continue
        began = other.began_at or other.admitted_at or now
        ends = max(now, began + predicted_s(other, platform))
        for share in other.lease.shares:
            gpus = tuple((gpu.index, gpu.share_milli) for gpu in share.gpus)
            held.setdefault((other.lease.cluster, share.node), []).append((ends, gpus))
    best: tuple[float, str] | None = None
    for tier in platform.tiers:
        if job.request.tier not in (None, tier.name):
            continue
        for cluster in platform.clusters:
            if cluster.kind is not ClusterKind.PRIVATE:
                continue
            domains: dict[tuple[str, ...], list[float]] = {}
            for node in cluster.nodes:
                at = _free_at(node, job.request, now, held.get((cluster.name, node.name), ()))
                if node.tier == tier.name and at is not None:
                    domains.setdefault(node.domain(job.request.required_topology), []).append(at)
            enough = [sorted(times) for times in domains.values() if len(times) >= job.request.nodes]
            starts = [times[job.request.nodes - 1] for times in enough]
            if starts and (best is None or min(starts) < best[0]):
                best = (min(starts), tier.name)
    if best is None:
        return {"stays_until": None, "stays_cost": None}
    price = next(tier.price_per_gpu_hour for tier in platform.tiers if tier.name == best[1])
    return {"stays_until": best[0], "stays_cost": price * expected_gpu_hours(job, platform)}


def _free_at(
    node: Node, request: Request, now: float, held: Iterable[tuple[float, tuple[tuple[int, int], ...]]]
) -> float | None:
    """Return when the node is predicted to have room for its part of the request; None when it is too small."""
    if request.node_milli > node.gpus * WHOLE_GPU_MILLI:
        return None
    free = [WHOLE_GPU_MILLI] * node.gpus
    leaving = sorted(held)
    for _, gpus in leaving:
        for index, milli in gpus:
            if index < node.gpus:
                free[index] -= milli
    for at, gpus in [(now, ()), *leaving]:
        for index, milli in gpus:
            if index < node.gpus:
                free[index] += milli
        whole = sum(milli >= WHOLE_GPU_MILLI for milli in free) * WHOLE_GPU_MILLI
        if max(free) >= request.node_milli if request.node_milli < WHOLE_GPU_MILLI else whole >= request.node_milli:
            return at
    return None
