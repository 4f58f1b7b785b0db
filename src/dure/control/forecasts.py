"""Keeps what is forecast: learns from jobs that ended, estimates when waiting ones start, keeps count of how it did.

It reads the store on its own and beside the loop; only where the loop leads are estimates put on record. The trap: it
shares one processor with the loop and those who ask, so it works in small pieces (`between`), rests four times as long
as it worked, and never computes for somebody who waits for an answer.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from dure.control.deciding import PastUse
from dure.control.platform_holder import PlatformHolder
from dure.core.forecast.calibration import Calibration
from dure.core.forecast.distribution import Distribution, bin_of, edge_s
from dure.core.forecast.draws import sampled
from dure.core.forecast.record import Accuracy, Issued, Record
from dure.core.forecast.runtimes import Basis, Case, Errors, History, Likelihood, case_of
from dure.core.forecast.starts import Course, Eta, Present, courses, etas
from dure.core.model import TERMINAL, Goal, Job, Phase
from dure.core.queueing.limits import Bounds
from dure.core.queueing.whatif import Option, middle, options, together
from dure.core.usage import Ledger, month_of
from dure.ports import EstimateStore, JobQuery, Ports

log = logging.getLogger("dure.forecasts")

_CASES = 20_000
_LEAST_SPAN_S = 3600.0  # a few jobs within a minute are no rate at which jobs go on coming
ALONE = 40
"""Up to so many waiting jobs, each change that might start one of them sooner is tried in a future of its own."""
_ASKED = 1_000
_REST_S, _MOST_REST_S = 0.2, 5.0  # of one refresh, for those who wait for an answer


@dataclass(frozen=True, slots=True)
class ForecastSettings:
    """How much is read, kept and computed.

    A refresh makes courses by decisions until `budget_s` are over, at least two; the others are moved from these. What
    would start jobs sooner is found for as many as `options_budget_s` allows, and told for `options_at_most_s`.
    """

    history: int = 5_000
    courses: int = 16
    budget_s: float = 0.8
    every_s: float = 1.0
    at_most_every_s: float = 30.0
    rest: float = 4.0
    options_budget_s: float = 0.3
    options_at_most_s: float = 300.0
    recent: int = 500
    kept_estimates: int = 20_000


@dataclass(frozen=True, slots=True)
class Outlook:
    """What was found by one refresh: corrected estimates by job, and how such estimates did so far.

    `options` has, by job, what would start it sooner and when that was found out.
    """

    at: float = 0.0
    etas: Mapping[str, Eta] = field(default_factory=dict)
    accuracy: Accuracy = field(default_factory=lambda: Accuracy(0, None, None))
    courses: int = 0
    options: Mapping[str, tuple[float, tuple[Option, ...]]] = field(default_factory=dict)


class Forecasts:
    """The forecasts of one control plane. One thread calls `refresh`; everything else may be asked by any."""

    def __init__(
        self,
        ports: Ports,
        platform: PlatformHolder,
        estimates: EstimateStore | None = None,
        month_start: Callable[[float], float] = lambda _now: 0.0,
        *,
        leads: Callable[[], bool] = lambda: True,
        between: Callable[[], None] = lambda: None,
        settings: ForecastSettings | None = None,
    ) -> None:
        """Without `estimates`, what was estimated is forgotten with this process."""
        self._ports = ports
        self._platform = platform
        self._estimates = estimates
        self._month_start = month_start
        self._leads = leads
        self._elsewhere = between
        self._unasked = threading.Event()
        self._unasked.set()
        self._rested_s = 0.0
        self._settings = settings or ForecastSettings()
        self._lock = threading.Lock()
        self._history = History(platform.current.burst.default_predicted_s)
        self._calibration = Calibration()
        self._learned: OrderedDict[str, None] = OrderedDict()
        self._recent: deque[Job] = deque(maxlen=self._settings.recent)
        self._likelihoods: dict[Case, Likelihood] = {}
        self._past: PastUse | None = None
        self._record = Record()
        self._seq: int | None = None
        self._refreshed_seq = -1
        self._asked: dict[str, float] = {}
        self._refreshed_at = float("-inf")
        self.outlook = Outlook()

    def refresh(self) -> float:
        """Bring everything up to date if something happened, and return after how many seconds to do so again."""
        settings, clock = self._settings, self._ports.clock
        began = clock.now()
        self._learn()
        self._read_past_use()
        stale = began - self._refreshed_at >= settings.at_most_every_s
        if self._seq != self._refreshed_seq or (stale and self.outlook.etas):
            self._refreshed_seq, self._refreshed_at = self._seq or 0, began
            self._estimate()
        return max(settings.every_s, settings.rest * (clock.now() - began))

    def likelihood(self, job: Job) -> Likelihood:
        """Return how long a job like this holds GPUs and runs."""
        case = case_of(job)
        with self._lock:
            known = self._likelihoods.get(case)
            if known is None:
                if len(self._likelihoods) >= _CASES:
                    self._likelihoods.clear()
                known = self._likelihoods[case] = self._history.predict(case)
            return known

    def predicted_s(self, job: Job) -> float | None:
        """Return how long the job runs if it succeeds, in a few round figures; None while nothing is known of its like.

        Round, because equal jobs are decided together and a second more or less would make them unequal.
        """
        found = self.likelihood(job)
        if found.basis is Basis.DEFAULT:
            return None
        return _round(found.done.quantile(0.5))

    def predicted(self, job: Job) -> Job:
        """Return the job with how long it should run, and what jobs predicted so take in the mean."""
        seconds = self.predicted_s(job)
        if seconds is None:
            return job
        with self._lock:
            return replace(job, predicted_s=seconds, expected_s=_round(self._calibration.expected_s(seconds)))

    def remaining_s(self, job: Job, now: float, part: float) -> float:
        """Return how long a job holds GPUs from `now` on, at a quantile."""
        return sampled(self.likelihood(job).held, job, now, part)

    def seen(self, job: Job) -> float:
        """Return on how many ended jobs, recent ones counting more, what is said of this one's runtime rests."""
        return self.likelihood(job).seen

    def success(self, job: Job) -> Distribution:
        """Return how long the job runs if it succeeds."""
        return self.likelihood(job).done

    def errors(self) -> Errors:
        """Return how far predicted runtimes were off lately, beside plain methods."""
        with self._lock:
            return self._history.errors()

    def present(self) -> Present:
        """Return what a forecast starts from, as stored now."""
        now = self._ports.clock.now()
        jobs = tuple(self._ports.store.active()[0])
        with self._lock:
            recent = tuple(self._recent)
        span_s = max(_LEAST_SPAN_S, now - recent[0].submitted_at) if recent else 0.0
        spent = self._ports.store.spent(self._month_start(now))
        month = month_of(now)
        past = Ledger(month, self._ports.store.uses(month)).past(now)
        bounds = Bounds(past, tuple(self._ports.store.reservations(now)))
        with self._lock:
            used = {} if self._past is None else dict(self._past.at(now))
        platform = self._platform.current
        return Present(now, platform, jobs, spent, recent=recent, span_s=span_s, bounds=bounds, used=used)

    def corrected(self, eta: Eta) -> Eta:
        """Return an estimate with the correction that past ones call for."""
        with self._lock:
            return self._record.corrected(eta)

    def _learn(self) -> None:
        store = self._ports.store
        if self._seq is None:
            active, self._seq = store.active()
            ended = store.jobs(JobQuery(phases=tuple(TERMINAL), limit=self._settings.history))
            stored = self._estimates.recent(self._settings.kept_estimates) if self._estimates else ()
            with self._lock:
                self._record.load(stored)
            happened = [(job.ended_at or 0.0, 0, job) for job in ended]
            happened += [(job.submitted_at, 1, job) for job in (*ended, *active)]
            for _, came, job in sorted(happened, key=lambda one: (one[0], one[1], one[2].id)):
                if came:
                    self._expect([job])
                else:
                    self._take([job])
            meanwhile = [store.job(job_id) for job_id in tuple(self._record.open)]
            self._settle([job for job in meanwhile if job is not None])
            return
        changed, self._seq = store.changed(self._seq)
        self._expect([job for job in changed if job.phase is Phase.QUEUED and job.attempt == 0])
        self._take([job for job in changed if job.phase.terminal])
        self._settle(changed)

    def _read_past_use(self) -> None:
        """Read what people used before, again when the platform file says that it fades otherwise."""
        platform = self._platform.current
        if self._past is None or self._past.half_life_s != platform.queueing.half_life_s:
            past = PastUse.read(self._ports.store, platform, self._ports.clock.now())
            with self._lock:
                self._past = past

    def _expect(self, came: list[Job]) -> None:
        """Keep what is predicted of jobs that were submitted a moment ago, to judge the methods by."""
        for job in came:
            with self._lock:
                self._history.expect(job.id, case_of(job))

    def _take(self, ended: list[Job]) -> None:
        """Learn from ended jobs, each once."""
        for job in ended:
            if job.id in self._learned:
                continue
            self._learned[job.id] = None
            if len(self._learned) > 2 * self._settings.history:
                self._learned.popitem(last=False)
            if job.began_at is None or job.ended_at is None:
                continue
            with self._lock:
                if job.predicted_s is not None:
                    self._calibration.learn(job.predicted_s, job.ended_at - job.began_at)
                if self._past is not None:
                    self._past.add(job)
                ran_s = job.ended_at - job.began_at
                self._history.learn(case_of(job), ran_s, job.phase, job.reason, job_id=job.id)
        if ended:
            with self._lock:
                self._likelihoods.clear()

    def _settle(self, changed: Sequence[Job]) -> None:
        """Compare estimates with real starts, and drop those of jobs that will never start."""
        settled: list[Issued] = []
        dropped: list[str] = []
        with self._lock:
            for job in changed:
                if job.id not in self._record.open:
                    continue
                if job.began_at is not None:
                    settled += self._record.settle(job.id, job.began_at)
                elif job.phase.terminal:
                    self._record.settle(job.id, None)
                    dropped.append(job.id)
        if self._estimates is not None and self._leads() and (settled or dropped):
            self._estimates.write(settled, dropped, self._settings.kept_estimates)

    def _estimate(self) -> None:
        self._rested_s = 0.0
        present = self.present()
        with self._lock:
            known = {job.id for job in self._recent}
            fresh = [job for job in present.jobs if job.id not in known and job.attempt == 0]
            self._recent.extend(sorted(fresh, key=lambda job: job.submitted_at))
            self._calibration.overdue(
                (job.predicted_s, present.now - job.began_at)
                for job in present.jobs
                if job.predicted_s is not None and job.began_at is not None
            )
        waiting = [job for job in present.jobs if job.phase is Phase.QUEUED and job.goal is Goal.RUN]
        if not waiting:
            self.outlook = replace(self.outlook, at=present.now, etas={}, accuracy=self._accuracy())
            return
        futures = self._courses(present)
        raw = etas(present.now, futures, [job.id for job in waiting])
        with self._lock:
            self._record.refresh(present.now)
            shown = {job_id: self._record.corrected(eta) for job_id, eta in raw.items()}
        self._issue(waiting, raw, shown)
        before = self.outlook.options
        kept = {job.id: before[job.id] for job in waiting if job.id in before}
        self.outlook = Outlook(present.now, shown, self._accuracy(), len(futures), kept)
        self._find_options(present, sorted(waiting, key=lambda job: kept.get(job.id, (0.0, ()))[0]))

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Compute for somebody who waits for it: a refresh under way rests meanwhile, for some seconds at most."""
        self._unasked.clear()
        try:
            yield
        finally:
            self._unasked.set()

    def _between(self) -> None:
        """Rest between two pieces of a refresh while others need the processor more."""
        self._elsewhere()
        if self._rested_s < _MOST_REST_S and not self._unasked.is_set():
            began = self._ports.clock.now()
            self._unasked.wait(_REST_S)
            self._rested_s += max(_REST_S / 10.0, self._ports.clock.now() - began)

    def options(self, job_id: str) -> tuple[Option, ...] | None:
        """Return what would start a waiting job sooner, as found lately; None when that was too long ago or never."""
        found_at, found = self.outlook.options.get(job_id, (float("-inf"), ()))
        return found if self._ports.clock.now() - found_at < self._settings.options_at_most_s else None

    def asked(self, job_id: str) -> None:
        """Note that somebody looks at a waiting job: what would start it sooner is found first."""
        self._asked[job_id] = self._ports.clock.now()
        while len(self._asked) > _ASKED:
            self._asked.pop(next(iter(self._asked)), None)

    def _find_options(self, present: Present, waiting: list[Job]) -> None:
        """Find anew what would start jobs sooner: of a long queue, those looked at; the oldest answers first."""
        remaining = self._remaining_from(present.now)
        more, done, base = self.while_within(self._settings.options_budget_s, self._rested()), 0, None
        asked_since = present.now - self._settings.options_at_most_s
        for job in waiting:
            alone = len(waiting) <= ALONE
            if not alone and self._asked.get(job.id, float("-inf")) < asked_since:
                continue
            if done and not more(done):
                break
            self._between()
            if alone:
                found = options(present, job, remaining)
            else:
                if base is None:
                    base = middle(present, remaining, frozenset({job.id for job in waiting}), between=self._between)
                found = together(present, job, remaining, base, between=self._between)
            done += 1
            self.outlook = replace(self.outlook, options={**self.outlook.options, job.id: (present.now, found)})

    def _courses(self, present: Present) -> list[Course]:
        return courses(
            present,
            self._remaining_from(present.now),
            count=self._settings.courses,
            more=self.while_within(self._settings.budget_s, self._rested()),
            between=self._between,
            seen=self.seen,
        )

    def while_within(self, budget_s: float, rested_s: Callable[[], float] = lambda: 0.0) -> Callable[[int], bool]:
        """Return what tells, given how many are done, whether one more as long as these is over by `budget_s`."""
        clock = self._ports.clock
        began = clock.now()
        return lambda done: (clock.now() - began - rested_s()) * (done + 1) / max(1, done) < budget_s

    def _rested(self) -> Callable[[], float]:
        """Return what tells how long this refresh rested from now on."""
        before = self._rested_s
        return lambda: self._rested_s - before

    def _remaining_from(self, now: float) -> Callable[[Job, float], float]:
        return lambda job, part: self.remaining_s(job, now, part)

    def _issue(self, waiting: list[Job], raw: Mapping[str, Eta], shown: Mapping[str, Eta]) -> None:
        if not self._leads():
            return
        issued = []
        with self._lock:
            for job in waiting:
                said, told = raw[job.id], shown[job.id]
                number = self._record.due(job.id, said.issued_at - job.queued_at) if job.attempt == 0 else None
                if number is None or said.p50_s is None or said.p90_s is None:
                    continue
                if told.p50_s is None or told.p90_s is None:
                    continue
                estimate = Issued(job.id, number, said.issued_at, said.p50_s, said.p90_s, told.p50_s, told.p90_s)
                self._record.issue(estimate)
                issued.append(estimate)
        if self._estimates is not None and issued:
            self._estimates.write(issued, (), self._settings.kept_estimates)

    def _accuracy(self) -> Accuracy:
        with self._lock:
            return self._record.accuracy()


def _round(seconds: float) -> float:
    """Return the time in a few round figures."""
    return round(edge_s(bin_of(seconds) + 0.5), 1)
