"""The workloads that wait in one cluster queue: the order of heads, and who waits for the world to change first.

Workloads of one shape wait in one class. With BestEffortFIFO a workload that does not fit makes its whole class
inadmissible, in one step and until its cohort tree wakes; a workload that waits alone for that is parked. The trap: a
tree wakes by counting, so what a queue knows about stuck shapes holds only until the count has changed (`_look`).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from dure.core.queueing.kueue.candidates import queue_time
from dure.core.queueing.kueue.infos import Info
from dure.core.queueing.kueue.objects import Settings

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
class Waking:
    """What the queues of one cohort tree share, because they wake together; queues are known by their indices.

    `count` tells how often they woke. `awake` is shared by all trees of an engine: the queues that may have a head.
    Somebody waits in those of `waiting`; in those of `parked` somebody waits alone.
    """

    count: int = 0
    awake: set[int] = field(default_factory=set)
    waiting: set[int] = field(default_factory=set)
    parked: set[int] = field(default_factory=set)

    def wake(self) -> None:
        """Let every shape be tried again. Who is parked is asked one by one (`PendingQueue.unpark`)."""
        self.count += 1
        self.awake |= self.waiting


@dataclass(slots=True, eq=False)
class _Class:
    """The waiting workloads of one shape, in order; `told` is the one of them that was evaluated last."""

    kind: object
    places: list[Place] = field(default_factory=list)
    told: str | None = None


def _first(known: _Class) -> Place:
    return known.places[0]


@dataclass(slots=True)
class Saved:
    """How a queue was, to return to after a trial."""

    classes: list[_Class]
    places: dict[str, Place]
    stuck: set[object]
    parked: dict[str, Info]
    rest: tuple[Any, ...]


@dataclass(slots=True, eq=False)
class PendingQueue:
    """The waiting workloads of one cluster queue. `usage` ranks local queues when admission fair sharing is on.

    Its classes are in the order of their firsts, and those before `_at` are stuck: found not to fit since the tree
    woke last.
    """

    name: str
    strict: bool
    settings: Settings
    usage: Callable[[str], float] | None = None
    index: int = 0
    waking: Waking = field(default_factory=Waking)
    sticky: tuple[str, int] | None = None
    parked: dict[str, Info] = field(default_factory=dict)
    _classes: dict[object, _Class] = field(default_factory=dict)
    _order: list[_Class] = field(default_factory=list)
    _places: dict[str, Place] = field(default_factory=dict)
    _stuck: set[object] = field(default_factory=set)
    _at: int = 0
    _looked: int = 0
    _serial: int = 0

    def is_preemptor(self, info: Info) -> bool:
        """Return whether the workload preempts already, as it is now, and its victims may still be leaving."""
        return self.sticky == (info.key, info.workload.generation)

    @property
    def waiting(self) -> dict[str, Info]:
        """The workloads that may become head, in order."""
        return {place[4].key: place[4] for place in sorted(self._active(), key=self._ranked)}

    @property
    def inadmissible(self) -> dict[str, Info]:
        """The workloads that wait for the world to change."""
        stuck = [place for known in self._order if known.kind in self._stuck_now() for place in known.places]
        return {**self.parked, **{place[4].key: place[4] for place in sorted(stuck)}}

    def _active(self) -> Iterator[Place]:
        stuck = self._stuck_now()
        for known in self._order:
            if known.kind not in stuck:
                yield from known.places

    def _stuck_now(self) -> Collection[object]:
        return self._stuck if self._looked == self.waking.count else ()

    def __contains__(self, key: str) -> bool:
        return key in self._places or key in self.parked

    def __iter__(self) -> Iterator[Info]:
        yield from self.parked.values()
        for place in self._places.values():
            yield place[4]

    def get(self, key: str) -> Info | None:
        """Return the waiting workload of that key, or None."""
        place = self._places.get(key)
        return self.parked.get(key) if place is None else place[4]

    def told_like(self, info: Info) -> str | None:
        """Return the workload of the same shape that was evaluated last, or None."""
        known = None if info.shape is None else self._classes.get(self._class_of(info))
        return None if known is None else known.told

    def _ranked(self, place: Place) -> tuple[Any, ...]:
        """Return what heads are ordered by: usage, the sticky preemptor, priority, time, uid."""
        info: Info = place[4]
        usage = 0.0
        if self.usage is not None:
            usage = self.usage(f"{info.workload.namespace}/{info.workload.queue}")
        return usage, self.strict or self.sticky is None or self.sticky[0] != info.key, place[:4]

    def _class_of(self, info: Info) -> object:
        return None if self.strict else info.shape

    def _look(self) -> None:
        """Forget which shapes are stuck if the tree woke since they were found to be."""
        if self._looked != self.waking.count:
            self._looked = self.waking.count
            self._stuck.clear()
            self._at = 0

    def push(self, info: Info) -> None:
        """Let a workload wait. One of a shape that was found not to fit waits for change with the others."""
        self._take(info.key)
        kind = self._class_of(info)
        known = self._classes.get(kind)
        if info.order is None:
            info.order = (-info.priority, queue_time(info.workload, self.settings), info.workload.uid)
        self._serial += 1
        place = self._places[info.key] = (*info.order, self._serial, info)
        if known is None:
            known = self._classes[kind] = _Class(kind, [place])
            self._enter(known)
            self.waking.waiting.add(self.index)
        elif place < known.places[0]:
            self._leave(known)
            known.places.insert(0, place)
            self._enter(known)
        else:
            insort(known.places, place)
        self._look()
        if kind not in self._stuck:
            self.waking.awake.add(self.index)

    def _enter(self, known: _Class) -> None:
        """Give a class its place among the others."""
        at = bisect_left(self._order, known.places[0], key=_first)
        self._order.insert(at, known)
        self._at = min(self._at, at)

    def _leave(self, known: _Class) -> None:
        """Take a class out of the order, its first being as it was when it entered."""
        at = bisect_left(self._order, known.places[0], key=_first)
        del self._order[at]
        self._at = min(self._at, at)

    def head(self) -> Info | None:
        """Return the first who may be admitted, or None when nobody may. It waits on until it is forgotten."""
        if self._looked != self.waking.count:
            self._look()
        place: Place | None = None
        if self.usage is not None:
            place = min(self._active(), key=self._ranked, default=None)
        elif self.sticky is not None and not self.strict and self.sticky[0] in self._places:
            place = self._places[self.sticky[0]]
            if self._class_of(place[4]) in self._stuck:
                place = None
        if place is None and self._any():
            place = self._order[self._at].places[0]
        if place is None:
            return None
        info: Info = place[4]
        return info

    def _any(self) -> bool:
        """Return whether a class is not stuck, and go on to the first of them; a queue without one sleeps."""
        order, stuck, at = self._order, self._stuck, self._at
        while at < len(order) and order[at].kind in stuck:
            at += 1
        self._at = at
        if at == len(order):
            self.waking.awake.discard(self.index)
            return False
        return True

    def forget(self, key: str) -> Info | None:
        """Drop a workload that was deleted, finished or admitted; return it, or None."""
        if self.sticky is not None and self.sticky[0] == key:
            self.sticky = None
        return self._take(key)

    def _take(self, key: str) -> Info | None:
        place = self._places.pop(key, None)
        if place is None:
            return self._unparked(key)
        info: Info = place[4]
        known = self._classes[self._class_of(info)]
        if known.places[0] is not place:
            del known.places[bisect_left(known.places, place)]
            return info
        self._leave(known)
        del known.places[0]
        if known.places:
            self._enter(known)
        else:
            del self._classes[known.kind]
            if not self._classes:
                self.waking.waiting.discard(self.index)
        return info

    def park(self, info: Info) -> None:
        """Let a workload wait for change, it alone."""
        self._take(info.key)
        self.parked[info.key] = info
        self.waking.parked.add(self.index)

    def _unparked(self, key: str) -> Info | None:
        info = self.parked.pop(key, None)
        if info is not None and not self.parked:
            self.waking.parked.discard(self.index)
        return info

    def requeue(self, info: Info, reason: str, now_ns: int) -> None:
        """Say why the head was not admitted: it stays among those that may be head, or waits for change."""
        if reason in _STICKY:
            self.sticky = (info.key, info.evaluated_generation)
        kind = None if self.strict else info.shape
        known = self._classes.get(kind)
        if known is not None:
            known.told = info.key
        at_once = reason != NAMESPACE_MISMATCH if self.strict else reason in _AT_ONCE
        unfinished = info.progress is not None and info.progress.unfinished
        due = backoff_over(info, now_ns)
        if due and (at_once or unfinished or self._looked != self.waking.count):
            return
        by_shape = kind is not None and reason in _BY_SHAPE
        if by_shape:
            if self._looked != self.waking.count:
                self._look()
            self._stuck.add(kind)
            self._any()
        if not by_shape or not due:
            self.park(info)

    def unpark(self, now_ns: int, suits: Callable[[Info], bool] | None = None) -> None:
        """Let those who wait alone, are not in their backoff and (if asked) suit be tried again."""
        for info in [*self.parked.values()]:
            if backoff_over(info, now_ns) and (suits is None or suits(info)):
                self.push(info)

    def save(self) -> Saved:
        """Return how the queue is now."""
        classes = [_Class(known.kind, [*known.places], known.told) for known in self._order]
        rest = (self.sticky, self._at, self._looked, self._serial)
        return Saved(classes, dict(self._places), set(self._stuck), dict(self.parked), rest)

    def load(self, saved: Saved) -> None:
        """Return to how the queue was; a saved state serves once."""
        self._order, self._places, self._stuck, self.parked = saved.classes, saved.places, saved.stuck, saved.parked
        self._classes = {known.kind: known for known in saved.classes}
        self.sticky, self._at, self._looked, self._serial = saved.rest
        for those, some in ((self.waking.waiting, self._places), (self.waking.parked, self.parked)):
            if some:
                those.add(self.index)
            else:
                those.discard(self.index)


def backoff_over(info: Info, now_ns: int) -> bool:
    """Return whether a workload that was evicted may be tried again."""
    if not info.workload.conditions and info.workload.requeue_at_ns is None:
        return True
    requeued = info.workload.condition("Requeued")
    if requeued is not None and not requeued.status:
        return False
    at = info.workload.requeue_at_ns
    return at is None or now_ns >= at
