"""Why blocked jobs wait, told from the state after all placements, so that what would help is still free.

Only the waiting code of each line is made with the plan; places and the rest when somebody looks, from a picture that
nothing changes any more, so any thread may. The trap: `data` and `blockers` name jobs of every team; `visible` must
pass before anything is shown to a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dure.core.burst import BurstDecision, decide_burst, due_at
from dure.core.model import WHOLE_GPU_MILLI, Job
from dure.core.placement import has_room
from dure.core.queueing.compile import RESOURCE
from dure.core.queueing.gates import Holder
from dure.core.queueing.lines import Roll
from dure.core.queueing.picture import Picture, State, free_milli
from dure.core.queueing.places import FIRST, Places, Stand, Waits
from dure.core.reasons import Verdict, Waiting

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
    "reserved": ("reserved_milli", "for_team", "for_user", "begins_at", "until", "tier"),
}
_CODES = {
    "not_on_one_node": Waiting.TOPOLOGY_PLACEMENT_FAILED,
    "leaving": Waiting.WAITING_FOR_PREEMPTED_WORKLOADS,
}


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


class Verdicts(Mapping[str, Verdict]):
    """The verdict of every job that the plan leaves waiting, made when it is asked for.

    `waiting` are the lines; jobs of them that the plan places are `placed`.
    """

    def __init__(self, picture: Picture, waiting: Sequence[Waits], placed: frozenset[str]) -> None:
        self._picture = picture
        self._waiting = waiting
        self._placed = placed
        self._places = Places(picture, waiting, placed)
        self._stories: dict[Any, _Story] = {}

    def __getitem__(self, job_id: str) -> Verdict:
        return self._verdict(self._places.of(job_id))

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self) == dict(other)

    __hash__ = None  # type: ignore[assignment]

    def changed(self) -> Iterator[str]:
        """Yield the jobs on whose record another waiting code stands than the one of this plan, or none."""
        for state, roll in self._waiting:
            usual = None if state.job is None else self._code(state, state.job, ())
            out = self._kept_out(state, roll)
            settled = out is not None and not state.refused and not state.victims
            if settled and roll.agreed == (usual, out):
                continue
            found = [*self._changed_in(state, roll, usual, out)]
            yield from found
            if settled and not found and not self._placed:
                roll.agreed = usual, out

    def _kept_out(self, state: State, roll: Roll) -> dict[str, str] | None:
        """Return the people whom a limit keeps out, with the code; None where it depends on how long a job runs."""
        out = {}
        if state.limited is not None:
            for user, job in roll.people().items():
                if state.limited.leeway(user).bounds_time:
                    return None
                if not state.limited.lets(job):
                    out[user] = Waiting.WAITING_FOR_QUOTA.value
        return out | {user: code.value for user, (code, _) in state.barred.items()}

    def _changed_in(self, state: State, roll: Roll, usual: str | None, out: dict[str, str] | None) -> Iterator[str]:
        quota, victims = Waiting.WAITING_FOR_QUOTA.value, state.victims
        barred = {user: code.value for user, (code, _) in state.barred.items()} if out is None else out
        refused = {rank: code.value for rank, (code, _) in state.refused.items()}
        for (rank, places), reason in zip(roll.ranks, roll.reasons(), strict=True):
            refusal = barred.get(rank[0]) or (refused.get(rank) if refused else None)
            code = refusal or usual
            each = out is None and refusal is None and usual != quota
            if reason == code and not victims and not each:
                continue
            for _, job_id, job in places:
                own = self._code(state, job, victims) if job is state.job and (victims or refusal is None) else code
                if each and not state.lets(job):
                    own = quota
                if job.reason != own and job_id not in self._placed:
                    yield job_id

    def _code(self, state: State, job: Job, victims: Sequence[str]) -> str:
        if not state.tiers:
            return Waiting.WAITING_FOR_QUOTA.value
        whys = [self._reason(job, state, tier, victims)["why"] for tier in state.tiers]
        return _CODES.get(min(whys, key=_NEAREST.index), Waiting.WAITING_FOR_QUOTA).value

    def _verdict(self, place: Stand) -> Verdict:
        """Return why this job waits."""
        job, state = place.job, place.state
        head = job is state.job
        money = (job.predicted_s, job.expected_s, job.timeout_s, job.cost)
        mine = (job.user, *money, job.budget, job.data_class, job.burstable)
        refusal = state.refusal(job)
        burst = self._burst(job, state) if refusal is None else None
        leaves = None if burst is None else burst.failing
        key = (id(state), place.scope, min(place.ahead, FIRST), head and bool(state.victims), mine, leaves)
        story = self._stories.get(key)
        if story is None:
            story = self._stories[key] = self._story(place, state.victims if head else ())
        helps = story.helps
        if refusal is None and state.tiers and story.data["why"] != "leaving":
            helps += _money_help(burst)
        stays = head and bool(state.victims)  # others leave for it: it does not leave itself
        if burst is not None and not stays and set(burst.failing) <= {"wait"}:
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

    def _story(self, place: Stand, victims: Sequence[str]) -> _Story:
        job, state, picture = place.job, place.state, self._picture
        ahead = place.first
        if (refusal := state.refusal(job)) is not None:
            code, facts = refusal
            if "burst" in facts and (burst := self._burst(job, state)) is not None:
                facts = {**facts, "burst": told(burst)}
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
        helps = self._helps(job, why, place.ahead)
        return _Story(_CODES.get(why, Waiting.WAITING_FOR_QUOTA), data, blockers, helps)

    def _reason(self, job: Job, state: State, tier: str, victims: Sequence[str]) -> dict[str, Any]:
        """Return why one tier does not take the job now; what a reservation keeps is not looked into further."""
        reason, kept = self._picture.reason(job, tier, victims), state.reserved.get(tier)
        if kept is None or victims:
            return reason
        one = kept.reservation
        reserved = {"reserved_milli": kept.reserved_milli, "for_team": one.team, "until": one.ends_at}
        if one.begins_at > self._picture.now:
            reserved["begins_at"] = one.begins_at
        if one.user is not None and one.team == job.team:  # of other teams' reservations only the team is told
            reserved["for_user"] = one.user
        return reason | {"why": "reserved"} | reserved

    def _kueue(self, job: Job, tiers: Sequence[str]) -> str:
        """Return Kueue's own message where quota is what is missing; empty where it is not."""
        lacking = [
            f"insufficient unused quota for {RESOURCE} in flavor {tier}, {more / WHOLE_GPU_MILLI:g} more needed"
            for tier in tiers
            if (more := job.request.gpus_milli - self._picture.room(job.team, tier).free_milli) > 0
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

    def _helps(self, job: Job, why: str, ahead: int) -> tuple[Mapping[str, Any], ...]:
        if why == "leaving":
            return ()
        helps = self._other_tiers(job)
        if ahead == 0 and job.request.tier is not None and why != "cluster_unavailable":
            helps += self._fewer_gpus(job, job.request.tier)
        return helps

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
            fits = has_room(nodes, request)
            kept = picture.quota_blocks(job, tier) or picture.kept_from(job, tier)
            if tier != asked and fits and not kept:
                found.append({"code": "tier", "tier": tier, "free_milli": free_milli(nodes, request.node_milli)})
        return tuple(found)

    def _fewer_gpus(self, job: Job, tier: str) -> tuple[Mapping[str, Any], ...]:
        """Return the largest smaller request that would be admitted now to the first in line for `tier`.

        Nodes that are kept for this very job count as free; what is kept for others does not.
        """
        if job.request.nodes > 1 or self._picture.kept_from(job, tier):
            return ()
        most = 0
        room = min(job.request.gpus_milli - 1, self._picture.room(job.team, tier).free_milli)
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
