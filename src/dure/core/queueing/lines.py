"""The waiting jobs, in lines of equal requests; within a line by person and priority, each in order of time.

A decision looks at the head of each line, so its cost grows with the kinds of requests and not with the queue. The
trap: everything that a gate reads of a job belongs to `kind_of` or `rank_of`; what is left out would be taken from
another job of the line.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dure.core.model import Job

Place = tuple[float, str, Job]
"""(submitted_at, id, job): the order within a rank."""

Rank = tuple[str, int, float | None, float | None]
"""(user, priority value, deadline, predicted runtime where there is a deadline)."""

Standing = tuple[Sequence[tuple[Rank, list[Place]]], Mapping[str | None, int]]
"""The jobs of a line by rank, and how often each reason stands on their record."""


def kind_of(job: Job) -> tuple[Any, ...]:
    """Return what is equal for all jobs of one line: where they can run."""
    return job.team, job.request, job.environment, job.goal, job.keep_s > 0


def rank_of(job: Job) -> Rank:
    """Return what orders a job within its line, but for time."""
    urgent = job.deadline_at is not None
    return job.user, job.priority_value, job.deadline_at, job.predicted_s if urgent else None


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

    `told` counts the reasons on record; `levels` has the ranks by priority value, under None those with a deadline.
    """

    kind: tuple[Any, ...]
    team: str
    ranks: dict[Rank, list[Place]] = field(default_factory=dict)
    powers: dict[int | None, list[Place]] = field(default_factory=dict)
    due: list[tuple[float, float, str]] = field(default_factory=list)
    told: Counter[str | None] = field(default_factory=Counter)
    levels: dict[int | None, dict[Rank, list[Place]]] = field(default_factory=dict)
    outlook: Any = None
    _standing: Standing | None = None

    def standing(self) -> Standing:
        """Return the jobs by rank and the count of reasons on record, as they are now: a copy that stays as it is."""
        if self._standing is None:
            self._standing = [(rank, [*places]) for rank, places in self.ranks.items()], Counter(self.told)
        return self._standing

    def jobs(self) -> Iterator[Job]:
        """Yield all jobs of the line, rank by rank."""
        for places in self.ranks.values():
            for place in places:
                yield place[2]

    def add(self, job: Job, due: float | None) -> None:
        """Let a job wait here; `due` is when it may leave, None for never."""
        place = (job.submitted_at, job.id, job)
        rank, self._standing = rank_of(job), None
        places = self.ranks.get(rank)
        if places is None:
            places = self.ranks[rank] = self.levels.setdefault(_level(rank), {})[rank] = []
        insort(places, place, key=_by_time)
        insort(self.powers.setdefault(magnitude(job), []), place, key=_by_time)
        self.told[job.reason] += 1
        if due is not None:
            insort(self.due, (due, job.submitted_at, job.id))

    def remove(self, job: Job, due: float | None) -> None:
        """Take a job out that was added just so."""
        rank, self._standing = rank_of(job), None
        _take_out(self.ranks, rank, job)
        if rank not in self.ranks:
            level = self.levels[_level(rank)]
            del level[rank]
            if not level:
                del self.levels[_level(rank)]
        _take_out(self.powers, magnitude(job), job)
        self.told[job.reason] -= 1
        if not self.told[job.reason]:
            del self.told[job.reason]
        if due is not None:
            del self.due[bisect_left(self.due, (due, job.submitted_at, job.id))]


def _level(rank: Rank) -> int | None:
    return rank[1] if rank[2] is None else None


def _take_out(places: dict[Any, list[Place]], key: Any, job: Job) -> None:
    some = places[key]
    del some[bisect_left(some, (job.submitted_at, job.id), key=_by_time)]
    if not some:
        del places[key]


def _by_time(place: Place) -> tuple[float, str]:
    return place[:2]


class Lines:
    """All lines, by team. `due_of` says when a job may leave for a public cluster, None for never."""

    def __init__(self, open_line: Callable[[Line, Job], None], due_of: Callable[[Line, Job], float | None]) -> None:
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
            line = self._lines[kind] = Line(kind, job.team)
            self._open(line, job)
        due = self._due_of(line, job)
        line.add(job, due)
        self._where[job.id] = (line, job, due)

    def remove(self, job_id: str) -> None:
        """Take a job out; one that does not wait does no harm."""
        known = self._where.pop(job_id, None)
        if known is None:
            return
        line, job, due = known
        line.remove(job, due)
        if not line.ranks:
            del self._lines[line.kind]
