"""Private GPUs for the head of a line, or for one behind it that ends in time, and who must leave for it.

Quota (the engine) and nodes (the books) must both agree. The trap: a search that found nothing is not made again until
something that it read changes, so whatever it reads has a stamp (`Books.stamps`, `Quota.stamp`) or belongs to its key.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from dure.core.model import Job, Lease
from dure.core.queueing.books import Books
from dure.core.queueing.keeping import Keeping
from dure.core.queueing.lines import Line
from dure.core.queueing.picture import State
from dure.core.queueing.rounds import Round
from dure.core.reservations import Kept, keeps_out

_FAILED_KEPT = 16384
_CLOSED_KEPT = 8
_BEHIND = 64  # that limits may keep out before nobody of so many seconds is tried


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


class Private:
    """Places jobs of one round on private clusters. `again` is told of lines that have to be served again."""

    def __init__(self, work: Round, keeping: Keeping, again: Callable[[Line], None]) -> None:
        self._work = work
        self._keeping = keeping
        self._again = again

    def hopeless(self, line: Line) -> bool:
        """Return whether no job of a line can get private GPUs now: no node has room, whoever must leave for it."""
        books, quota, request, team = self._work.books, self._work.quota, line.request, line.team
        for tier in line.outlook.tiers:
            if books.fits(request, tier):
                return False
            if quota.may_preempt(team, tier, request.gpus_milli) and self._work.leaving.would_fit_any(line, tier):
                return False
        return True

    def place(self, job: Job, state: State, among: Container[str] | None = None) -> bool:
        """Place the job, or let others leave for it, on a tier `among` these; return whether it was placed."""
        end_at = self._work.end_at(job)
        quota, milli, may = self._work.quota, job.request.gpus_milli, self._keeping.may
        state.reserved = self.reserved(job, state.tiers)
        able = [tier for tier in state.tiers if tier not in state.reserved and may(job, tier, end_at)]
        able = able if among is None else [tier for tier in able if tier in among]
        tiers, preempts_first = quota.tiers(job.team, able, milli)
        for tier in tiers:
            enough = quota.available_milli(job.team, tier) >= milli and self._keeping.fits(job, tier, end_at)
            if enough and self._ask(job, tier, state, end_at, preempts=False):
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

    def backfill(self, line: Line, state: State) -> bool:
        """Place the first job behind the head that ends before what is kept is needed; the shortest kinds first."""
        if not (self._keeping.any or state.reserved):
            return False
        placed, lets = self._work.placed, self._work.standing.lets
        for power in line.shortest_first():
            behind = (place[2] for place in line.powers[power] if place[1] not in placed)
            job = next((one for one in islice(behind, _BEHIND) if state.refusal(one) is None and lets(one)), None)
            if job is not None:
                return self.place(job, state)
        return False

    def reserved(self, job: Job, tiers: Iterable[str]) -> dict[str, Kept]:
        """Return the reservations for whose sake tiers have no room for the job."""
        standing = self._work.standing
        reservations = standing.bounds.reservations
        found: dict[str, Kept] = {}
        for tier in tiers if reservations else ():
            kept = keeps_out(job, tier, self._work.platform, reservations, standing.held(), self._work.now)
            if kept is not None:
                found[tier] = kept
        return found

    def _preempt(self, job: Job, tier: str, state: State, end_at: float | None) -> bool:
        """Place the job where that needs victims, or let them leave for it."""
        work, closed = self._work, self._keeping.closed(tier, end_at)
        if not work.quota.may_preempt(job.team, tier, job.request.gpus_milli):
            return False
        if not work.leaving.would_fit(job, tier, closed):
            return False
        return self._ask(job, tier, state, end_at, preempts=True)

    def _ask(self, job: Job, tier: str, state: State, end_at: float | None, *, preempts: bool) -> bool:
        work = self._work
        key, closed = self._search(job, tier, preempts=preempts), self._keeping.closed(tier, end_at)
        if self._failed(key, job, tier, closed):
            return False
        room = _Room(work.books, job, end_at)
        answer = work.quota.ask(job, tier, room, work.now, preempts=preempts)
        if answer.admitted:
            assert room.lease is not None
            work.admit(job, room.lease)
            return True
        if not answer.victims:
            self._note_failure(key, job, tier, closed)
            return False
        victims = [work.books.holders[victim.job_id].job for victim in answer.victims]
        given = [victim for victim in victims if victim.id in work.placed]
        if given:  # what this very plan gave away is taken back before anybody is stopped
            return job.id not in work.settled and self._take_back(given, job, tier, state, end_at)
        work.quota.preempt(job, answer, victims, work.now)
        state.victims = tuple(victim.id for victim in victims)
        reasons = [told_of.reason for told_of in answer.victims]
        work.preempt(job, zip(victims, reasons, strict=True))
        self._keeping.keep_nodes(job, (tier,), end_at, closed=True)
        return False

    def _take_back(self, given: Iterable[Job], job: Job, tier: str, state: State, end_at: float | None) -> bool:
        """Ask once more without those whom this plan placed. Two may be each other's victims: so only once."""
        work = self._work
        for victim in given:
            self._again(work.revoke(victim))
            work.settled.add(victim.id)
        placed = self._ask(job, tier, state, end_at, preempts=True)
        if not placed:
            work.settled.add(job.id)
        return placed

    def _search(self, job: Job, tier: str, *, preempts: bool) -> Any:
        """Return what a search reads of the job."""
        at = job.submitted_at if self._work.quota.by_time(job.team) else None
        return job.team, tier, job.request.shape, job.priority_value, at, preempts

    def _stamps(self, job: Job, tier: str) -> tuple[int, int]:
        return self._work.books.stamps[tier], self._work.quota.stamp(job.team, tier)

    def _failed(self, key: Any, job: Job, tier: str, closed: int) -> bool:
        """Return whether the same search found nothing where no more nodes were closed, and nothing changed since."""
        known = self._work.memory.failed.get(key)
        if known is None or known[0] != self._stamps(job, tier):
            return False
        return any(not before & ~closed for before in known[1])

    def _note_failure(self, key: Any, job: Job, tier: str, closed: int) -> None:
        failed, stamps = self._work.memory.failed, self._stamps(job, tier)
        known = failed.get(key)
        if known is None or known[0] != stamps:
            if len(failed) > _FAILED_KEPT:
                failed.clear()
            failed[key] = stamps, [closed]
        elif len(known[1]) < _CLOSED_KEPT:
            known[1].append(closed)
