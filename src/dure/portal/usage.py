"""How many GPUs were in use and how many jobs waited over the last hour, counted from the event log.

Every event that changes either number says so itself, so the past is the present minus what happened since. Only
sums leave this module, which is why it may read all teams' events. The trap: counted in steps of ten seconds, so the
memory it takes does not grow with the number of jobs.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from dure.core.events import Event
from dure.core.model import WHOLE_GPU_MILLI, Phase
from dure.ports import Clock, Store

WINDOW_S = 3600
STEP_S = 10
_PAGE = 2000
_EVENTS_MAX = 200_000
_ENDS = frozenset({"job.succeeded", "job.failed", "job.cancelled"})


@dataclass(frozen=True, slots=True)
class Level:
    """What held from one time on: thousandths of a GPU in use, jobs waiting."""

    gpus_milli: int
    waiting: int


@dataclass(frozen=True, slots=True)
class History:
    """The last hour: times (seconds since the epoch), GPUs in use and jobs waiting at each."""

    at: list[int]
    gpus: list[float]
    waiting: list[int]


def change_of(event: Event) -> Level:
    """Return by how much the event changed both numbers; it names a cluster exactly when a lease is concerned."""
    held = int(event.data.get("gpus_milli", 0)) if "cluster" in event.data else 0
    if event.kind == "job.submitted":
        return Level(0, 1)
    if event.kind == "job.admitted":
        return Level(held, -1)
    if event.kind == "job.requeued":
        return Level(-held, 1)
    if event.kind in _ENDS:
        return Level(-held, 0) if held else Level(0, -1)
    return Level(0, 0)


class Usage:
    """Follows the log and remembers one hour. Thread-safe."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._seq = -1
        self._level = Level(0, 0)
        self._steps: dict[int, Level] = {}

    def history(self) -> History:
        """Return the last hour up to now, one value for each ten seconds that changed anything."""
        with self._lock:
            if self._seq < 0:
                self._begin()
            self._follow()
            return self._drawn(self._clock.now())

    def _begin(self) -> None:
        jobs, seq = self._store.active()
        level = Level(
            sum(job.lease.gpus_milli for job in jobs if job.lease and job.phase.holds_gpus),
            sum(job.phase is Phase.QUEUED for job in jobs),
        )
        since = self._clock.now() - WINDOW_S
        first = max(self._first_after(since, seq), seq - _EVENTS_MAX)
        past: list[Event] = []
        while first < seq and (page := self._store.events(first, _PAGE)):
            past += [event for event in page if event.seq <= seq]
            first = page[-1].seq
        self._seq, self._level = seq, level
        for event in reversed(past):
            self._steps.setdefault(_step(event.at), level)
            change = change_of(event)
            level = Level(level.gpus_milli - change.gpus_milli, level.waiting - change.waiting)
        self._steps[_step(since)] = level

    def _follow(self) -> None:
        while page := self._store.events(self._seq, _PAGE):
            self._take(page)
            if len(page) < _PAGE:
                return

    def _take(self, page: Sequence[Event]) -> None:
        for event in page:
            change = change_of(event)
            self._level = Level(self._level.gpus_milli + change.gpus_milli, self._level.waiting + change.waiting)
            self._steps[_step(event.at)] = self._level
        self._seq = page[-1].seq

    def _drawn(self, now: float) -> History:
        since, until = _step(now - WINDOW_S), _step(now)
        before = Level(0, 0)
        for step in sorted(step for step in self._steps if step <= since):
            before = self._steps.pop(step)
        self._steps[since] = before
        shown = dict(sorted(self._steps.items())) | {until: self._level}
        levels = [shown[step] for step in sorted(shown)]
        return History(
            sorted(shown), [level.gpus_milli / WHOLE_GPU_MILLI for level in levels], [level.waiting for level in levels]
        )

    def _first_after(self, at: float, last: int) -> int:
        """Return the number of the last event before `at`, found by halving: numbers have no gaps."""
        low, high = 0, last
        while low < high:
            middle = (low + high) // 2
            found = self._store.events(middle, 1)
            if not found or found[0].at >= at:
                high = middle
            else:
                low = middle + 1
        return low


def _step(at: float) -> int:
    return int(at) // STEP_S * STEP_S
