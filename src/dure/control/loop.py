"""The one level-triggered loop: observe, decide, commit, act. Results of acting come back as observations.

A tick may stop at any line and the next one carries on from what is stored and what executors report. The trap: the
cache of unfinished jobs is only an image of the store; whenever a write is refused it is thrown away, never patched.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dure.control.accounts import Accounts, uses_between
from dure.control.compare import NOTHING, Act, Judgement, Rules, clusterless, compare, refused
from dure.control.deciding import Planner
from dure.control.platform_holder import PlatformHolder
from dure.control.reservations import Calendar
from dure.core import lifecycle
from dure.core.burst import staying
from dure.core.events import Draft
from dure.core.lifecycle import Facts, Signal
from dure.core.model import Cluster, ClusterKind, Goal, Job, Node, Phase
from dure.core.queueing.explain import visible
from dure.core.queueing.limits import Bounds
from dure.core.queueing.plan import Admission, Plan, Preemption
from dure.core.reservations import Reservation
from dure.ports import (
    Changes,
    Executor,
    ExecutorUnavailableError,
    Launch,
    Leadership,
    Observation,
    Ports,
    StaleFenceError,
    StartRefusedError,
    VersionConflictError,
)

log = logging.getLogger("dure.loop")

_LONG_TICK_S = 0.02
_STARTING_S = 0.05  # in which most jobs begin, and say so: until then there is nothing to tell of them


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Times of the loop in seconds, and what every attempt is bounded by.

    `rest_s` bounds the pause after a long tick, which lasts as long as the tick did: with a long queue, hints that come
    faster than ticks must not take the processor from those who ask. 0: none.
    """

    holder: str
    lead_ttl_s: float = 5.0
    idle_s: float = 1.0
    reload_s: float = 60.0
    spent_every_s: float = 5.0
    rest_s: float = 0.5
    output_bytes: int = 16 * 1024 * 1024
    rules: Rules = field(default_factory=Rules)


@dataclass(slots=True)
class _Image:
    """What this leader believes the store holds: every unfinished job, up to an event number."""

    jobs: dict[str, Job] = field(default_factory=dict)
    seq: int = 0
    loaded_at: float = float("-inf")

    def put(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if job.phase.terminal:
                self.jobs.pop(job.id, None)
            else:
                self.jobs[job.id] = job


class Loop:
    """Runs the platform while it leads. Not thread-safe: one thread calls `tick`."""

    def __init__(
        self,
        ports: Ports,
        platform: PlatformHolder,
        settings: LoopSettings,
        month_start: Callable[[float], float],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._ports = ports
        self._platform = platform
        self._settings = settings
        self._month_start = month_start
        self._changed = changed
        self._accounts = Accounts(ports.store, month_start)
        self._calendar = Calendar(ports.store)
        self._leadership: Leadership | None = None
        self._fenced: set[str] = set()
        self._image = _Image()
        self._spent: dict[str, float] = {}
        self._spent_at = float("-inf")
        self._refused: dict[tuple[str, int], str] = {}
        self._untaken: set[tuple[str, int]] = set()
        self._unavailable: set[str] = set()
        self._rest_until = float("-inf")
        self._planner = Planner()

    @property
    def plan(self) -> Plan | None:
        """The last plan that was committed, None while another leads."""
        return self._planner.plan

    @property
    def leads(self) -> bool:
        """True while this loop holds leadership."""
        return self._leadership is not None

    def tick(self) -> float:
        """Do everything that is due now and return after how many seconds to tick again without a hint."""
        now = self._ports.clock.now()
        rest_s = self._rest_until - now
        if 0.0 < rest_s <= self._settings.rest_s:
            return rest_s
        if not self._lead(now):
            return self._settings.lead_ttl_s / 3
        try:
            wait_s = self._led_tick(now)
        except VersionConflictError:
            self._forget()
            return 0.0
        except StaleFenceError:
            log.warning("leader.lost", extra={"holder": self._settings.holder})
            self._step_down()
            return self._settings.lead_ttl_s / 3
        except BaseException:
            self._planner.forget()  # it may have been told of what was not written
            raise
        ended = self._ports.clock.now()
        if ended - now > _LONG_TICK_S:
            self._rest_until = ended + min(ended - now, self._settings.rest_s)
        return wait_s

    def resign(self) -> None:
        """Give leadership up so that another loop need not wait for it to run out."""
        if self._leadership is not None:
            self._ports.store.resign(self._settings.holder)
            self._step_down()

    def _led_tick(self, now: float) -> float:
        self._refresh(now)
        observed, unavailable = self._observe()
        drafts: list[Draft] = []
        judged, acts = self._judge(observed, unavailable, now, drafts)
        jobs = {**self._image.jobs, **judged}
        spent = dict(self._month_spent(now))
        for job in judged.values():
            if job.phase.terminal:
                del jobs[job.id]
                spent[job.team] = spent.get(job.team, 0.0) + job.cost  # it is neither running nor yet in the store
        self._planner.tell(judged.values())
        platform = self._platform.current
        private = {cluster.name for cluster in platform.clusters if cluster.kind is ClusterKind.PRIVATE}
        holders = [job for job in jobs.values() if job.lease is not None and job.lease.cluster in private]
        reservations, told = self._calendar.settle(self._image.seq, holders, now)
        drafts += told
        bounds = Bounds(self._accounts.past(now), self._calendar.current)
        plan = self._planner.decide(self._ports.store, platform, jobs, now, spent, frozenset(unavailable), bounds)
        if plan is not None:
            for preemption in plan.preemptions:
                judged[preemption.job_id] = self._preempt(jobs, preemption, now, drafts, acts)
            for job_id, promise in plan.promises.items():
                step = lifecycle.promised(judged.get(job_id) or jobs[job_id], promise)
                drafts.append(step.event)
                judged[job_id] = step.job
            for admission in plan.admissions:
                job = self._admit(jobs, admission, now, drafts)
                judged[job.id] = job
                acts.append(Act("start", job.id, job.attempt, admission.lease.cluster))
            self._explain(jobs, plan, judged, drafts)
        committed = self._commit(judged, drafts, now, reservations)
        if plan is not None:  # only now: a plan whose commit failed must be made again
            self._planner.plan = plan
        if committed:
            self._changed()
        for act in acts:
            self._do(act)
        due = [self._settings.idle_s]
        if plan is not None and (plan.admissions or plan.preemptions):
            # What changed may let another one start, or let one be stopped: the next plan tells.
            due.append(0.0 if any(job.phase is Phase.QUEUED for job in self._image.jobs.values()) else _STARTING_S)
        plan = self._planner.plan
        if plan is not None and plan.wake_at is not None:
            due.append(max(0.0, plan.wake_at - now))
        return min(due)

    def _forget(self) -> None:
        self._image = _Image()
        self._accounts.forget()
        self._calendar.forget()
        self._planner.forget()

    def _lead(self, now: float) -> bool:
        held = self._leadership
        ttl_s = self._settings.lead_ttl_s
        if held is not None and held.until - now > ttl_s / 2:
            return True
        won = self._ports.store.lead(self._settings.holder, now, ttl_s)
        if won is None:
            if held is not None:
                self._step_down()
            return False
        if held is None or held.fence != won.fence:
            self._step_down()
            log.info("leader.taken", extra={"holder": won.holder, "fence": won.fence})
            told = Draft("leader.changed", "leader", {"holder": won.holder, "fence": won.fence})
            self._ports.store.commit(Changes((), (told,)), now, won.fence)
        self._leadership = won
        return True

    def _step_down(self) -> None:
        self._leadership = None
        self._fenced.clear()
        self._forget()
        self._planner.step_down()

    def _refresh(self, now: float) -> None:
        image = self._image
        if now - image.loaded_at > self._settings.reload_s:
            jobs, seq = self._ports.store.active()
            self._forget()
            self._image = _Image({job.id: job for job in jobs}, seq, now)
            return
        changed, image.seq = self._ports.store.changed(image.seq)
        # What this loop wrote itself comes back equal: keeping the object keeps its place in every line.
        fresh = [job for job in changed if image.jobs.get(job.id) != job]
        image.put(fresh)
        self._planner.tell(fresh)

    def _observe(self) -> tuple[dict[tuple[str, int], tuple[str, Observation]], set[str]]:
        observed: dict[tuple[str, int], tuple[str, Observation]] = {}
        unavailable: set[str] = set()
        for cluster, executor in tuple(self._ports.executors.items()):
            try:
                self._fence(cluster, executor)
                for seen in executor.observe():
                    observed[seen.job_id, seen.attempt] = (cluster, seen)
            except ExecutorUnavailableError as error:
                self._note_unavailable(cluster, error)
                unavailable.add(cluster)
        self._unavailable &= unavailable
        return observed, unavailable

    def _note_unavailable(self, cluster: str, error: ExecutorUnavailableError) -> None:
        if cluster not in self._unavailable:
            self._unavailable.add(cluster)
            log.warning("executor.unavailable", extra={"cluster": cluster, "error": str(error)})

    def _fence(self, cluster: str, executor: Executor) -> None:
        if cluster not in self._fenced and self._leadership is not None:
            executor.fence(self._leadership.fence)
            self._fenced.add(cluster)

    def _judge(
        self,
        observed: dict[tuple[str, int], tuple[str, Observation]],
        unavailable: set[str],
        now: float,
        drafts: list[Draft],
    ) -> tuple[dict[str, Job], list[Act]]:
        judged: dict[str, Job] = {}
        acts: list[Act] = []
        for job in self._image.jobs.values():
            if job.phase is Phase.QUEUED and job.goal is Goal.RUN:
                continue  # nothing is ever due for these, and they are nearly all of a long queue
            seen = observed.pop((job.id, job.attempt), None) if job.phase.holds_gpus else None
            judgement = self._judgement(job, seen[1] if seen else None, unavailable, now)
            acts += judgement.acts
            if judgement.signals or judgement.kept is not None or judgement.checkpointed_at is not None:
                judged[job.id] = _apply(job, judgement, now, drafts)
            elif (job.id, job.attempt) in self._untaken and job.phase is Phase.ADMITTED and job.reason is None:
                step = lifecycle.delayed(job)
                drafts.append(step.event)
                judged[job.id] = step.job
        acts += [_discard(cluster, seen) for cluster, seen in observed.values()]
        for job_id, attempt in {*self._refused, *self._untaken}:
            if job_id not in self._image.jobs or self._image.jobs[job_id].attempt != attempt:
                self._refused.pop((job_id, attempt), None)
                self._untaken.discard((job_id, attempt))
        return judged, acts

    def _judgement(self, job: Job, seen: Observation | None, unavailable: set[str], now: float) -> Judgement:
        rules = self._settings.rules
        cluster = job.lease.cluster if job.lease else None
        if cluster is not None and cluster not in self._ports.executors:
            known = any(found.name == cluster for found in self._platform.current.clusters)
            return NOTHING if known else clusterless(job, rules)
        answered = cluster not in unavailable
        why = self._refused.get((job.id, job.attempt))
        if why is not None and answered and (judgement := refused(job, seen, why)) is not None:
            return judgement
        return compare(job, seen, answered=answered, now=now, rules=rules)

    def _admit(self, jobs: Mapping[str, Job], admission: Admission, now: float, drafts: list[Draft]) -> Job:
        job = jobs[admission.job_id]
        if admission.burst is not None:
            alternative = staying(job, now, self._platform.current, jobs.values())
            drafts.append(Draft("job.burst_decided", job.id, {"team": job.team, **admission.burst, **alternative}))
        step = lifecycle.advance(job, Signal.ADMIT, now, Facts(lease=admission.lease))
        drafts.append(step.event)
        return step.job

    def _preempt(
        self, jobs: dict[str, Job], preemption: Preemption, now: float, drafts: list[Draft], acts: list[Act]
    ) -> Job:
        """Ask a job to go: it keeps its GPUs until no process of it is left."""
        job, by = jobs[preemption.job_id], jobs[preemption.by]
        step = lifecycle.preempt(job, by, preemption.reason, now)
        drafts.append(step.event)
        if job.lease is not None:
            acts.append(Act("stop", job.id, job.attempt, job.lease.cluster))
        return step.job

    def _explain(self, jobs: dict[str, Job], plan: Plan, judged: dict[str, Job], drafts: list[Draft]) -> None:
        """A reason is written when it changes; places in line change all the time and are read from the plan."""
        for job_id in plan.changed:
            job, verdict = judged.get(job_id) or jobs[job_id], plan.verdicts[job_id]
            judged[job_id] = replace(job, reason=verdict.code.value, version=job.version + 1)
            # The log outlives the moment and is read by the whole team, so it names nobody else's jobs.
            told = visible(verdict, lambda _job_id: False)
            data = {**told.data, "code": verdict.code.value, "position": verdict.position, "team": job.team}
            drafts.append(Draft("job.waiting", job_id, data | {"user": job.user}))

    def _commit(
        self, judged: dict[str, Job], drafts: list[Draft], now: float, reservations: tuple[Reservation, ...]
    ) -> bool:
        if not judged and not drafts and not reservations:
            return False
        # Several steps of one job are one row change: the stored version plus one, whatever happened in between.
        jobs = tuple(replace(job, version=self._image.jobs[job.id].version + 1) for job in judged.values())
        fence = self._leadership.fence if self._leadership else None
        uses = tuple(use for job in jobs for use in uses_between(self._image.jobs[job.id], job, now))
        self._ports.store.commit(Changes(jobs, tuple(drafts), "loop", uses, reservations), now, fence)
        self._image.put(jobs)
        self._accounts.committed(uses)
        self._planner.tell(jobs)
        if ended := [job for job in jobs if job.phase.terminal]:
            self._spent_at = float("-inf")
            self._planner.ended(ended)
        return True

    def _month_spent(self, now: float) -> dict[str, float]:
        if now - self._spent_at > self._settings.spent_every_s:
            self._spent = dict(self._ports.store.spent(self._month_start(now)))
            self._spent_at = now
        return self._spent

    def _do(self, act: Act) -> None:
        executor, leadership = self._ports.executors.get(act.cluster), self._leadership
        if executor is None or leadership is None:
            return
        try:
            if act.what == "start":
                self._start(executor, act, leadership.fence)
            elif act.what == "stop":
                executor.stop(act.job_id, act.attempt, self._settings.rules.grace_s, leadership.fence)
            else:
                executor.forget(act.job_id, act.attempt, leadership.fence)
        except ExecutorUnavailableError as error:
            self._note_unavailable(act.cluster, error)
            if act.what == "start":
                self._untaken.add((act.job_id, act.attempt))

    def _start(self, executor: Executor, act: Act, fence: int) -> None:
        job = self._ports.store.job(act.job_id)
        if job is None or job.attempt != act.attempt or job.lease is None:
            return
        try:
            executor.start(self._launch(job), fence)
        except StartRefusedError as error:
            self._refused[job.id, job.attempt] = str(error)

    def _launch(self, job: Job) -> Launch:
        platform = self._platform.current
        lease = job.lease
        if lease is None:
            raise StartRefusedError(f"job {job.id} has no lease")
        environment = next((e for e in platform.environments if e.name == job.environment), None)
        if environment is None:
            raise StartRefusedError(
                f"environment {job.environment!r} is no longer in platform.yaml; submit again with another one (--env)"
            )
        return Launch(
            job=job,
            lease=lease,
            environment=environment,
            nodes=tuple(_node(platform.clusters, lease.cluster, share.node) for share in lease.shares),
            timeout_s=job.timeout_s,
            output_bytes=self._settings.output_bytes,
            grace_s=self._settings.rules.grace_s,
        )


def _apply(job: Job, judgement: Judgement, now: float, drafts: list[Draft]) -> Job:
    for signal, facts in judgement.signals:
        step = lifecycle.advance(job, signal, now, facts)
        drafts.append(step.event)
        job = step.job
    if judgement.kept is not None:
        step = lifecycle.keep(job, judgement.kept.since, judgement.kept.cells)
        drafts.append(step.event)
        job = step.job
    if judgement.checkpointed_at is not None:
        step = lifecycle.checkpoint(job, judgement.checkpointed_at, now)
        drafts.append(step.event)
        job = step.job
    return job


def _discard(cluster: str, seen: Observation) -> Act:
    """An attempt that no unfinished job claims: end it if it lives, else let the executor forget it."""
    over = seen.state in {"ended", "lost"}
    return Act("forget" if over else "stop", seen.job_id, seen.attempt, cluster)


def _node(clusters: tuple[Cluster, ...], place: str, name: str) -> Node:
    """A leased node; StartRefusedError when an edit of platform.yaml took it away in between."""
    for cluster in clusters:
        for node in cluster.nodes:
            if (cluster.name, node.name) == (place, name):
                return node
    raise StartRefusedError(f"node {place}/{name} is no longer in platform.yaml; submit the job again")
