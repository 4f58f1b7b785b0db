"""Nodes that are kept for a job that cannot be placed yet, and who may use them meanwhile: backfill.

The first job in order that waits for a tier gets the nodes on which it can start soonest, from the times at which jobs
there should end; others may run on them if they end before (EASY backfill, Lifka 1995). Embedded only: Kueue keeps
quota, not nodes. The trap: a kept node's time never moves later by whom it lets in, or a gang would starve; so it is
taken from planned ends as they are, past ones too, and never from the clock.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dure.core.burst import predicted_s
from dure.core.model import Job, Platform
from dure.core.placement import NodeState
from dure.core.queueing.gates import Holder


@dataclass(frozen=True, slots=True)
class Hold:
    """Something is kept for the job `owner` until it should start, at `until`; None when nobody may use it."""

    owner: str
    until: float | None = None

    def lets(self, end_at: float | None) -> bool:
        """Return whether a job that ends at `end_at` at the latest is gone in time; None is an unknown end."""
        return self.until is not None and end_at is not None and end_at <= self.until


@dataclass(frozen=True, slots=True)
class Ends:
    """When jobs that have GPUs should end, as `platform` and their predictions say; at once when they are `leaving`."""

    platform: Platform
    now: float
    leaving: set[str] = field(default_factory=set)
    _likely: dict[str, float] = field(default_factory=dict)

    def leave(self, job_id: str) -> None:
        """Take a job to end at once."""
        self.leaving.add(job_id)
        self._likely.pop(job_id, None)

    def planned(self, job: Job) -> float:
        """Return when the job should end; it may be in the past for one that takes longer."""
        if job.preempted_by is not None or job.id in self.leaving:
            return self.now
        since = job.began_at if job.began_at is not None else job.admitted_at
        return (self.now if since is None else since) + predicted_s(job, self.platform)

    def likely(self, job: Job) -> float:
        """Return when the job will end: one that is over its time is taken to need as long again."""
        at = self._likely.get(job.id)
        if at is None:
            at = self._likely[job.id] = self._likely_end(job)
        return at

    def _likely_end(self, job: Job) -> float:
        planned = self.planned(job)
        if planned > self.now or job.preempted_by is not None or job.id in self.leaving:
            return planned
        since = job.began_at if job.began_at is not None else (job.admitted_at or self.now)
        return self.now + max(self.now - since, 1.0)


def soonest(
    nodes: Sequence[NodeState], job: Job, on_node: Mapping[tuple[str, str], Mapping[str, Holder]], ends: Ends
) -> tuple[list[NodeState], float, float] | None:
    """Return the nodes on which the job can start soonest once others end; None when there are none.

    With them when that is, likely, and as planned.
    """
    best: tuple[float, float, list[NodeState]] | None = None
    milli, wanted, level = job.request.node_milli, job.request.nodes, job.request.required_topology
    for domain in dict.fromkeys(node.domain(level) for node in nodes):
        able = []
        for order, node in enumerate(nodes):
            if node.domain(level) == domain and node.fits_when_empty(milli):
                holders = on_node.get((node.cluster, node.name), {}).values()
                able.append((float("-inf") if node.fits(milli) else _first_end(holders, ends), order, node, holders))
        able.sort(key=_by_first_end)
        found: list[tuple[float, int, float, NodeState]] = []
        for first, order, node, holders in able:
            if len(found) >= wanted and first > found[wanted - 1][0]:
                break
            likely, planned = _opening(node, milli, holders, ends)
            insort(found, (likely, order, planned, node), key=_by_opening)
        if len(found) >= wanted and (best is None or found[wanted - 1][0] < best[0]):
            part = found[:wanted]
            best = part[-1][0], max(one[2] for one in part), [one[3] for one in part]
    return None if best is None else (best[2], best[0], best[1])


def _by_first_end(able: tuple[float, int, NodeState, Iterable[Holder]]) -> tuple[float, int]:
    return able[:2]


def _by_opening(found: tuple[float, int, float, NodeState]) -> tuple[float, int]:
    return found[:2]


def _first_end(holders: Iterable[Holder], ends: Ends) -> float:
    """Return a time before which nothing on a node ends; nodes are looked at in this order, until none can be sooner.

    Long ago where somebody leaves, takes longer than planned or is of this very plan: such a node is looked at anyway.
    """
    if ends.leaving:
        return float("-inf")
    first = min([holder.ends_at for holder in holders], default=float("-inf"))
    return first if first > ends.now else float("-inf")


def planned_end(job: Job, platform: Platform) -> float:
    """Return when a job that has GPUs should end; long ago for one that must go, or of which nothing is known."""
    since = job.began_at if job.began_at is not None else job.admitted_at
    return float("-inf") if since is None or job.preempted_by is not None else since + predicted_s(job, platform)


def _opening(node: NodeState, milli: int, holders: Iterable[Holder], ends: Ends) -> tuple[float, float]:
    """Return when a node will have so much room, likely and as planned."""
    if node.fits(milli):
        return ends.now, ends.now
    planned, free = float("-inf"), [*node.free_milli]
    left = replace(node, free_milli=free)
    leaving = sorted((ends.likely(holder.job), holder.job.id, holder) for holder in holders)
    for likely, _, holder in leaving:
        lease = holder.lease
        shares = [lease.gpus] if lease.node == node.name else []
        shares += [share.gpus for share in lease.others if share.node == node.name]
        for gpu in (gpu for gpus in shares for gpu in gpus):
            if gpu.index < len(free):
                free[gpu.index] += gpu.share_milli
        planned = max(planned, ends.planned(holder.job))
        if left.fits(milli):
            return likely, planned
    return float("inf"), float("-inf")


def freed_at(holders: Iterable[Holder], lacking_milli: int, ends: Ends) -> float | None:
    """Return when these holders should have given back as much as is lacking, as planned; None when they never do."""
    planned = float("-inf")
    for holder in sorted(holders, key=lambda one: (ends.likely(one.job), one.job.id)):
        lacking_milli -= holder.lease.gpus_milli
        planned = max(planned, ends.planned(holder.job))
        if lacking_milli <= 0:
            return planned
    return None
