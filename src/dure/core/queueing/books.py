"""Which GPUs are free, who has the others, what public clusters offer, and which nodes are kept for whom.

Kept between decisions and told of every lease that begins or ends. A tier's stamp is another one whenever something of
its private GPUs, or of who holds them, is: what was found out at a stamp stands while it is the same. The trap: a
decision takes GPUs for its plan and gives them back at its end (`undo`), stamps too, because the plan may never be
carried out; what it left behind would be lost.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dure.core.burst import Offer, expected_s
from dure.core.model import WHOLE_GPU_MILLI, Cluster, ClusterKind, Job, Lease, NodeShare, Platform, Request
from dure.core.placement import NodeState, Pool, has_room, most_together
from dure.core.queueing.compile import tiers_by_price
from dure.core.queueing.gates import Holder
from dure.core.queueing.holds import Hold, planned_end
from dure.core.queueing.meters import Meter, whole_us
from dure.core.queueing.order import ENTRY_US, Person
from dure.core.queueing.warm import Warm

_MONEY = 10**9
_OWED_PER_MONEY = _MONEY * WHOLE_GPU_MILLI * whole_us(3600.0)


@dataclass(slots=True)
class Market:
    """One public cluster's nodes of one tier. `available` is False while its executor does not answer."""

    cluster: Cluster
    tier: str
    pool: Pool
    available: bool = True

    @property
    def nodes(self) -> Sequence[NodeState]:
        """Its nodes."""
        return self.pool.nodes

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
    """The GPUs of one platform file. `private` nodes and `pools` are of clusters that answer, as `begin` was told.

    `warm` is told of every job that holds GPUs, and never of what is only planned. `of_team` has the holders by team,
    `stamps` those of the tiers, `team_stamps` of what teams hold.
    """

    def __init__(self, platform: Platform, warm: Warm | None = None) -> None:
        self.platform = platform
        self.warm = warm or Warm()
        self.warm.keep_only(platform)
        self.tiers = tiers_by_price(platform)
        self.holders: dict[str, Holder] = {}
        self.pools: dict[str, list[Pool]] = {}
        self.private: dict[str, list[NodeState]] = {}
        self.unanswering: dict[str, list[str]] = {}
        self.largest: dict[str, int] = {}
        self.markets: dict[str, list[Market]] = {tier: [] for tier in self.tiers}
        self.holds: dict[int, Hold] = {}
        self.on_node: dict[tuple[str, str], dict[str, Holder]] = {}
        self._nodes: dict[tuple[str, str], tuple[NodeState, Pool]] = {}
        self._shelves: list[tuple[str, str, Pool]] = []
        self._private_clusters = {c.name for c in platform.clusters if c.kind is ClusterKind.PRIVATE}
        self._plan: list[str] = []
        self.of_team: dict[str, dict[str, Holder]] = {}
        self.stamps: dict[str, int] = {}
        self.team_stamps: dict[str, int] = {}
        self._stamp = 0
        self._begun: tuple[dict[str, int], dict[str, int]] = {}, {}
        self._unavailable: frozenset[str] | None = None
        self._room: dict[tuple[str, tuple[int, int, str | None]], tuple[int, bool]] = {}
        self._copies: dict[str, tuple[int, tuple[NodeState, ...], tuple[Holder, ...]]] = {}
        self._uses: dict[Person, Meter] = {}
        self._owed: dict[str, Meter] = {}
        self._costs: dict[str, tuple[str, int]] = {}
        self._cost_of: dict[str, int] = {}
        self._shelve()
        self.begin(frozenset())

    def _shelve(self) -> None:
        prices = {tier.name: tier.price_per_gpu_hour for tier in self.platform.tiers}
        for cluster in self.platform.clusters:
            public = cluster.kind is ClusterKind.PUBLIC
            for tier in dict.fromkeys(node.tier for node in cluster.nodes):
                price = cluster.prices.get(tier, 0.0) if public else prices.get(tier, 0.0)
                pool = Pool(
                    [
                        NodeState(
                            cluster.name, node.name, tier, price, [WHOLE_GPU_MILLI] * node.gpus, labels=node.labels
                        )
                        for node in cluster.nodes
                        if node.tier == tier
                    ]
                )
                self._nodes |= {(cluster.name, node.name): (node, pool) for node in pool.nodes}
                if public:
                    self.markets[tier].append(Market(cluster, tier, pool))
                else:
                    self._shelves.append((cluster.name, tier, pool))
                    sizes = [len(node.free_milli) * WHOLE_GPU_MILLI for node in pool.nodes]
                    self.largest[tier] = max(*sizes, self.largest.get(tier, 0))

    def begin(self, unavailable: frozenset[str]) -> None:
        """Start a decision during which these clusters get nothing, because their executors do not answer."""
        if unavailable == self._unavailable:
            self._begun = dict(self.stamps), dict(self.team_stamps)
            return
        self._unavailable = unavailable
        self.pools = {tier: [] for tier in self.tiers}
        self.private = {tier: [] for tier in self.tiers}
        self.unanswering = {tier: [] for tier in self.tiers}
        for cluster, tier, pool in self._shelves:
            if cluster in unavailable:
                self.unanswering[tier].append(cluster)
            else:
                self.pools[tier].append(pool)
                self.private[tier].extend(pool.nodes)
        for markets in self.markets.values():
            for market in markets:
                market.available = market.cluster.name not in unavailable
        for tier in self.tiers:
            self._changed(tier)
        self._begun = dict(self.stamps), dict(self.team_stamps)

    def _changed(self, tier: str) -> None:
        self._stamp += 1
        self.stamps[tier] = self._stamp

    def ever_fits(self, request: Request, tier: str) -> bool:
        """Return whether private nodes of a tier could take the request if nobody used them."""
        return self.most_nodes(request, tier) >= request.nodes

    def most_nodes(self, request: Request, tier: str) -> int:
        """Return how many private nodes of a tier that stand together could take their part when empty."""
        return max(
            (most_together(pool.nodes, request, empty=True) for _, at, pool in self._shelves if at == tier), default=0
        )

    def put(self, job: Job) -> Lease | None:
        """Take note of a job; return its lease when it is a private one."""
        lease = job.lease if job.phase.holds_gpus else None
        self.drop(job.id)
        if lease is not None:
            holder = Holder(job, lease, planned_end(job, self.platform))
            self._enter(holder)
            self._count(holder)
            self.warm.learn(job)
        if lease is not None or job.cost:
            cost = round(job.cost * _MONEY)
            self._costs[job.id] = (job.team, cost)
            self._cost_of[job.team] = self._cost_of.get(job.team, 0) + cost
        return lease if lease is not None and self.is_private(lease) else None

    def _count(self, holder: Holder) -> None:
        """Let what a holder uses and owes count."""
        job, lease = holder.job, holder.lease
        since_us = None if job.admitted_at is None else whole_us(job.admitted_at)
        milli = lease.gpus_milli
        self._uses.setdefault((job.team, job.user), Meter()).add(job.id, milli, since_us, ENTRY_US)
        if lease.price_per_gpu_hour:
            runs_us = whole_us(expected_s(job, self.platform))
            rate = round(lease.price_per_gpu_hour * _MONEY) * milli
            self._owed.setdefault(job.team, Meter()).add(job.id, rate, since_us, runs_us)

    def drop(self, job_id: str) -> None:
        """Forget a job; what it held is free."""
        team, cost = self._costs.pop(job_id, ("", 0))
        if cost:
            self._cost_of[team] -= cost
        holder = self.holders.get(job_id)
        if holder is None:
            return
        self._leave(holder)
        person = (holder.job.team, holder.job.user)
        self._uses[person].remove(job_id)
        if not self._uses[person]:
            del self._uses[person]
        if holder.job.team in self._owed:
            self._owed[holder.job.team].remove(job_id)

    def is_private(self, lease: Lease) -> bool:
        """Return whether the lease is on a private cluster."""
        return lease.cluster in self._private_clusters

    def counted_milli(self, lease: Lease) -> int:
        """Return how much of a lease lies on GPUs that the platform file still has."""
        return sum(
            gpu.share_milli
            for share, node, _ in self._held(lease)
            for gpu in share.gpus
            if gpu.index < len(node.free_milli)
        )

    def _enter(self, holder: Holder) -> None:
        self.holders[holder.job.id] = holder
        self.of_team.setdefault(holder.job.team, {})[holder.job.id] = holder
        for share, node, pool in self._held(holder.lease):
            pool.take(node, share.gpus)
            self.on_node.setdefault((node.cluster, node.name), {})[holder.job.id] = holder
        self._noted(holder)

    def _leave(self, holder: Holder) -> None:
        del self.holders[holder.job.id]
        del self.of_team[holder.job.team][holder.job.id]
        for share, node, pool in self._held(holder.lease):
            pool.give(node, share.gpus)
            del self.on_node[node.cluster, node.name][holder.job.id]
        self._noted(holder)

    def _noted(self, holder: Holder) -> None:
        lease = holder.lease
        self._stamp += 1
        self.team_stamps[holder.job.team] = self._stamp
        if self.is_private(lease):
            for tier in {lease.tier, *(node.tier for _, node, _ in self._held(lease))}:
                self._changed(tier)

    def _held(self, lease: Lease) -> list[tuple[NodeShare, NodeState, Pool]]:
        """Return what is held of the nodes that the platform file still has."""
        places = [(share, self._nodes.get((lease.cluster, share.node))) for share in lease.shares]
        return [(share, *place) for share, place in places if place is not None]

    def open_nodes(self, nodes: Sequence[NodeState], end_at: float | None) -> list[NodeState]:
        """Return the nodes that nobody waits for, or for so long that who ends by `end_at` is gone before."""
        return [node for node in nodes if self._open(node, end_at)] if self.holds else [*nodes]

    def _open(self, node: NodeState, end_at: float | None) -> bool:
        hold = self.holds.get(id(node))
        return hold is None or hold.lets(end_at)

    def take(
        self, job: Job, pools: Iterable[Pool], end_at: float | None, among: Container[str] | None = None
    ) -> Lease | None:
        """Give the job GPUs on the best nodes that are open to it, of the first pool that has room; return its lease.

        Nodes are `among` these of one cluster when given.

        None without room. It takes the place where most of its inputs have been read, as `Pool.choose` says.
        """

        def able(node: NodeState) -> bool:
            return self._open(node, end_at) and (among is None or node.name in among)

        def near(node: NodeState) -> int:
            return self.warm.on_node(node.cluster, node.name, job.inputs)

        for pool in pools:
            places = pool.place(
                job.request, able if self.holds or among is not None else None, near if job.inputs else None
            )
            if places is None:
                continue
            (first, gpus), *others = places
            rest = tuple(NodeShare(node.name, more) for node, more in others)
            lease = Lease(first.cluster, first.name, first.tier, gpus, first.price_per_gpu_hour, rest)
            self._enter(Holder(job, lease))
            self._plan.append(job.id)
            return lease
        return None

    def suffices(self, job: Job, tier: str, end_at: float | None, leaving: Iterable[str]) -> bool:
        """Return whether the job could be placed on a tier once these jobs are gone."""
        parts = [part for one in leaving if one in self.holders for part in self._held(self.holders[one].lease)]
        for share, node, _ in parts:  # given back below, so no pool need know
            node.give(share.gpus)
        nodes = self.open_nodes(self.private[tier], end_at)
        enough = has_room(nodes, job.request)
        for share, node, _ in parts:
            node.take(share.gpus)
        return enough

    def fits(self, request: Request, tier: str, nodes: Sequence[NodeState] | None = None) -> bool:
        """Return whether a request has room now on these nodes, or on a tier whoever its nodes are kept for."""
        if nodes is not None:
            return has_room(nodes, request)
        key, stamp = (tier, request.shape), self.stamps[tier]
        known = self._room.get(key)
        if known is None or known[0] != stamp:
            known = self._room[key] = stamp, has_room(self.private[tier], request)
        return known[1]

    def as_it_is(self, tier: str) -> tuple[tuple[NodeState, ...], tuple[Holder, ...]]:
        """Return the private nodes of a tier and who holds them, oldest first: copies that nobody may change."""
        stamp = self.stamps.get(tier, 0)
        known = self._copies.get(tier)
        if known is None or known[0] != stamp:
            nodes = tuple(replace(node, free_milli=[*node.free_milli]) for node in self.private.get(tier, ()))
            some = [one for one in self.holders.values() if one.lease.tier == tier and self.is_private(one.lease)]
            known = self._copies[tier] = stamp, nodes, tuple(sorted(some, key=_oldest))
        return known[1], known[2]

    def keep(self, nodes: Iterable[NodeState], hold: Hold) -> None:
        """Keep nodes for a job that waits; one that is kept already stays with whom it is."""
        for node in nodes:
            self.holds.setdefault(id(node), hold)

    def undo(self) -> None:
        """Give back what the plan took, and keep nothing for anybody."""
        for job_id in [*self._plan]:
            self.revoke(job_id)
        self.holds.clear()
        self.stamps, self.team_stamps = self._begun

    def revoke(self, job_id: str) -> None:
        """Give back what the plan took for one job."""
        self._plan.remove(job_id)
        self._leave(self.holders[job_id])

    def used(self, now: float) -> dict[Person, int]:
        """Return what everybody who has GPUs used with them so far, in thousandths of a GPU x microseconds."""
        now_us = whole_us(now)
        return {person: meter.at(now_us) for person, meter in self._uses.items()}

    def budget_left(self, now: float, spent: Mapping[str, float]) -> dict[str, float | None]:
        """Return each team's money of this month that is neither spent nor promised to jobs that have not ended."""
        left: dict[str, float | None] = {}
        for team in self.platform.teams:
            if team.budget_per_month is None:
                left[team.name] = None
                continue
            owed = self._cost_of.get(team.name, 0) / _MONEY
            if team.name in self._owed:
                owed += self._owed[team.name].at(whole_us(now)) / _OWED_PER_MONEY
            left[team.name] = team.budget_per_month - spent.get(team.name, 0.0) - owed
        return left


def _oldest(holder: Holder) -> tuple[float, str]:
    return math.inf if holder.job.admitted_at is None else holder.job.admitted_at, holder.job.id
