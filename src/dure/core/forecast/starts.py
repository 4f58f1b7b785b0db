"""When waiting jobs start: the platform's own decisions run forward over sampled runtimes and arrivals.

One course is one possible future; several of them give the quantiles. Runtimes are drawn at evenly spread quantiles
that belong to the job, not to the moment, so that an estimate moves when something happened and not by chance. The
trap: a decision costs as much as the queue is long, so the farther ahead, the coarser the instants at which one is
made (`GRAIN` of the time ahead); who gets GPUs that became free in between began when they did (`forward`'s pace), or
a queue of short jobs would look twice as slow as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, takewhile
from operator import sub

from dure.core.forecast.draws import Remaining, deviation_of, drawn, place
from dure.core.forecast.replay import Begun, Replay
from dure.core.model import Goal, Job, Lease, Phase, Platform
from dure.core.queueing.counting import CountingDecider
from dure.core.queueing.forward import What, Work, World, forward
from dure.core.queueing.limits import Bounds
from dure.core.queueing.order import Person
from dure.core.queueing.plan import Plan
from dure.core.usage import month_of

GRAIN = 0.1
HORIZON_S = 14 * 86_400.0
_CALENDAR_S = 1000 * 365 * 86_400.0  # few decisions date back far, but a calendar has an end
COURSES = 16
DECIDED = 3
_LEAST_DECIDED = 2
_NEIGHBOURS = 10
_USUALLY = 2.0  # differences between courses that a factor of 1 counts as: so it is where the order is fixed
_FLOOR_S = 60.0  # starts are compared as (start + 1 min), or what begins at once could not move
_LEAST_STEP_S = 0.5
MOST_NEWCOMERS = 1_000
"""So many may wait beside those who wait now; then nobody more comes: a queue that would grow for days does not."""
_ROUNDS = 3  # decisions at one instant: what they place may be over already by then


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
    """One possible future: the starts of jobs that wait now, in order. Who is not in it did not start in time.

    `begun` is everyone that began, also of those to come; `most_milli` is their quotas, by team and tier.
    """

    starts: Mapping[str, Start]
    until_s: float
    number: int = 0
    begun: tuple[Begun, ...] = ()
    most_milli: Mapping[tuple[str, str], int] = field(default_factory=dict)


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
        self._inner = CountingDecider(present.platform, present.bounds, explains=False)
        self._began = present.now
        self._at = present.now
        self._rounds = 0
        self._grain = grain
        self._between = between
        self._waiting: set[str] = set()
        self._stirred = True
        self._wake_at = float("inf")
        self.never: set[str] = set()

    def put(self, job: Job) -> None:
        self._inner.put(job)
        if job.phase is Phase.QUEUED and self._inner.never(job.id):
            self.never.add(job.id)
        elif job.phase is Phase.QUEUED and job.goal is Goal.RUN:
            self._waiting.add(job.id)
            self._stirred = True
        else:
            self._waiting.discard(job.id)
            self._stirred |= job.phase.terminal

    def drop(self, job_id: str) -> None:
        self._inner.drop(job_id)
        self._waiting.discard(job_id)
        self._stirred = True

    def most_milli(self, begun: Iterable[Begun]) -> dict[tuple[str, str], int]:
        """Return what the quotas of those that began allow, by team and tier."""
        keys = {(one.job.team, one.lease.tier) for one in begun}
        return {(team, tier): self._inner.quota.most_milli(team, tier) for team, tier in keys}

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

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
    begun: list[Begun] = []
    driven = _Coarse(present, grain, between)
    works = [Work(job, remaining(job, drawn(job, number, seen(job)))) for job in present.jobs]
    world = World(spent=present.spent, used=present.used, month_start=month_of)
    crowd = len(waiting) + MOST_NEWCOMERS
    newcomers = _arrivals(present, remaining, seen, number, horizon_s)
    coming = takewhile(lambda _: driven.waiting < crowd, newcomers)  # each is read when the one before it came
    last_ends: dict[tuple[str, str], str] = {}
    at_s = 0.0
    until = present.now + _CALENDAR_S
    steps = forward(driven, present.platform, present.now, works, coming, world=world, pace=driven.pace, until=until)
    for step in steps if open_ids else ():
        open_ids -= driven.never
        if not open_ids:
            break
        at_s = step.at - present.now
        if at_s > horizon_s:
            break
        lease = step.lease
        if step.what is What.ENDED and lease is not None:
            last_ends[lease.cluster, lease.node] = step.job.id
        elif step.what is What.BEGAN and lease is not None:
            begun.append(Begun(step.job, at_s, lease, max(0.0, step.job.submitted_at - present.now)))
            if step.job.id in waiting:
                starts.setdefault(step.job.id, Start(at_s, lease, last_ends.get((lease.cluster, lease.node))))
                open_ids.discard(step.job.id)
                if not open_ids:
                    break
    return Course(starts, at_s, number, tuple(begun), driven.most_milli(begun))


def courses(
    present: Present,
    remaining: Remaining,
    *,
    count: int = COURSES,
    watched: frozenset[str] | None = None,
    more: Callable[[int], bool] = lambda done: done < DECIDED,
    between: Callable[[], None] = lambda: None,
    seen: Callable[[Job], float] = lambda _job: 0.0,
) -> list[Course]:
    """Return `count` possible futures: some by the platform's decisions, the others moved from these by `Replay`.

    `more` is asked before each course by decisions but the first two, given how many there are.
    """
    made: list[Course] = []
    while len(made) < min(count, _LEAST_DECIDED) or (len(made) < count and more(len(made))):
        made.append(course(present, remaining, len(made), watched=watched, between=between, seen=seen))
    return [*made, *_moved(present, made, count, lambda number: _runs(remaining, seen, number), between)]


def _moved(
    present: Present,
    made: Sequence[Course],
    count: int,
    runs: Callable[[int], Callable[[Job], float]],
    between: Callable[[], None],
) -> Iterable[Course]:
    """Yield courses beyond those made: middles from these, deviations from replays of the first one's order.

    In logarithms, a job's start is taken to be its middle, plus what the replay of that course's runtimes deviates (a
    control variate, with the factor that fits the made courses best), plus what replays do not see, such as another
    order: that counts as chance, equally large for jobs that start at about the same time.
    """
    first = made[0]
    ids = [one.job.id for one in first.begun]
    if len(made) >= count or not ids:
        return
    stay = [job for job in present.jobs if job.preempted_by is None and job.goal is Goal.RUN]
    holding = [job for job in stay if job.phase.holds_gpus]
    replay = Replay(present.platform, holding, first.begun, first.most_milli)
    replayed = []
    for number in range(count):
        between()
        replayed.append([math.log(in_s + _FLOOR_S) for in_s in replay.starts(runs(number))])
    means = [sum(logs) / count for logs in zip(*replayed, strict=True)]
    deviations = [dict(zip(ids, map(sub, logs, means), strict=True)) for logs in replayed]
    pairs: dict[str, list[tuple[float, float]]] = {}
    for known, deviation in zip(made, deviations, strict=False):
        for job_id, start in known.starts.items():
            if job_id in deviation:
                pairs.setdefault(job_id, []).append((math.log(start.in_s + _FLOOR_S), deviation[job_id]))
    factor = _factor(pairs.values())
    rest = {job_id: [log - factor * off for log, off in some] for job_id, some in pairs.items()}
    middles = {job_id: sum(logs) / len(logs) for job_id, logs in rest.items()}
    chance = _chance(rest, middles)
    for number in range(len(made), count):
        starts = dict(made[number % len(made)].starts)
        for job_id, start in starts.items():
            if job_id in middles:
                off = factor * deviations[number][job_id] + chance[job_id] * deviation_of(place(f"{job_id}~", number))
                starts[job_id] = replace(start, in_s=max(0.0, math.exp(middles[job_id] + off) - _FLOOR_S))
        yield Course(starts, first.until_s, number)


def _factor(pairs: Iterable[Sequence[tuple[float, float]]]) -> float:
    """Return by what factor starts follow replays: by least squares within jobs, drawn towards 1; between 0 and 1.

    Few courses say little of it, for jobs of one course are late together: 1 counts as `_USUALLY` more of them.
    """
    both = own = 0.0
    most = 1
    for some in pairs:
        most = max(most, len(some))
        log, off = (sum(values) / len(some) for values in zip(*some, strict=True))
        both += sum((one - log) * (other - off) for one, other in some)
        own += sum((other - off) ** 2 for _, other in some)
    if own <= 0.0:
        return 1.0
    fitted = min(1.0, max(0.0, both / own))
    return (fitted * (most - 1) + _USUALLY) / (most - 1 + _USUALLY)


def _chance(rest: Mapping[str, list[float]], middles: Mapping[str, float]) -> dict[str, float]:
    """Return the standard deviation of what replays do not see, by job, over those that start at about its time."""
    ordered = sorted(rest, key=lambda job_id: middles[job_id])
    sums = [*accumulate((sum((log - middles[one]) ** 2 for log in rest[one]) for one in ordered), initial=0.0)]
    frees = [*accumulate((len(rest[one]) - 1 for one in ordered), initial=0)]
    found = {}
    for number, job_id in enumerate(ordered):
        low, high = max(0, number - _NEIGHBOURS), min(len(ordered), number + _NEIGHBOURS + 1)
        free = frees[high] - frees[low]
        found[job_id] = math.sqrt(max(0.0, sums[high] - sums[low]) / free) if free else 0.0
    return found


def _runs(remaining: Remaining, seen: Callable[[Job], float], number: int) -> Callable[[Job], float]:
    return lambda job: remaining(job, drawn(job, number, seen(job)))


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
            twin = replace(job, id=f"{job.id}~{turn}", submitted_at=at, queued_at=at, promise=None)
            yield Work(twin, remaining(twin, drawn(twin, number, seen(twin))))
        turn += 1
