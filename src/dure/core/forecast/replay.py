"""More possible futures from one that the platform's own decisions made: the same order, other runtimes.

Who goes before whom, and which tier each gets, is taken from that course; a job then begins when enough GPUs of one
node are free and its team's share has room (list scheduling: Graham, 1966), which costs a fortieth of deciding anew.
The trap: the order itself hangs on runtimes (who used much goes last), and backfill and what is kept for gangs are left
out. So these times are never told as they are: they only say how starts move with runtimes (`starts.courses`).
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dure.core.model import WHOLE_GPU_MILLI, ClusterKind, Job, Lease, Platform, Request

_LEAST_MILLI = 50  # a GPU has at most twenty slots


@dataclass(frozen=True, slots=True)
class Begun:
    """A job that began in a course, `in_s` after now, on `lease`; it came `came_s` after now, 0 when it waits now."""

    job: Job
    in_s: float
    lease: Lease
    came_s: float = 0.0


class Replay:
    """One course's order, run again with other runtimes. `most_milli` is by team and tier: what its quota allows."""

    def __init__(
        self,
        platform: Platform,
        holding: Sequence[Job],
        begun: Sequence[Begun],
        most_milli: Mapping[tuple[str, str], int],
    ) -> None:
        """`holding` are the jobs that hold GPUs now, `begun` those that began, in order."""
        private = {cluster.name for cluster in platform.clusters if cluster.kind is ClusterKind.PRIVATE}
        self._holding = [(job, job.lease) for job in holding if job.lease is not None and job.lease.cluster in private]
        self._begun = [(one, one.lease.cluster in private) for one in begun]
        self._unit = max(_LEAST_MILLI, math.gcd(WHOLE_GPU_MILLI, *(one.job.request.node_milli for one in begun)))
        self._nodes = [
            (cluster.name, node) for cluster in platform.clusters if cluster.name in private for node in cluster.nodes
        ]
        self._places = {(cluster, node.name): number for number, (cluster, node) in enumerate(self._nodes)}
        self._sizes = [node.gpus * (WHOLE_GPU_MILLI // self._unit) for _, node in self._nodes]
        self._tiers: dict[str, list[int]] = {}
        for number, (_, node) in enumerate(self._nodes):
            self._tiers.setdefault(node.tier, []).append(number)
        self._shares = {
            key: max(1, milli // self._unit)
            for key, milli in most_milli.items()
            if milli // self._unit < sum(self._sizes[number] for number in self._tiers.get(key[1], ()))
        }

    def starts(self, runs: Callable[[Job], float]) -> list[float]:
        """Return when each of `begun` begins by the order alone, in seconds from now, if runtimes were these."""
        slots = [[0.0] * size for size in self._sizes]
        shares = {key: [0.0] * size for key, size in self._shares.items()}
        for job, lease in self._holding:
            left_s = runs(job)
            for share in lease.shares:
                number = self._places.get((lease.cluster, share.node))
                if number is not None:
                    _take(slots[number], sum(gpu.share_milli for gpu in share.gpus) // self._unit, 0.0, left_s)
            if (own := shares.get((job.team, lease.tier))) is not None:
                _take(own, lease.gpus_milli // self._unit, 0.0, left_s)
        heaps: dict[tuple[str, int], list[tuple[float, int]]] = {}
        return [
            self._place(one, runs(one.job), slots, shares, heaps) if moves else one.in_s for one, moves in self._begun
        ]

    def _place(
        self,
        one: Begun,
        run_s: float,
        slots: list[list[float]],
        shares: Mapping[tuple[str, str], list[float]],
        heaps: dict[tuple[str, int], list[tuple[float, int]]],
    ) -> float:
        """Return when one begins, and take its slots."""
        request, tier = one.job.request, one.lease.tier
        need = max(1, request.node_milli // self._unit)
        heap = heaps.get((tier, need))
        if heap is None:
            able = [number for number in self._tiers.get(tier, ()) if self._sizes[number] >= need]
            heap = heaps[tier, need] = [(slots[number][need - 1], number) for number in able]
            heapq.heapify(heap)
        if request.nodes > 1 and request.required_topology is not None:
            chosen = self._together(request, [number for _, number in heap], need, slots)
            heap = []  # what is known of these nodes there is stale now, and looked at again when it comes
        else:
            chosen = _soonest(heap, request.nodes, need, slots)
        if len(chosen) < request.nodes:
            return one.in_s
        at_s = max(one.came_s, chosen[-1][0])
        own = shares.get((one.job.team, tier))
        if own is not None:
            at_s = max(at_s, own[min(len(own), need * request.nodes) - 1])
            _take(own, need * request.nodes, at_s, at_s + run_s)
        for _, number in chosen:
            _take(slots[number], need, at_s, at_s + run_s)
            heapq.heappush(heap, (slots[number][need - 1], number))
        return at_s

    def _together(
        self, request: Request, able: Sequence[int], need: int, slots: list[list[float]]
    ) -> list[tuple[float, int]]:
        """Return the nodes that are free soonest of one domain of the required level; none where it has too few."""
        domains: dict[tuple[str, ...], list[tuple[float, int]]] = {}
        for number in able:
            cluster, node = self._nodes[number]
            domain = (cluster, *node.domain(request.required_topology))
            domains.setdefault(domain, []).append((slots[number][need - 1], number))
        found = [sorted(times)[: request.nodes] for times in domains.values() if len(times) >= request.nodes]
        return min(found, key=lambda times: times[-1], default=[])


def _soonest(heap: list[tuple[float, int]], count: int, need: int, slots: list[list[float]]) -> list[tuple[float, int]]:
    """Take so many nodes off the heap that are free soonest; fewer where there are not so many."""
    chosen: list[tuple[float, int]] = []
    while heap and len(chosen) < count:
        known_s, number = heap[0]
        if slots[number][need - 1] > known_s:  # times of slots only grow: what is stale here comes too early
            heapq.heapreplace(heap, (slots[number][need - 1], number))
        else:
            chosen.append(heapq.heappop(heap))
    return chosen


def _take(slots: list[float], need: int, at_s: float, until_s: float) -> None:
    """Use those of the slots free at `at_s` that became free last: who needs fewer may still begin before."""
    high = max(min(need, len(slots)), bisect_right(slots, at_s))
    del slots[max(0, high - need) : high]
    place = bisect_right(slots, until_s)
    slots[place:place] = [until_s] * min(need, high)
