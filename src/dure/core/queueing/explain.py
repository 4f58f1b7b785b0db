"""Why blocked jobs wait, told from the state after all placements, so that what would help is still free.

Only the waiting code of each line is made with the plan; places and the rest when somebody looks, from a picture that
nothing changes any more, so any thread may. The trap: `data` and `blockers` name jobs of every team; `visible` must
pass before anything is shown to a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dure.core.burst import BurstDecision, Offer, decide_burst, due_at
from dure.core.model import WHOLE_GPU_MILLI, Job, Platform
from dure.core.placement import NodeState, has_room
from dure.core.queueing.books import Books, Market
from dure.core.queueing.compile import RESOURCE
from dure.core.queueing.gates import Holder, Refusal, Standing
from dure.core.queueing.lines import Place, Rank, rank_of
from dure.core.queueing.order import Usage
from dure.core.queueing.quota import Quota
from dure.core.reasons import Verdict, Waiting
from dure.core.reservations import Kept

Scope = tuple[str, ...]

MAX_HOLDERS = 8
MAX_AHEAD = 3

# what is nearest to running comes first: that is the reason told when several tiers would do
_NEAREST = (
    "leaving",
    "ahead",
    "not_on_one_node",
    "gpus_busy",
    "reserved",
    "guaranteed",
    "team_quota",
    "cluster_unavailable",
)
_PLACELESS = ("no_gpus", "public_only", "team_quota", "larger_than_node")
_TOLD = {
    "team_quota": ("quota_milli", "used_milli"),
    "cluster_unavailable": ("clusters",),
    "reserved": ("reserved_milli", "for_team", "until", "tier"),
}
_CODES = {
    "not_on_one_node": Waiting.TOPOLOGY_PLACEMENT_FAILED,
    "leaving": Waiting.WAITING_FOR_PREEMPTED_WORKLOADS,
}


@dataclass(slots=True, eq=False)
class State:
    """What became of a line in one decision. `job` is its head; `victims` are those that leave for the head.

    `refused` are the ranks that a gate keeps out; `over` when nothing more is placed, `full` when the public clusters
    are; `reserved` has the tiers that a reservation keeps from it.
    """

    tiers: tuple[str, ...]
    offers: tuple[tuple[Market, Offer], ...]
    job: Job | None = None
    refused: dict[Rank, Refusal] = field(default_factory=dict)
    victims: tuple[str, ...] = ()
    over: bool = False
    full: bool = False
    reserved: Mapping[str, Kept] = field(default_factory=dict)

    def refusal(self, job: Job) -> Refusal | None:
        """Return what keeps the job out, if a gate does."""
        return self.refused.get(rank_of(job)) if self.refused else None


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
    """What a tier has for one size of request: free and in all, on its emptiest node, whether ever, whether now."""

    free_milli: int
    total_milli: int
    largest_milli: int
    ever: bool
    now: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything as it is once the plan is carried out. Quota is by team and tier.

    `kept` names the job that quota is kept for: of a queue's share of a tier, or of what can be
    borrowed of a tier in a tree of cohorts. `homes` has the queue and the tree of each team.
    """

    now: float
    platform: Platform
    tiers: tuple[str, ...]
    shelves: Mapping[str, tuple[Shelf, ...]]
    unanswering: Mapping[str, tuple[str, ...]]
    markets: Mapping[str, tuple[tuple[str, bool], ...]]
    holders: Mapping[str, tuple[Holder, ...]]
    left: Mapping[str, float | None]
    available: Mapping[tuple[str, str], int]
    own_room: Mapping[tuple[str, str], int | None]
    used: Mapping[tuple[str, str], int]
    kept: Mapping[Any, str]
    homes: Mapping[str, tuple[str, str]]
    usage: Usage
    memo: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def of(  # noqa: PLR0917 -- the parts of one decision
        cls,
        books: Books,
        quota: Quota,
        standing: Standing,
        left: Mapping[str, float | None],
        kept: Mapping[Any, str],
        usage: Usage,
    ) -> Picture:
        """Return the picture of the books and the engine as they are now."""
        holders: dict[str, list[Holder]] = {tier: [] for tier in books.tiers}
        for holder in books.holders.values():
            if books.is_private(holder.lease):
                holders.setdefault(holder.lease.tier, []).append(holder)
        platform = standing.platform
        pairs = [(team.name, tier) for team in platform.teams for tier in books.tiers]
        return cls(
            now=standing.now,
            platform=platform,
            tiers=books.tiers,
            shelves={
                tier: tuple(
                    Shelf(
                        replace(node, free_milli=[*node.free_milli]),
                        hold.owner if (hold := books.holds.get(id(node))) else None,
                    )
                    for node in nodes
                )
                for tier, nodes in books.private.items()
            },
            unanswering={tier: tuple(names) for tier, names in books.unanswering.items()},
            markets={
                tier: tuple((market.cluster.name, market.available) for market in markets)
                for tier, markets in books.markets.items()
            },
            holders={
                tier: tuple(sorted(some, key=lambda one: (one.job.admitted_at or standing.now, one.job.id)))
                for tier, some in holders.items()
            },
            left=dict(left),
            available={pair: quota.available_milli(*pair) for pair in pairs},
            own_room={pair: quota.own_room_milli(*pair) for pair in pairs},
            used={pair: quota.used_milli(*pair) for pair in pairs},
            kept=kept,
            homes={team.name: (quota.queue_of(team.name), quota.pool_of(team.name)) for team in platform.teams},
            usage=usage,
        )

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
        return self.available.get((job.team, tier), 0) < job.request.gpus_milli

    def limited(self, job: Job, tier: str) -> bool:
        """Return whether the team's own limits are what refuses."""
        own = self.own_room.get((job.team, tier))
        return own is not None and own < job.request.gpus_milli

    def reason(self, job: Job, tier: str, victims: Sequence[str]) -> dict[str, Any]:
        """Return why one tier does not take the job now."""
        key = (job.team, job.request.gpus_milli, job.request.nodes, tier, bool(victims))
        found: dict[str, Any] | None = self.memo.get(key)
        if found is None:
            found = self.memo[key] = self._reason(job, tier, victims)
        return found

    def _reason(self, job: Job, tier: str, victims: Sequence[str]) -> dict[str, Any]:
        request, room = job.request, self._room(job, tier)
        reason: dict[str, Any] = {"tier": tier, "free_milli": room.free_milli, "total_milli": room.total_milli}
        if victims:
            return reason | {"why": "leaving"}
        used = self.used.get((job.team, tier), 0)
        own = self.own_room.get((job.team, tier))
        if own is not None and own < request.gpus_milli:
            return reason | {"why": "team_quota", "quota_milli": used + own, "used_milli": used}
        if not room.ever:
            return reason | {"why": "cluster_unavailable", "clusters": list(self.unanswering[tier])}
        if room.now:
            return reason | {"why": "guaranteed" if self.quota_blocks(job, tier) else "ahead"}
        if room.free_milli >= request.gpus_milli:
            return reason | {"why": "not_on_one_node", "largest_milli": room.largest_milli}
        return reason | {"why": "gpus_busy"}

    def _room(self, job: Job, tier: str) -> _Room:
        """Return what a tier has for such a request, whoever asks."""
        request = job.request
        key = (tier, request.gpus_milli, request.nodes)
        found: _Room | None = self.memo.get(key)
        if found is None:
            nodes = [shelf.node for shelf in self.shelves[tier]]
            each = [_free_milli([node], request.node_milli) for node in nodes]
            if request.gpus_milli < WHOLE_GPU_MILLI:
                largest = max((free for node in nodes for free in node.free_milli), default=0)
            else:
                largest = max(each, default=0)
            found = self.memo[key] = _Room(
                sum(each),
                sum(len(node.free_milli) for node in nodes) * WHOLE_GPU_MILLI,
                largest,
                ever=sum(node.fits_when_empty(request.node_milli) for node in nodes) >= request.nodes,
                now=has_room(nodes, request.gpus_milli, request.nodes),
            )
        return found


def told(decision: BurstDecision) -> dict[str, Any]:
    """Return the part of a burst decision that a waiting person is told."""
    return {
        "failing": list(decision.failing),
        "cluster": decision.cluster,
        "tier": decision.tier,
        "price": decision.predicted_cost,
        "price_per_gpu_hour": decision.price_per_gpu_hour,
        "budget_limit": decision.budget_limit,
        "budget_left": decision.budget_left,
        "data_class": decision.data_class,
    }


def visible(verdict: Verdict, may_see: Callable[[str], bool]) -> Verdict:
    """Return the verdict without the jobs that the reader may not see; of their holders only the team remains."""
    holders = [
        holder if may_see(holder["job"]) else {"team": holder["team"], "gpus_milli": holder["gpus_milli"]}
        for holder in verdict.data.get("holders", ())
    ]
    data = {**verdict.data, "holders": holders} if holders else verdict.data
    return replace(verdict, data=data, blockers=tuple(job for job in verdict.blockers if may_see(job)))


@dataclass(frozen=True, slots=True)
class _Story:
    """What equal jobs with the same neighbours in line are told."""

    code: Waiting
    data: Mapping[str, Any]
    blockers: tuple[str, ...]
    helps: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one job waits: `line[:ahead]` go before it."""

    job: Job
    state: State
    ahead: int
    line: Sequence[str]


Waits = tuple[State, Sequence[tuple[Rank, list[Place]]], Mapping[str | None, int]]
"""The state of a line, its jobs by rank, and how often each reason stands on their record."""


class Verdicts(Mapping[str, Verdict]):
    """The verdict of every job that the plan leaves waiting, made when it is asked for.

    `waiting` are the lines; jobs of them that the plan places are `placed`.
    """

    def __init__(self, picture: Picture, waiting: Sequence[Waits], placed: frozenset[str]) -> None:
        self._picture = picture
        self._waiting = waiting
        self._placed = placed
        self._places: dict[str, _Place] | None = None
        self._stories: dict[Any, _Story] = {}

    def __getitem__(self, job_id: str) -> Verdict:
        return self._verdict(self._all()[job_id])

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self) == dict(other)

    __hash__ = None  # type: ignore[assignment]

    def changed(self) -> Iterator[str]:
        """Yield the jobs on whose record another waiting code stands than the one of this plan, or none."""
        for state, ranks, told in self._waiting:
            usual = None if state.job is None else self._code(state, state.job, ())
            if not state.refused and not state.victims and set(told) <= {usual}:
                continue
            for rank, places in ranks:
                refusal = state.refused.get(rank)
                code = usual if refusal is None else refusal[0].value
                for _, job_id, job in places:
                    own = self._code(state, job, state.victims) if job is state.job else code
                    if job.reason != own and job_id not in self._placed:
                        yield job_id

    def _code(self, state: State, job: Job, victims: Sequence[str]) -> str:
        if not state.tiers:
            return Waiting.WAITING_FOR_QUOTA.value
        whys = [self._reason(job, state, tier, victims)["why"] for tier in state.tiers]
        return _CODES.get(min(whys, key=_NEAREST.index), Waiting.WAITING_FOR_QUOTA).value

    def _all(self) -> dict[str, _Place]:
        """Return every job's place, put into the lines of the tiers that it waits for in the order of serving."""
        if self._places is not None:
            return self._places
        picture, places = self._picture, {}
        pools: dict[Any, list[str]] = {}
        ordered = sorted(
            (*picture.usage.key(job)[:2], job.submitted_at, job.id, number, job)
            for number, (_, ranks, _) in enumerate(self._waiting)
            for _, some in ranks
            for _, job_id, job in some
            if job_id not in self._placed
        )
        for *_, number, job in ordered:
            state = self._waiting[number][0]
            scopes: list[Any] = [number if state.refusal(job) is None else (number, rank_of(job))]
            if state.refusal(job) is None and state.tiers:
                scopes = [picture.scopes(job, t)[0 if picture.in_team_line(job, t) else 1] for t in state.tiers]
            lines = [pools.setdefault(scope, []) for scope in scopes]
            line = min(lines, key=len)
            places[job.id] = _Place(job, state, len(line), line)
            for one in lines:
                one.append(job.id)
        self._places = places
        return places

    def _verdict(self, place: _Place) -> Verdict:
        """Return why this job waits."""
        job, state = place.job, place.state
        head = job is state.job
        money = (job.predicted_s, job.timeout_s, job.cost)
        mine = (job.user, *money, job.budget, job.data_class, job.burstable)
        refusal = state.refusal(job)
        key = (id(state), id(place.line), min(place.ahead, MAX_AHEAD), head and bool(state.victims), mine)
        story = self._stories.get(key)
        if story is None:
            story = self._stories[key] = self._story(place, state.victims if head else ())
        helps = story.helps
        burst = self._burst(job, state) if refusal is None else None
        if burst is not None and set(burst.failing) <= {"wait"}:
            due = min(due_at(job, self._picture.platform, offer) for _, offer in state.offers)
            helps = (*helps, self._burst_help(burst, due))
        elif not helps and refusal is None:
            helps = ({"code": "wait"},)
        return Verdict(story.code, place.ahead + 1, story.data, story.blockers, helps)

    def _burst(self, job: Job, state: State) -> BurstDecision | None:
        """Return the burst decision that a waiting job is told: one that only time is missing from, if any."""
        picture = self._picture
        left = picture.left.get(job.team)
        decisions = [decide_burst(job, picture.now, picture.platform, offer, left) for _, offer in state.offers]
        able = [decision for decision in decisions if set(decision.failing) <= {"wait"}]
        return next(iter(able or decisions), None)

    def _story(self, place: _Place, victims: Sequence[str]) -> _Story:
        job, state, picture = place.job, place.state, self._picture
        ahead = tuple(place.line[: min(place.ahead, MAX_AHEAD)])
        if (refusal := state.refusal(job)) is not None:
            code, facts = refusal
            return _Story(code, facts, (), self._refused_helps(job, facts))
        burst = self._burst(job, state)
        if not state.tiers:
            return self._public_story(job, ahead, burst)
        reasons = [self._reason(job, state, tier, victims) for tier in state.tiers]
        nearest = min(reasons, key=lambda reason: _NEAREST.index(reason["why"]))
        why = nearest["why"]
        data: dict[str, Any] = {
            "tier": job.request.tier,
            "gpus_milli": job.request.gpus_milli,
            "team": job.team,
            "why": why,
        }
        data |= nearest if len(reasons) == 1 else {"why": why, "tiers": reasons}
        data["free_milli"] = sum(reason["free_milli"] for reason in reasons)
        data["total_milli"] = sum(reason["total_milli"] for reason in reasons)
        if why in _TOLD:
            data |= {key: nearest[key] for key in _TOLD[why] if key in nearest}
        if message := self._kueue(job, state.tiers):
            data["message"] = message
        if used := picture.usage.of(job.team, job.user):
            data["used_gpu_s"] = round(used, 1)
        holders = self._holders(job, state.tiers, why, victims)
        data["holder_count"] = len(holders)
        data["holders"] = [
            {"job": held.job.id, "user": held.job.user, "team": held.job.team, "gpus_milli": held.lease.gpus_milli}
            for held in holders[:MAX_AHEAD]
        ]
        if burst is not None:
            data["burst"] = told(burst)
        blockers = (*(holder.job.id for holder in holders[:MAX_HOLDERS]), *ahead)
        helps = self._helps(job, why, place.ahead, burst)
        return _Story(_CODES.get(why, Waiting.WAITING_FOR_QUOTA), data, blockers, helps)

    def _reason(self, job: Job, state: State, tier: str, victims: Sequence[str]) -> dict[str, Any]:
        """Return why one tier does not take the job now; what a reservation keeps is not looked into further."""
        reason, kept = self._picture.reason(job, tier, victims), state.reserved.get(tier)
        if kept is None or victims:
            return reason
        one = kept.reservation
        reserved = {"reserved_milli": kept.reserved_milli, "for_team": one.team, "until": one.ends_at}
        return reason | {"why": "reserved"} | reserved

    def _kueue(self, job: Job, tiers: Sequence[str]) -> str:
        """Return Kueue's own message where quota is what is missing; empty where it is not."""
        lacking = [
            f"insufficient unused quota for {RESOURCE} in flavor {tier}, {more / WHOLE_GPU_MILLI:g} more needed"
            for tier in tiers
            if (more := job.request.gpus_milli - self._picture.available.get((job.team, tier), 0)) > 0
        ]
        return f"couldn't assign flavors to pod set main: {', '.join(sorted(lacking))}" if lacking else ""

    def _public_story(self, job: Job, ahead: tuple[str, ...], burst: BurstDecision | None) -> _Story:
        """Tell of a job that only public clusters could take: they are all in use, or do not answer."""
        picture = self._picture
        tiers = picture.tiers if job.request.tier is None else (job.request.tier,)
        markets = [market for tier in tiers for market in picture.markets.get(tier, ())]
        answering = [name for name, available in markets if available]
        data: dict[str, Any] = {
            "tier": job.request.tier,
            "gpus_milli": job.request.gpus_milli,
            "team": job.team,
            "why": "public_busy" if answering else "cluster_unavailable",
            "clusters": sorted(set(answering or [name for name, _ in markets])),
        }
        if burst is not None:
            data["burst"] = told(burst)
        return _Story(Waiting.WAITING_FOR_QUOTA, data, ahead, ())

    def _holders(self, job: Job, tiers: Sequence[str], why: str, victims: Sequence[str]) -> list[Holder]:
        holders = [holder for tier in tiers for holder in self._picture.holders.get(tier, ())]
        if victims:
            return [holder for holder in holders if holder.job.id in victims]
        if why == "team_quota":
            return [holder for holder in holders if holder.job.team == job.team]
        return holders

    def _helps(self, job: Job, why: str, ahead: int, burst: BurstDecision | None) -> tuple[Mapping[str, Any], ...]:
        if why == "leaving":
            return ()
        helps = self._other_tiers(job)
        if ahead == 0 and job.request.tier is not None and why != "cluster_unavailable":
            helps += self._fewer_gpus(job, job.request.tier)
        return (*helps, *_money_help(burst))

    def _refused_helps(self, job: Job, data: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        most = data.get("most_milli", 0)
        helps: tuple[Mapping[str, Any], ...] = ()
        if data.get("what") == "tier" or data.get("why") in _PLACELESS:
            helps = self._other_tiers(job)
        if most:
            helps += ({"code": "fewer_gpus", "gpus_milli": most, "now": False},)
        burst = data.get("burst")
        if burst and set(burst["failing"]) <= {"strict", "wait"}:
            helps += ({"code": "budget_flex", "price": burst["price"], "cluster": burst["cluster"]},)
        return helps

    def _other_tiers(self, job: Job) -> tuple[Mapping[str, Any], ...]:
        """Return the tiers that would take the job at once if it asked for them, the nearest in price first."""
        picture, asked, request = self._picture, job.request.tier, job.request
        if asked is None or request.gpus_milli <= 0:
            return ()
        rank = picture.tiers.index(asked) if asked in picture.tiers else 0
        found = []
        for tier in sorted(picture.tiers, key=lambda one: abs(picture.tiers.index(one) - rank)):
            nodes = [shelf.node for shelf in picture.shelves[tier] if shelf.owner is None]
            fits = has_room(nodes, request.gpus_milli, request.nodes)
            kept = picture.quota_blocks(job, tier) or picture.kept_from(job, tier)
            if tier != asked and fits and not kept:
                found.append({"code": "tier", "tier": tier, "free_milli": _free_milli(nodes, request.node_milli)})
        return tuple(found)

    def _fewer_gpus(self, job: Job, tier: str) -> tuple[Mapping[str, Any], ...]:
        """Return the largest smaller request that would be admitted now to the first in line for `tier`.

        Nodes that are kept for this very job count as free; what is kept for others does not.
        """
        if job.request.nodes > 1 or self._picture.kept_from(job, tier):
            return ()
        most = 0
        room = min(job.request.gpus_milli - 1, self._picture.available.get((job.team, tier), 0))
        for shelf in self._picture.shelves[tier]:
            if shelf.open_to(job):
                node = shelf.node
                whole = min(node.whole_free, room // WHOLE_GPU_MILLI) * WHOLE_GPU_MILLI
                most = max(most, whole or min(max(node.free_milli), room, WHOLE_GPU_MILLI))
        return ({"code": "fewer_gpus", "gpus_milli": most, "now": True},) if most >= 1 else ()

    def _burst_help(self, burst: BurstDecision, due: float) -> Mapping[str, Any]:
        return {
            "code": "burst",
            "in_s": max(0.0, due - self._picture.now),
            "due_at": due,
            "price": burst.predicted_cost,
            "cluster": burst.cluster,
            "tier": burst.tier,
            "busy": due <= self._picture.now,
        }


def _money_help(burst: BurstDecision | None) -> tuple[Mapping[str, Any], ...]:
    """Return the help of paying when the budget of the job is all that keeps it from a public cluster."""
    if burst is None or set(burst.failing) - {"wait"} not in ({"strict"}, {"amount"}):
        return ()
    in_s = max(0.0, burst.due_at - burst.now)
    return ({"code": "budget_flex", "in_s": in_s, "price": burst.predicted_cost, "cluster": burst.cluster},)


def _free_milli(nodes: Sequence[NodeState], gpus_milli: int) -> int:
    """Return what is free for such a request: only whole GPUs count for whole ones."""
    if gpus_milli < WHOLE_GPU_MILLI:
        return sum(max(0, free) for node in nodes for free in node.free_milli)
    return sum(node.whole_free for node in nodes) * WHOLE_GPU_MILLI
