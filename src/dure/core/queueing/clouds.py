"""Public clusters in one decision: whose wait is over leaves, and when the next one's will be.

The rule is `core.burst`; this serves the lines with it, in order, while there is room and money. The trap: the team's
money is spent as the plan goes on, so a later job may not be payable any more.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from dure.core.burst import decide_burst
from dure.core.model import WHOLE_GPU_MILLI, Job
from dure.core.queueing.explain import told
from dure.core.queueing.gates import Refusal
from dure.core.queueing.holds import Hold
from dure.core.queueing.lines import Line
from dure.core.queueing.picture import State
from dure.core.queueing.rounds import Outlook, Round
from dure.core.reasons import Waiting


class Clouds:
    """Lets jobs of one round leave for public clusters."""

    def __init__(self, work: Round) -> None:
        self._work = work

    def leave(self, line: Line, state: State, head: Job) -> None:
        """Place those of a line on public clusters whose wait is over; note that others follow (`wake_at`).

        `head` has passed the gates already; what this plan places may close them to the others.
        """
        work, due = self._work, line.due
        first_later = bisect_right(due, (work.now, float("inf"), ""))
        for _, _, job_id in due[:first_later]:
            if state.full:
                break
            if job_id not in work.placed and not self._stays(job := work.lines.job(job_id), state, head):
                self._burst(job, state)
        if first_later < len(due):
            work.later[id(line)] = line, state, head

    def wake_at(self) -> float | None:
        """Return when the next wait is over of those that this plan leaves waiting; None where there is none."""
        work, soonest = self._work, None
        for line, state, head in work.later.values():
            for index in range(bisect_right(line.due, (work.now, float("inf"), "")), len(line.due)):
                at, _, job_id = line.due[index]
                if soonest is not None and at >= soonest:
                    break
                if job_id in work.placed or (state.victims and job_id == head.id):
                    continue
                if self._payable(work.lines.job(job_id), state):
                    soonest = at
                break
        return soonest

    def _stays(self, job: Job, state: State, head: Job) -> bool:
        """Return whether a job whose wait is over stays: others leave for it, or a gate or limit keeps it out."""
        if state.victims and job is head:
            return True
        return state.refusal(job) is not None or not self._work.standing.lets(job)

    def _payable(self, job: Job, state: State) -> bool:
        """Return whether only time keeps the job from leaving, and not money."""
        work, left = self._work, self._work.left.get(job.team)
        return any(
            set(decide_burst(job, work.now, work.platform, offer, left).failing) <= {"wait"}
            for _, offer in state.offers
        )

    def _burst(self, job: Job, state: State) -> None:
        work, left = self._work, self._work.left.get(job.team)
        decisions = [
            (market, decide_burst(job, work.now, work.platform, offer, left)) for market, offer in state.offers
        ]
        for market, decision in decisions:
            lease = work.books.take(job, (market.pool,), None) if decision.go and market.available else None
            if lease is not None:
                if left is not None:
                    work.left[job.team] = left - decision.predicted_cost
                work.admit(job, lease, decision.document())
                return
        if any(decision.go for _, decision in decisions):
            state.full = True
            for market, _ in decisions:
                able = [node for node in market.nodes if node.fits_when_empty(job.request.node_milli)]
                work.books.keep(able, Hold(job.id))

    def nowhere(self, job: Job, outlook: Outlook) -> Refusal | None:
        """Return a refusal when the job could run nowhere, whatever ends."""
        if outlook.tiers:
            return None
        work, request = self._work, job.request
        books = work.books
        asked = books.tiers if request.tier is None else (request.tier,)
        burst: dict[str, Any] = {}
        if outlook.offers:
            decision = decide_burst(job, work.now, work.platform, outlook.offers[0][1], work.left.get(job.team))
            if decision.go:
                return None
            burst = {"burst": told(decision)}
        data = {"tier": request.tier, "gpus_milli": request.gpus_milli, "team": job.team, **burst}
        sizes = [books.largest.get(tier, 0) for tier in asked]
        markets = [market for tier in asked for market in books.markets.get(tier, ())]
        if not any(sizes) and (outlook.offers or not markets):
            return Waiting.NO_MATCHING_FLAVOR, data | {"why": "public_only" if outlook.offers else "no_gpus"}
        rented = [] if any(sizes) else [len(n.free_milli) * WHOLE_GPU_MILLI for m in markets for n in m.nodes]
        quotas = [work.quota.most_milli(job.team, tier) for tier in asked]
        limits = [min(size, quota) for size, quota in zip(sizes, quotas, strict=True)]
        data |= {"most_milli": max([*limits, *rented]), "largest_milli": max([*sizes, *rented])}
        if any(books.ever_fits(request, tier) for tier in asked):
            return Waiting.EXCEEDS_MAX_QUOTA, data | {"why": "team_quota", "quota_milli": max(quotas)}
        if request.nodes > 1:
            fitting = max(books.most_nodes(request, tier) for tier in asked)
            data |= {"nodes": request.nodes, "fitting": fitting, "most_milli": 0, "topology": request.required_topology}
        return Waiting.EXCEEDS_MAX_QUOTA, data | {"why": "larger_than_node"}
