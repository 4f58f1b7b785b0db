"""What one decision left behind, as a picture that nothing changes any more: explanations read it, nobody writes it.

The trap: it is taken after all placements of the plan, so what is free in it is what would still be free for a job that
asked otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dure.core.burst import Offer
from dure.core.model import WHOLE_GPU_MILLI, Job, Platform
from dure.core.placement import NodeState, has_room, most_together
from dure.core.queueing.books import Books, Market
from dure.core.queueing.gates import Holder, Refusal, Standing
from dure.core.queueing.limits import Leeway, Limited
from dure.core.queueing.lines import Place, Rank, rank_of
from dure.core.queueing.order import Usage
from dure.core.queueing.quota import Quota, TeamRoom
from dure.core.reservations import Kept

Scope = tuple[str, ...]
_NO_ROOM = TeamRoom()
_UNBOUND = Leeway()


@dataclass(slots=True, eq=False)
class State:
    """What became of a line in one decision. `job` is its head; `victims` are those that leave for the head.

    `barred` are people whom a limit keeps out and `refused` ranks that a gate does; `given` counts its jobs that the
    plan places; `over` when nothing more is placed, `full` when the public clusters are; `reserved` has the tiers that
    a reservation keeps from it. `bounded` when a limit refused one of its heads; `limited` says once the plan is made
    whom limits keep out.
    """

    tiers: tuple[str, ...]
    offers: tuple[tuple[Market, Offer], ...]
    barred: Mapping[str, Refusal] = field(default_factory=dict)
    job: Job | None = None
    refused: dict[Rank, Refusal] = field(default_factory=dict)
    victims: tuple[str, ...] = ()
    given: int = 0
    over: bool = False
    full: bool = False
    reserved: Mapping[str, Kept] = field(default_factory=dict)
    bounded: bool = False
    limited: Limited | None = None

    def refusal(self, job: Job) -> Refusal | None:
        """Return what keeps the job out, if a gate does."""
        found = self.refused.get(rank_of(job)) if self.refused else None
        if found is None and self.limited is not None:
            return None if self.lets(job) else self.limited.refusal(job)
        return found or self.barred.get(job.user)

    def parted(self, rank: Rank, places: Sequence[Place]) -> tuple[Sequence[Place], Sequence[Place]]:
        """Return the jobs of a rank that no gate keeps out, and those that one does."""
        if rank[0] in self.barred or rank in self.refused:
            return (), places
        if self.limited is None or self.limited.leeway(rank[0]) == _UNBOUND:
            return places, ()
        free = [place for place in places if self.lets(place[2])]
        return free, [place for place in places if not self.lets(place[2])]

    def lets(self, job: Job) -> bool:
        """Return whether no limit keeps the job out, which none does with one for which others leave already."""
        if self.limited is None or (self.victims and self.job is not None and self.job.id == job.id):
            return True
        return self.limited.lets(job)


@dataclass(frozen=True, slots=True)
class Shelf:
    """One private node after the plan, and for whom it is kept."""

    node: NodeState
    owner: str | None

    def open_to(self, job: Job) -> bool:
        """Return whether nobody else waits for the node."""
        return self.owner is None or self.owner == job.id


@dataclass(frozen=True, slots=True)
class _Room:
    """What a tier has for one size of request: free and in all, on its emptiest node, whether ever, whether now.

    `fitting` is how many nodes that stand together have room for their part.
    """

    free_milli: int
    total_milli: int
    largest_milli: int
    ever: bool
    now: bool
    fitting: int


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything as it is once the plan is carried out. `rooms` has the quota of teams by tier and team.

    `kept` names the job that quota is kept for: of a queue's share of a tier, or of what can be
    borrowed of a tier in a tree of cohorts. `homes` has the queue and the tree of each team. `memory` is shared by the
    pictures of one decider: what was told of nodes and rooms stands for as long as those are the very same.
    """

    now: float
    platform: Platform
    tiers: tuple[str, ...]
    nodes: Mapping[str, tuple[NodeState, ...]]
    shelves: Mapping[str, tuple[Shelf, ...]]
    unanswering: Mapping[str, tuple[str, ...]]
    markets: Mapping[str, tuple[tuple[str, bool], ...]]
    holders: Mapping[str, tuple[Holder, ...]]
    left: Mapping[str, float | None]
    rooms: Mapping[str, Mapping[str, TeamRoom]]
    kept: Mapping[Any, str]
    homes: Mapping[str, tuple[str, str]]
    usage: Usage
    memory: dict[Any, Any]

    @classmethod
    def of(  # noqa: PLR0917 -- the parts of one decision
        cls,
        books: Books,
        quota: Quota,
        standing: Standing,
        left: Mapping[str, float | None],
        kept: Mapping[Any, str],
        usage: Usage,
        memory: dict[Any, Any],
    ) -> Picture:
        """Return the picture of the books and the engine as they are now; what did not change since is shared."""
        platform = standing.platform
        shelves, holders, nodes = {}, {}, {}
        for tier in books.tiers:
            nodes[tier], holders[tier] = books.as_it_is(tier)
            owners = [books.holds.get(id(node)) for node in books.private[tier]]
            shelves[tier] = tuple(
                Shelf(node, None if hold is None else hold.owner)
                for node, hold in zip(nodes[tier], owners, strict=True)
            )
        return cls(
            now=standing.now,
            platform=platform,
            tiers=books.tiers,
            nodes=nodes,
            shelves=shelves,
            unanswering={tier: tuple(names) for tier, names in books.unanswering.items()},
            markets={
                tier: tuple((market.cluster.name, market.available) for market in markets)
                for tier, markets in books.markets.items()
            },
            holders=holders,
            left=dict(left),
            rooms={tier: quota.rows(tier) for tier in books.tiers},
            kept=kept,
            homes=quota.homes,
            usage=usage,
            memory=memory,
        )

    def room(self, team: str, tier: str) -> TeamRoom:
        """Return what quota leaves a team of a tier."""
        return self.rooms.get(tier, {}).get(team, _NO_ROOM)

    def in_team_line(self, job: Job, tier: str) -> bool:
        """Return whether the job waits for its own team's share of a tier and not for the tier."""
        return self.limited(job, tier) or self.scopes(job, tier)[0] in self.kept

    def scopes(self, job: Job, tier: str) -> tuple[Scope, Scope]:
        """Return what quota of a tier may be kept in: the job's queue, and its tree of cohorts."""
        queue, pool = self.homes.get(job.team, (job.team, ""))
        return (queue, tier), ("", pool, tier)

    def kept_from(self, job: Job, tier: str) -> bool:
        """Return whether quota of the tier is kept for another job."""
        return any(self.kept.get(scope, job.id) != job.id for scope in self.scopes(job, tier))

    def quota_blocks(self, job: Job, tier: str) -> bool:
        """Return whether the team may not take so much of the tier now."""
        return self.room(job.team, tier).free_milli < job.request.gpus_milli

    def limited(self, job: Job, tier: str) -> bool:
        """Return whether the team's own limits are what refuses."""
        own = self.room(job.team, tier).own_milli
        return own is not None and own < job.request.gpus_milli

    def reason(self, job: Job, tier: str, victims: Sequence[str]) -> dict[str, Any]:
        """Return why one tier does not take the job now; nobody may change what is returned."""
        key = (job.team, job.request.shape, tier, bool(victims))
        nodes, rooms = self.nodes[tier], self.rooms[tier]
        known = self.memory.get(key)
        if known is None or known[0] is not nodes or known[1] is not rooms:
            known = self.memory[key] = nodes, rooms, self._reason(job, tier, victims)
        found: dict[str, Any] = known[2]
        return found

    def _reason(self, job: Job, tier: str, victims: Sequence[str]) -> dict[str, Any]:
        request, room = job.request, self._room(job, tier)
        reason: dict[str, Any] = {"tier": tier, "free_milli": room.free_milli, "total_milli": room.total_milli}
        if victims:
            return reason | {"why": "leaving"}
        quota = self.room(job.team, tier)
        used, own = quota.used_milli, quota.own_milli
        if own is not None and own < request.gpus_milli:
            return reason | {"why": "team_quota", "quota_milli": used + own, "used_milli": used}
        if not room.ever:
            return reason | {"why": "cluster_unavailable", "clusters": list(self.unanswering[tier])}
        if room.now:
            return reason | {"why": "guaranteed" if self.quota_blocks(job, tier) else "ahead"}
        if room.free_milli >= request.gpus_milli:
            apart: dict[str, Any] = {"why": "not_on_one_node", "largest_milli": room.largest_milli}
            if request.nodes > 1:
                apart |= {"nodes": request.nodes, "fitting": room.fitting, "topology": request.required_topology}
            return reason | apart
        return reason | {"why": "gpus_busy"}

    def _room(self, job: Job, tier: str) -> _Room:
        """Return what a tier has for such a request, whoever asks."""
        request = job.request
        key, nodes = (tier, request.shape), self.nodes[tier]
        known = self.memory.get(key)
        if known is None or known[0] is not nodes:
            each = [free_milli([node], request.node_milli) for node in nodes]
            if request.gpus_milli < WHOLE_GPU_MILLI:
                largest = max((free for node in nodes for free in node.free_milli), default=0)
            else:
                largest = max(each, default=0)
            room = _Room(
                sum(each),
                sum(len(node.free_milli) for node in nodes) * WHOLE_GPU_MILLI,
                largest,
                ever=most_together(nodes, request, empty=True) >= request.nodes,
                now=has_room(nodes, request),
                fitting=most_together(nodes, request),
            )
            known = self.memory[key] = nodes, room
        found: _Room = known[1]
        return found


def free_milli(nodes: Sequence[NodeState], gpus_milli: int) -> int:
    """Return what is free for such a request: only whole GPUs count for whole ones."""
    if gpus_milli < WHOLE_GPU_MILLI:
        return sum(max(0, free) for node in nodes for free in node.free_milli)
    return sum(node.whole_free for node in nodes) * WHOLE_GPU_MILLI
