"""Runs a decider over simulated time: jobs arrive, are admitted, begin, end, are preempted or lost, as the plan says.

Estimates of start times and replays of traces share it, so both follow what the platform would really decide; jobs
change through `lifecycle` alone. The trap: at one instant ends come first, then arrivals, then one decision;
a decider that sees them in another order gives another history.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Protocol

from dure.core.lifecycle import Facts, Signal, after, checkpoint, promised
from dure.core.model import WHOLE_GPU_MILLI, ClusterKind, Goal, GpuShare, Job, Kind, Lease, Phase, Platform, Request
from dure.core.queueing.order import Person, faded
from dure.core.queueing.plan import Admission, Plan
from dure.core.reasons import Ended

_NO_FACTS = Facts()
MAX_ROUNDS = 100  # decisions at one instant while each preempts: more would be two jobs that evict each other for ever


class Decides(Protocol):
    """What is driven, such as `decide.Decider`: it is told of jobs as they change and asked for plans."""

    def put(self, job: Job) -> None:
        """Take note of a new or changed job."""

    def drop(self, job_id: str) -> None:
        """Forget a job."""

    def decide(
        self, now: float, spent: Mapping[str, float], unavailable: frozenset[str], used: Mapping[Person, float]
    ) -> Plan:
        """Return what to do at `now`."""


@dataclass(frozen=True, slots=True)
class Work:
    """A job and how long its code truly runs, in seconds; for one that runs already: from now on.

    An attempt that is preempted or lost keeps what it did up to its last checkpoint: every `checkpoint_s` seconds;
    None never, 0 always. The decider is told of checkpoints: who loses least is preempted first.
    """

    job: Job
    run_s: float
    checkpoint_s: float | None = None


@dataclass(frozen=True, slots=True)
class Outage:
    """From `at` to `back_at` nothing runs on a node; without a node, nothing new is placed on the cluster."""

    at: float
    back_at: float
    cluster: str
    node: str | None = None


@dataclass(frozen=True, slots=True)
class World:
    """What is true of the simulated world and not in the platform file.

    `start_s` passes between admission and the first line of code, beside a public cluster's `provision_s`. `spent` is
    each team's money of this month at the beginning; it begins anew when `month_start` of the time changes. `used` is
    each person's past use at the beginning, in GPU-seconds; it fades, and what ends is added.
    """

    start_s: float = 0.0
    outages: tuple[Outage, ...] = ()
    spent: Mapping[str, float] = field(default_factory=dict)
    used: Mapping[Person, float] = field(default_factory=dict)
    month_start: Callable[[float], float] = lambda _now: 0.0


class What(StrEnum):
    """What happened to a job."""

    ARRIVED = "arrived"
    ADMITTED = "admitted"
    BEGAN = "began"
    ENDED = "ended"
    PREEMPTED = "preempted"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Step:
    """Something happened to `job`, which is shown as it is afterwards.

    `lease` is what it got or gave back; `burst` holds every input of the decision that sent it to a public cluster.
    """

    at: float
    what: What
    job: Job
    lease: Lease | None = None
    burst: Mapping[str, Any] | None = None


def forward(
    decider: Decides,
    platform: Platform,
    now: float,
    present: Iterable[Work],
    arrivals: Iterable[Work] = (),
    *,
    world: World | None = None,
    pace: Callable[[float], float] | None = None,
    until: float = math.inf,
) -> Iterator[Step]:
    """Yield what happens from `now` on, in order, until nothing more can or the time is `until`; or stop reading.

    `present` are jobs that run or wait at `now`, told to the decider here; `arrivals` come at their `submitted_at`, in
    that order (ValueError otherwise), and are read as late as possible. Who must go at `now`, for another or because it
    was cancelled, is gone then. A job that is never admitted never will be.

    `pace` spares decisions: given the time, it returns when the next one is made (now, later, or infinity until
    something happens). A job that one admits on GPUs freed since the one before began when they became free, or when
    it came, and its step says so: few decisions make no GPU idle. Steps are then in order but for such a job's own.
    """
    return _Run(decider, platform, now, world or World(), pace).steps(present, arrivals, until)


class _Turn(IntEnum):
    """What comes first at one instant."""

    END = 0
    OUTAGE = 1
    BACK = 2
    BEGIN = 3
    ARRIVE = 4
    WAKE = 5


@dataclass(slots=True)
class _Course:
    """One job's way: what is left of it, in seconds of running."""

    job: Job
    left_s: float
    checkpoint_s: float | None
    overtime: bool = False

    def saved_at(self, now: float) -> float | None:
        """Return as of when this attempt's work is saved; None: none of it."""
        if self.checkpoint_s is None or self.job.began_at is None:
            return None
        did_s = now - self.job.began_at
        return now if self.checkpoint_s <= 0.0 else self.job.began_at + did_s - did_s % self.checkpoint_s


class _Run:
    """The state of one `forward`."""

    def __init__(
        self,
        decider: Decides,
        platform: Platform,
        now: float,
        world: World,
        pace: Callable[[float], float] | None = None,
    ) -> None:
        self._decider = decider
        self._now = now
        self._pace = pace
        self._freed: dict[tuple[str, str, int], float] = {}  # GPUs that became free since the last decision, and when
        self._world = world
        self._provision_s = {
            cluster.name: world.start_s + (cluster.provision_s if cluster.kind is ClusterKind.PUBLIC else 0.0)
            for cluster in platform.clusters
        }
        self._platform = platform
        self._courses: dict[str, _Course] = {}
        self._waiting: set[str] = set()
        self._unavailable: set[str] = set()
        self._spent = dict(world.spent)
        self._half_life_s = platform.queueing.half_life_s if platform.queueing.fair_sharing else 0.0
        self._used = dict(world.used)
        self._used_at = now
        self._month = world.month_start(now)
        self._events: list[tuple[float, int, int, Any]] = []
        self._count = 0
        self._wake_at = float("-inf")
        self._saves: list[tuple[float, str, int]] = []  # when the decider has to know of a job's next checkpoint

    def steps(self, present: Iterable[Work], arrivals: Iterable[Work], until: float) -> Iterator[Step]:
        for work in present:
            self._enter(work)
        coming = iter(arrivals)
        self._arrange(coming)
        for outage in self._world.outages:
            self._at(outage.at, _Turn.OUTAGE, outage)
            self._at(outage.back_at, _Turn.BACK, outage)
        for course in [*self._courses.values()]:
            if course.job.preempted_by is not None and course.job.goal is Goal.RUN:
                yield self._requeue(course, What.PREEMPTED, Ended.PREEMPTED)
        yield from self._decide()
        while self._events and self._events[0][0] <= until:
            self._now = max(self._now, self._events[0][0])
            self._turn_month()
            while self._events and self._events[0][0] <= self._now:
                at, turn, _, what = heapq.heappop(self._events)
                if turn == _Turn.ARRIVE:
                    self._enter(what)
                    yield Step(self._now, What.ARRIVED, what.job)
                    self._arrange(coming)
                else:
                    yield from self._happen(_Turn(turn), what, at)
            yield from self._decide()

    def _at(self, at: float, turn: _Turn, what: Any) -> None:
        self._count += 1
        heapq.heappush(self._events, (at, turn, self._count, what))

    def _arrange(self, coming: Iterator[Work]) -> None:
        work = next(coming, None)
        if work is None:
            return
        if work.job.submitted_at < self._now:
            raise ValueError(f"job {work.job.id} arrives at {work.job.submitted_at}, before {self._now}: sort arrivals")
        self._at(work.job.submitted_at, _Turn.ARRIVE, work)

    def _enter(self, work: Work) -> None:
        job = work.job
        cancelled = job.phase.holds_gpus and job.goal is Goal.CANCEL
        course = self._courses[job.id] = _Course(job, 0.0 if cancelled else work.run_s, work.checkpoint_s)
        self._decider.put(job)
        if job.phase is Phase.QUEUED:
            self._waiting.add(job.id)
        elif job.phase is Phase.RUNNING:
            self._plan_end(course, self._now)
            self._plan_save(course, self._now)
        elif job.lease is not None:
            begins = (job.admitted_at or self._now) + self._provision_s.get(job.lease.cluster, self._world.start_s)
            self._at(max(begins, self._now), _Turn.BEGIN, (job.id, job.attempt))

    def _happen(self, turn: _Turn, what: Any, at: float) -> Iterator[Step]:
        if turn is _Turn.OUTAGE:
            yield from self._fail(what)
        elif turn is _Turn.BACK:
            if what.node is None:
                self._unavailable.discard(what.cluster)
            else:
                self._decider.drop(_outage_id(what))
        elif turn is not _Turn.WAKE:
            job_id, attempt = what
            course = self._courses.get(job_id)
            if course is None or course.job.attempt != attempt or course.job.lease is None:
                return
            if turn is _Turn.BEGIN:
                yield self._begin(course, self._now)
            else:
                yield self._end(course, at)

    def _decide(self) -> Iterator[Step]:
        if self._pace is not None and (later := self._pace(self._now)) > self._now:
            self._wake(later)
            return
        if not self._waiting:
            self._freed.clear()
            return
        self._tell_saved()
        for _ in range(MAX_ROUNDS):
            plan = self._decider.decide(self._now, self._spent, frozenset(self._unavailable), self._fade())
            for preemption in plan.preemptions:
                yield self._requeue(self._courses[preemption.job_id], What.PREEMPTED, preemption.reason)
            for admission in plan.admissions:
                yield from self._admit(admission)
            for job_id, promise in plan.promises.items():
                course = self._courses[job_id]
                course.job = promised(course.job, promise).job
                self._decider.put(course.job)
            if not (plan.preemptions or plan.again):
                break
        else:
            raise RuntimeError(f"{MAX_ROUNDS} decisions at {self._now} all preempted: jobs evict each other for ever")
        self._freed.clear()
        if plan.wake_at is not None:
            self._wake(plan.wake_at)

    def _wake(self, at: float) -> None:
        if self._now < at < float("inf") and at != self._wake_at:
            self._wake_at = at
            self._at(at, _Turn.WAKE, None)

    def _admit(self, admission: Admission) -> Iterator[Step]:
        course = self._courses[admission.job_id]
        at = self._free_since(course.job, admission.lease)
        course.job = after(course.job, Signal.ADMIT, at, Facts(lease=admission.lease))
        self._waiting.discard(course.job.id)
        yield Step(at, What.ADMITTED, course.job, admission.lease, admission.burst)
        delay_s = self._provision_s.get(admission.lease.cluster, self._world.start_s)
        if delay_s > 0.0:
            self._decider.put(course.job)
            self._at(max(self._now, at + delay_s), _Turn.BEGIN, (course.job.id, course.job.attempt))
        else:
            yield self._begin(course, at)

    def _free_since(self, job: Job, lease: Lease) -> float:
        """Return when a job would have been admitted if every moment had its decision, as far as its GPUs tell."""
        freed = self._freed
        if self._pace is None or not freed:
            return self._now
        found = [
            freed[key]
            for share in lease.shares
            for gpu in share.gpus
            if (key := (lease.cluster, share.node, gpu.index)) in freed
        ]
        return min(self._now, max(*found, job.queued_at)) if found else self._now

    def _begin(self, course: _Course, at: float) -> Step:
        job = course.job
        if job.phase is Phase.ADMITTED:
            job = after(job, Signal.START, at, _NO_FACTS)
        course.job = after(job, Signal.BEGIN, at, _NO_FACTS)
        self._decider.put(course.job)
        self._plan_end(course, at)
        self._plan_save(course, at)
        return Step(at, What.BEGAN, course.job, course.job.lease)

    def _plan_end(self, course: _Course, at: float) -> None:
        job, runs_s = course.job, course.left_s
        if job.timeout_s is not None:
            ran_s = 0.0 if job.began_at is None else at - job.began_at
            course.overtime = ran_s + runs_s > job.timeout_s
            runs_s = min(runs_s, max(0.0, job.timeout_s - ran_s))
        self._at(at + runs_s, _Turn.END, (job.id, job.attempt))

    def _plan_save(self, course: _Course, at: float) -> None:
        if course.checkpoint_s is not None:
            heapq.heappush(self._saves, (at + course.checkpoint_s, course.job.id, course.job.attempt))

    def _tell_saved(self) -> None:
        """Tell the decider whose work was saved since the last decision; in between nobody asks."""
        due = []
        while self._saves and self._saves[0][0] <= self._now:
            due.append(heapq.heappop(self._saves))
        for _, job_id, attempt in due:
            course = self._courses.get(job_id)
            if course is None or course.job.attempt != attempt:
                continue
            saved_at = course.saved_at(self._now)
            if saved_at is None:
                continue
            if saved_at > (course.job.checkpointed_at or course.job.began_at or saved_at):
                course.job = checkpoint(course.job, saved_at, self._now).job
                self._decider.put(course.job)
            self._plan_save(course, saved_at)

    def _end(self, course: _Course, at: float) -> Step:
        job = course.job
        if self._pace is not None and job.lease is not None:
            for share in job.lease.shares:
                self._freed.update(((job.lease.cluster, share.node, gpu.index), at) for gpu in share.gpus)
        reason, signal = (Ended.TIMEOUT, Signal.FAIL) if course.overtime else (None, Signal.SUCCEED)
        ended = after(job, signal, at, Facts(reason=reason))
        del self._courses[job.id]
        self._spent[job.team] = self._spent.get(job.team, 0.0) + ended.cost
        if self._half_life_s > 0.0:
            person = (job.team, job.user)
            gpu_s = job.request.gpus_milli / WHOLE_GPU_MILLI * ended.ran_s
            self._used[person] = self._fade().get(person, 0.0) + gpu_s
        self._decider.put(ended)
        return Step(at, What.ENDED, ended, job.lease)

    def _requeue(self, course: _Course, what: What, reason: str) -> Step:
        job = course.job
        saved_at = course.saved_at(self._now)
        if saved_at is not None and job.began_at is not None:
            course.left_s = max(0.0, course.left_s - (saved_at - job.began_at))
        facts = Facts(reason=reason, lost=what is What.LOST)
        course.job = after(job, Signal.REQUEUE, self._now, facts)
        if course.job.phase is Phase.QUEUED:
            self._waiting.add(job.id)
        self._decider.put(course.job)
        return Step(self._now, what, course.job, job.lease)

    def _fail(self, outage: Outage) -> Iterator[Step]:
        """Take a node away: what ran there waits again, and its GPUs are held by nobody's job until it is back."""
        if outage.node is None:
            self._unavailable.add(outage.cluster)
            return
        for course in [*self._courses.values()]:
            lease = course.job.lease
            if lease is None or lease.cluster != outage.cluster:
                continue
            if any(share.node == outage.node for share in lease.shares):
                yield self._requeue(course, What.LOST, Ended.WORKER_LOST)
        self._decider.put(_outage_job(outage, self._platform))

    def _fade(self) -> dict[Person, float]:
        """Return what everyone's past use counts now."""
        age_s = self._now - self._used_at
        if age_s > 0.0 and self._half_life_s > 0.0:
            self._used = {person: faded(gpu_s, age_s, self._half_life_s) for person, gpu_s in self._used.items()}
        self._used_at = self._now
        return self._used

    def _turn_month(self) -> None:
        month = self._world.month_start(self._now)
        if month != self._month:
            self._month, self._spent = month, {}


def _outage_id(outage: Outage) -> str:
    return f"outage:{outage.cluster}/{outage.node}@{outage.at}"


def _outage_job(outage: Outage, platform: Platform) -> Job:
    node = next(
        node
        for cluster in platform.clusters
        for node in cluster.nodes
        if (cluster.name, node.name) == (outage.cluster, outage.node)
    )
    lease = Lease(outage.cluster, node.name, node.tier, tuple(GpuShare(index) for index in range(node.gpus)))
    return Job(
        id=_outage_id(outage),
        name="outage",
        kind=Kind.COMMAND,
        user="",
        team="",
        request=Request(lease.gpus_milli, node.tier),
        submitted_at=outage.at,
        queued_at=outage.at,
        phase=Phase.RUNNING,
        attempt=1,
        lease=lease,
        admitted_at=outage.at,
        began_at=outage.at,
    )
