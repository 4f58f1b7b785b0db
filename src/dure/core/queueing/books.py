"""Which GPUs are free, who has the others, what public clusters offer, and which nodes are kept for whom.

Kept between decisions and told of every lease that begins or ends. The trap: a decision takes GPUs for its plan and
gives them back at its end (`undo`), because the plan may never be carried out; what it left behind would be lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dure.core.burst import Offer, predicted_s
from dure.core.model import WHOLE_GPU_MILLI, Cluster, ClusterKind, Job, Lease, NodeShare, Platform, Request
from dure.core.placement import NodeState, choose_gang, has_room
from dure.core.pricing import cost_of
from dure.core.queueing.compile import tiers_by_price
from dure.core.queueing.gates import Holder
from dure.core.queueing.holds import Hold
from dure.core.queueing.warm import Warm


@dataclass(slots=True)
class Market:
    """One public cluster's nodes of one tier. `available` is False while its executor does not answer."""

    cluster: Cluster
    tier: str
    nodes: list[NodeState]
    available: bool = True

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
    """The GPUs of one platform file. `private` are those of clusters that answer; `begin` sets it for a decision.

    `warm` is told of every job that holds GPUs, and never of what is only planned.
    """

    def __init__(self, platform: Platform, warm: Warm | None = None) -> None:
        self.platform = platform
        self.warm = warm or Warm()
        self.warm.keep_only(platform)
        self.tiers = tiers_by_price(platform)
        self.holders: dict[str, Holder] = {}
        self.private: dict[str, list[NodeState]] = {}
        self.unanswering: dict[str, list[str]] = {}
        self.largest: dict[str, int] = {}
        self.sizes: dict[str, dict[str, list[int]]] = {}
        self.markets: dict[str, list[Market]] = {tier: [] for tier in self.tiers}
        self.holds: dict[int, Hold] = {}
        self.on_node: dict[tuple[str, str], dict[str, Holder]] = {}
        self._nodes: dict[tuple[str, str], NodeState] = {}
        self._shelves: list[tuple[str, NodeState]] = []
        self._private_clusters = {c.name for c in platform.clusters if c.kind is ClusterKind.PRIVATE}
        self._plan: list[str] = []
        self._costs: dict[str, tuple[str, float]] = {}
        self._shelve()
        self.begin(frozenset())

    def _shelve(self) -> None:
        prices = {tier.name: tier.price_per_gpu_hour for tier in self.platform.tiers}
        for cluster in self.platform.clusters:
            public = cluster.kind is ClusterKind.PUBLIC
            markets: dict[str, Market] = {}
            for node in cluster.nodes:
                price = cluster.prices.get(node.tier, 0.0) if public else prices.get(node.tier, 0.0)
                state = NodeState(cluster.name, node.name, node.tier, price, [WHOLE_GPU_MILLI] * node.gpus)
                self._nodes[cluster.name, node.name] = state
                if public:
                    markets.setdefault(node.tier, Market(cluster, node.tier, [])).nodes.append(state)
                    continue
                self.largest[node.tier] = max(node.gpus * WHOLE_GPU_MILLI, self.largest.get(node.tier, 0))
                size = node.gpus * WHOLE_GPU_MILLI
                self.sizes.setdefault(node.tier, {}).setdefault(cluster.name, []).append(size)
                self._shelves.append((cluster.name, state))
            for market in markets.values():
                self.markets[market.tier].append(market)

    def begin(self, unavailable: frozenset[str]) -> None:
        """Start a decision during which these clusters get nothing, because their executors do not answer."""
        self.private = {tier: [] for tier in self.tiers}
        self.unanswering = {tier: [] for tier in self.tiers}
        for cluster, state in self._shelves:
            if cluster not in unavailable:
                self.private[state.tier].append(state)
            elif cluster not in self.unanswering[state.tier]:
                self.unanswering[state.tier].append(cluster)
        for markets in self.markets.values():
            for market in markets:
                market.available = market.cluster.name not in unavailable

    def ever_fits(self, request: Request, tier: str) -> bool:
        """Return whether private nodes of a tier could take the request if nobody used them."""
        return any(
            sum(size >= request.node_milli for size in sizes) >= request.nodes
            for sizes in self.sizes.get(tier, {}).values()
        )

    def put(self, job: Job) -> Lease | None:
        """Take note of a job; return its lease when it is a private one."""
        lease = job.lease if job.phase.holds_gpus else None
        self.drop(job.id)
        if lease is not None:
            self._enter(Holder(job, lease))
            self.warm.learn(job)
        if lease is not None or job.cost:
            self._costs[job.id] = (job.team, job.cost)
        return lease if lease is not None and self.is_private(lease) else None

    def drop(self, job_id: str) -> None:
        """Forget a job; what it held is free."""
        self._costs.pop(job_id, None)
        holder = self.holders.pop(job_id, None)
        if holder is None:
            return
        for share, node in self._held(holder.lease):
            if node is not None:
                node.give(share.gpus)
            self.on_node[holder.lease.cluster, share.node].pop(job_id, None)

    def is_private(self, lease: Lease) -> bool:
        """Return whether the lease is on a private cluster."""
        return lease.cluster in self._private_clusters

    def counted_milli(self, lease: Lease) -> int:
        """Return how much of a lease lies on GPUs that the platform file still has."""
        return sum(
            gpu.share_milli
            for share, node in self._held(lease)
            for gpu in share.gpus
            if node is not None and gpu.index < len(node.free_milli)
        )

    def _enter(self, holder: Holder) -> None:
        self.holders[holder.job.id] = holder
        for share, node in self._held(holder.lease):
            if node is not None:
                node.take(share.gpus)
            self.on_node.setdefault((holder.lease.cluster, share.node), {})[holder.job.id] = holder

    def _held(self, lease: Lease) -> list[tuple[NodeShare, NodeState | None]]:
        return [(share, self._nodes.get((lease.cluster, share.node))) for share in lease.shares]

    def open_nodes(self, nodes: Sequence[NodeState], end_at: float | None) -> list[NodeState]:
        """Return the nodes that nobody waits for, or for so long that who ends by `end_at` is gone before."""
        if not self.holds:
            return [*nodes]
        return [node for node in nodes if (hold := self.holds.get(id(node))) is None or hold.lets(end_at)]

    def take(self, job: Job, nodes: Sequence[NodeState], end_at: float | None) -> Lease | None:
        """Give the job GPUs on the best of `nodes` that are open to it; return its lease, or None without room.

        Of places that waste as little, it takes the one where most of its inputs have been read.
        """
        request = job.request

        def near(node: NodeState) -> int:
            return self.warm.on_node(node.cluster, node.name, job.inputs)

        able = self.open_nodes(nodes, end_at)
        chosen = choose_gang(able, request.gpus_milli, request.nodes, near=near if job.inputs else None)
        if chosen is None:
            return None
        first, gpus = chosen[0]
        others = tuple(NodeShare(node.name, part) for node, part in chosen[1:])
        lease = Lease(first.cluster, first.name, first.tier, gpus, first.price_per_gpu_hour, others)
        self._enter(Holder(job, lease))
        self._plan.append(job.id)
        return lease

    def suffices(self, job: Job, tier: str, end_at: float | None, leaving: Iterable[str]) -> bool:
        """Return whether the job could be placed on a tier once these jobs are gone."""
        parts = [part for one in leaving if one in self.holders for part in self._held(self.holders[one].lease)]
        for share, node in parts:
            if node is not None:
                node.give(share.gpus)
        nodes = self.open_nodes(self.private[tier], end_at)
        enough = has_room(nodes, job.request.gpus_milli, job.request.nodes)
        for share, node in parts:
            if node is not None:
                node.take(share.gpus)
        return enough

    def fits(self, request: Request, tier: str, nodes: Sequence[NodeState] | None = None) -> bool:
        """Return whether a request has room now on these nodes, or on a tier whoever its nodes are kept for."""
        return has_room(self.private[tier] if nodes is None else nodes, request.gpus_milli, request.nodes)

    def keep(self, nodes: Iterable[NodeState], hold: Hold) -> None:
        """Keep nodes for a job that waits; one that is kept already stays with whom it is."""
        for node in nodes:
            self.holds.setdefault(id(node), hold)

    def undo(self) -> None:
        """Give back what the plan took, and keep nothing for anybody."""
        for job_id in [*self._plan]:
            self.revoke(job_id)
        self.holds.clear()

    def revoke(self, job_id: str) -> None:
        """Give back what the plan took for one job."""
        self._plan.remove(job_id)
        holder = self.holders.pop(job_id)
        for share, node in self._held(holder.lease):
            if node is not None:
                node.give(share.gpus)
            del self.on_node[holder.lease.cluster, share.node][job_id]

    def budget_left(self, now: float, spent: Mapping[str, float]) -> dict[str, float | None]:
        """Return each team's money of this month that is neither spent nor promised to jobs that have not ended."""
        limits = {team.name: team.budget_per_month for team in self.platform.teams}
        left = {name: None if limit is None else limit - spent.get(name, 0.0) for name, limit in limits.items()}
        for job_id, (team, cost) in sorted(self._costs.items()):
            money = left.get(team)
            if money is None:
                continue
            owed = cost
            holder = self.holders.get(job_id)
            if holder is not None:
                held_s = now - holder.job.admitted_at if holder.job.admitted_at is not None else 0.0
                owed += cost_of(holder.lease, max(held_s, predicted_s(holder.job, self.platform)))
            left[team] = money - owed
        return left
