"""Whether there would be room if all left who could be made to: what is asked before the engine searches for victims.

A bound, and cheap: it takes out everybody whom a policy could let the job preempt, whatever quota says, and looks at
nodes alone. The trap: it must never leave out a victim that the engine would find, or a job would wait for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dure.core.model import Job, Request
from dure.core.placement import NodeState, has_room
from dure.core.queueing.books import Books
from dure.core.queueing.lines import Line
from dure.core.queueing.quota import Quota, Reach, preemptible

_KEPT = 8192
_NODES_KEPT = 262_144


@dataclass(frozen=True, slots=True)
class _Held:
    """What one job that may be stopped holds of one node of a tier."""

    node: int
    queue: str
    pool: str
    priority: int
    gpus: tuple[tuple[int, int], ...]


class Leaving:
    """Remembers, for stamps of the books, who holds what of a tier and what would be free without them."""

    def __init__(self, books: Books, quota: Quota) -> None:
        self._books = books
        self._quota = quota
        self._answers: dict[tuple[str, str, int, tuple[int, int, str | None], int], tuple[int, Reach, bool]] = {}
        self._held: dict[str, tuple[int, list[_Held]]] = {}
        self._without: dict[tuple[str, str, int, Reach], tuple[int, list[NodeState]]] = {}

    def would_fit(self, job: Job, tier: str, closed: int) -> bool:
        """Return whether the job could be placed on nodes that are not `closed` if all left whom it could preempt."""
        return self._would_fit(job.team, job.request, job.priority_value, tier, closed)

    def would_fit_any(self, line: Line, tier: str) -> bool:
        """Return whether a job of a line could be: who may preempt most is the one of the highest priority."""
        known = line.recalled.get("highest")
        if known is None or known[0] != line.version:
            known = line.recalled["highest"] = line.version, max(rank[1] for rank in line.ranks)
        return self._would_fit(line.team, line.request, known[1], tier, 0)

    def _would_fit(self, team: str, request: Request, priority: int, tier: str, closed: int) -> bool:
        stamp = self._books.stamps[tier]
        reach = self._quota.reach(team, tier, request.gpus_milli, priority)
        key = (team, tier, priority, request.shape, closed)
        known = self._answers.get(key)
        if known is None or known[0] != stamp or known[1] != reach:
            if len(self._answers) > _KEPT:
                self._answers.clear()
            nodes = self._free_of(team, priority, tier, reach)
            if closed:
                nodes = [node for place, node in enumerate(nodes) if not closed >> place & 1]
            known = self._answers[key] = stamp, reach, has_room(nodes, request)
        return known[2]

    def _free_of(self, team: str, priority: int, tier: str, reach: Reach) -> list[NodeState]:
        key, stamp = (team, tier, priority, reach), self._books.stamps[tier]
        known = self._without.get(key)
        if known is None or known[0] != stamp:
            if len(self._without) * len(self._books.private[tier]) > _NODES_KEPT:  # each has all nodes of its tier
                self._without.clear()
            nodes = [replace(node, free_milli=[*node.free_milli]) for node in self._books.private[tier]]
            queue, pool = self._quota.queue_of(team), self._quota.pool_of(team)
            for held in self._holding(tier, stamp):
                if held.pool == pool and reach.includes(priority, held.priority, own=held.queue == queue):
                    free = nodes[held.node].free_milli
                    for index, milli in held.gpus:
                        free[index] += milli
            known = self._without[key] = stamp, nodes
        return known[1]

    def _holding(self, tier: str, stamp: int) -> list[_Held]:
        known = self._held.get(tier)
        if known is None or known[0] != stamp:
            known = self._held[tier] = stamp, [*self._look(tier)]
        return known[1]

    def _look(self, tier: str) -> list[_Held]:
        quota, found = self._quota, []
        for place, node in enumerate(self._books.private[tier]):
            for holder in self._books.on_node.get((node.cluster, node.name), {}).values():
                job, lease = holder.job, holder.lease
                if job.phase.holds_gpus and not preemptible(job):
                    continue  # what this very plan gives can be taken back whatever it is
                parts = [share.gpus for share in lease.shares if share.node == node.name]
                size = len(node.free_milli)
                gpus = tuple((gpu.index, gpu.share_milli) for part in parts for gpu in part if gpu.index < size)
                queue, pool = quota.queue_of(job.team), quota.pool_of(job.team)
                found.append(_Held(place, queue, pool, job.priority_value, gpus))
        return found
