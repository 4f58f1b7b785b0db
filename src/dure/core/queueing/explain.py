"""Why blocked jobs wait, told from the state after all placements, so that what would help is still free.

Cost is per kind of job, not per job: only place in line and the burst's due time differ between equal ones. The trap:
`data` and `blockers` name jobs of every team; `visible` must pass before anything is shown to a person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dure.core.burst import BurstDecision
from dure.core.model import WHOLE_GPU_MILLI, Job
from dure.core.placement import NodeState
from dure.core.queueing.books import Books, Holder
from dure.core.reasons import Verdict, Waiting

Refusal = tuple[Waiting, Mapping[str, Any]]

MAX_HOLDERS = 8
MAX_AHEAD = 3

# what is nearest to running comes first: that is the reason told when several tiers would do
_NEAREST = ("ahead", "not_on_one_node", "gpus_busy", "team_quota", "cluster_unavailable")
_PLACELESS = ("no_gpus", "public_only", "team_quota", "larger_than_node")
_CODES = {"not_on_one_node": Waiting.TOPOLOGY_PLACEMENT_FAILED}


@dataclass(slots=True)
class Blocked:
    """One job that was not placed. `line[:ahead]` go before it; `shape` is the same object for equal jobs."""

    job: Job
    shape: object
    ahead: int
    line: Sequence[str]
    tiers: tuple[str, ...] = ()
    burst: BurstDecision | None = None
    due_at: float | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class _Story:
    """What equal jobs with the same neighbours in line are told."""

    code: Waiting
    data: Mapping[str, Any]
    blockers: tuple[str, ...]
    helps: tuple[Mapping[str, Any], ...]


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


class Explainer:
    """Makes verdicts from the books as they are after every placement of the plan."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._stories: dict[tuple[int, int, int], _Story] = {}

    def verdict(self, blocked: Blocked) -> Verdict:
        """Return why this job waits."""
        key = (id(blocked.shape), id(blocked.line), min(blocked.ahead, MAX_AHEAD))
        story = self._stories.get(key)
        if story is None:
            story = self._stories[key] = self._story(blocked)
        helps = story.helps
        if blocked.due_at is not None and blocked.burst is not None:
            helps = (*helps, self._burst_help(blocked.burst, blocked.due_at))
        elif not helps and blocked.refusal is None:
            helps = ({"code": "wait"},)
        return Verdict(story.code, blocked.ahead + 1, story.data, story.blockers, helps)

    def _story(self, blocked: Blocked) -> _Story:
        ahead = tuple(blocked.line[: min(blocked.ahead, MAX_AHEAD)])
        if blocked.refusal is not None:
            code, facts = blocked.refusal
            return _Story(code, facts, (), self._refused_helps(blocked.job, facts))
        if not blocked.tiers:
            return self._public_story(blocked, ahead)
        job = blocked.job
        reasons = [self._reason(job, tier) for tier in blocked.tiers]
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
        if why in ("team_quota", "cluster_unavailable"):
            data |= {key: nearest[key] for key in ("quota_milli", "used_milli", "clusters") if key in nearest}
        holders = self._holders(job, blocked.tiers, why)
        data["holder_count"] = len(holders)
        data["holders"] = [
            {"job": held.job.id, "user": held.job.user, "team": held.job.team, "gpus_milli": held.lease.gpus_milli}
            for held in holders[:MAX_AHEAD]
        ]
        if blocked.burst is not None:
            data["burst"] = told(blocked.burst)
        blockers = (*(holder.job.id for holder in holders[:MAX_HOLDERS]), *ahead)
        return _Story(_CODES.get(why, Waiting.WAITING_FOR_QUOTA), data, blockers, self._helps(blocked, why))

    def _reason(self, job: Job, tier: str) -> dict[str, Any]:
        """Return why one tier does not take the job now."""
        books, gpus_milli = self._books, job.request.gpus_milli
        nodes = books.private[tier]
        free_milli = _free_milli(nodes, gpus_milli)
        total_milli = sum(len(node.free_milli) for node in nodes) * WHOLE_GPU_MILLI
        reason: dict[str, Any] = {"tier": tier, "free_milli": free_milli, "total_milli": total_milli}
        quota = books.quota.get((job.team, tier))
        used = books.used.get((job.team, tier), 0)
        if quota is not None and used + gpus_milli > quota:
            return reason | {"why": "team_quota", "quota_milli": quota, "used_milli": used}
        if not any(node.fits_when_empty(gpus_milli) for node in nodes):
            return reason | {"why": "cluster_unavailable", "clusters": books.unanswering[tier]}
        if any(node.fits(gpus_milli) for node in nodes):
            return reason | {"why": "ahead"}
        if free_milli >= gpus_milli:
            largest = max(_free_milli([node], gpus_milli) for node in nodes)
            if gpus_milli < WHOLE_GPU_MILLI:
                largest = max(free for node in nodes for free in node.free_milli)
            return reason | {"why": "not_on_one_node", "largest_milli": largest}
        return reason | {"why": "gpus_busy"}

    def _public_story(self, blocked: Blocked, ahead: tuple[str, ...]) -> _Story:
        """Tell of a job that only public clusters could take: they are all in use, or do not answer."""
        job, books = blocked.job, self._books
        tiers = books.tiers if job.request.tier is None else (job.request.tier,)
        markets = [market for tier in tiers for market in books.markets[tier]]
        answering = [market for market in markets if market.available]
        data: dict[str, Any] = {
            "tier": job.request.tier,
            "gpus_milli": job.request.gpus_milli,
            "team": job.team,
            "why": "public_busy" if answering else "cluster_unavailable",
            "clusters": sorted({market.cluster.name for market in answering or markets}),
        }
        if blocked.burst is not None:
            data["burst"] = told(blocked.burst)
        return _Story(Waiting.WAITING_FOR_QUOTA, data, ahead, ())

    def _holders(self, job: Job, tiers: Sequence[str], why: str) -> list[Holder]:
        holders = [holder for tier in tiers for holder in self._books.holders.get(tier, ())]
        if why == "team_quota":
            return [holder for holder in holders if holder.job.team == job.team]
        return holders

    def _helps(self, blocked: Blocked, why: str) -> tuple[Mapping[str, Any], ...]:
        job = blocked.job
        helps = self._other_tiers(job)
        if blocked.ahead == 0 and job.request.tier is not None and why != "cluster_unavailable":
            helps += self._fewer_gpus(job, job.request.tier, why)
        return (*helps, *_money_help(blocked.burst))

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
        books, asked, gpus_milli = self._books, job.request.tier, job.request.gpus_milli
        if asked is None or gpus_milli <= 0:
            return ()
        rank = books.tiers.index(asked) if asked in books.tiers else 0
        nearest = sorted(books.tiers, key=lambda tier: abs(books.tiers.index(tier) - rank))
        return tuple(
            {"code": "tier", "tier": tier, "free_milli": _free_milli(_open(books.private[tier]), gpus_milli)}
            for tier in nearest
            if tier != asked
            and not books.quota_blocks(job.team, tier, gpus_milli)
            and any(node.fits(gpus_milli) for node in _open(books.private[tier]))
        )

    def _fewer_gpus(self, job: Job, tier: str, why: str) -> tuple[Mapping[str, Any], ...]:
        """Return the largest smaller request that would be admitted now to the first in line for `tier`.

        Nodes that this very job reserved count as free; what others reserved does not.
        """
        books, most, asked = self._books, 0, job.request.gpus_milli
        quota = books.quota.get((job.team, tier))
        room = asked - 1
        if quota is not None:
            room = min(room, quota - books.used[job.team, tier] - books.promised[job.team, tier] + asked)
        nodes = books.private[tier]
        for node in _open(nodes) if why == "team_quota" else nodes:
            whole = min(node.whole_free, room // WHOLE_GPU_MILLI) * WHOLE_GPU_MILLI
            most = max(most, whole or min(max(node.free_milli), room))
        return ({"code": "fewer_gpus", "gpus_milli": most, "now": True},) if most >= 1 else ()

    def _burst_help(self, burst: BurstDecision, due: float) -> Mapping[str, Any]:
        return {
            "code": "burst",
            "in_s": max(0.0, due - self._books.now),
            "due_at": due,
            "price": burst.predicted_cost,
            "cluster": burst.cluster,
            "tier": burst.tier,
            "busy": due <= self._books.now,
        }


def _money_help(burst: BurstDecision | None) -> tuple[Mapping[str, Any], ...]:
    """Return the help of paying when the budget of the job is all that keeps it from a public cluster."""
    if burst is None or set(burst.failing) - {"wait"} not in ({"strict"}, {"amount"}):
        return ()
    in_s = max(0.0, burst.due_at - burst.now)
    return ({"code": "budget_flex", "in_s": in_s, "price": burst.predicted_cost, "cluster": burst.cluster},)


def _open(nodes: Sequence[NodeState]) -> list[NodeState]:
    return [node for node in nodes if not node.reserved]


def _free_milli(nodes: Sequence[NodeState], gpus_milli: int) -> int:
    """Return what is free for such a request: only whole GPUs count for whole ones."""
    if gpus_milli < WHOLE_GPU_MILLI:
        return sum(max(0, free) for node in nodes for free in node.free_milli)
    return sum(node.whole_free for node in nodes) * WHOLE_GPU_MILLI
