"""Decides which queued jobs get which GPUs now, who gives GPUs back, and why every other one waits.

Kueue's engine decides about quota and victims (`quota`), the books about GPUs (`books`), the burst rule about the
cloud; both of the first must agree. Heads of lines are served in order (`turns`): people by priority, past use and
time, teams by shares. The trap: a decision changes nothing that outlives it but what it remembers; what it admitted
counts only once it is `put` again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dure.core.burst import decide_burst, due_at
from dure.core.model import Job, Phase, Platform
from dure.core.placement import most_together
from dure.core.queueing import gates, limits
from dure.core.queueing.books import Books
from dure.core.queueing.clouds import Clouds
from dure.core.queueing.explain import Verdicts
from dure.core.queueing.keeping import Keeping
from dure.core.queueing.leaving import Leaving
from dure.core.queueing.limits import Bounds
from dure.core.queueing.lines import Line, Lines, rank_of
from dure.core.queueing.order import Person
from dure.core.queueing.picture import Picture, State
from dure.core.queueing.plan import Plan, Snapshot
from dure.core.queueing.private import Private
from dure.core.queueing.quota import Quota
from dure.core.queueing.rounds import Kept, Memory, Outlook, Round
from dure.core.queueing.turns import Turns
from dure.core.queueing.warm import Warm

_COSTS = frozenset({"wait", "team_budget"})


def decide(snapshot: Snapshot) -> Plan:
    """Return the plan for `snapshot`: admissions in order, a verdict for every other queued job, when to look again.

    Deterministic: the same snapshot gives the same plan, in whatever order its jobs are listed.
    """
    decider = Decider(snapshot.platform)
    decider.bounds = snapshot.bounds
    for job in snapshot.jobs:
        decider.put(job)
    if snapshot.warm is not None:
        decider.books.warm = snapshot.warm
    return decider.decide(snapshot.now, snapshot.spent, snapshot.unavailable, snapshot.used)


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
        self.kept = Kept(
            platform=platform,
            books=self.books,
            quota=self.quota,
            lines=self.lines,
            limited={team.name: team for team in platform.teams if limits.limited(platform, team.name)},
            leaving=Leaving(self.books, self.quota),
            memory=Memory(),
        )
        self._jobs: dict[str, Job] = {}

    def put(self, job: Job) -> None:
        """Take a new or changed job; one that has ended leaves."""
        known = self._jobs.get(job.id)
        if known is job:
            return
        if job.phase.terminal:
            self.books.warm.learn(job)
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
                work = Round(self.kept, self.bounds, now, spent or {}, used or {})
                return _Decision(work, explains=self.explains).plan()
        finally:
            self.books.undo()

    def never(self, job_id: str) -> bool:
        """Return whether a waiting job cannot start, whoever ends, while the platform file is as it is."""
        line = self.lines.line_of(job_id)
        outlook: Outlook = line.outlook
        team, job = self.kept.limited.get(line.team), self.lines.job(job_id)
        if outlook.refusal is not None or (team is not None and limits.never(job, team, self.kept.platform)):
            return True
        return not outlook.tiers and self._due(line, job) is None

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
        able = [market for market in markets if most_together(market.nodes, request, empty=True) >= request.nodes]
        able.sort(key=lambda market: market.price_per_gpu_hour)
        offers = tuple((market, market.offer(private_chance=bool(tiers))) for market in able)
        boundless = all(self.quota.own_room_milli(job.team, tier) is None for tier in tiers)
        line.outlook = Outlook(tiers, offers, gates.fixed_refusal(job, self.platform), boundless)

    def _due(self, line: Line, job: Job) -> float | None:
        """Return when the job may leave, None while more than time and the team's money keep it here."""
        outlook: Outlook = line.outlook
        able = [
            offer
            for _, offer in outlook.offers
            if set(decide_burst(job, job.queued_at, self.platform, offer).failing) <= _COSTS
        ]
        return min((due_at(job, self.platform, offer) for offer in able), default=None)


class _Decision:
    """One run of `Decider.decide`: serves the lines in order."""

    def __init__(self, work: Round, *, explains: bool) -> None:
        self.work = work
        self.explains = explains
        self.turns = Turns(work)
        self.keeping = Keeping(work)
        self.private = Private(work, self.keeping, self.turns.enter)
        self.clouds = Clouds(work)
        self.strict: set[str] = set()

    def plan(self) -> Plan:
        work = self.work
        self._keep_promises()
        self.turns.begin()
        while (turn := self.turns.next()) is not None:
            self._serve(*turn)
            self.turns.enter(turn[0])
        admissions, preemptions, promises = (
            tuple(work.admissions.values()),
            tuple(work.preemptions.values()),
            work.promises,
        )
        again = bool(admissions and preemptions)
        if again:  # who goes first is another one now, who might need nobody's GPUs
            preemptions, promises = (), {}
        wake_at = min(filter(None, (self.clouds.wake_at(), work.opens_at())), default=None)
        if not self.explains:
            return Plan(admissions, {}, wake_at, preemptions, promises=promises, again=again)
        picture = Picture.of(
            work.books, work.quota, work.standing, work.left, self.keeping.owners(), work.usage, work.memory.told
        )
        for line in work.lines:
            if line.team in work.standing.limited and line.outlook.refusal is None:
                work.state(line).limited = work.standing.bound(line.team)
        waiting = [(work.state(line), line.roll()) for line in work.lines]
        verdicts = Verdicts(picture, waiting, frozenset(work.placed))
        changed = tuple(sorted(verdicts.changed()))
        return Plan(admissions, verdicts, wake_at, preemptions, changed, work.overdrawn, promises, again)

    def _keep_promises(self) -> None:
        """Serve those for whom others were stopped before all others, and whose victims are gone first of all."""
        work, lines = self.work, self.work.lines
        for job in sorted(lines.promised.values(), key=self._promised_first):
            line = lines.line_of(job.id)
            state, promise = work.state(line), job.promise
            if promise is None or state.victims or line.outlook.refusal is not None or not work.standing.lets(job):
                continue
            state.job = job
            self.private.keep_promise(job, promise, state)
            if state.victims:
                if line.due:
                    self.clouds.leave(line, state, job)
                state.over = True

    def _promised_first(self, job: Job) -> tuple[Any, ...]:
        victims = job.promise.victims if job.promise is not None else ()
        return any(map(self.work.leaves, victims)), self.work.usage.key(job)

    def _serve(self, line: Line, job: Job) -> None:
        """Place the head of a line, or note why it and those behind it wait; one over a limit waits by itself."""
        state = self.work.state(line)
        if line.outlook.refusal is None and not self.work.standing.lets(job):
            state.bounded = True
        else:
            self._place(line, state, job)

    def _place(self, line: Line, state: State, job: Job) -> None:
        work, refusal = self.work, line.outlook.refusal
        if refusal is None and line.due and not line.outlook.tiers:  # what its head may not pay others of it may
            self.clouds.leave(line, state, job)
            if job.id in work.placed:
                return
        refusal = refusal or self.clouds.nowhere(job, line.outlook)
        if refusal is not None:
            state.refused[rank_of(job)] = refusal
            return
        state.job = job
        queue, before = work.quota.queue_of(job.team), work.version
        hopeless = self.private.hopeless(line)
        if queue not in self.strict:
            if hopeless:
                state.reserved = self.private.reserved(job, state.tiers)
            elif self.private.place(job, state):
                return
        if line.due:
            self.clouds.leave(line, state, job)
        if (
            work.version != before and not state.victims
        ):  # what left may close a gate to the next one: the line is served again
            return
        if state.tiers and not state.victims:
            if not hopeless and queue not in self.strict and self.private.backfill(line, state):
                return
            self._keep(line, state, job, hopeless=hopeless)
            if work.quota.strict(job.team):
                self.strict.add(queue)
        state.over = True

    def _keep(self, line: Line, state: State, head: Job, *, hopeless: bool) -> None:
        """Keep what the head waits for; what is reserved for others is not kept from them."""
        tiers, end_at = state.tiers, self.work.end_at(head)
        if state.reserved:
            tiers = tuple(tier for tier in tiers if tier not in state.reserved)
        if hopeless and line.outlook.boundless:  # then it is nodes that are missing, and not quota
            self.keeping.wait_for_nodes(head, tiers, end_at)
        else:
            self.keeping.keep(head, tiers, end_at)
