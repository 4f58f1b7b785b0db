"""The waiting jobs, in lines of equal ones: what a decision does for the first of a line holds for all behind it.

Lines keep their order while jobs come and go, so a decision looks at the heads only. The trap: everything that a
decision or a gate reads of a job belongs to `kind_of`; what is left out would be taken from the first of the line.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dure.core.model import BudgetMode, Job

Place = tuple[float, str, Job]
"""(submitted_at, id, job): the order within a line."""


def kind_of(job: Job) -> tuple[Any, ...]:
    """Return what is equal for all jobs of one line.

    Runtimes are told apart exactly where money or a deadline depends on them, else by powers of two, so that
    predictions of their own do not give every job a line of its own.
    """
    request, budget = job.request, job.budget
    exact = budget.mode is not BudgetMode.STRICT or job.deadline_at is not None
    return (
        job.team,
        job.user,
        job.priority_value,
        request,
        job.environment,
        job.goal,
        job.burstable,
        budget,
        job.cost if budget.limit is not None else 0.0,
        job.data_class,
        job.deadline_at,
        job.keep_s > 0,
        (job.predicted_s, job.timeout_s) if exact else magnitude(bound_s(job)),
    )


def bound_s(job: Job) -> float | None:
    """Return how long the job is known to run at most: its prediction, else its time limit; None when unknown.

    A job that keeps its GPUs for next cells has no such bound.
    """
    if job.keep_s > 0:
        return None
    return job.timeout_s if job.predicted_s is None else job.predicted_s


def magnitude(seconds: float | None) -> int | None:
    """Return the power of two that the seconds lie within, for lines; None for no bound."""
    return None if seconds is None else math.ceil(math.log2(max(seconds, 1.0)))


@dataclass(slots=True, eq=False)
class Line:
    """Jobs of one kind in order, and when each may leave for a public cluster. `told` counts reasons on record."""

    kind: tuple[Any, ...]
    places: list[Place] = field(default_factory=list)
    due: list[tuple[float, float, str]] = field(default_factory=list)
    told: Counter[str | None] = field(default_factory=Counter)
    outlook: Any = None

    @property
    def first(self) -> Job:
        """The job at the head."""
        return self.places[0][2]

    @property
    def runs_s(self) -> float | None:
        """How long a job of the line runs at most, as far as known; the same for all of them."""
        job = self.places[0][2]
        exact = bound_s(job)
        power = self.kind[-1]
        return exact if exact is None or not isinstance(power, int) else float(2**power)

    def add(self, job: Job, due: float | None) -> None:
        """Let a job wait here; `due` is when it may leave, None for never."""
        insort(self.places, (job.submitted_at, job.id, job), key=_by_time)
        self.told[job.reason] += 1
        if due is not None:
            insort(self.due, (due, job.submitted_at, job.id))

    def remove(self, job: Job, due: float | None) -> None:
        """Take a job out that was added just so."""
        del self.places[bisect_left(self.places, (job.submitted_at, job.id), key=_by_time)]
        self.told[job.reason] -= 1
        if not self.told[job.reason]:
            del self.told[job.reason]
        if due is not None:
            del self.due[bisect_left(self.due, (due, job.submitted_at, job.id))]


def _by_time(place: Place) -> tuple[float, str]:
    return place[:2]


class Lines:
    """All lines, by team. `due_of` says when a job may leave for a public cluster, None for never."""

    def __init__(self, open_line: Callable[[Line, Job], None], due_of: Callable[[Line, Job], float | None]) -> None:
        self._open = open_line
        self._due_of = due_of
        self._lines: dict[tuple[Any, ...], Line] = {}
        self._where: dict[str, tuple[Line, Job, float | None]] = {}
        self.by_team: dict[str, dict[int, Line]] = {}

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._where

    def __len__(self) -> int:
        return len(self._where)

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
            line = self._lines[kind] = Line(kind)
            self._open(line, job)
            self.by_team.setdefault(job.team, {})[id(line)] = line
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
        if not line.places:
            del self._lines[line.kind]
            team = self.by_team[job.team]
            del team[id(line)]
            if not team:
                del self.by_team[job.team]
