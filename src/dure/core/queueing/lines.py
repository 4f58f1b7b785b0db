"""The waiting jobs, in lines of equal requests; within a line by person and priority, each in order of time.

A decision looks at the head of each line, so its cost grows with the kinds of requests and not with the queue. The
trap: everything that a gate reads of a job belongs to `kind_of` or `rank_of`; what is left out would be taken from
another job of the line.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dure.core.model import Budget, BudgetMode, Job, Request

Place = tuple[float, str, Job]
"""(submitted_at, id, job): the order within a rank; ids differ, so jobs are never compared."""

Rank = tuple[str, int, float | None, tuple[float | None, ...] | None, tuple[Budget, str, bool]]
"""(user, priority value, deadline, times where they matter, what may be paid and leave).

Times are the predicted runtime and the time limit of jobs with a deadline or a budget of so much money.
The last is the job's budget, its class of data, and whether it may run on a public cluster at all.
"""


@dataclass(slots=True, eq=False)
class Roll:
    """The jobs of a line by rank, and how often each reason stands on their record: a copy that stays as it is.

    `agreed` is what was told when all of the records were last found to be right: the usual code, and others by person.
    """

    ranks: tuple[tuple[Rank, tuple[Place, ...]], ...]
    told: Mapping[str | None, int]
    agreed: tuple[str | None, Mapping[str, str] | None] | None = None
    _people: Mapping[str, Job] | None = None
    _where: dict[str, tuple[Rank, Job]] | None = None
    _reasons: tuple[str | None, ...] | None = None

    def people(self) -> Mapping[str, Job]:
        """Return who waits here, each with one job: what they ask for is the same."""
        if self._people is None:
            self._people = {rank[0]: places[0][2] for rank, places in self.ranks}
        return self._people

    def reasons(self) -> tuple[str | None, ...]:
        """Return by rank the reason on the record of all of its jobs; "" where they differ."""
        if self._reasons is None:
            some = ({place[2].reason for place in places} for _, places in self.ranks)
            self._reasons = tuple(one.pop() if len(one) == 1 else "" for one in some)
        return self._reasons

    def where(self) -> Mapping[str, tuple[Rank, Job]]:
        """Return the jobs by id, with their ranks."""
        if self._where is None:
            self._where = {job_id: (rank, job) for rank, places in self.ranks for _, job_id, job in places}
        return self._where


def kind_of(job: Job) -> tuple[Any, ...]:
    """Return what is equal for all jobs of one line: where they can run."""
    return job.team, job.request, job.environment, job.goal, job.keep_s > 0


def rank_of(job: Job) -> Rank:
    """Return what orders a job within its line, but for time, and what says whether it may leave the house."""
    times: tuple[float | None, ...] | None = None if job.deadline_at is None else (job.predicted_s, job.timeout_s)
    if job.budget.mode is BudgetMode.AMOUNT:  # what it would cost decides whether it may leave at all
        times = job.predicted_s, job.timeout_s, job.expected_s, job.cost
    return job.user, job.priority_value, job.deadline_at, times, (job.budget, job.data_class, job.burstable)


def bound_s(job: Job) -> float | None:
    """Return how long the job is known to run at most: its prediction, else its time limit; None when unknown.

    A job that keeps its GPUs for next cells has no such bound.
    """
    if job.keep_s > 0:
        return None
    return job.timeout_s if job.predicted_s is None else job.predicted_s


def magnitude(job: Job) -> int | None:
    """Return the power of two of seconds that the job's bound lies within; None for one without a bound."""
    seconds = bound_s(job)
    return None if seconds is None else math.ceil(math.log2(max(seconds, 1.0)))


@dataclass(slots=True, eq=False)
class Line:
    """Jobs of one kind: by rank, by how long they run at most, and by when they may leave for a public cluster.

    `told` counts the reasons on record; `version` how often a job came or left. `outlook` and `recalled` are the
    decider's: where these jobs could ever run, and what it remembers of them between decisions.
    """

    kind: tuple[Any, ...]
    team: str
    request: Request
    ranks: dict[Rank, list[Place]] = field(default_factory=dict)
    powers: dict[int | None, list[Place]] = field(default_factory=dict)
    due: list[tuple[float, float, str]] = field(default_factory=list)
    told: Counter[str | None] = field(default_factory=Counter)
    version: int = 0
    outlook: Any = None
    recalled: dict[str, Any] = field(default_factory=dict)
    _roll: Roll | None = None
    _powers: list[int] | None = None

    def roll(self) -> Roll:
        """Return the jobs as they are now."""
        if self._roll is None:
            ranks = tuple((rank, tuple(places)) for rank, places in self.ranks.items())
            self._roll = Roll(ranks, dict(self.told))
        return self._roll

    def shortest_first(self) -> list[int]:
        """Return the known powers in order."""
        if self._powers is None:
            self._powers = sorted(power for power in self.powers if power is not None)
        return self._powers

    def add(self, job: Job, due: float | None) -> None:
        """Let a job wait here; `due` is when it may leave, None for never."""
        place = (job.submitted_at, job.id, job)
        self._changed()
        insort(self.ranks.setdefault(rank_of(job), []), place)
        insort(self.powers.setdefault(magnitude(job), []), place)
        self.told[job.reason] += 1
        if due is not None:
            insort(self.due, (due, job.submitted_at, job.id))

    def remove(self, job: Job, due: float | None) -> None:
        """Take a job out that was added just so."""
        self._changed()
        _take_out(self.ranks, rank_of(job), job)
        _take_out(self.powers, magnitude(job), job)
        self.told[job.reason] -= 1
        if not self.told[job.reason]:
            del self.told[job.reason]
        if due is not None:
            del self.due[bisect_left(self.due, (due, job.submitted_at, job.id))]

    def _changed(self) -> None:
        self.version += 1
        self._roll = self._powers = None


def _take_out(places: dict[Any, list[Any]], key: Any, job: Job) -> None:
    some = places[key]
    del some[bisect_left(some, (job.submitted_at, job.id))]
    if not some:
        del places[key]


class Lines:
    """All lines. `people` counts who waits, by team; `promised` are the jobs for which others were stopped.

    `due_of` says when a job may leave for a public cluster, None for never.
    """

    def __init__(self, open_line: Callable[[Line, Job], None], due_of: Callable[[Line, Job], float | None]) -> None:
        self.people: dict[str, Counter[str]] = {}
        self.promised: dict[str, Job] = {}
        self._open = open_line
        self._due_of = due_of
        self._lines: dict[tuple[Any, ...], Line] = {}
        self._where: dict[str, tuple[Line, Job, float | None]] = {}

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._where

    def __iter__(self) -> Iterator[Line]:
        return iter(self._lines.values())

    def line_of(self, job_id: str) -> Line:
        """Return the line that a waiting job stands in."""
        return self._where[job_id][0]

    def job(self, job_id: str) -> Job:
        """Return a waiting job."""
        return self._where[job_id][1]

    def add(self, job: Job) -> None:
        """Let a job wait, or take over a changed one."""
        known = self._where.get(job.id)
        if known is not None and known[1] is job:
            return
        self.remove(job.id)
        kind = kind_of(job)
        line = self._lines.get(kind)
        if line is None:
            line = self._lines[kind] = Line(kind, job.team, job.request)
            self._open(line, job)
        due = self._due_of(line, job)
        line.add(job, due)
        self.people.setdefault(job.team, Counter())[job.user] += 1
        self._where[job.id] = (line, job, due)
        if job.promise is not None:
            self.promised[job.id] = job

    def remove(self, job_id: str) -> None:
        """Take a job out; one that does not wait does no harm."""
        known = self._where.pop(job_id, None)
        if known is None:
            return
        line, job, due = known
        line.remove(job, due)
        self.promised.pop(job_id, None)
        people = self.people[job.team]
        people[job.user] -= 1
        if not people[job.user]:
            del people[job.user]
        if not line.ranks:
            del self._lines[line.kind]
