"""Decides which queued jobs get which GPUs now, who gives GPUs back, and why every other one waits.

Kueue's engine decides about quota and victims (`quota`), the books about GPUs (`books`), the burst rule about the
cloud; both of the first must agree. Heads of lines are served in order: people by `order.Usage.key`, teams by shares.
The trap: a decision changes nothing that outlives it; what it admitted counts only once it is `put` again.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dure.core.burst import BurstDecision, Offer, decide_burst, due_at
from dure.core.model import WHOLE_GPU_MILLI, Job, Lease, Phase, Platform
from dure.core.queueing import gates, limits
from dure.core.queueing.books import Books, Market
from dure.core.queueing.explain import Picture, State, Verdicts, told
from dure.core.queueing.gates import Refusal, Standing
from dure.core.queueing.holds import Ends, Hold, freed_at, soonest
from dure.core.queueing.limits import Bounds
from dure.core.queueing.lines import Line, Lines
from dure.core.queueing.order import Person, Usage
from dure.core.queueing.plan import Admission, Plan, Preemption, Snapshot
from dure.core.queueing.quota import Quota
from dure.core.reasons import Waiting
from dure.core.reservations import Kept, keeps_out

_COSTS = frozenset({"wait", "team_budget"})


def decide(snapshot: Snapshot) -> Plan:
    """Return the plan for `snapshot`: admissions in order, a verdict for every other queued job, when to look again.

    Deterministic: the same snapshot gives the same plan, in whatever order its jobs are listed.
    """
    decider = Decider(snapshot.platform)
    for job in snapshot.jobs:
        decider.put(job)
    return decider.decide(snapshot.now, snapshot.spent, snapshot.unavailable, snapshot.used)


@dataclass(frozen=True, slots=True)
class Outlook:
    """Where the jobs of a line could ever run: private tiers, and offers of public clusters, the cheapest first.

    `leaves` tells whether nothing but time and the team's money keeps them from leaving.
    """

    tiers: tuple[str, ...]
    offers: tuple[tuple[Market, Offer], ...]
    leaves: bool


class Decider:
    """Keeps the jobs that have not ended, so that a decision is told only what changed. Not thread-safe.

    A new platform file needs a new one. Its plans stay true when it goes on. `bounds` is set before a decision.
    """

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.books = Books(platform)
        self.quota = Quota(platform)
        self.lines = Lines(self._open, self._due)
        self.bounds = Bounds()
        self._jobs: dict[str, Job] = {}

    def put(self, job: Job) -> None:
        """Take a new or changed job; one that has ended leaves."""
        known = self._jobs.get(job.id)
        if known is job:
            return
        if job.phase.terminal:
            self.drop(job.id)
            return
        self._jobs[job.id] = job
        if known is not None and known.lease is not None:
            self.quota.release(known)
        lease = self.books.put(job)
        if lease is not None:
            self.quota.hold(job, lease, self.books.counted_milli(lease))
        if job.phase is Phase.QUEUED:
            self.lines.add(job)
        else:
            self.lines.remove(job.id)

    def drop(self, job_id: str) -> None:
        """Forget a job; one that is not known does no harm."""
        job = self._jobs.pop(job_id, None)
        if job is not None:
            self.quota.release(job)
            self.books.drop(job_id)
            self.lines.remove(job_id)

    def decide(
        self,
        now: float,
        spent: Mapping[str, float] | None = None,
        unavailable: frozenset[str] = frozenset(),
        used: Mapping[Person, float] | None = None,
    ) -> Plan:
        """Return the plan for the jobs as they are. It changes none of them: what was admitted is to be `put` again.

        `spent` is each team's money of this month, `used` each person's past use in GPU-seconds as it counts now.
        """
        self.books.begin(unavailable)
        try:
            with self.quota.trial():
                return _Decision(self, now, spent or {}, used or {}).plan()
        finally:
            self.books.undo()

    def _open(self, line: Line, job: Job) -> None:
        """Find where the jobs of a new line could ever run."""
        books, request = self.books, job.request
        asked = books.tiers if request.tier is None else (request.tier,)
        tiers = tuple(
            tier
            for tier in asked
            if books.ever_fits(request, tier) and request.gpus_milli <= self.quota.most_milli(job.team, tier)
        )
        markets = [market for tier in asked for market in books.markets.get(tier, ())]
        able = [
            market
            for market in markets
            if sum(node.fits_when_empty(request.node_milli) for node in market.nodes) >= request.nodes
        ]
        able.sort(key=lambda market: market.price_per_gpu_hour)
        offers = tuple((market, market.offer(private_chance=bool(tiers))) for market in able)
        leaves = any(
            set(decide_burst(job, job.queued_at, self.platform, offer).failing) <= _COSTS for _, offer in offers
        )
        line.outlook = Outlook(tiers, offers, leaves)

    def _due(self, line: Line, job: Job) -> float | None:
        outlook: Outlook = line.outlook
        if not outlook.leaves:
            return None
        return min(due_at(job, self.platform, offer) for _, offer in outlook.offers)


@dataclass(slots=True)
class _Room:
    """The GPUs for one job on its way through the engine."""

    books: Books
    job: Job
    end_at: float | None
    lease: Lease | None = None

    def take(self, tier: str) -> bool:
        """Place the job."""
        self.lease = self.books.take(self.job, self.books.private[tier], self.end_at)
        return self.lease is not None

    def suffices(self, tier: str, leaving: Iterable[str]) -> bool:
        """Return whether the job could be placed without these."""
        return self.books.suffices(self.job, tier, self.end_at, leaving)


@dataclass(slots=True)
class _Kept:
    """What is kept in one decision: nodes by tier, and quota by team and tier or for all who borrow."""

    nodes: set[str] = field(default_factory=set)
    team: dict[tuple[str, str], Hold] = field(default_factory=dict)
    pool: dict[str, Hold] = field(default_factory=dict)

    def owners(self) -> dict[Any, str]:
        """Return for whom quota is kept, by team and tier or by tier."""
        return {scope: hold.owner for scope, hold in (*self.team.items(), *self.pool.items())}


class _Decision:
    """One run of `Decider.decide`."""

    def __init__(self, decider: Decider, now: float, spent: Mapping[str, float], used: Mapping[Person, float]) -> None:
        self.decider = decider
        self.platform = decider.platform
        self.now = now
        self.books, self.quota, self.lines = decider.books, decider.quota, decider.lines
        bounds = replace(decider.bounds, past=decider.bounds.past.at(now))
        self.standing = Standing(now, self.platform, spent, self.books.holders, bounds)
        self.overdrawn = frozenset(
            team.name
            for team in self.platform.teams
            if limits.overdrawn(self.platform, team.name, bounds.past, self.standing.held(), now)
        )
        self.left = self.books.budget_left(now, spent)
        self.usage = Usage(self.platform, now, used)
        self.usage.enter(self.books.holders[job_id] for job_id in sorted(self.books.holders))
        self.ends = Ends(self.platform, now)
        self.kept = _Kept()
        self.strict: set[str] = set()
        self.placed: set[str] = set()
        self.states: dict[int, State] = {}
        self.heaps: dict[str, list[tuple[Any, Line]]] = {}
        self.admissions: list[Admission] = []
        self.preemptions: list[Preemption] = []
        self.wake_at: float | None = None

    def plan(self) -> Plan:
        self.heaps = heaps = {
            team: [(self.usage.key(line.first), line) for line in lines.values()]
            for team, lines in sorted(self.lines.by_team.items())
        }
        for heap in heaps.values():
            heapq.heapify(heap)
        for line in self._preemptors():
            self._serve(line, line.first)
        while heaps:
            team = min(heaps, key=lambda name: self._rank(heaps[name][0][1]))
            self._serve_next(heaps[team])
            for emptied in [name for name, heap in heaps.items() if not heap]:
                del heaps[emptied]
        picture = Picture.of(self.books, self.quota, self.standing, self.left, self.kept.owners(), self.usage)
        waiting = [
            (self.states[id(line)], tuple(place[2] for place in line.places if place[1] not in self.placed))
            for lines in self.lines.by_team.values()
            for line in lines.values()
        ]
        verdicts = Verdicts(picture, [one for one in waiting if one[1]])
        return Plan(
            tuple(self.admissions), verdicts, self.wake_at, tuple(self.preemptions), tuple(sorted(verdicts.changed()))
        )

    def _preemptors(self) -> list[Line]:
        """Return the lines of jobs for which others are leaving: they go first, or others would take what is freed."""
        waited = {holder.job.preempted_by for holder in self.books.holders.values()}
        found = [self.lines.line_of(job_id) for job_id in waited if job_id is not None and job_id in self.lines]
        lines = {id(line): line for line in found}
        return sorted(lines.values(), key=lambda line: self.usage.key(line.first))

    def _rank(self, line: Line) -> tuple[Any, ...]:
        """Return what the first lines of the teams are ordered by."""
        job = self._head(line) or line.first
        outlook: Outlook = line.outlook
        tier = outlook.tiers[0] if outlook.tiers else job.request.tier or ""
        priority, _, at, job_id = self.usage.key(job)
        return (
            job.team in self.overdrawn,
            *self.quota.share_key(job.team, tier, job.request.gpus_milli),
            priority,
            at,
            job_id,
        )

    def _head(self, line: Line) -> Job | None:
        if not self.placed:
            return line.first
        return next((place[2] for place in line.places if place[1] not in self.placed), None)

    def _serve_next(self, heap: list[tuple[Any, Line]]) -> None:
        """Serve the first line of a team; it comes again while it may have more to place."""
        key, line = heapq.heappop(heap)
        job = self._head(line)
        if job is None or (id(line) in self.states and self.states[id(line)].over):
            return
        fresh = self.usage.key(job)
        if fresh != key:
            heapq.heappush(heap, (fresh, line))
            return
        if self._serve(line, job) and (following := self._head(line)) is not None:
            heapq.heappush(heap, (self.usage.key(following), line))

    def _serve(self, line: Line, job: Job) -> bool:
        """Place the head of a line, or note why it waits; return whether it was placed."""
        outlook: Outlook = line.outlook
        state = self.states.setdefault(id(line), State(job, outlook.tiers, outlook.offers))
        state.job = job
        state.refusal = gates.refusal(job, self.standing) or self._nowhere(job, outlook)
        if state.refusal is not None:
            state.over = True
            return False
        end_at = None
        if self.platform.queueing.backfill and (runs_s := line.runs_s) is not None:
            end_at = self.now + runs_s
        if job.team not in self.strict and self._private(job, state, end_at):
            return True
        state.over = True
        if outlook.leaves:
            self._leave(line, state)
        head = self._head(line)
        if head is not None and outlook.tiers and not state.victims:
            state.job = head
            # What is reserved for others is not kept from them.
            self._keep(head, [tier for tier in outlook.tiers if tier not in state.reserved], end_at)
            if self.platform.queueing.strategy == "StrictFIFO":
                self.strict.add(job.team)
        return False

    def _private(self, job: Job, state: State, end_at: float | None) -> bool:
        """Place the job on a private cluster, or let others leave for it."""
        state.reserved = self._reserved(job, state.tiers)
        tiers = [tier for tier in state.tiers if tier not in state.reserved and self._may(job, tier, end_at)]
        for tier in tiers:
            fits = self.books.fits(job, tier, end_at)
            enough = self.quota.available_milli(job.team, tier) >= job.request.gpus_milli
            if fits and enough and self._ask(job, tier, state, end_at, preempts=False):
                return True
        for tier in tiers:
            if self.quota.may_preempt(job.team, tier, job.request.gpus_milli):
                if self._ask(job, tier, state, end_at, preempts=True):
                    return True
                if state.victims:
                    break
        return False

    def _reserved(self, job: Job, tiers: Iterable[str]) -> dict[str, Kept]:
        """Return the reservations for whose sake tiers have no room for the job."""
        reservations = self.standing.bounds.reservations
        found: dict[str, Kept] = {}
        for tier in tiers if reservations else ():
            held = self.standing.held()
            if (kept := keeps_out(job, tier, self.platform, reservations, held, self.now)) is not None:
                found[tier] = kept
        return found

    def _may(self, job: Job, tier: str, end_at: float | None) -> bool:
        """Return whether no quota of the tier is kept from the job."""
        own = self.kept.team.get((job.team, tier))
        pool = self.kept.pool.get(tier)
        if own is not None and not own.lets(end_at):
            return False
        return pool is None or pool.lets(end_at) or not self.quota.borrows(job.team, tier, job.request.gpus_milli)

    def _ask(self, job: Job, tier: str, state: State, end_at: float | None, *, preempts: bool) -> bool:
        room = _Room(self.books, job, end_at)
        answer = self.quota.ask(job, tier, room, self.now, preempts=preempts)
        if answer.admitted:
            assert room.lease is not None
            self._admit(job, room.lease)
            return True
        if not answer.victims:
            return False
        victims = [self.books.holders[victim.job_id].job for victim in answer.victims]
        given = [victim for victim in victims if victim.id in self.placed]
        if given:  # what this very plan gave away is taken back before anybody is stopped
            for victim in given:
                self._revoke(victim)
            return self._ask(job, tier, state, end_at, preempts=preempts)
        self.quota.preempt(job, answer, victims, self.now)
        state.victims = tuple(victim.id for victim in victims)
        self.ends.leaving.update(state.victims)
        for victim, told_of in zip(victims, answer.victims, strict=True):
            if victim.preempted_by is None:
                self.preemptions.append(Preemption(victim.id, job.id, told_of.reason))
        self._keep_nodes(job, (tier,), end_at, closed=True)
        return False

    def _revoke(self, job: Job) -> None:
        """Take back what the plan gave a job; its line is served again."""
        self.admissions = [admission for admission in self.admissions if admission.job_id != job.id]
        self.placed.discard(job.id)
        self.usage.leave(self.books.holders[job.id])
        self.books.revoke(job.id)
        self.quota.revoke(job)
        line = self.lines.line_of(job.id)
        self.states[id(line)].over = False
        heapq.heappush(self.heaps.setdefault(job.team, []), (self.usage.key(job), line))

    def _admit(self, job: Job, lease: Lease, burst: Mapping[str, Any] | None = None) -> None:
        self.placed.add(job.id)
        self.admissions.append(Admission(job.id, lease, burst))
        self.usage.enter((self.books.holders[job.id],))

    def _keep(self, job: Job, tiers: Iterable[str], end_at: float | None) -> None:
        """Keep what the job waits for from later ones: nodes, or quota where that is what is missing."""
        nodes = []
        milli = job.request.gpus_milli
        for tier in tiers:
            own = self.quota.own_room_milli(job.team, tier)
            lacking = milli - self.quota.available_milli(job.team, tier)
            if own is not None and own < milli:
                self._keep_quota(job, tier, milli - own, self.kept.team, (job.team, tier))
            elif lacking > 0 and self.books.fits(job, tier, end_at):
                self._keep_quota(job, tier, lacking, self.kept.pool, tier)
            else:
                nodes.append(tier)
        if nodes:
            self._keep_nodes(job, nodes, end_at, closed=not self.platform.queueing.backfill)

    def _keep_quota(self, job: Job, tier: str, lacking: int, kept: dict[Any, Hold], scope: Any) -> None:
        if scope in kept:
            return
        holders = [
            holder
            for holder in self.books.holders.values()
            if holder.lease.tier == tier
            and self.books.is_private(holder.lease)
            and (scope == tier or holder.job.team == job.team)
        ]
        until = freed_at(holders, lacking, self.ends) if self.platform.queueing.backfill else None
        kept[scope] = Hold(job.id, until)

    def _keep_nodes(self, job: Job, tiers: Iterable[str], end_at: float | None, *, closed: bool) -> None:
        """Keep the nodes on which the job can start soonest; of each tier for one job only, the first in order."""
        best: tuple[float, str, list[Any], float] | None = None
        for tier in tiers:
            if tier in self.kept.nodes and not closed:
                return
            nodes = self.books.open_nodes(self.books.private[tier], end_at)
            found = soonest(nodes, job, self.books.on_node, self.ends)
            if found is not None and (best is None or found[1] < best[0]):
                best = found[1], tier, found[0], found[2]
        if best is not None:
            self.kept.nodes.add(best[1])
            self.books.keep(best[2], Hold(job.id, None if closed else best[3]))

    def _leave(self, line: Line, state: State) -> None:
        """Place those of a line on public clusters whose wait is over; note when the next one's will be."""
        outlook: Outlook = line.outlook
        jobs = {place[1]: place[2] for place in line.places} if line.due and line.due[0][0] <= self.now else {}
        for due, _, job_id in line.due:
            if due > self.now:
                if job_id not in self.placed and not self._unpaid(line.first, outlook, state):
                    self.wake_at = due if self.wake_at is None else min(self.wake_at, due)
                return
            if job_id in self.placed or state.full:
                continue
            if not self._burst(jobs[job_id], outlook, state) and state.broke:
                return

    def _unpaid(self, job: Job, outlook: Outlook, state: State) -> bool:
        """Return whether the team has no money for jobs like this one, however long they wait."""
        left = self.left.get(job.team)
        found = [decide_burst(job, self.now, self.platform, offer, left) for _, offer in outlook.offers]
        state.broke = not any(set(decision.failing) <= {"wait"} for decision in found)
        return state.broke

    def _burst(self, job: Job, outlook: Outlook, state: State) -> bool:
        left = self.left.get(job.team)
        decisions = [
            (market, decide_burst(job, self.now, self.platform, offer, left)) for market, offer in outlook.offers
        ]
        for market, decision in decisions:
            lease = self.books.take(job, market.nodes, None) if decision.go and market.available else None
            if lease is not None:
                if left is not None:
                    self.left[job.team] = left - decision.predicted_cost
                self._admit(job, lease, decision.document())
                return True
        state.broke = not any(set(decision.failing) <= {"wait"} for _, decision in decisions)
        if not state.broke:
            state.full = True
            for market, _ in decisions:
                able = [node for node in market.nodes if node.fits_when_empty(job.request.node_milli)]
                self.books.keep(able, Hold(job.id))
        return False

    def _nowhere(self, job: Job, outlook: Outlook) -> Refusal | None:
        """Return a refusal when the job could run nowhere, whatever ends."""
        if outlook.tiers:
            return None
        books, request = self.books, job.request
        asked = books.tiers if request.tier is None else (request.tier,)
        burst: dict[str, Any] = {}
        if outlook.offers:
            decision: BurstDecision = decide_burst(
                job, self.now, self.platform, outlook.offers[0][1], self.left.get(job.team)
            )
            if decision.go:
                return None
            burst = {"burst": told(decision)}
        data = {"tier": request.tier, "gpus_milli": request.gpus_milli, "team": job.team, **burst}
        sizes = [books.largest.get(tier, 0) for tier in asked]
        markets = [market for tier in asked for market in books.markets.get(tier, ())]
        if not any(sizes) and (outlook.offers or not markets):
            return Waiting.NO_MATCHING_FLAVOR, data | {"why": "public_only" if outlook.offers else "no_gpus"}
        rented = [] if any(sizes) else [len(n.free_milli) * WHOLE_GPU_MILLI for m in markets for n in m.nodes]
        quotas = [self.quota.most_milli(job.team, tier) for tier in asked]
        limits = [min(size, quota) for size, quota in zip(sizes, quotas, strict=True)]
        data |= {"most_milli": max([*limits, *rented]), "largest_milli": max([*sizes, *rented])}
        if any(books.ever_fits(request, tier) for tier in asked):
            return Waiting.EXCEEDS_MAX_QUOTA, data | {"why": "team_quota", "quota_milli": max(quotas)}
        return Waiting.EXCEEDS_MAX_QUOTA, data | {"why": "larger_than_node"}
