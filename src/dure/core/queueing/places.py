"""Where each waiting job stands after a plan: how many go before it, and who is first.

A job stands with all that wait for the same: for its team's share of a tier, or for the tier; of several tiers in the
shortest line. The trap: at 10,000 jobs putting all of them in order costs more than the decision, so only the line
that somebody asks about is put in order, by its ranks, and a place in it is counted.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from dure.core.model import Job
from dure.core.queueing.lines import Place, Rank, Roll
from dure.core.queueing.order import effective_priority
from dure.core.queueing.picture import Picture, State

FIRST = 3

Waits = tuple[State, Roll]
"""What became of a line, and its jobs."""


@dataclass(frozen=True, slots=True)
class Stand:
    """Where one job waits: `ahead` jobs of the line `scope` go before it, `first` of them by name, at most `FIRST`."""

    job: Job
    state: State
    scope: Any
    ahead: int
    first: tuple[str, ...]


class _Pool:
    """All that wait for the same thing, by priority and past use, and equal ones in lists by time."""

    def __init__(self, groups: dict[tuple[float, float], list[Sequence[Place]]], placed: frozenset[str]) -> None:
        self._groups = groups
        self._keys = sorted(groups)
        sizes = [sum(map(len, groups[key])) for key in self._keys]
        self._before = [0, *accumulate(sizes)]
        self._gone = sorted(
            (key, place[:2])
            for key, lists in (groups.items() if placed else ())
            for places in lists
            for place in places
            if place[1] in placed
        )
        self.first = tuple(self._front(placed))

    def _front(self, placed: frozenset[str]) -> list[str]:
        found: list[str] = []
        for key in self._keys:
            for place in heapq.merge(*self._groups[key]):
                if place[1] not in placed:
                    found.append(place[1])
                    if len(found) == FIRST:
                        return found
        return found

    def ahead(self, key: tuple[float, float], at: Any) -> int:
        """Return how many stand before that place."""
        level = bisect_left(self._keys, key)
        equal = sum(bisect_left(places, at) for places in self._groups.get(key, ()))
        return self._before[level] + equal - bisect_left(self._gone, (key, at))


class Places:
    """The places of all jobs that a plan leaves waiting. `placed` are those of the lines that it does not."""

    def __init__(self, picture: Picture, waiting: Sequence[Waits], placed: frozenset[str]) -> None:
        self._picture = picture
        self._waiting = waiting
        self._placed = placed
        self._numbers: dict[str, int] | None = None
        self._scopes: dict[int, tuple[Any, ...]] = {}
        self._members: dict[Any, list[int]] | None = None
        self._pools: dict[Any, _Pool] = {}

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._lines() and job_id not in self._placed

    def __iter__(self) -> Iterator[str]:
        return (job_id for job_id in self._lines() if job_id not in self._placed)

    def __len__(self) -> int:
        return len(self._lines()) - len(self._placed)

    def of(self, job_id: str) -> Stand:
        """Return where a job waits; KeyError for one that does not."""
        number = self._lines()[job_id]
        if job_id in self._placed:
            raise KeyError(job_id)
        state, roll = self._waiting[number]
        rank, job = roll.where()[job_id]
        if state.refusal(job) is not None:
            scopes: tuple[Any, ...] = ((number, rank),)
        else:
            scopes = self._scopes_of(number)
        key, at = self._key(rank, job), (job.submitted_at, job.id)
        lengths = [self._pool(scope).ahead(key, at) for scope in scopes]
        ahead = min(lengths)
        scope = scopes[lengths.index(ahead)]
        return Stand(job, state, scope, ahead, self._pool(scope).first[:ahead])

    def _lines(self) -> dict[str, int]:
        """Return the number of the line of each job."""
        numbers = self._numbers
        if numbers is None:
            numbers = {}
            for number, (_, roll) in enumerate(self._waiting):
                numbers.update(dict.fromkeys(roll.where(), number))
            self._numbers = numbers
        return numbers

    def _scopes_of(self, number: int) -> tuple[Any, ...]:
        """Return what those of a line wait for whom no gate keeps out."""
        found = self._scopes.get(number)
        if found is None:
            state, roll = self._waiting[number]
            found = (number,)
            if state.tiers:
                job, picture = roll.ranks[0][1][0][2], self._picture
                found = tuple(picture.scopes(job, t)[0 if picture.in_team_line(job, t) else 1] for t in state.tiers)
            self._scopes[number] = found
        return found

    def _pool(self, scope: Any) -> _Pool:
        found = self._pools.get(scope)
        if found is None:
            found = self._pools[scope] = self._gathered(scope)
        return found

    def _gathered(self, scope: Any) -> _Pool:
        if self._members is None:
            members: dict[Any, list[int]] = {}
            for number in range(len(self._waiting)):
                for one in self._scopes_of(number):
                    members.setdefault(one, []).append(number)
            self._members = members
        groups: dict[tuple[float, float], list[Sequence[Place]]] = {}
        if scope not in self._members:  # a line's rank that a gate keeps out
            number, rank = scope
            places = next(places for one, places in self._waiting[number][1].ranks if one == rank)
            refused = self._waiting[number][0].parted(rank, places)[1]
            return _Pool({self._key(rank, places[0][2]): [refused]}, self._placed)
        for number in self._members[scope]:
            state, roll = self._waiting[number]
            for rank, places in roll.ranks:
                if free := state.parted(rank, places)[0]:
                    groups.setdefault(self._key(rank, places[0][2]), []).append(free)
        return _Pool(groups, self._placed)

    def _key(self, rank: Rank, job: Job) -> tuple[float, float]:
        """Return what a rank is ordered by, before time: equal for all of its jobs."""
        picture = self._picture
        value = float(rank[1]) if rank[2] is None else effective_priority(job, picture.platform, picture.now)
        return -value, picture.usage.of(job.team, job.user)
