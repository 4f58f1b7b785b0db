"""Decides which queued jobs get which GPUs now, who gives GPUs back, and why every other one waits.

Kueue's engine decides about quota and victims (`quota`), the books about GPUs (`books`), the burst rule about the
cloud; both of the first must agree. Heads of lines are served in order: people by `order.Usage.key`, teams by shares.
The trap: a decision changes nothing that outlives it; what it admitted counts only once it is `put` again.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dure.core.burst import BurstDecision, Offer, decide_burst, due_at
from dure.core.model import WHOLE_GPU_MILLI, Job, Lease, Phase, Platform
from dure.core.queueing import gates, limits
from dure.core.queueing.books import Books, Market
from dure.core.queueing.explain import Verdicts, told
from dure.core.queueing.gates import Refusal, Standing
from dure.core.queueing.holds import Ends, Hold, freed_at, soonest
from dure.core.queueing.limits import Bounds
from dure.core.queueing.lines import Line, Lines, Place, Rank, bound_s, rank_of
from dure.core.queueing.order import Person, Usage, effective_priority
from dure.core.queueing.picture import Picture, State
from dure.core.queueing.plan import Admission, Plan, Preemption, Snapshot
from dure.core.queueing.quota import Quota
from dure.core.queueing.warm import Warm
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
    if snapshot.warm is not None:
        decider.books.warm = snapshot.warm
    return decider.decide(snapshot.now, snapshot.spent, snapshot.unavailable, snapshot.used)


@dataclass(frozen=True, slots=True)
class Outlook:
    """Where the jobs of a line could ever run: private tiers, and offers of public clusters, the cheapest first."""

    tiers: tuple[str, ...]
    offers: tuple[tuple[Market, Offer], ...]


class Decider:
    """Keeps the jobs that have not ended, so that a decision is told only what changed. Not thread-safe.

    A new platform file needs a new one. Its plans stay true when it goes on. `bounds` is set before a decision.
    `warm` is what an earlier one learnt. Without `explains` plans have no verdicts: for time that nobody lives in.
    """

    def __init__(self, platform: Platform, warm: Warm | None = None, *, explains: bool = True) -> None:
        self.platform = platform
        self.explains = explains
        self.books = Books(platform, warm)
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
            for tier in (self.quota.preferred(job.team) if request.tier is None else asked)
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
        line.outlook = Outlook(tiers, offers)

    def _due(self, line: Line, job: Job) -> float | None:
        """Return when the job may leave, None while more than time and the team's money keep it here."""
        outlook: Outlook = line.outlook
        able = [
            offer
            for _, offer in outlook.offers
            if set(decide_burst(job, job.queued_at, self.platform, offer).failing) <= _COSTS
        ]
        return min((due_at(job, self.platform, offer) for offer in able), default=None)


@dataclass(slots=True)
class _Room:
    """The GPUs for one job on its way through the engine."""

    books: Books
    job: Job
    end_at: float | None
    lease: Lease | None = None

    def take(self, tier: str) -> bool:
        """Place the job."""
        self.lease = self.books.take(self.job, self.books.pools[tier], self.end_at)
        return self.lease is not None

    def suffices(self, tier: str, leaving: Iterable[str]) -> bool:
        """Return whether the job could be placed without these."""
        return self.books.suffices(self.job, tier, self.end_at, leaving)


@dataclass(slots=True)
class _Kept:
    """What is kept in one decision: nodes by tier, quota by queue and tier or, with "" before, by tree."""

    nodes: set[str] = field(default_factory=set)
    team: dict[tuple[str, str], Hold] = field(default_factory=dict)
    pool: dict[tuple[str, str, str], Hold] = field(default_factory=dict)

    def owners(self) -> dict[Any, str]:
        """Return for whom quota is kept."""
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
        self.heaps: dict[str, list[tuple[Any, int, Job, Line]]] = {}
        self.shares: dict[tuple[str, str, int], tuple[object, ...]] = {}
        self.version = 0
        self.heads: dict[int, tuple[Any, Job | None]] = {}
        self.lifted: dict[str, float] = {}
        self.orders: dict[str, tuple[Any, int, tuple[Any, ...]]] = {}
        self.changes: dict[tuple[str, str], int] = {}  # how often the plan changed something of a team, or of a tier
        self.fitting: dict[Any, bool] = {}
        self.leaving: set[str] = set()
        self.admissions: list[Admission] = []
        self.preemptions: list[Preemption] = []
        self.wake_at: float | None = None

    def plan(self) -> Plan:
        for line in self.lines:
            self.states[id(line)] = State(line.outlook.tiers, line.outlook.offers)
        for line in self._preemptors():
            if (job := self._head(line)) is not None:
                self._serve(line, job)
        for line in self.lines:
            self._queue(line)
        while self.heaps:
            team = min(self.heaps, key=self._team_key)
            self._serve_next(team)
        if not self.decider.explains:
            return Plan(tuple(self.admissions), {}, self.wake_at, tuple(self.preemptions))
        picture = Picture.of(self.books, self.quota, self.standing, self.left, self.kept.owners(), self.usage)
        waiting = [(self.states[id(line)], *line.standing()) for line in self.lines]
        verdicts = Verdicts(picture, waiting, frozenset(self.placed))
        changed = tuple(sorted(verdicts.changed()))
        return Plan(tuple(self.admissions), verdicts, self.wake_at, tuple(self.preemptions), changed)

    def _preemptors(self) -> list[Line]:
        """Return the lines of jobs for which others are leaving: they go first, or others would take what is freed."""
        waited = {holder.job.preempted_by for holder in self.books.holders.values()}
        found = [self.lines.job(job_id) for job_id in waited if job_id is not None and job_id in self.lines]
        found.sort(key=self.usage.key)
        return [*dict.fromkeys(self.lines.line_of(job.id) for job in found)]

    def _head(self, line: Line) -> Job | None:
        """Return the first job of a line that this decision may still place."""
        refused = self.states[id(line)].refused
        now = (self.changes.get(("team", line.team), 0), len(refused))
        known = self.heads.get(id(line))
        if known is None or known[0] != now:
            known = self.heads[id(line)] = now, self._first(line, refused)
        return known[1]

    def _first(self, line: Line, refused: Container[Rank]) -> Job | None:
        best: tuple[float, float, float, str] | None = None
        found: Job | None = None
        for level in sorted(line.levels, key=lambda level: float("-inf") if level is None else -level):
            if best is not None and level is not None and best[0] < -level:
                break
            for rank, places in line.levels[level].items():
                place: Place | None = places[0]
                if place is not None and place[1] in self.placed:
                    place = next((one for one in places if one[1] not in self.placed), None)
                if place is None or rank in refused:
                    continue
                value = -self._lifted(place[2]) if level is None else -level
                if best is None or value <= best[0]:
                    key = (value, self.usage.of(line.team, rank[0]), place[0], place[1])
                    if best is None or key < best:
                        best, found = key, place[2]
        return found

    def _lifted(self, job: Job) -> float:
        """Return the priority of a job with a deadline, which this decision works out once."""
        value = self.lifted.get(job.id)
        if value is None:
            value = self.lifted[job.id] = effective_priority(job, self.platform, self.now)
        return value

    def _queue(self, line: Line) -> None:
        """Put a line among those of its team, by its head; not one of which nothing more can be placed."""
        job = None if self.states[id(line)].over else self._head(line)
        if job is not None:
            heapq.heappush(self.heaps.setdefault(line.team, []), (self.usage.key(job), self.version, job, line))

    def _team_key(self, team: str) -> tuple[Any, ...]:
        """Return what the first lines of the teams are ordered by."""
        first = self.heaps[team][0]
        known = self.orders.get(team)
        if known is not None and known[0] is first and known[1] == self.version:
            return known[2]
        (priority, _, at, job_id), _, job, line = first
        tiers, request = self.states[id(line)].tiers, job.request
        asked = (team, tiers[0] if tiers else request.tier or "", request.gpus_milli)
        share = self.shares.get(asked)
        if share is None:
            share = self.shares[asked] = self.quota.share_key(*asked)
        order = (team in self.overdrawn, *share, priority, at, job_id)
        self.orders[team] = first, self.version, order
        return order

    def _serve_next(self, team: str) -> None:
        """Serve the first line of a team; it comes again while it may have more to place."""
        heap = self.heaps[team]
        key, version, job, line = heapq.heappop(heap)
        if version != self.version:  # something was admitted meanwhile: the order may be another one
            head = self._head(line)
            if head is not None and (head is not job or self.usage.key(job) != key):
                self._queue(line)
                head = None
            if head is None:
                self._close(team)
                return
        if self.states[id(line)].over:
            self._close(team)
            return
        self._serve(line, job)
        self._queue(line)
        self._close(team)

    def _close(self, team: str) -> None:
        if not self.heaps.get(team):
            self.heaps.pop(team, None)

    def _serve(self, line: Line, job: Job) -> None:
        """Place the head of a line, or note why it and those behind it wait."""
        state = self.states[id(line)]
        refusal = gates.refusal(job, self.standing) or self._nowhere(job, line.outlook)
        if refusal is not None:
            state.refused[rank_of(job)] = refusal
            return
        state.job = job
        end_at = self._end_at(job)
        if self.quota.queue_of(job.team) not in self.strict and self._private(job, state, end_at):
            return
        before = self.version
        if line.due:
            self._leave(line, state)
        head = job if self.version == before else self._head(line)
        if head is not None and state.tiers and not state.victims:
            state.job = head
            if self.quota.queue_of(job.team) not in self.strict and self._backfill(line, state):
                return
            # What is reserved for others is not kept from them.
            self._keep(head, [tier for tier in state.tiers if tier not in state.reserved], self._end_at(head))
            if self.quota.strict(job.team):
                self.strict.add(self.quota.queue_of(job.team))
        state.over = True

    def _end_at(self, job: Job) -> float | None:
        """Return when the job would have ended if it started now; None when that is unknown, or must not count."""
        runs_s = bound_s(job) if self.platform.queueing.backfill else None
        return None if runs_s is None else self.now + runs_s

    def _backfill(self, line: Line, state: State) -> bool:
        """Place the first job behind the head that ends before what is kept is needed; the shortest kinds first."""
        if not (self.books.holds or self.kept.team or self.kept.pool or state.reserved):
            return False
        for power in sorted(power for power in line.powers if power is not None):
            job = next((place[2] for place in line.powers[power] if place[1] not in self.placed), None)
            if job is not None and rank_of(job) not in state.refused:
                refusal = gates.refusal(job, self.standing)
                return refusal is None and self._private(job, state, self._end_at(job))
        return False

    def _private(self, job: Job, state: State, end_at: float | None) -> bool:
        """Place the job on a private cluster, or let others leave for it."""
        state.reserved = self._reserved(job, state.tiers)
        able = [tier for tier in state.tiers if tier not in state.reserved and self._may(job, tier, end_at)]
        tiers, preempts_first = self.quota.tiers(job.team, able, job.request.gpus_milli)
        for tier in tiers:
            fits = self._fits(job, tier, end_at)
            enough = self.quota.available_milli(job.team, tier) >= job.request.gpus_milli
            if fits and enough and self._ask(job, tier, state, end_at, preempts=False):
                return True
            if preempts_first:
                if self._preempt(job, tier, state, end_at):
                    return True
                if state.victims:
                    return False
        for tier in () if preempts_first else tiers:
            if self._preempt(job, tier, state, end_at):
                return True
            if state.victims:
                break
        return False

    def _preempt(self, job: Job, tier: str, state: State, end_at: float | None) -> bool:
        """Place the job where that needs victims, or let them leave for it."""
        if not self.quota.may_preempt(job.team, tier, job.request.gpus_milli):
            return False
        return self._ask(job, tier, state, end_at, preempts=True)

    def _reserved(self, job: Job, tiers: Iterable[str]) -> dict[str, Kept]:
        """Return the reservations for whose sake tiers have no room for the job."""
        reservations = self.standing.bounds.reservations
        found: dict[str, Kept] = {}
        for tier in tiers if reservations else ():
            held = self.standing.held()
            if (kept := keeps_out(job, tier, self.platform, reservations, held, self.now)) is not None:
                found[tier] = kept
        return found

    def _fits(self, job: Job, tier: str, end_at: float | None) -> bool:
        """Return whether the job has room on a tier now; asked of the books once for equal questions."""
        request, holds = job.request, self.books.holds
        key: Any = (tier, request.gpus_milli, request.nodes, self.changes.get(("tier", tier), 0))
        found = self.fitting.get(key)
        if found is None:
            found = self.fitting[key] = self.books.fits(request, tier)
        if not found or tier not in self.kept.nodes:
            return found
        # Who ends sooner is let in wherever who ends later is: how many let it in says which.
        key += (len(holds), sum(hold.lets(end_at) for hold in holds.values()))
        found = self.fitting.get(key)
        if found is None:
            nodes = self.books.open_nodes(self.books.private[tier], end_at)
            found = self.fitting[key] = self.books.fits(request, tier, nodes)
        return found

    def _changed(self, job: Job, lease: Lease) -> None:
        """Note that the plan gave a job GPUs or took them back."""
        self.version += 1
        self.shares.clear()
        for one in (("team", job.team), ("tier", lease.tier)):
            self.changes[one] = self.changes.get(one, 0) + 1

    def _may(self, job: Job, tier: str, end_at: float | None) -> bool:
        """Return whether no quota of the tier is kept from the job."""
        own = self.kept.team.get((self.quota.queue_of(job.team), tier))
        pool = self.kept.pool.get(("", self.quota.pool_of(job.team), tier))
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
            if victim.preempted_by is None and victim.id not in self.leaving:
                self.leaving.add(victim.id)
                self.preemptions.append(Preemption(victim.id, job.id, told_of.reason))
        self._keep_nodes(job, (tier,), end_at, closed=True)
        return False

    def _revoke(self, job: Job) -> None:
        """Take back what the plan gave a job; its line is served again."""
        self.admissions = [admission for admission in self.admissions if admission.job_id != job.id]
        self.placed.discard(job.id)
        self.usage.leave(self.books.holders[job.id])
        self._changed(job, self.books.holders[job.id].lease)
        self.books.revoke(job.id)
        self.quota.revoke(job)
        line = self.lines.line_of(job.id)
        self.states[id(line)].over = False
        self._queue(line)

    def _admit(self, job: Job, lease: Lease, burst: Mapping[str, Any] | None = None) -> None:
        self.placed.add(job.id)
        self.admissions.append(Admission(job.id, lease, burst))
        self.usage.enter((self.books.holders[job.id],))
        self._changed(job, lease)

    def _keep(self, job: Job, tiers: Iterable[str], end_at: float | None) -> None:
        """Keep what the job waits for from later ones: nodes, or quota where that is what is missing."""
        nodes = []
        milli = job.request.gpus_milli
        for tier in tiers:
            own = self.quota.own_room_milli(job.team, tier)
            lacking = milli - self.quota.available_milli(job.team, tier)
            if own is not None and own < milli:
                self._keep_quota(job, tier, milli - own, self.kept.team, (self.quota.queue_of(job.team), tier))
            elif lacking > 0 and self._fits(job, tier, end_at):
                self._keep_quota(job, tier, lacking, self.kept.pool, ("", self.quota.pool_of(job.team), tier))
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
            if holder.lease.tier == tier and self.books.is_private(holder.lease) and self._counts(holder.job, scope)
        ]
        until = freed_at(holders, lacking, self.ends) if self.platform.queueing.backfill else None
        kept[scope] = Hold(job.id, until)

    def _counts(self, job: Job, scope: tuple[str, ...]) -> bool:
        """Return whether what the job holds is of the queue, or of the tree of cohorts, that quota is kept in."""
        at = self.quota.queue_of(job.team) if len(scope) == 2 else self.quota.pool_of(job.team)
        return at == scope[-2]

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
        first_later = bisect_right(line.due, (self.now, float("inf"), ""))
        for _, _, job_id in line.due[:first_later]:
            if state.full:
                break
            if job_id not in self.placed:
                self._burst(self.lines.job(job_id), state)
        for due, _, job_id in line.due[first_later:]:
            if job_id not in self.placed:
                if self._payable(self.lines.job(job_id), state):
                    self.wake_at = due if self.wake_at is None else min(self.wake_at, due)
                return

    def _payable(self, job: Job, state: State) -> bool:
        """Return whether only time keeps the job from leaving, and not money."""
        left = self.left.get(job.team)
        return any(
            set(decide_burst(job, self.now, self.platform, offer, left).failing) <= {"wait"}
            for _, offer in state.offers
        )

    def _burst(self, job: Job, state: State) -> None:
        left = self.left.get(job.team)
        decisions = [
            (market, decide_burst(job, self.now, self.platform, offer, left)) for market, offer in state.offers
        ]
        for market, decision in decisions:
            lease = self.books.take(job, (market.pool,), None) if decision.go and market.available else None
            if lease is not None:
                if left is not None:
                    self.left[job.team] = left - decision.predicted_cost
                self._admit(job, lease, decision.document())
                return
        if any(decision.go for _, decision in decisions):
            state.full = True
            for market, _ in decisions:
                able = [node for node in market.nodes if node.fits_when_empty(job.request.node_milli)]
                self.books.keep(able, Hold(job.id))

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
