"""What is kept in one decision for jobs that cannot be placed yet: nodes of a tier, or quota of a queue or tree.

The first job in order that waits for a tier gets the nodes on which it can start soonest (`holds`); where quota is what
is missing, that is kept. The trap: who ends before what is kept is needed may use it, so whether there is room depends
on when a job ends: `closed` says which nodes are closed to it, and answers are remembered with that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dure.core.model import Job
from dure.core.placement import NodeState
from dure.core.queueing.holds import Hold, freed_at, soonest
from dure.core.queueing.rounds import Round

_ROOMS_KEPT = 8192


class Keeping:
    """What is kept for whom in one round."""

    def __init__(self, work: Round) -> None:
        self._work = work
        self._nodes: dict[str, list[tuple[Hold, int]]] = {}
        self._team: dict[tuple[str, str], Hold] = {}
        self._pool: dict[tuple[str, str, str], Hold] = {}
        self.any = False

    def owners(self) -> dict[Any, str]:
        """Return for whom quota is kept: by queue and tier or, with "" before, by tree and tier."""
        return {scope: hold.owner for scope, hold in (*self._team.items(), *self._pool.items())}

    def may(self, job: Job, tier: str, end_at: float | None) -> bool:
        """Return whether no quota of the tier is kept from the job."""
        if not self._team and not self._pool:
            return True
        quota = self._work.quota
        own = self._team.get((quota.queue_of(job.team), tier))
        pool = self._pool.get(("", quota.pool_of(job.team), tier))
        if own is not None and not own.lets(end_at):
            return False
        return pool is None or pool.lets(end_at) or not quota.borrows(job.team, tier, job.request.gpus_milli)

    def closed(self, tier: str, end_at: float | None) -> int:
        """Return the nodes of a tier, as bits in their order, that are kept from a job which ends then."""
        bits = 0
        for hold, nodes in self._nodes.get(tier, ()):
            if not hold.lets(end_at):
                bits |= nodes
        return bits

    def fits(self, job: Job, tier: str, end_at: float | None) -> bool:
        """Return whether the job has room now on nodes of a tier that are not kept from it."""
        books, request = self._work.books, job.request
        if not books.fits(request, tier):
            return False
        closed = self.closed(tier, end_at)
        if not closed:
            return True
        rooms, stamp = self._work.memory.rooms, books.stamps[tier]
        key = (tier, request.shape, closed)
        known = rooms.get(key)
        if known is None or known[0] != stamp:
            if len(rooms) > _ROOMS_KEPT:
                rooms.clear()
            nodes = books.open_nodes(books.private[tier], end_at)
            known = rooms[key] = stamp, books.fits(request, tier, nodes)
        return known[1]

    def keep(self, job: Job, tiers: Iterable[str], end_at: float | None) -> None:
        """Keep what the job waits for from later ones: nodes, or quota where that is what is missing."""
        quota, milli = self._work.quota, job.request.gpus_milli
        nodes = []
        for tier in tiers:
            own = quota.own_room_milli(job.team, tier)
            if own is not None and own < milli:
                self._keep_quota(job, tier, milli - own, self._team, (quota.queue_of(job.team), tier))
                continue
            lacking = milli - quota.available_milli(job.team, tier)
            if lacking > 0 and self.fits(job, tier, end_at):
                self._keep_quota(job, tier, lacking, self._pool, ("", quota.pool_of(job.team), tier))
            else:
                nodes.append(tier)
        self.wait_for_nodes(job, nodes, end_at)

    def wait_for_nodes(self, job: Job, tiers: Sequence[str], end_at: float | None) -> None:
        """Keep nodes of one of these tiers, unless the job waits behind another that keeps some of them."""
        backfill = self._work.platform.queueing.backfill
        if tiers and not (backfill and self._nodes and any(tier in self._nodes for tier in tiers)):
            self.keep_nodes(job, tiers, end_at, closed=not backfill)

    def _keep_quota(self, job: Job, tier: str, lacking: int, kept: dict[Any, Hold], scope: Any) -> None:
        if scope in kept:
            return
        work = self._work
        holders = [holder for holder in work.books.as_it_is(tier)[1] if self._counts(holder.job, scope)]
        until = freed_at(holders, lacking, work.ends) if work.platform.queueing.backfill else None
        kept[scope] = Hold(job.id, until)
        self.any = True

    def _counts(self, job: Job, scope: tuple[str, ...]) -> bool:
        """Return whether what the job holds is of the queue, or of the tree of cohorts, that quota is kept in."""
        quota = self._work.quota
        at = quota.queue_of(job.team) if len(scope) == 2 else quota.pool_of(job.team)
        return at == scope[-2]

    def keep_nodes(self, job: Job, tiers: Iterable[str], end_at: float | None, *, closed: bool) -> list[NodeState]:
        """Keep the nodes on which the job can start soonest, of whichever tier that is; return them."""
        books = self._work.books
        best: tuple[float, str, list[NodeState], float] | None = None
        for tier in tiers:
            nodes = books.open_nodes(books.private[tier], end_at)
            found = soonest(nodes, job, books.on_node, self._work.ends)
            if found is not None and (best is None or found[1] < best[0]):
                best = found[1], tier, found[0], found[2]
        if best is None:
            return []
        _, tier, chosen, planned = best
        self.close(tier, chosen, Hold(job.id, None if closed else planned))
        return chosen

    def close(self, tier: str, chosen: Sequence[NodeState], hold: Hold) -> None:
        """Keep just these nodes of a tier, but those that are kept already."""
        books = self._work.books
        free = {id(node) for node in chosen if id(node) not in books.holds}
        bits = sum(1 << place for place, node in enumerate(books.private[tier]) if id(node) in free)
        self._nodes.setdefault(tier, []).append((hold, bits))
        books.keep(chosen, hold)
        self.any = True
