"""The state of one decision: free GPUs, used quota, promised money, reservations and lines.

A job that must wait reserves every node that could ever take it, and its share of the team's quota, against
those after it: first come, first served per node, so nobody is starved. The trap: within one decision resources
only shrink; what failed once is taken as failed for every equal job that follows, and `decide` relies on it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dure.core.burst import Offer, predicted_s
from dure.core.model import WHOLE_GPU_MILLI, Cluster, ClusterKind, Job, Lease, NodeShare, Platform
from dure.core.placement import NodeState, choose_gang
from dure.core.pricing import cost_of
from dure.core.queueing.plan import Snapshot


@dataclass(frozen=True, slots=True)
class Holder:
    """A job that has GPUs, or gets them in this very plan."""

    job: Job
    lease: Lease


@dataclass(slots=True)
class Market:
    """One public cluster's nodes of one tier. `available` is False while its executor does not answer."""

    cluster: Cluster
    tier: str
    nodes: list[NodeState]
    available: bool

    @property
    def price_per_gpu_hour(self) -> float:
        """What one of its GPUs costs for an hour."""
        return self.cluster.prices.get(self.tier, 0.0)

    def offer(self, *, private_chance: bool) -> Offer:
        """Return what the burst rule wants to know of it."""
        return Offer(
            cluster=self.cluster.name,
            tier=self.tier,
            price_per_gpu_hour=self.price_per_gpu_hour,
            provision_s=self.cluster.provision_s,
            private_chance=private_chance,
        )


class Books:
    """Who has what, what is free, and what is promised to those who wait."""

    def __init__(self, snapshot: Snapshot) -> None:
        platform = snapshot.platform
        self.now = snapshot.now
        self.platform = platform
        order = sorted(range(len(platform.tiers)), key=lambda i: (platform.tiers[i].price_per_gpu_hour, i))
        self.tiers: tuple[str, ...] = tuple(platform.tiers[i].name for i in order)
        self.private: dict[str, list[NodeState]] = {tier: [] for tier in self.tiers}
        self.unanswering: dict[str, list[str]] = {tier: [] for tier in self.tiers}
        self.largest: dict[str, int] = {}
        self.markets: dict[str, list[Market]] = {tier: [] for tier in self.tiers}
        self.quota = {(team.name, tier): milli for team in platform.teams for tier, milli in team.quota_milli.items()}
        self.used: dict[tuple[str, str], int] = defaultdict(int)
        self.promised: dict[tuple[str, str], int] = defaultdict(int)
        self.holders: dict[str, list[Holder]] = defaultdict(list)
        self.pool_lines: dict[str, list[str]] = defaultdict(list)
        self.team_lines: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._private_clusters = {c.name for c in platform.clusters if c.kind is ClusterKind.PRIVATE}
        nodes = self._shelve(platform, snapshot.unavailable)
        self._enter(snapshot.jobs, nodes)
        self.budget_left = _budget_left(snapshot)

    def _shelve(self, platform: Platform, unavailable: frozenset[str]) -> dict[tuple[str, str], NodeState]:
        prices = {tier.name: tier.price_per_gpu_hour for tier in platform.tiers}
        nodes: dict[tuple[str, str], NodeState] = {}
        for cluster in platform.clusters:
            answers = cluster.name not in unavailable
            markets: dict[str, Market] = {}
            for node in cluster.nodes:
                public = cluster.kind is ClusterKind.PUBLIC
                price = cluster.prices.get(node.tier, 0.0) if public else prices.get(node.tier, 0.0)
                state = NodeState(cluster.name, node.name, node.tier, price, [WHOLE_GPU_MILLI] * node.gpus)
                nodes[cluster.name, node.name] = state
                size = node.gpus * WHOLE_GPU_MILLI
                if public:
                    fresh = Market(cluster, node.tier, [], answers)
                    markets.setdefault(node.tier, fresh).nodes.append(state)
                    continue
                self.largest[node.tier] = max(size, self.largest.get(node.tier, 0))
                if answers:
                    self.private[node.tier].append(state)
                elif cluster.name not in self.unanswering[node.tier]:
                    self.unanswering[node.tier].append(cluster.name)
            for market in markets.values():
                self.markets[market.tier].append(market)
        return nodes

    def _enter(self, jobs: Iterable[Job], nodes: dict[tuple[str, str], NodeState]) -> None:
        holding = [job for job in jobs if job.lease is not None and job.phase.holds_gpus]
        for job in sorted(holding, key=lambda held: (held.admitted_at or 0.0, held.id)):
            lease = job.lease
            assert lease is not None
            for share in lease.shares:
                node = nodes.get((lease.cluster, share.node))
                if node is not None:
                    node.take(share.gpus)
            self._count(job, lease)

    def _count(self, job: Job, lease: Lease) -> None:
        if lease.cluster in self._private_clusters:
            self.used[job.team, lease.tier] += lease.gpus_milli
            self.holders[lease.tier].append(Holder(job, lease))

    def most_milli(self, team: str, tier: str) -> int:
        """Return the largest private request of this team that could ever be admitted: on one node, within quota."""
        most = self.largest.get(tier, 0)
        return min(most, self.quota.get((team, tier), most))

    def quota_blocks(self, team: str, tier: str, gpus_milli: int) -> bool:
        """Return whether the team's quota, less what it uses and has promised, is too small now."""
        quota = self.quota.get((team, tier))
        if quota is None:
            return False
        return self.used[team, tier] + self.promised[team, tier] + gpus_milli > quota

    def take(self, job: Job, nodes: Sequence[NodeState]) -> Lease | None:
        """Give the job GPUs on the best unreserved ones of `nodes` and return its lease, or None without room."""
        request = job.request
        chosen = choose_gang([node for node in nodes if not node.reserved], request.gpus_milli, request.nodes)
        if chosen is None:
            return None
        for node, gpus in chosen:
            node.take(gpus)
        first, gpus = chosen[0]
        others = tuple(NodeShare(node.name, part) for node, part in chosen[1:])
        lease = Lease(first.cluster, first.name, first.tier, gpus, first.price_per_gpu_hour, others)
        self._count(job, lease)
        return lease

    def wait(self, job: Job, tiers: Sequence[str]) -> tuple[int, Sequence[str]]:
        """Put a blocked job in the lines of `tiers` and promise it its quota.

        Returns how many are ahead in its shortest line, and that whole line, of which those are the first.
        """
        best: Sequence[str] | None = None
        ahead = 0
        gpus_milli = job.request.gpus_milli
        for tier in tiers:
            key = (job.team, tier)
            limited = key in self.quota
            line = self.team_lines[key] if limited else self.pool_lines[tier]
            if limited and not self.quota_blocks(job.team, tier, gpus_milli):
                line.append(job.id)
                line = self.pool_lines[tier]
            if best is None or len(line) < ahead:
                best, ahead = line, len(line)
            line.append(job.id)
            if limited:
                self.promised[key] += gpus_milli
        return ahead, best or ()

    def reserve(self, nodes: Iterable[NodeState], gpus_milli: int) -> None:
        """Keep every node that could ever take the request from later jobs of this decision."""
        for node in nodes:
            if not node.reserved and node.fits_when_empty(gpus_milli):
                node.reserved = True


def _budget_left(snapshot: Snapshot) -> dict[str, float | None]:
    """Return each team's money of this month that is neither spent nor promised to jobs that have not ended."""
    limits = {team.name: team.budget_per_month for team in snapshot.platform.teams}
    left = {name: None if limit is None else limit - snapshot.spent.get(name, 0.0) for name, limit in limits.items()}
    for job in snapshot.jobs:
        money = left.get(job.team)
        if money is None:
            continue
        owed = job.cost
        if job.lease is not None and job.phase.holds_gpus:
            held_s = snapshot.now - job.admitted_at if job.admitted_at is not None else 0.0
            owed += cost_of(job.lease, max(held_s, predicted_s(job, snapshot.platform)))
        if owed:
            left[job.team] = money - owed
    return left
