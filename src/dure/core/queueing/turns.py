"""Whose turn it is: the first job of each line, the first line of each team, the first team.

Within a team by priority, past use and time; teams by their shares, which an admission changes. The first job of a line
is remembered from one decision to the next, for it changes only with the line or when the team's people change places.
The trap: a deadline lifts a job as time goes by, so those whose lift has begun are compared anew each time.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from typing import Any

from dure.core.burst import predicted_s
from dure.core.model import Job, Platform
from dure.core.queueing.lines import Line, Place, Rank
from dure.core.queueing.order import effective_priority, lifted_from
from dure.core.queueing.picture import State
from dure.core.queueing.rounds import Round

_ORDERS_KEPT = 4096

_Entry = tuple[tuple[Any, ...], int, int, Job, Line]
"""(order within the team, number, version at which that was so, head, line)"""


class Turns:
    """The lines of one round that may have something to place, in order."""

    def __init__(self, work: Round) -> None:
        self._work = work
        self._heaps: dict[str, list[_Entry]] = {}
        self._front: list[tuple[tuple[Any, ...], int, str]] = []
        self._front_at = 0
        self._count = 0
        self._people: dict[str, tuple[int, int, dict[str, int]]] = {}
        self._heads: dict[int, tuple[Any, list[Any]]] = {}
        self._lifted: dict[str, float] = {}

    def begin(self) -> None:
        """Let all lines take part that have something to place."""
        for line in self._work.lines:
            self._put(line)
        self._line_up()

    def enter(self, line: Line) -> None:
        """Put a line among those of its team, by its head; not one of which nothing more can be placed."""
        if not self._work.state(line).over:
            self._put(line)
            self._file(line.team)

    def next(self) -> tuple[Line, Job] | None:
        """Return the line whose turn it is and its head, None when there is none; `enter` puts it back."""
        work = self._work
        while True:
            if self._front_at != work.version:
                self._line_up()
            if not self._front:
                return None
            _, number, team = heapq.heappop(self._front)
            heap = self._heaps.get(team)
            if not heap or heap[0][1] != number:
                continue
            key, _, version, job, line = heapq.heappop(heap)
            state = work.state(line)
            if version != work.version:  # something was admitted meanwhile: the order may be another one
                head = None if state.over else self.head(line)
                if head is None or head is not job or self._key(head) != key:
                    if head is not None:
                        self._put(line)
                    self._file(team)
                    continue
            self._file(team)
            if not state.over:
                return line, job

    def _put(self, line: Line) -> None:
        if self._work.state(line).over:
            return
        job = self.head(line)
        if job is not None:
            self._count += 1
            entry = self._key(job), self._count, self._work.version, job, line
            heapq.heappush(self._heaps.setdefault(line.team, []), entry)

    def _line_up(self) -> None:
        self._front_at = self._work.version
        self._front = []
        for team in self._heaps:
            self._file(team)

    def _file(self, team: str) -> None:
        heap = self._heaps.get(team)
        if heap:
            first = heap[0]
            heapq.heappush(self._front, (self._order(team, first), first[1], team))

    def _order(self, team: str, first: _Entry) -> tuple[Any, ...]:
        """Return what the first lines of the teams are ordered by."""
        work, (priority, _, at, job_id), line = self._work, first[0], first[4]
        tiers, request = line.outlook.tiers, line.request
        asked = tiers[0] if tiers else request.tier or ""
        share = work.quota.share_key(team, asked, request.gpus_milli)
        return (team in work.overdrawn, *share, priority, at, job_id)

    def _key(self, job: Job) -> tuple[Any, ...]:
        value = float(job.priority_value) if job.deadline_at is None else self._priority(job)
        return -value, self._work.usage.of(job.team, job.user), job.submitted_at, job.id

    def _priority(self, job: Job) -> float:
        """Return the priority of a job with a deadline, which this round works out once."""
        value = self._lifted.get(job.id)
        if value is None:
            value = self._lifted[job.id] = effective_priority(job, self._work.platform, self._work.now)
        return value

    def _places(self, team: str) -> tuple[int, dict[str, int]]:
        """Return the order of the people of a team by past use: its number, and each one's place in it."""
        work = self._work
        moves = work.moves.get(team, 0)
        known = self._people.get(team)
        if known is None or known[0] != moves:
            places: dict[str, int] = {}
            if work.usage.counts(team):
                last, place = -1.0, -1
                for use, user in sorted((work.usage.of(team, user), user) for user in work.lines.people[team]):
                    place += use != last
                    places[user], last = place, use
            known = self._people[team] = moves, self._number((team, tuple(places.items())), work), places
        return known[1], known[2]

    @staticmethod
    def _number(order: Any, work: Round) -> int:
        memory = work.memory
        number = memory.orders.get(order)
        if number is None:
            if len(memory.orders) > _ORDERS_KEPT:
                memory.orders.clear()
            memory.count += 1
            number = memory.orders[order] = memory.count
        return number

    def head(self, line: Line) -> Job | None:
        """Return the first job of a line that this round may still place."""
        state = self._work.state(line)
        if state.given or state.refused or state.barred or state.bounded:
            return self._left(line, state)
        number, places = self._places(line.team)
        known = line.recalled.get("head")
        if known is None or known[0] != line.version or known[1] != number:
            known = line.recalled["head"] = line.version, number, self._first(line, places)
        lifts = line.recalled.get("lifts")
        if lifts is None or lifts[0] != line.version:
            lifts = line.recalled["lifts"] = line.version, _lifts(line, self._work)
        job: Job = known[2]
        now, best = self._work.now, None
        for begins, deadline_at, rank in lifts[1]:
            if begins > now:
                break
            if now < deadline_at:
                lifted = line.ranks[rank][0][2]
                if best is None:
                    best = self._rank_key(job, places)
                key = self._rank_key(lifted, places)
                if key < best:
                    best, job = key, lifted
        return job

    def _first_of(self, line: Line, rank: Rank, jobs: list[Place]) -> Job | None:
        """Return the first job of a rank that is not placed and that limits let pass."""
        placed, standing = self._work.placed, self._work.standing
        left = (place[2] for place in jobs if place[1] not in placed)
        if line.team not in standing.limited:
            return next(left, None)
        bound = standing.bound(line.team)
        first = jobs[0][2]
        if first.id not in placed and bound.lets(first):
            return first
        if not bound.leeway(rank[0]).bounds_time:
            return next(left, None) if bound.lets(first) else None
        known = line.recalled.get("stairs")
        if known is None or known[0] != line.version:
            known = line.recalled["stairs"] = line.version, {}
        kept: dict[Rank, list[Job]] = known[1]
        stairs = kept.get(rank)
        if stairs is None:
            stairs = kept[rank] = _stairs(jobs, self._work.platform)
        passes = bisect_left(stairs, True, key=bound.lets)
        if passes == len(stairs):
            return None
        found: Job = stairs[passes]
        return found if found.id not in placed else next((job for job in left if bound.lets(job)), None)

    def _rank_key(self, job: Job, places: dict[str, int]) -> tuple[float, int, float, str]:
        value = float(job.priority_value) if job.deadline_at is None else self._priority(job)
        return -value, places.get(job.user, 0), job.submitted_at, job.id

    @staticmethod
    def _first(line: Line, places: dict[str, int]) -> Job:
        """Return the first job of a line if no deadline lifted any."""
        best: tuple[float, int, float, str] | None = None
        found: Job | None = None
        for rank, jobs in line.ranks.items():
            if best is not None and -rank[1] > best[0]:
                continue
            at, job_id, job = jobs[0]
            key = (-rank[1], places.get(rank[0], 0), at, job_id)
            if best is None or key < best:
                best, found = key, job
        assert found is not None
        return found

    def _left(self, line: Line, state: State) -> Job | None:
        """Return the first of those that were neither placed nor refused."""
        order, places = self._places(line.team)
        at = line.version, order, state.given, self._work.moves.get(line.team, 0)
        known = self._heads.get(id(line))
        if known is None or known[0] != at:
            found = []
            for rank, jobs in line.ranks.items():
                if rank[0] in state.barred:
                    continue
                job = self._first_of(line, rank, jobs)
                if job is not None:
                    found.append((self._rank_key(job, places), rank, job))
            found.sort(key=lambda one: one[0], reverse=True)
            known = self._heads[id(line)] = at, found
        left: list[tuple[Any, Rank, Job]] = known[1]
        while left and left[-1][1] in state.refused:
            left.pop()
        return left[-1][2] if left else None


def _stairs(jobs: list[Place], platform: Platform) -> list[Job]:
    """Return those before whom none is predicted to run as short: the first to pass a limit is among them."""
    found: list[Job] = []
    shortest_s = math.inf
    for _, _, job in jobs:
        seconds = predicted_s(job, platform)
        if seconds < shortest_s:
            shortest_s = seconds
            found.append(job)
    return found


def _lifts(line: Line, work: Round) -> list[tuple[float, float, Rank]]:
    """Return the ranks with a deadline and when each is lifted: from, until; the first to begin first."""
    found = [
        (lifted_from(places[0][2], work.platform), rank[2], rank)
        for rank, places in line.ranks.items()
        if rank[2] is not None
    ]
    found.sort(key=lambda one: one[0])
    return found
