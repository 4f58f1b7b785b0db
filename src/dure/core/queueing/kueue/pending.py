"""The workloads that wait in one cluster queue: the order of heads, and who waits for the world to change first.

Workloads of one shape wait in one class. With BestEffortFIFO a workload that does not fit makes its whole class
inadmissible, in one step and until something changes; a workload that waits alone for that is parked. The trap: heaps
are cleaned when they are read, so an entry counts only while its workload's class still holds that very entry.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
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
_STICKY = {PENDING_PREEMPTION, PENDING_MIGRATION}
_BY_SHAPE = {NO_FIT, NO_CANDIDATES}

Place = tuple[Any, ...]
"""(-priority, time, uid, serial, workload): the order of heads, ending in what makes it total."""


@dataclass(slots=True, eq=False)
class _Class:
    """Waiting workloads of one shape; `stuck` while one of them was found not to fit.

    `offered` is the one that runs for head of the queue.
    """

    heap: list[Place] = field(default_factory=list)
    members: dict[str, Place] = field(default_factory=dict)
    stuck: bool = False
    offered: Place | None = None

    def first(self) -> Place | None:
        """Return the first of the class, or None; what left is dropped from the heap."""
        heap, members = self.heap, self.members
        while heap:
            if members.get(heap[0][4].key) is heap[0]:
                return heap[0]
            heapq.heappop(heap)
        return None


@dataclass(slots=True)
class Saved:
    """How a queue was, to return to after a trial."""

    classes: dict[object, _Class]
    parked: dict[str, Info]
    firsts: list[Place]
    rest: tuple[Any, ...]


@dataclass(slots=True, eq=False)
class PendingQueue:
    """The waiting workloads of one cluster queue.

    `usage` ranks local queues when admission fair sharing is on. `awake` is shared by all queues of an engine: a queue
    puts its `index` into it while it has a head.
    """

    name: str
    strict: bool
    settings: Settings
    usage: Callable[[str], float] | None = None
    index: int = 0
    awake: set[int] = field(default_factory=set)
    sticky: tuple[str, int] | None = None
    parked: dict[str, Info] = field(default_factory=dict)
    _classes: dict[object, _Class] = field(default_factory=dict)
    _firsts: list[Place] = field(default_factory=list)
    _stuck: set[object] = field(default_factory=set)
    _active: int = 0
    _serial: int = 0
    _cycle: int = 0
    _woken_at: int = -1

    @property
    def waiting(self) -> dict[str, Info]:
        """The workloads that may become head, in order."""
        places = [place for one in self._classes.values() if not one.stuck for place in one.members.values()]
        return {place[4].key: place[4] for place in sorted(places, key=self._ranked)}

    @property
    def inadmissible(self) -> dict[str, Info]:
        """The workloads that wait for the world to change."""
        stuck = [place for one in self._classes.values() if one.stuck for place in one.members.values()]
        return {**self.parked, **{place[4].key: place[4] for place in sorted(stuck)}}

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def __iter__(self) -> Iterator[Info]:
        yield from self.parked.values()
        for one in self._classes.values():
            for place in one.members.values():
                yield place[4]

    def get(self, key: str) -> Info | None:
        """Return the waiting workload of that key, or None."""
        if key in self.parked:
            return self.parked[key]
        for one in self._classes.values():
            if key in one.members:
                found: Info = one.members[key][4]
                return found
        return None

    def _ranked(self, place: Place) -> tuple[Any, ...]:
        """Return what heads are ordered by: usage, the sticky preemptor, priority, time, uid."""
        info: Info = place[4]
        usage = 0.0
        if self.usage is not None:
            usage = self.usage(f"{info.workload.namespace}/{info.workload.queue}")
        return usage, self.sticky is None or self.sticky[0] != info.key, place[:4]

    def _class_of(self, info: Info) -> object:
        return None if self.strict else info.shape

    def push(self, info: Info) -> None:
        """Let a workload wait. One of a shape that was found not to fit waits for change with the others."""
        self.parked.pop(info.key, None)
        kind = self._class_of(info)
        known = self._classes.get(kind)
        if known is None:
            known = self._classes[kind] = _Class()
        if info.order is None:
            info.order = (-info.priority, queue_time(info.workload, self.settings), info.workload.uid)
        self._serial += 1
        place = (*info.order, self._serial, info)
        if not known.stuck and info.key not in known.members:
            self._active += 1
        known.members[info.key] = place
        heapq.heappush(known.heap, place)
        if not known.stuck:
            self._offer(known)
            self.awake.add(self.index)

    def _offer(self, known: _Class) -> None:
        """Let the first of a class run for head, once."""
        first = known.first()
        if first is not None and first is not known.offered:
            known.offered = first
            heapq.heappush(self._firsts, first)

    def pop(self) -> Info | None:
        """Return the head and take it out, or None when nobody waits."""
        self._cycle += 1
        place = self._head()
        if place is None:
            self.awake.discard(self.index)
            return None
        info: Info = place[4]
        self._take(info, self._classes[self._class_of(info)])
        return info

    def _head(self) -> Place | None:
        if not self._active:
            return None
        if self.usage is not None:
            active = [place for one in self._classes.values() if not one.stuck for place in one.members.values()]
            return min(active, key=self._ranked)
        if self.sticky is not None:
            for one in self._classes.values():
                if not one.stuck and self.sticky[0] in one.members:
                    return one.members[self.sticky[0]]
        firsts = self._firsts
        while firsts:
            place = heapq.heappop(firsts)
            known = self._classes.get(self._class_of(place[4]))
            if known is None or known.offered is not place:
                continue
            known.offered = None
            if known.stuck:
                continue
            if known.first() is place:
                return place
            self._offer(known)
        return None

    def _take(self, info: Info, known: _Class) -> None:
        """Take a workload of a class out, and let the next one of the class run for head."""
        del known.members[info.key]
        if not known.stuck:
            self._active -= 1
        if not known.stuck:
            if known.members:
                self._offer(known)
            else:
                del self._classes[self._class_of(info)]
        if not self._active:
            self.awake.discard(self.index)

    def forget(self, key: str) -> Info | None:
        """Drop a workload that was deleted, finished or admitted elsewhere; return it, or None."""
        if self.sticky is not None and self.sticky[0] == key:
            self.sticky = None
        if key in self.parked:
            return self.parked.pop(key)
        for known in self._classes.values():
            if key in known.members:
                info: Info = known.members[key][4]
                self._take(info, known)
                return info
        return None

    def park(self, info: Info) -> None:
        """Let a workload wait for change, it alone."""
        self.parked[info.key] = info

    def requeue(self, info: Info, reason: str, now_ns: int) -> None:
        """Put a head back that was not admitted: among those that may be head, or that wait for change."""
        if reason in _STICKY and not self.strict:
            self.sticky = (info.key, info.evaluated_generation)
        at_once = reason != NAMESPACE_MISMATCH if self.strict else reason in _AT_ONCE
        unfinished = info.progress is not None and info.progress.unfinished
        due = backoff_over(info, now_ns)
        if due and (at_once or unfinished or self._woken_at >= self._cycle):
            self.push(info)
            return
        if self.strict or info.shape is None or reason not in _BY_SHAPE:
            self.parked[info.key] = info
            return
        known = self._classes.get(info.shape)
        if known is None:
            known = self._classes[info.shape] = _Class()
        if not known.stuck:
            known.stuck = True
            self._stuck.add(info.shape)
            self._active -= len(known.members)
            if not self._active:
                self.awake.discard(self.index)
        if due:
            self.push(info)
        else:
            self.parked[info.key] = info

    def wake(self, now_ns: int, suits: Callable[[Info], bool] | None = None) -> bool:
        """Let all who are not in their backoff (and whom `suits` accepts) be tried again; return whether any were."""
        self._woken_at = self._cycle
        if not self._stuck and not self.parked:
            return False
        moved = False
        for kind in self._stuck:
            known = self._classes[kind]
            known.stuck = False
            if not known.members:
                del self._classes[kind]
                continue
            self._active += len(known.members)
            self._offer(known)
            moved = True
        self._stuck.clear()
        for info in [*self.parked.values()] if self.parked else ():
            if backoff_over(info, now_ns) and (suits is None or suits(info)):
                self.push(info)
                moved = True
        if self._active:
            self.awake.add(self.index)
        return moved

    def save(self) -> Saved:
        """Return how the queue is now."""
        classes = {
            kind: _Class(list(one.heap), dict(one.members), one.stuck, one.offered)
            for kind, one in self._classes.items()
        }
        rest = (self.sticky, self._active, self._serial, self._cycle, self._woken_at)
        return Saved(classes, dict(self.parked), list(self._firsts), rest)

    def load(self, saved: Saved) -> None:
        """Return to how the queue was; a saved state serves once."""
        self._classes, self.parked, self._firsts = saved.classes, saved.parked, saved.firsts
        self._stuck = {kind for kind, one in saved.classes.items() if one.stuck}
        self.sticky, self._active, self._serial, self._cycle, self._woken_at = saved.rest
        if self._active:
            self.awake.add(self.index)
        else:
            self.awake.discard(self.index)


def backoff_over(info: Info, now_ns: int) -> bool:
    """Return whether a workload that was evicted may be tried again."""
    if not info.workload.conditions and info.workload.requeue_at_ns is None:
        return True
    requeued = info.workload.condition("Requeued")
    if requeued is not None and not requeued.status:
        return False
    at = info.workload.requeue_at_ns
    return at is None or now_ns >= at
