"""What one decision works on: what was known when it began, and what its plan gives, takes and leaves so far.

Its parts are modules of their own: whose turn it is (`turns`), private GPUs (`private`), what is kept for whom
(`keeping`), public clusters (`clouds`). The trap: all of them change the same round, so what one remembers of it must
say at which `version` that was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dure.core.burst import Offer
from dure.core.model import Job, Lease, Platform, Promise, Team
from dure.core.queueing import gates, limits
from dure.core.queueing.books import Books, Market
from dure.core.queueing.gates import Refusal, Standing
from dure.core.queueing.holds import Ends
from dure.core.queueing.leaving import Leaving
from dure.core.queueing.limits import Bounds
from dure.core.queueing.lines import Line, Lines, bound_s
from dure.core.queueing.order import Person, Usage
from dure.core.queueing.picture import State
from dure.core.queueing.plan import Admission, Preemption
from dure.core.queueing.quota import Quota

_NOBODY: Mapping[str, Refusal] = {}


@dataclass(frozen=True, slots=True)
class Outlook:
    """What stands for a line while the platform file does: the gate that keeps it out, and where it could ever run.

    `tiers` are private, `boundless` when no limit of its team's own keeps it from any of them; `offers` are those of
    public clusters, the cheapest first.
    """

    tiers: tuple[str, ...]
    offers: tuple[tuple[Market, Offer], ...]
    refusal: Refusal | None
    boundless: bool


@dataclass(slots=True)
class Memory:
    """What a decider remembers between decisions. Each entry says what it followed from, and stands while that does.

    `orders` numbers the orders that people of a team were seen in; `rooms` has whether there is room, `failed` the
    searches that found neither GPUs nor victims, `told` what was told of tiers.
    """

    orders: dict[Any, int] = field(default_factory=dict)
    rooms: dict[Any, tuple[int, bool]] = field(default_factory=dict)
    failed: dict[Any, Any] = field(default_factory=dict)
    told: dict[Any, Any] = field(default_factory=dict)
    count: int = 0


@dataclass(slots=True, kw_only=True)
class Kept:
    """What a decider keeps between decisions, and a round works with."""

    platform: Platform
    books: Books
    quota: Quota
    lines: Lines
    limited: Mapping[str, Team]
    leaving: Leaving
    memory: Memory


class Round:
    """One run of `Decider.decide`. `version` counts how often the plan gave GPUs or took them back, `moves` by team.

    `settled` are jobs that take back nothing more of what the plan gave, or two might do so from each other for ever.
    """

    def __init__(
        self, kept: Kept, bounds: Bounds, now: float, spent: Mapping[str, float], used: Mapping[Person, float]
    ) -> None:
        self.platform = kept.platform
        self.now = now
        self.books, self.quota, self.lines = kept.books, kept.quota, kept.lines
        self.leaving, self.memory = kept.leaving, kept.memory
        bounds = replace(bounds, past=bounds.past.at(now))
        self.standing = Standing(now, kept.platform, spent, kept.books.of_team, bounds, kept.limited)
        self.overdrawn = frozenset(
            name
            for name in kept.limited
            if limits.overdrawn(kept.platform, name, bounds.past, self.standing.held(), now)
        )
        self.left = self.books.budget_left(now, spent)
        self.usage = Usage(kept.platform, now, used, self.books.used(now))
        self.ends = Ends(kept.platform, now)
        self.states: dict[int, State] = {}
        self.placed: set[str] = set()
        self.settled: set[str] = set()
        self.version = 0
        self.moves: dict[str, int] = {}
        self.admissions: dict[str, Admission] = {}
        self.preemptions: dict[str, Preemption] = {}
        self.promises: dict[str, Promise] = {}
        self.later: dict[int, tuple[Line, State, Job]] = {}  # lines of which some fall due after now
        for line in self.lines:
            self.states[id(line)] = State(line.outlook.tiers, line.outlook.offers, self._barred(line))

    def _barred(self, line: Line) -> Mapping[str, Refusal]:
        """Return the people of a line who are over a limit of what they or their team may hold at once."""
        if line.team not in self.standing.limited or line.outlook.refusal is not None:
            return _NOBODY
        at = line.version, self.books.team_stamps.get(line.team, 0)
        known = line.recalled.get("barred")
        if known is None or known[0] != at:
            people = {rank[0]: places[0][2] for rank, places in line.ranks.items()}
            found = {user: gates.bar(job, self.standing) for user, job in people.items()}
            known = line.recalled["barred"] = at, {user: why for user, why in found.items() if why is not None}
        barred: Mapping[str, Refusal] = known[1]
        return barred

    def opens_at(self) -> float | None:
        """Return when time alone may let in some whom a limit by day or month, or a reservation, keeps out now."""
        found: set[float] = set()
        for line in self.lines:
            state = self.states[id(line)]
            if state.bounded and self._may_open(line):
                found.update(limits.renewals(self.standing.limited[line.team], self.now))
            found.update(at for kept in state.reserved.values() for at in kept.reservation.turns_at if at > self.now)
        return min(found, default=None)

    def _may_open(self, line: Line) -> bool:
        """Return whether some job of a line does not need more, it alone, than a limit allows."""
        known = line.recalled.get("may_open")
        if known is None or known[0] != line.version:
            team = self.standing.limited[line.team]
            jobs = (place[2] for places in line.ranks.values() for place in places)
            found = any(not limits.never(job, team, self.platform) for job in jobs)
            known = line.recalled["may_open"] = line.version, found
        may: bool = known[1]
        return may

    def end_at(self, job: Job) -> float | None:
        """Return when the job would have ended if it started now; None when that is unknown, or must not count."""
        runs_s = bound_s(job) if self.platform.queueing.backfill else None
        return None if runs_s is None else self.now + runs_s

    def state(self, line: Line) -> State:
        """Return what became of a line so far."""
        return self.states[id(line)]

    def admit(self, job: Job, lease: Lease, burst: Mapping[str, Any] | None = None) -> None:
        """Let the plan give a job GPUs, which the books have taken."""
        self.placed.add(job.id)
        self.admissions[job.id] = Admission(job.id, lease, burst)
        self.state(self.lines.line_of(job.id)).given += 1
        self.usage.enter(self.books.holders[job.id])
        self._moved(job)

    def revoke(self, job: Job) -> Line:
        """Take back what the plan gave a job; return its line, which is to be served again."""
        holder = self.books.holders[job.id]
        del self.admissions[job.id]
        self.placed.discard(job.id)
        self.usage.leave(holder)
        self.books.revoke(job.id)
        self.quota.revoke(job, holder.lease.tier)
        self._moved(job)
        line = self.lines.line_of(job.id)
        self.state(line).given -= 1
        self.state(line).over = False
        return line

    def _moved(self, job: Job) -> None:
        self.version += 1
        self.moves[job.team] = self.moves.get(job.team, 0) + 1
        self.standing.changed(job.team)

    def preempt(self, job: Job, victims: Iterable[tuple[Job, str]]) -> bool:
        """Let jobs leave for another, each for Kueue's reason; one that leaves already does so for whom it does.

        Return whether any of them is new.
        """
        before = len(self.preemptions)
        for victim, reason in victims:
            self.ends.leave(victim.id)
            if victim.preempted_by is None and victim.id not in self.preemptions:
                self.preemptions[victim.id] = Preemption(victim.id, job.id, reason)
        return len(self.preemptions) > before

    def leaves(self, job_id: str) -> bool:
        """Return whether a job has GPUs that it must give to another."""
        holder = self.books.holders.get(job_id)
        return job_id in self.preemptions or (holder is not None and holder.job.preempted_by is not None)
