"""Answers about the future for one person: what a job would cost, when it would start, what would start it sooner.

Each answer runs the platform's decisions forward while somebody waits for it. The trap: on a long queue that is
seconds of work, so one is computed at a time, each within a budget, and answers are kept until something changes. Only
a few may wait for their turn: each occupies a thread that serves everybody.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from dure.control.forecasts import ALONE, Forecasts
from dure.core.burst import BurstDecision, Offer, decide_burst
from dure.core.forecast.distribution import Distribution
from dure.core.forecast.starts import Course, Eta, Present, courses, etas
from dure.core.model import WHOLE_GPU_MILLI, ClusterKind, Job, Phase, Platform
from dure.core.queueing.whatif import Ahead, Option, ahead, borrowed, by_start, middle, options, together
from dure.wire.problems import CodedError

BUDGET_S = 0.8
_TURN_S = 20.0
_SHORT_TURN_S = 2.0
_KEPT = 128
_LATELY_S = 300.0
_IN_LINE = 5  # the one whose turn it is and those who wait; far fewer than the threads that answer requests


@dataclass(frozen=True, slots=True)
class Row:
    """What became of a planned job on one cluster's GPUs of one tier.

    `eta` None: it never began there. `burst` tells why not, or from when on, for a public cluster. Costs are money.
    """

    tier: str
    cluster: str
    kind: ClusterKind
    chance: float
    simulated: bool
    eta: Eta | None
    runs: Distribution
    cost_p50: float
    cost_p90: float
    deadline_chance: float | None
    burst: BurstDecision | None = None


@dataclass(frozen=True, slots=True)
class Sooner:
    """What stands before a waiting job and what would start it sooner, as found at `at`.

    `in_time` is the chance to be done by the deadline, None without one.
    """

    at: float
    eta: Eta
    ahead: Ahead
    options: tuple[Option, ...]
    in_time: float | None = None

    def as_of(self, now: float) -> Sooner:
        """Return this as it is told at `now`, by when less of the wait may be left: what is still sooner than that.

        The middle future is not the middle of all futures, and one time is told, or that none is in sight.
        """
        left_s = None if self.eta.p50_s is None else max(0.0, self.eta.issued_at + self.eta.p50_s - now)
        still = (replace(one, instead_s=left_s) for one in self.options if left_s is None or one.in_s < left_s)
        return replace(self, options=tuple(still))


class Planning:
    """Thread-safe; one question is computed at a time, a few others wait, and the rest raise CodedError `busy`."""

    def __init__(self, forecasts: Forecasts) -> None:
        self._forecasts = forecasts
        self._turn = threading.Lock()
        self._line = threading.BoundedSemaphore(_IN_LINE)
        self._known: OrderedDict[str, tuple[float, Sooner]] = OrderedDict()

    def plan(self, job: Job) -> list[Row]:
        """Return what would become of `job` if it were submitted now: a row for each tier and cluster it could take.

        A job that names a tier is tried on every other one too; nothing is written.
        """
        with self._taken(_TURN_S):
            present = self._forecasts.present()
            twins = {tier.name: _twin(job, tier.name) for tier in present.platform.tiers}
            trial = replace(present, jobs=(*present.jobs, *twins.values()))
            futures = self._courses(trial, frozenset(twin.id for twin in twins.values()))
            rows: list[Row] = []
            for tier, twin in twins.items():
                rows += self._rows(trial, twin, tier, futures)
            return rows

    def sooner(self, job: Job) -> Sooner | None:
        """Return what stands before a waiting job and what would start it sooner; None when others ask too much."""
        found = self._found(job.id)
        if found is not None:
            return found
        try:
            with self._taken(_SHORT_TURN_S):
                found = self._found(job.id)  # somebody before may have asked the same
                if found is None:
                    stamp = self._forecasts.outlook.at
                    found = self._sooner(job)
                    self._known[job.id] = (stamp, found)
                    while len(self._known) > _KEPT:
                        self._known.popitem(last=False)
        except CodedError:
            return None
        return found

    def known(self, job_id: str, now: float) -> tuple[Sooner | None, bool]:
        """Return what was found lately for a job, None without it, and whether it is what `sooner` would return."""
        fresh = self._found(job_id)
        if fresh is not None:
            return fresh, True
        _, found = self._known.get(job_id, (0.0, None))
        return (found if found is not None and now - found.at < _LATELY_S else None), False

    def _found(self, job_id: str) -> Sooner | None:
        known = self._known.get(job_id)
        return known[1] if known is not None and known[0] == self._forecasts.outlook.at else None

    def _sooner(self, job: Job) -> Sooner:
        present = self._forecasts.present()
        remaining = self._remaining(present.now)
        waiting = sum(known.phase is Phase.QUEUED for known in present.jobs)
        if waiting > ALONE:
            base = middle(present, remaining, frozenset({job.id}))
            start = base.starts.get(job.id)
            limited = borrowed(present, job, remaining, None if start is None else start.in_s)
            found, before = by_start((*together(present, job, remaining, base), *limited)), [base]
        else:
            before = self._courses(present, frozenset({job.id}))
            found = options(present, job, remaining)
        eta = self._forecasts.outlook.etas.get(job.id)
        if waiting > ALONE and (eta is None or job.deadline_at is not None):  # chances are over many futures
            before = self._courses(present, frozenset({job.id}))
        if eta is None:
            eta = self._forecasts.corrected(etas(present.now, before, [job.id])[job.id])
        in_time = self._in_time(job, present.now, before)
        return Sooner(present.now, eta, ahead(present, job, remaining, before), tuple(found), in_time)

    def _in_time(self, job: Job, now: float, courses: list[Course]) -> float | None:
        """Return the chance that the job ends by its deadline, over these futures; None without a deadline."""
        if job.deadline_at is None:
            return None
        starts = [start for course in courses if (start := course.starts.get(job.id)) is not None]
        runs = self._forecasts.success(job)
        left = [job.deadline_at - now - start.in_s for start in starts]
        return sum(runs.chance_within(seconds) for seconds in left) / max(1, len(courses))

    def _rows(self, present: Present, job: Job, tier: str, courses: list[Course]) -> Iterator[Row]:
        platform = present.platform
        runs = self._forecasts.success(job)
        for cluster in platform.clusters:
            nodes = [node for node in cluster.nodes if node.tier == tier]
            request = job.request
            if sum(node.gpus * WHOLE_GPU_MILLI >= request.node_milli for node in nodes) < request.nodes:
                continue
            here = [
                start
                for known in courses
                if (start := known.starts.get(job.id)) is not None and start.lease.cluster == cluster.name
            ]
            chance = len(here) / max(1, len(courses))
            public = cluster.kind is ClusterKind.PUBLIC
            provision_s = cluster.provision_s if public else 0.0
            price = cluster.prices.get(tier, 0.0) if public else _price(platform, tier)
            eta, in_time, burst = None, None, None
            if here:
                alone = [Course({job.id: start}, start.in_s) for start in here]
                eta = self._forecasts.corrected(etas(present.now, alone, [job.id])[job.id])
                if job.deadline_at is not None:
                    left = [job.deadline_at - present.now - start.in_s for start in here]
                    in_time = sum(runs.chance_within(seconds) for seconds in left) / len(left)
            if public and not here:
                offer = Offer(cluster=cluster.name, tier=tier, price_per_gpu_hour=price, provision_s=provision_s)
                burst = decide_burst(job, present.now, platform, offer)
            hourly, held = price * job.request.gpus_milli / WHOLE_GPU_MILLI, self._forecasts.likelihood(job).held
            yield Row(
                tier=tier,
                cluster=cluster.name,
                kind=cluster.kind,
                chance=chance,
                simulated=any(node.simulated for node in nodes),
                eta=eta,
                runs=runs,
                cost_p50=hourly * (held.quantile(0.5) + provision_s) / 3600.0,
                cost_p90=hourly * (held.quantile(0.9) + provision_s) / 3600.0,
                deadline_chance=in_time,
                burst=burst,
            )

    def _courses(self, present: Present, watched: frozenset[str]) -> list[Course]:
        return courses(
            present,
            self._remaining(present.now),
            watched=watched,
            more=self._forecasts.while_within(BUDGET_S),
            seen=self._forecasts.seen,
        )

    def _remaining(self, now: float) -> Callable[[Job, float], float]:
        return lambda job, part: self._forecasts.remaining_s(job, now, part)

    @contextmanager
    def _taken(self, at_most_s: float) -> Iterator[None]:
        if not self._line.acquire(blocking=False):
            raise CodedError("busy")
        try:
            if not self._turn.acquire(timeout=at_most_s):
                raise CodedError("busy")
            try:
                with self._forecasts.aside():
                    yield
            finally:
                self._turn.release()
        finally:
            self._line.release()


def _twin(job: Job, tier: str) -> Job:
    return replace(job, id=f"{job.id}+{tier}", request=replace(job.request, tier=tier))


def _price(platform: Platform, tier: str) -> float:
    return next((known.price_per_gpu_hour for known in platform.tiers if known.name == tier), 0.0)
