"""Decides which queued jobs get which GPUs now, and why every other one waits: a snapshot in, a plan out.

Order: priority, then submission, then id. Private clusters first, tiers from cheap to dear where any will do,
then the public ones by the burst rule. A job that must wait is never overtaken on the nodes it waits for. The
trap: equal jobs are decided once per call (`_Shape`), so what a decision reads of a job belongs to the shape's key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dure.core.burst import BurstDecision, Offer, decide_burst, due_at
from dure.core.model import WHOLE_GPU_MILLI, Goal, Job, Phase, Platform
from dure.core.queueing.books import Books, Market
from dure.core.queueing.explain import Blocked, Explainer, Refusal, told
from dure.core.queueing.plan import Admission, Plan, Snapshot
from dure.core.reasons import Verdict, Waiting


def decide(snapshot: Snapshot) -> Plan:
    """Return the plan for `snapshot`: admissions in order, a verdict for every other queued job, when to look again.

    Deterministic: the same snapshot gives the same plan, in whatever order its jobs are listed.
    """
    decider = Decider(snapshot.platform)
    for job in snapshot.jobs:
        decider.put(job)
    return decider.decide(snapshot.now, snapshot.spent, snapshot.unavailable)


class Decider:
    """Keeps the jobs that have not ended, so that a decision is told only what changed. Not thread-safe.

    A new platform file needs a new one. Its plans stay true when it goes on.
    """

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self._jobs: dict[str, Job] = {}

    def put(self, job: Job) -> None:
        """Take a new or changed job; one that has ended leaves."""
        if job.phase.terminal:
            self.drop(job.id)
        else:
            self._jobs[job.id] = job

    def drop(self, job_id: str) -> None:
        """Forget a job; one that is not known does no harm."""
        self._jobs.pop(job_id, None)

    def decide(
        self, now: float, spent: Mapping[str, float] | None = None, unavailable: frozenset[str] = frozenset()
    ) -> Plan:
        """Return the plan for the jobs as they are. It changes none of them: what was admitted is to be `put` again."""
        return _Decision(Snapshot(now, self.platform, tuple(self._jobs.values()), spent or {}, unavailable)).plan()


class _Shape:
    """What is equal for all queued jobs of one kind, and what became of the first of them in this decision."""

    def __init__(self) -> None:
        self.refusal: Refusal | None = None
        self.refused: list[str] = []
        self.private_tiers: tuple[str, ...] = ()
        self.private_over = False
        self.reserved = False
        self.offers: tuple[tuple[Market, Offer], ...] = ()
        self.burst: BurstDecision | None = None
        self.burst_over = False
        self.full = False


class _Decision:
    """One run of `decide`."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.platform = snapshot.platform
        self.books = Books(snapshot)
        self.environments = {environment.name for environment in self.platform.environments}
        self.teams = {team.name for team in self.platform.teams}
        self.stopped = {queue.team: queue.name for queue in self.platform.queues if queue.stopped}
        self.shapes: dict[tuple[Any, ...], _Shape] = {}
        self.admissions: list[Admission] = []
        self.blocked: list[Blocked] = []
        self.wake_at: float | None = None

    def plan(self) -> Plan:
        queued = [job for job in self.snapshot.jobs if job.phase is Phase.QUEUED]
        queued.sort(key=lambda job: (-job.priority_value, job.submitted_at, job.id))
        for job in queued:
            self._consider(job)
        explain = Explainer(self.books)
        verdicts: dict[str, Verdict] = {blocked.job.id: explain.verdict(blocked) for blocked in self.blocked}
        return Plan(tuple(self.admissions), verdicts, self.wake_at)

    def _consider(self, job: Job) -> None:
        shape = self._shape(job)
        if shape.refusal is not None:
            self.blocked.append(Blocked(job, shape, len(shape.refused), shape.refused, refusal=shape.refusal))
            shape.refused.append(job.id)
            return
        if not shape.private_over and self._admit_private(job, shape):
            return
        due: float | None = None
        if shape.offers and not shape.burst_over:
            placed, due = self._admit_public(job, shape)
            if placed:
                return
        if shape.private_tiers:
            self._reserve_private(job, shape)
            ahead, line = self.books.wait(job, shape.private_tiers)
        else:
            ahead, line = len(shape.refused), shape.refused
            shape.refused.append(job.id)
        self.blocked.append(Blocked(job, shape, ahead, line, tiers=shape.private_tiers, burst=shape.burst, due_at=due))

    def _admit_private(self, job: Job, shape: _Shape) -> bool:
        """Place the job on a private cluster, or note that its like has no room there."""
        gpus_milli = job.request.gpus_milli
        within = [t for t in shape.private_tiers if not self.books.quota_blocks(job.team, t, gpus_milli)]
        for tier in within:
            lease = self.books.take(job, self.books.private[tier])
            if lease is not None:
                self.admissions.append(Admission(job.id, lease))
                return True
        shape.private_over = True
        return False

    def _reserve_private(self, job: Job, shape: _Shape) -> None:
        """Keep what the job waits for from later ones; only once it is clear that it does not leave instead."""
        if not shape.reserved:
            shape.reserved = True
            for tier in shape.private_tiers:
                if not self.books.quota_blocks(job.team, tier, job.request.gpus_milli):
                    self.books.reserve(self.books.private[tier], job.request.gpus_milli)

    def _admit_public(self, job: Job, shape: _Shape) -> tuple[bool, float | None]:
        """Place the job on a public cluster if it may go; return whether it was, else when its wait is over.

        When a condition other than the wait fails, it fails for every equal job: noted as `burst_over`.
        """
        books, offers = self.books, shape.offers
        left = books.budget_left.get(job.team)
        dues = [due_at(job, self.platform, offer) for _, offer in offers]
        due = min(dues)
        if shape.burst is None or (due <= books.now and not shape.full):
            decisions = [decide_burst(job, books.now, self.platform, offer, left) for _, offer in offers]
            able = [decision for decision in decisions if set(decision.failing) <= {"wait"}]
            shape.burst = able[0] if able else decisions[0]
            shape.burst_over = not able
            for (market, _), decision in zip(offers, decisions, strict=True):
                lease = books.take(job, market.nodes) if decision.go and market.available else None
                if lease is not None:
                    if left is not None:
                        books.budget_left[job.team] = left - decision.predicted_cost
                    self.admissions.append(Admission(job.id, lease, decision.document()))
                    return True, None
        if shape.burst_over:
            return False, None
        for later in dues:
            if later > books.now and (self.wake_at is None or later < self.wake_at):
                self.wake_at = later
        if due <= books.now and not shape.full:
            shape.full = True
            for market, _ in offers:
                books.reserve(market.nodes, job.request.gpus_milli)
        return False, due

    def _shape(self, job: Job) -> _Shape:
        request = job.request
        budget = job.budget
        key = (
            job.team,
            request.tier,
            request.gpus_milli,
            request.nodes,
            job.environment,
            job.goal,
            job.burstable,
            budget.mode,
            budget.limit,
            job.cost if budget.limit is not None else 0.0,
            job.data_class,
            job.predicted_s,
            job.timeout_s,
        )
        shape = self.shapes.get(key)
        if shape is None:
            shape = self.shapes[key] = _Shape()
            shape.refusal = self._refusal(job) or self._candidates(job, shape)
        return shape

    def _refusal(self, job: Job) -> Refusal | None:
        """Return why no state of the GPUs would admit the job, in Kueue's order of precedence."""
        tier, gpus_milli = job.request.tier, job.request.gpus_milli
        if job.goal is Goal.CANCEL:
            return Waiting.DEACTIVATED, {"why": "cancelling"}
        if job.team in self.stopped:
            return Waiting.ON_HOLD, {"team": job.team, "queue": self.stopped[job.team]}
        if job.team not in self.teams:
            return Waiting.MISCONFIGURED, {"what": "team", "name": job.team}
        if tier is not None and tier not in self.books.private:
            choices = [known.name for known in self.platform.tiers]
            return Waiting.MISCONFIGURED, {"what": "tier", "name": tier, "choices": choices}
        if job.environment not in self.environments:
            choices = sorted(self.environments)
            return Waiting.MISCONFIGURED, {"what": "environment", "name": job.environment, "choices": choices}
        part = gpus_milli > WHOLE_GPU_MILLI and gpus_milli % WHOLE_GPU_MILLI
        if gpus_milli <= 0 or part:
            return Waiting.MISCONFIGURED, {"what": "gpus", "gpus_milli": gpus_milli}
        return None

    def _candidates(self, job: Job, shape: _Shape) -> Refusal | None:
        """Find where the job could ever run; return a refusal when that is nowhere."""
        books, gpus_milli = self.books, job.request.gpus_milli
        tiers = books.tiers if job.request.tier is None else (job.request.tier,)
        limits = [books.most_milli(job.team, tier) for tier in tiers]
        shape.private_tiers = tuple(t for t, most in zip(tiers, limits, strict=True) if gpus_milli <= most)
        markets = [market for tier in tiers for market in books.markets[tier]]
        able = [m for m in markets if any(node.fits_when_empty(gpus_milli) for node in m.nodes)]
        able.sort(key=lambda market: market.price_per_gpu_hour)
        shape.offers = tuple((m, m.offer(private_chance=bool(shape.private_tiers))) for m in able)
        if shape.private_tiers:
            return None
        sizes = [books.largest.get(tier, 0) for tier in tiers]
        burst: dict[str, Any] = {}
        if able:
            left = books.budget_left.get(job.team)
            decision = decide_burst(job, books.now, self.platform, shape.offers[0][1], left)
            if decision.go:
                return None
            burst = {"burst": told(decision)}
        data = {"tier": job.request.tier, "gpus_milli": gpus_milli, "team": job.team, **burst}
        if not any(sizes) and (able or not markets):
            return Waiting.NO_MATCHING_FLAVOR, data | {"why": "public_only" if able else "no_gpus"}
        rented = [] if any(sizes) else [len(n.free_milli) * WHOLE_GPU_MILLI for m in markets for n in m.nodes]
        data |= {"most_milli": max([*limits, *rented]), "largest_milli": max([*sizes, *rented])}
        if gpus_milli <= max(sizes):
            quota = max(books.quota.get((job.team, tier), 0) for tier in tiers)
            return Waiting.EXCEEDS_MAX_QUOTA, data | {"why": "team_quota", "quota_milli": quota}
        return Waiting.EXCEEDS_MAX_QUOTA, data | {"why": "larger_than_node"}
