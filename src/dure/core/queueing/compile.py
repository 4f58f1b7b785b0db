"""The platform file as Kueue's objects: tier to ResourceFlavor, team to ClusterQueue, person in it to LocalQueue.

The platform's own cohort owns every private GPU that nobody is guaranteed, so quota never exceeds what there is. The
trap: amounts are thousandths of a GPU here, because fractions must add up; Kueue's own YAML counts whole GPUs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from dure.core.model import ROOT_COHORT, WHOLE_GPU_MILLI, ClusterKind, KueueObjects, Platform, QueueingPolicy, Team
from dure.core.model import Cohort as TeamCohort
from dure.core.queueing.kueue.objects import (
    Amounts,
    ClusterQueue,
    Cohort,
    Flavor,
    FlavorResource,
    LocalQueue,
    Preemption,
    Quota,
    ResourceGroup,
    Settings,
)

BELOW_ALL = -(2**31)
RESOURCE = "nvidia.com/gpu"
TIER_LABEL = "dure.dev/tier"
CLUSTER_LABEL = "dure.dev/cluster"


def compiled(platform: Platform) -> KueueObjects:
    """Return the platform as Kueue's objects: those that it names itself, or what its own sections say."""
    settings = Settings(fair_sharing=platform.queueing.share_preempts)
    if platform.kueue is not None:
        return replace(platform.kueue, settings=settings)
    tiers = tiers_by_price(platform)
    return KueueObjects(
        flavors=tuple(Flavor(tier, labels={TIER_LABEL: tier}) for tier in tiers),
        public=_public(platform),
        cohorts=_cohorts(platform, tiers),
        queues=tuple(_queue(platform, team, tiers) for team in platform.teams),
        local_queues=tuple(_local_queues(platform)),
        priorities=platform.priorities,
        settings=settings,
    )


def tiers_by_price(platform: Platform) -> tuple[str, ...]:
    """Return the tiers from cheap to dear, which is the order that any tier is looked for in; ties in file order."""
    order = sorted(range(len(platform.tiers)), key=lambda i: (platform.tiers[i].price_per_gpu_hour, i))
    return tuple(platform.tiers[i].name for i in order)


def capacity_milli(platform: Platform) -> dict[str, int]:
    """Return by tier how many thousandths of a GPU the private clusters have."""
    owned: dict[str, int] = {}
    for cluster in platform.clusters:
        for node in cluster.nodes if cluster.kind is ClusterKind.PRIVATE else ():
            owned[node.tier] = owned.get(node.tier, 0) + node.gpus * WHOLE_GPU_MILLI
    return owned


def local_queue_name(team: str, user: str) -> str:
    """Return the name of a person's queue within a team's namespace, by which past use is counted."""
    return f"{team}/{user}"


def _public(platform: Platform) -> tuple[Flavor, ...]:
    found = {}
    for cluster in platform.clusters:
        for node in cluster.nodes if cluster.kind is ClusterKind.PUBLIC else ():
            name = f"{cluster.name}-{node.tier}"
            found[name] = Flavor(name, labels={TIER_LABEL: node.tier, CLUSTER_LABEL: cluster.name})
    return tuple(found.values())


def _cohorts(platform: Platform, tiers: Iterable[str]) -> tuple[Cohort, ...]:
    owned = capacity_milli(platform)
    free: Amounts = {(tier, RESOURCE): owned.get(tier, 0) for tier in tiers}
    members: tuple[Team | TeamCohort, ...] = (*platform.teams, *platform.cohorts)
    for member in members:
        for tier, milli in member.quota_milli.items():
            free[tier, RESOURCE] = free.get((tier, RESOURCE), 0) - milli
    root = Cohort(ROOT_COHORT, quotas={key: Quota(max(0, amount)) for key, amount in free.items()})
    named = [
        Cohort(one.name, one.parent or ROOT_COHORT, _quotas(one, [*one.quota_milli]), one.weight)
        for one in platform.cohorts
    ]
    return (root, *named)


def _queue(platform: Platform, team: Team, tiers: Iterable[str]) -> ClusterQueue:
    policy = platform.queueing
    tiers = tuple(tiers)
    stopped = any(queue.stopped for queue in platform.queues if queue.team == team.name)
    return ClusterQueue(
        name=team.name,
        cohort=team.cohort or ROOT_COHORT,
        groups=(ResourceGroup(frozenset({RESOURCE}), tiers),),
        quotas=_quotas(team, tiers),
        strategy=policy.strategy,
        preemption=_preemption(policy),
        weight=team.weight,
        stop_policy="Hold" if stopped else "None",
    )


def _preemption(policy: QueueingPolicy) -> Preemption:
    """Return the policies of a queue.

    Most of what a team has is borrowed, and Kueue lets who borrows preempt nobody, not even in its own queue, unless
    it may while borrowing: so that is allowed where priorities preempt, of a priority that no other team's job has.
    """
    borrow, threshold = policy.borrow_within_cohort, None
    if borrow == "Never" and policy.within_cluster_queue != "Never" and not policy.share_preempts:
        borrow, threshold = "LowerPriority", BELOW_ALL
    return Preemption(policy.within_cluster_queue, policy.reclaim_within_cohort, borrow, threshold)


def _quotas(member: Team | TeamCohort, tiers: Iterable[str]) -> Mapping[FlavorResource, Quota]:
    return {
        (tier, RESOURCE): Quota(
            member.quota_milli.get(tier, 0), member.borrowing_milli.get(tier), member.lending_milli.get(tier)
        )
        for tier in tiers
    }


def _local_queues(platform: Platform) -> Iterable[LocalQueue]:
    """Yield each team's own queue; those of people exist as soon as they submit."""
    for queue in platform.queues:
        yield LocalQueue(queue.team, queue.name, queue.team, stop_policy="Hold" if queue.stopped else "None")
