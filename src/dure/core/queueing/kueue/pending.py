"""The workloads that wait in one cluster queue: the order of heads, and who waits for the world to change first.

A workload waits either in the heap or among the inadmissible, which return to the heap when something changes. The
trap: with BestEffortFIFO a workload that does not fit takes all others of its shape with it into the inadmissible.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dure.core.queueing.kueue.candidates import queue_time
from dure.core.queueing.kueue.objects import Settings
from dure.core.queueing.kueue.snapshot import Info

GENERIC = ""
FAILED_AFTER_NOMINATION = "FailedAfterNomination"
NAMESPACE_MISMATCH = "NamespaceMismatch"
NO_FIT = "NoFit"
NO_CANDIDATES = "PreemptionNoCandidates"
PENDING_PREEMPTION = "PendingPreemption"
PENDING_MIGRATION = "PendingMigration"
PREEMPTION_FAILED = "PreemptionFailed"
PREEMPTION_GATED = "PreemptionGated"

_AT_ONCE = {FAILED_AFTER_NOMINATION, PENDING_PREEMPTION, PENDING_MIGRATION, PREEMPTION_FAILED}


@dataclass(slots=True)
class PendingQueue:
    """The waiting workloads of one cluster queue. `usage` ranks local queues when admission fair sharing is on."""

    name: str
    strict: bool
    settings: Settings
    usage: Callable[[str], float] | None = None
    waiting: dict[str, Info] = field(default_factory=dict)
    inadmissible: dict[str, Info] = field(default_factory=dict)
    sticky: tuple[str, int] | None = None
    _heap: list[tuple[Any, ...]] = field(default_factory=list)
    _stuck_shapes: set[object] = field(default_factory=set)
    _by_shape: dict[object, dict[str, Info]] = field(default_factory=dict)
    _serial: int = 0
    _cycle: int = 0
    _woken_at: int = -1

    def order(self, info: Info) -> tuple[Any, ...]:
        """Return what heads are ordered by: usage, the sticky preemptor, priority, time, uid."""
        usage = 0.0
        if self.usage is not None:
            usage = self.usage(f"{info.workload.namespace}/{info.workload.queue}")
        sticky = self.sticky is not None and self.sticky[0] == info.key
        return usage, not sticky, -info.priority, queue_time(info.workload, self.settings), info.workload.uid

    def push(self, info: Info) -> None:
        """Let a workload wait. One of a shape that was found not to fit joins the inadmissible."""
        self.inadmissible.pop(info.key, None)
        if not self.strict and info.shape is not None and info.shape in self._stuck_shapes:
            self.inadmissible[info.key] = info
            return
        self._activate(info)

    def _activate(self, info: Info) -> None:
        self.waiting[info.key] = info
        self._by_shape.setdefault(info.shape, {})[info.key] = info
        self._serial += 1
        heapq.heappush(self._heap, (*self.order(info), self._serial, info))

    def _deactivate(self, info: Info) -> None:
        del self.waiting[info.key]
        same = self._by_shape[info.shape]
        del same[info.key]
        if not same:
            del self._by_shape[info.shape]

    def pop(self) -> Info | None:
        """Return the head and take it out, or None when nobody waits."""
        self._cycle += 1
        if self.usage is not None:
            self._rebuild()
        while self._heap:
            info: Info = heapq.heappop(self._heap)[-1]
            if self.waiting.get(info.key) is info:
                self._deactivate(info)
                return info
        return None

    def _rebuild(self) -> None:
        self._heap = []
        for info in self.waiting.values():
            self._serial += 1
            self._heap.append((*self.order(info), self._serial, info))
        heapq.heapify(self._heap)

    def forget(self, key: str) -> None:
        """Drop a workload that was deleted or finished."""
        self.inadmissible.pop(key, None)
        waiting = self.waiting.get(key)
        if waiting is not None:
            self._deactivate(waiting)
        if self.sticky is not None and self.sticky[0] == key:
            self.sticky = None

    def requeue(self, info: Info, reason: str, now_ns: int) -> None:
        """Put a head back that was not admitted: into the heap or among the inadmissible."""
        if reason in {PENDING_PREEMPTION, PENDING_MIGRATION} and not self.strict:
            self.sticky = (info.key, info.evaluated_generation)
        at_once = reason != NAMESPACE_MISMATCH if self.strict else reason in _AT_ONCE
        unfinished = info.progress is not None and info.progress.unfinished
        due = backoff_over(info, now_ns)
        if due and (at_once or unfinished or self._woken_at >= self._cycle):
            self._activate(info)
            return
        self.inadmissible[info.key] = info
        if info.shape is not None and not self.strict and reason in {NO_FIT, NO_CANDIDATES}:
            self._stuck_shapes.add(info.shape)
            for other in list(self._by_shape.get(info.shape, {}).values()):
                self._deactivate(other)
                self.inadmissible[other.key] = other

    def wake(self, now_ns: int) -> bool:
        """Let all inadmissible workloads be tried again; return whether there were any."""
        self._woken_at = self._cycle
        self._stuck_shapes.clear()
        moved = [info for info in self.inadmissible.values() if backoff_over(info, now_ns)]
        for info in moved:
            del self.inadmissible[info.key]
            self._activate(info)
        return bool(moved)


def backoff_over(info: Info, now_ns: int) -> bool:
    """Return whether a workload that was evicted may be tried again."""
    requeued = info.workload.condition("Requeued")
    if requeued is not None and not requeued.status:
        return False
    at = info.workload.requeue_at_ns
    return at is None or now_ns >= at
