"""When waiting jobs start: the platform's own decisions run forward over sampled runtimes and arrivals.

One course is one possible future; several of them give the quantiles. Runtimes are drawn at evenly spread quantiles
that belong to the job, not to the moment, so that an estimate moves when something happened and not by chance. The
trap: a decision costs as much as the queue is long, so the farther ahead, the coarser the instants at which one is
made (`GRAIN` of the time ahead); who gets GPUs that became free in between began when they did (`forward`'s pace), or
a queue of short jobs would look twice as slow as it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from zlib import crc32

from dure.core.forecast.distribution import Distribution
from dure.core.model import Goal, Job, Lease, Phase, Platform
from dure.core.queueing.decide import Decider
from dure.core.queueing.forward import What, Work, World, forward
from dure.core.queueing.limits import Bounds
from dure.core.queueing.order import Person
from dure.core.queueing.plan import Plan

GRAIN = 0.1
HORIZON_S = 14 * 86_400.0
_LEAST_STEP_S = 0.5
_ROUNDS = 3  # decisions at one instant: what they place may be over already by then
_GOLDEN = 0.6180339887498949
_SILVER = 0.4142135623730951
_TOGETHER = 0.4
_DOUBT = 20.0  # ended jobs of a kind after which half of what its jobs shared is known
_EDGE = 1e-3
_NORMAL = NormalDist()
_DIGITS = re.compile(r"[0-9]+")

Remaining = Callable[[Job, float], float]
"""Returns how long a job runs from now on, in seconds, at a quantile."""


@dataclass(frozen=True, slots=True)
class Present:
    """What a forecast starts from. `spent` is each team's money of this month; `jobs` are all that have not ended.

    `recent` are lately submitted jobs, whose like arrives again; `span_s` is the time over which they came. `bounds`
    are limits' accounts and reservations, `used` is each person's past use, as `Decider.decide` takes it.
    """

    now: float
    platform: Platform
    jobs: tuple[Job, ...]
    spent: Mapping[str, float] = field(default_factory=dict)
    unavailable: frozenset[str] = frozenset()
    recent: tuple[Job, ...] = ()
    span_s: float = 0.0
    bounds: Bounds = field(default_factory=Bounds)
    used: Mapping[Person, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Start:
    """When a job's code begins in one course, seconds from now, where, and whose end made room just before."""

    in_s: float
    lease: Lease
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """One possible future: the starts of jobs that wait now, in order. Who is not in it did not start in time."""

    starts: Mapping[str, Start]
    until_s: float


@dataclass(frozen=True, slots=True)
class Eta:
    """Seconds from `issued_at` until a job's code begins: the middle one of its courses, and what 90 % keep to.

    None: it did not start in so many of the courses within the time that was looked at. `chances` are by cluster.
    """

    issued_at: float
    p50_s: float | None
    p90_s: float | None
    chances: Mapping[str, float] = field(default_factory=dict)


class _Coarse:
    """A decider that is asked only when something changed, at most `_ROUNDS` times per grain of the time ahead."""

    def __init__(self, present: Present, grain: float, between: Callable[[], None]) -> None:
        self._inner = Decider(present.platform)
        self._inner.bounds = present.bounds
        self._began = present.now
        self._at = present.now
        self._rounds = 0
        self._grain = grain
        self._between = between
        self._waiting: set[str] = set()
        self._stirred = True
        self._wake_at = float("inf")

    def put(self, job: Job) -> None:
        self._inner.put(job)
        if job.phase is Phase.QUEUED and job.goal is Goal.RUN:
            self._waiting.add(job.id)
            self._stirred = True
        else:
            self._waiting.discard(job.id)
            self._stirred |= job.phase.terminal

    def drop(self, job_id: str) -> None:
        self._inner.drop(job_id)
        self._waiting.discard(job_id)
        self._stirred = True

    def pace(self, now: float) -> float:
        """Return when the next decision is made."""
        if not self._waiting or not (self._stirred or now >= self._wake_at):
            return float("inf")
        if now == self._at and self._rounds < _ROUNDS:
            return now
        return max(now, self._at + max(_LEAST_STEP_S, self._grain * (self._at - self._began)))

    def decide(
        self, now: float, spent: Mapping[str, float], unavailable: frozenset[str], used: Mapping[Person, float]
    ) -> Plan:
        self._between()
        self._rounds = self._rounds + 1 if now == self._at else 1
        self._at, self._stirred = now, False
        plan = self._inner.decide(now, spent, unavailable, used)
        self._wake_at = float("inf") if plan.wake_at is None else plan.wake_at
        return plan


def course(
    present: Present,
    remaining: Remaining,
    number: int,
    *,
    watched: frozenset[str] | None = None,
    horizon_s: float = HORIZON_S,
    grain: float = GRAIN,
    between: Callable[[], None] = lambda: None,
    seen: Callable[[Job], float] = lambda _job: 0.0,
) -> Course:
    """Return the `number`-th possible future, up to the start of all `watched` jobs (None: of all that wait).

    `seen` tells on how many ended jobs a runtime rests (`drawn`). `between` is called before each decision: sleep
    there to leave the processor to others, or raise to stop.
    """
    waiting = {job.id for job in present.jobs if job.phase is Phase.QUEUED and job.goal is Goal.RUN}
    open_ids = waiting if watched is None else waiting & watched
    starts: dict[str, Start] = {}
    driven = _Coarse(present, grain, between)
    works = [Work(job, remaining(job, drawn(job, number, seen(job)))) for job in present.jobs]
    world = World(spent=present.spent, used=present.used)
    coming = _arrivals(present, remaining, seen, number, horizon_s)
    last_ends: dict[tuple[str, str], str] = {}
    at_s = 0.0
    steps = forward(driven, present.platform, present.now, works, coming, world=world, pace=driven.pace)
    for step in steps if open_ids else ():
        at_s = step.at - present.now
        if at_s > horizon_s:
            break
        lease = step.lease
        if step.what is What.ENDED and lease is not None:
            last_ends[lease.cluster, lease.node] = step.job.id
        elif step.what is What.BEGAN and step.job.id in waiting and lease is not None:
            starts.setdefault(step.job.id, Start(at_s, lease, last_ends.get((lease.cluster, lease.node))))
            open_ids.discard(step.job.id)
            if not open_ids:
                break
    return Course(starts, at_s)


def etas(now: float, courses: Sequence[Course], jobs: Iterable[str]) -> dict[str, Eta]:
    """Return the estimate of each job from all courses; whoever starts in none has neither p50 nor p90."""
    found = {}
    for job_id in jobs:
        starts = [known.starts.get(job_id) for known in courses]
        chances: dict[str, float] = {}
        for start in starts:
            if start is not None:
                chances[start.lease.cluster] = chances.get(start.lease.cluster, 0.0) + 1.0 / len(courses)
        seconds = sorted(float("inf") if start is None else start.in_s for start in starts)
        found[job_id] = Eta(now, _part(seconds, 0.5), _part(seconds, 0.9), chances)
    return found


def place(name: str, number: int, stride: float = _GOLDEN) -> float:
    """Return the quantile, between 0 and 1, at which the `number`-th course draws the runtime of a job.

    A job's quantiles are spread evenly over any run of courses (the golden ratio's sequence, begun at its own place).
    """
    return (crc32(name.encode()) / 2**32 + (number + 0.5) * stride) % 1.0


def drawn(job: Job, number: int, seen: float = 0.0) -> float:
    """Return the quantile at which the `number`-th course draws how long a job runs.

    A person's jobs of one kind are long together or short together: what is not known of the first is not known of the
    others either, and a queue of them would else look more certain than it is (a Gaussian copula). The more ended jobs
    (`seen`) that rests on, the less they share: what is known by then is no longer in doubt.
    """
    kind = f"{job.team}/{job.user}/{_DIGITS.sub('#', job.name)}"
    own, shared = _deviation(place(job.id, number)), _deviation(place(kind, number, _SILVER))
    together = _TOGETHER * _DOUBT / (_DOUBT + seen)
    return _NORMAL.cdf(math.sqrt(together) * shared + math.sqrt(1.0 - together) * own)


def _deviation(part: float) -> float:
    return _NORMAL.inv_cdf(min(max(part, _EDGE), 1.0 - _EDGE))


def sampled(distribution: Distribution, job: Job, now: float, part: float) -> float:
    """Return how long `job` runs from `now` on at a quantile, given how long it has run."""
    if job.phase is Phase.RUNNING and job.began_at is not None:
        return distribution.remaining(part, now - job.began_at)
    return distribution.quantile(part)


def _part(ordered: Sequence[float], part: float) -> float | None:
    """Return a quantile of so many courses; between two of them by how near it is."""
    if not ordered:
        return None
    place_of = min(max(part * (len(ordered) + 1) - 1.0, 0.0), len(ordered) - 1.0)
    low = int(place_of)
    high = min(low + 1, len(ordered) - 1)
    if ordered[high] == float("inf"):
        return None if place_of > low or ordered[low] == float("inf") else ordered[low]
    return ordered[low] + (place_of - low) * (ordered[high] - ordered[low])


def _arrivals(
    present: Present, remaining: Remaining, seen: Callable[[Job], float], number: int, horizon_s: float
) -> Iterable[Work]:
    """Yield the recent submissions again and again, each course beginning at another one of them."""
    recent, span_s = present.recent, present.span_s
    if len(recent) < 2 or span_s <= 0.0:
        return
    first = recent[0].submitted_at
    shift_s = place("arrivals", number) * span_s
    offsets = sorted(((job.submitted_at - first + shift_s) % span_s, job.id, job) for job in recent)
    turn = 0
    while turn * span_s <= horizon_s:
        for offset_s, _, job in offsets:
            at = present.now + turn * span_s + offset_s
            twin = replace(job, id=f"{job.id}~{turn}", submitted_at=at, queued_at=at)
            yield Work(twin, remaining(twin, drawn(twin, number, seen(twin))))
        turn += 1
