"""Private GPUs for the head of a line, or for one behind it that ends in time, and who must leave for it.

Quota (the engine) and nodes (the books) must both agree. The trap: a search that found nothing is not made again until
something that it read changes, so whatever it reads has a stamp (`Books.stamps`, `Quota.stamp`) or belongs to its key.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from dure.core.model import GpuShare, Job, Lease, Promise
from dure.core.placement import NodeState
from dure.core.queueing.books import Books
from dure.core.queueing.holds import Hold
from dure.core.queueing.keeping import Keeping
from dure.core.queueing.lines import Line
from dure.core.queueing.picture import State
from dure.core.queueing.rounds import Round
from dure.core.reservations import Kept, keeps_out

PATIENCE_S = 120.0  # far more than the seconds that a job has to go: whoever takes longer is stuck
_FAILED_KEPT = 16384
_CLOSED_KEPT = 8
_BEHIND = 64  # that limits may keep out before nobody of so many seconds is tried


@dataclass(slots=True)
class _Room:
    """The GPUs for one job on its way through the engine."""

    books: Books
    job: Job
    end_at: float | None
    among: Container[str] | None = None
    lease: Lease | None = None

    def take(self, tier: str) -> bool:
        """Place the job."""
        self.lease = self.books.take(self.job, self.books.pools[tier], self.end_at, self.among)
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

    def keep_promise(self, job: Job, promise: Promise, state: State) -> None:
        """Place a job where others were stopped for it, or keep that for it until they are gone.

        Where both are impossible, by an edit of the platform file or a node that is gone, it waits like all others. So
        it does when somebody does not go, or free GPUs elsewhere would be of no use to it and its whole line.
        """
        work, tier = self._work, promise.tier
        nodes = [
            node
            for node in work.books.private.get(tier, ())
            if node.cluster == promise.cluster and node.name in promise.nodes
        ]
        if len(nodes) < len(promise.nodes) or tier not in state.tiers:
            return
        leaving = tuple(filter(work.leaves, promise.victims))
        if leaving and work.now >= promise.until:
            return
        if leaving:
            work.quota.keep(job, tier)
            self._keeping.close(tier, nodes, Hold(job.id))
            self._await(job, tier, nodes, leaving, state)
        elif work.quota.available_milli(job.team, tier) >= job.request.gpus_milli and not self.reserved(job, (tier,)):
            room = _Room(work.books, job, work.end_at(job), promise.nodes)
            if work.quota.ask(job, tier, room, work.now, preempts=False).admitted:
                assert room.lease is not None
                work.admit(job, room.lease)

    def _await(self, job: Job, tier: str, nodes: Sequence[NodeState], victims: tuple[str, ...], state: State) -> None:
        """Let a job count as one that has its GPUs while it waits for its victims to be gone."""
        state.victims = victims
        gpus = (GpuShare(0, job.request.gpus_milli),)
        self._work.standing.promise(
            job, Lease(nodes[0].cluster, nodes[0].name, tier, gpus, nodes[0].price_per_gpu_hour)
        )

    def place(self, job: Job, state: State) -> bool:
        """Place the job, or let others leave for it; return whether it was placed."""
        end_at = self._work.end_at(job)
        quota, milli, may = self._work.quota, job.request.gpus_milli, self._keeping.may
        state.reserved = self.reserved(job, state.tiers)
        able = [tier for tier in state.tiers if tier not in state.reserved and may(job, tier, end_at)]
        tiers, preempts_first = quota.tiers(job.team, able, milli)
        for tier in tiers:
            enough = quota.available_milli(job.team, tier) >= milli and self._keeping.fits(job, tier, end_at)
            if enough and self._ask(job, tier, state, end_at, preempts=False):
                return True
            if preempts_first:
                if self._preempt(job, tier, state):
                    return True
                if state.victims:
                    return False
        for tier in () if preempts_first else tiers:
            if self._preempt(job, tier, state):
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
        # Who is promised GPUs uses them, as far as others are concerned; an owner's promise is no use of a reservation.
        promised = [one for one in standing.promised.values() if not any(kept.is_for(one[0]) for kept in reservations)]
        for tier in tiers if reservations else ():
            held = chain(standing.held(), promised)
            kept = keeps_out(job, tier, self._work.platform, reservations, held, self._work.now)
            if kept is not None:
                found[tier] = kept
        return found

    def _preempt(self, job: Job, tier: str, state: State) -> bool:
        """Place the job where that needs victims, or let them leave for it.

        It would start later than now, so what is kept for another is closed to it however short it is.
        """
        work = self._work
        if not work.quota.may_preempt(job.team, tier, job.request.gpus_milli):
            return False
        if not self._keeping.may(job, tier, None) or not work.leaving.would_fit(
            job, tier, self._keeping.closed(tier, None)
        ):
            return False
        return self._ask(job, tier, state, None, preempts=True)

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
        if given:  # what this very plan gave away is taken back before anybody is stopped, but for promises
            kept = job.id in work.settled or any(victim.promise is not None for victim in given)
            return not kept and self._take_back(given, job, tier, state)
        work.quota.preempt(job, answer, victims, work.now)
        reasons = [told_of.reason for told_of in answer.victims]
        new = work.preempt(job, zip(victims, reasons, strict=True))
        nodes = self._keeping.keep_nodes(job, (tier,), end_at, closed=True)
        self._await(job, tier, nodes, tuple(victim.id for victim in victims), state)
        if new:
            there = {other for node in nodes for other in work.books.on_node.get((node.cluster, node.name), ())}
            gone = dict.fromkeys([*state.victims, *sorted(filter(work.leaves, there))])
            names = tuple(node.name for node in nodes)
            work.promises[job.id] = Promise(nodes[0].cluster, tier, names, tuple(gone), work.now + PATIENCE_S)
        return False

    def _take_back(self, given: Iterable[Job], job: Job, tier: str, state: State) -> bool:
        """Ask once more without those whom this plan placed. Two may be each other's victims: so only once."""
        work = self._work
        for victim in given:
            self._again(work.revoke(victim))
            work.settled.add(victim.id)
        placed = self._ask(job, tier, state, None, preempts=True)
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
