"""What people see: jobs, the queue, why something waits, output. Reads only.

Why a job waits comes from the plan of the last tick where this process leads, else from deciding anew on what is
stored: `decide` is pure, so both give the same answer. The trap: `Store.active` carries no payloads.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import IO

from dure.control import access, forecast_views, views
from dure.control.allowances import usage_view
from dure.control.forecasts import Forecasts
from dure.control.planning import Planning
from dure.control.platform_holder import PlatformHolder
from dure.core import spoken_forecasts
from dure.core.events import Event
from dure.core.model import WHOLE_GPU_MILLI, Goal, Job, Phase
from dure.core.queueing.decide import decide
from dure.core.queueing.plan import Plan, Snapshot
from dure.ports import JobQuery, Ports, Principal
from dure.wire.messages import (
    BlobAccess,
    EnvironmentView,
    EtaView,
    EventList,
    JobList,
    JobView,
    Me,
    OutputList,
    PlatformView,
    QueueView,
    TierView,
    WhyView,
)
from dure.wire.plans import PlanView
from dure.wire.platform_told import platform_told
from dure.wire.problems import CodedError
from dure.wire.usage import UsageView

MAX_PAGE = 500
PIECE_BYTES = 256 * 1024
_STORY_EVENTS = 1000
_OUTPUT_CURSOR = re.compile(r"([0-9]{1,9})\.([0-9]{1,15})")


class Queries:
    """The read side. Thread-safe; raises CodedError for what the caller may not see."""

    def __init__(
        self,
        ports: Ports,
        platform: PlatformHolder,
        version: str,
        current_plan: Callable[[], Plan | None] = lambda: None,
        notices: Callable[[str], Sequence[str]] = lambda _lang: (),
        *,
        forecasts: Forecasts | None = None,
    ) -> None:
        self._ports = ports
        self._platform = platform
        self._version = version
        self._current_plan = current_plan
        self._notices = notices
        self._forecasts = forecasts or Forecasts(ports, platform)
        self._planning = Planning(self._forecasts)
        self._known: Mapping[str, Job] = {}

    def me(self, principal: Principal) -> Me:
        """Return who the caller is."""
        return Me(name=principal.name, admin=principal.admin, teams=list(principal.teams))

    def platform(self, principal: Principal, lang: str) -> PlatformView:
        """Return the caller's choices with what is free now and what it costs."""
        platform = self._platform.current
        active, _ = self._ports.store.active()
        gpus = views.gpu_views(principal, platform, tuple(active))
        reserved = self._ports.store.reservations(now := self._ports.clock.now())
        tiers = []
        for tier in platform.tiers:
            own = [gpu for gpu in gpus if gpu.tier == tier.name]
            keeps = views.kept(platform, tier.name, reserved, active, now)
            others = [one for one in keeps if not access.may_use(principal, one.reservation)]
            tiers.append(
                TierView(
                    name=tier.name,
                    description=tier.description,
                    total=len(own),
                    free=sum(gpu.free for gpu in own),
                    reserved=sum(one.reserved_milli for one in others) / WHOLE_GPU_MILLI,
                    kept=[views.kept_sentence(principal, one, lang) for one in keeps],
                    prices={gpu.cluster: gpu.price_per_gpu_hour for gpu in own},
                    simulated=any(gpu.simulated for gpu in own),
                )
            )
        teams = [team.name for team in platform.teams if access.is_inside(principal, team.name)]
        notices = [*self._notices(lang)]
        if principal.admin and self._platform.error:
            notices.append(platform_told(self._platform.error, lang))
        return PlatformView(
            name=platform.name,
            version=self._version,
            currency=platform.currency,
            simulated=any(gpu.simulated for gpu in gpus),
            tiers=tiers,
            teams=teams,
            priorities=[p.name for p in platform.priorities],
            data_classes=[d.name for d in platform.data_classes],
            environments=self.environments(),
            notices=notices,
        )

    def usage(self, principal: Principal, lang: str) -> UsageView:
        """Return use and limits of the caller's teams."""
        return usage_view(self._ports, self._platform.current, principal, lang)

    def environments(self) -> list[EnvironmentView]:
        """Return every environment with the versions its fork server told."""
        found = []
        for environment in self._platform.current.environments:
            told = self._platform.fingerprint(environment.name)
            found.append(
                EnvironmentView(
                    name=environment.name,
                    python=told.get("python"),
                    packages=dict(told.get("packages", {})),
                    modules=list(told.get("modules", ())),
                    error=told.get("error"),
                )
            )
        return found

    def job(self, principal: Principal, job_id: str, lang: str) -> JobView:
        """Return one job, with its verdict while it waits."""
        return self.shown(principal, access.require_seen(principal, self._ports.store.job(job_id), job_id), lang)

    def shown(self, principal: Principal, job: Job, lang: str) -> JobView:
        """Return a job that the caller may see and that was read or written a moment ago, as `job` does."""
        plan = self._plan() if job.phase is Phase.QUEUED else Plan()
        if job.phase is Phase.QUEUED:
            self._forecasts.asked(job.id)
        return self._shown(self._viewer(principal, lang), job, plan)

    def _shown(self, viewer: views.Viewer, job: Job, plan: Plan) -> JobView:
        """Return a job by a plan; what helps is what lately was found to start it sooner, where that was tried."""
        verdict, found = plan.verdicts.get(job.id), self._forecasts.options(job.id)
        if verdict is not None and found is not None:
            verdict = forecast_views.helped(verdict, found)
        eta = self._eta(job.id, viewer.lang)
        return views.job_view(viewer, job, verdict, eta, last=job.team in plan.overdrawn)

    @property
    def estimated_at(self) -> float:
        """When starts were last estimated, in seconds since the epoch; 0 when never or nobody waits."""
        outlook = self._forecasts.outlook
        return outlook.at if outlook.etas else 0.0

    def _eta(self, job_id: str, lang: str) -> EtaView | None:
        """When a waiting job starts, as last estimated; None when it came after that."""
        outlook = self._forecasts.outlook
        eta = outlook.etas.get(job_id)
        return None if eta is None else views.eta_view(eta, outlook.accuracy, self._ports.clock.now(), lang)

    def jobs(
        self,
        principal: Principal,
        *,
        phases: Sequence[Phase] = (),
        user: str | None = None,
        team: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
        lang: str = "en",
    ) -> JobList:
        """Return a page of the jobs the caller may see, newest first."""
        limit = max(1, min(limit, MAX_PAGE))
        teams = self._teams(principal, team)
        query = JobQuery(teams, user, tuple(phases), limit + 1, _parse_cursor(cursor))
        found = list(self._ports.store.jobs(query))
        page, more = found[:limit], len(found) > limit
        plan = self._plan() if any(job.phase is Phase.QUEUED for job in page) else Plan()
        viewer = self._viewer(principal, lang)
        last = f"{page[-1].submitted_at!r}_{page[-1].id}" if more else None
        return JobList(jobs=[self._shown(viewer, job, plan) for job in page], next=last)

    def why(self, principal: Principal, job_id: str, lang: str, *, at_once: bool = False) -> WhyView:
        """Return a job's story and, while it waits, what is missing, what stands before it and what would help.

        `at_once`: of the last two only what is known already; `pending` says where more can be found.
        """
        job = access.require_seen(principal, self._ports.store.job(job_id), job_id)
        events = self._ports.store.events(0, _STORY_EVENTS, subject=job_id)
        viewer = self._viewer(principal, lang)
        told = WhyView(
            job=self.shown(principal, job, lang), events=[views.event_view(viewer, event) for event in events]
        )
        if job.phase is not Phase.QUEUED or job.goal is not Goal.RUN:
            return told
        plan, now = self._plan(), self._ports.clock.now()
        verdict = plan.verdicts.get(job_id)
        told.deficits = forecast_views.deficits(job, verdict)
        found, whole = self._planning.known(job_id, now) if at_once else (self._planning.sooner(job), True)
        if not whole:
            told.pending = spoken_forecasts.looking(lang)
            if found is None and verdict is not None:  # what helps was not tried, and is told with the rest
                untried = replace(verdict, helps=())
                told.job = views.job_view(viewer, job, untried, told.job.eta, last=job.team in plan.overdrawn)
        elif found is None:
            told.pending = spoken_forecasts.pending(job.id, lang)
        if found is not None:
            now = self._ports.clock.now()
            found = found.as_of(now)
            if told.job.eta is None:  # it came after the last estimates
                told.job.eta = views.eta_view(found.eta, self._forecasts.outlook.accuracy, now, lang)
            helped = verdict and forecast_views.helped(verdict, found.options)
            told.job = views.job_view(viewer, job, helped, told.job.eta, last=job.team in plan.overdrawn)
            forecast_views.add_found(told, viewer, job, found)
        return told

    def plan(self, principal: Principal, job: Job, lang: str) -> PlanView:
        """Return what would become of a job that `Commands.draft` checked, on each tier and cluster."""
        forecasts = self._forecasts
        rows, errors = self._planning.plan(job), forecasts.errors()
        viewer = self._viewer(principal, lang)
        accuracy = forecasts.outlook.accuracy
        return forecast_views.plan_view(viewer, job, rows, forecasts.likelihood(job), accuracy, errors)

    def queue(self, principal: Principal, lang: str, limit: int = MAX_PAGE) -> QueueView:
        """Return what waits (in order), what runs, and every GPU. Other teams' waiting jobs are counted.

        At most `limit` jobs that wait and as many that run are shown; how many more there are is told.
        """
        active = tuple(self._ports.store.active()[0])
        viewer = self._viewer(principal, lang, active)
        plan = self._plan(active)
        waiting = [job for job in active if job.phase is Phase.QUEUED]
        seen = sorted(
            (job for job in waiting if access.may_see(principal, job)),
            key=lambda job: (plan.verdicts[job.id].position if job.id in plan.verdicts else 0, job.submitted_at),
        )
        running = [job for job in active if job.phase.holds_gpus and access.may_see(principal, job)]
        return QueueView(
            waiting=[self._shown(viewer, job, plan) for job in seen[:limit]],
            waiting_more=max(0, len(seen) - limit),
            running=[views.job_view(viewer, job) for job in running[:limit]],
            running_more=max(0, len(running) - limit),
            others_waiting=len(waiting) - len(seen),
            gpus=views.gpu_views(principal, viewer.platform, active),
            now=self._ports.clock.now(),
        )

    def events(self, principal: Principal, after_seq: int, limit: int, subject: str | None, lang: str) -> EventList:
        """Return events after a number that concern the caller's teams or nobody in particular."""
        teams = None if principal.admin else principal.teams
        limit = max(1, min(limit, MAX_PAGE))
        # Read before the page: what is written in between comes with the next page instead of being passed over.
        last = max(self._ports.store.last_seq(), after_seq)
        seen: list[Event] = []
        while len(seen) < limit and (found := self._ports.store.events(after_seq, limit, subject=subject, teams=teams)):
            after_seq = found[-1].seq
            seen += [event for event in found if access.may_see_event(principal, event)]
            if len(found) < limit:
                break
        last = seen[limit - 1].seq if len(seen) >= limit else max(last, after_seq)
        viewer = self._viewer(principal, lang)
        return EventList(events=[views.event_view(viewer, event) for event in seen[:limit]], last_seq=last)

    def last_seq(self) -> int:
        """Return where the event log ends now: the cursor of somebody who wants only what comes."""
        return self._ports.store.last_seq()

    def output(self, principal: Principal, job_id: str, cursor: str | None, limit: int) -> OutputList:
        """Return messages of a job's output after `cursor` ("attempt.seq"); attempts follow one another."""
        job = access.require_owner(principal, self._ports.store.job(job_id), job_id, "read the output of this job")
        attempt, seq = _parse_output_cursor(cursor)
        limit = max(1, min(limit, 2 * MAX_PAGE))
        while True:
            page = self._ports.outputs.read(job_id, attempt, seq, limit)
            if page.messages or attempt >= job.attempt:
                break
            attempt, seq = attempt + 1, 0
        messages = [dict(message) | {"attempt": attempt} for message in page.messages]
        seq = int(messages[-1]["seq"]) if messages else seq
        done = job.phase.terminal and attempt >= job.attempt and (page.done or not messages)
        return OutputList(messages=messages, cursor=f"{attempt}.{seq}", done=done)

    def artifact(self, principal: Principal, job_id: str, path: str) -> tuple[int, Iterator[bytes]]:
        """Return one artifact's size in bytes and its pieces, verified before the first."""
        job = access.require_owner(principal, self._ports.store.job(job_id), job_id, "read the artifacts of this job")
        for artifact in (job.result or {}).get("artifacts", ()):
            if artifact["path"] == path:
                file = self._ports.blobs.open(job.team, artifact["digest"])
                if file is not None:
                    return os.fstat(file.fileno()).st_size, _pieces(file)
        raise CodedError("artifact_not_found", job=job_id, path=path)

    def blob_access(self, principal: Principal, team: str | None) -> BlobAccess:
        """Return how to reach the blobs of one of the caller's teams."""
        known = tuple(t.name for t in self._platform.current.teams)
        return BlobAccess(**self._ports.blobs.access(access.team_of(principal, team, known)))

    def _teams(self, principal: Principal, team: str | None) -> tuple[str, ...] | None:
        if team is None:
            return None if principal.admin else principal.teams
        return (team,) if access.is_inside(principal, team) else ()

    def _plan(self, active: Sequence[Job] | None = None) -> Plan:
        """The leader's last plan, in which a job that came a moment ago may still be missing; else one decided now.

        Who gives all `active` jobs gets a verdict for each of them that waits.
        """
        plan = self._current_plan()
        queued = (job.id for job in active or () if job.phase is Phase.QUEUED)
        if plan is not None and all(job_id in plan.verdicts for job_id in queued):
            return plan
        known = self._forecasts.present()
        everything = known.jobs if active is None else tuple(active)
        return decide(
            Snapshot(known.now, known.platform, everything, spent=known.spent, used=known.used, bounds=known.bounds)
        )

    def _viewer(self, principal: Principal, lang: str, active: Sequence[Job] | None = None) -> views.Viewer:
        """Who looks; unfinished jobs are read once, and only when a verdict names one that is not known yet.

        What is kept of them is good for asking whose they are, which never changes, and for nothing else.
        """
        read = False

        def find(job_id: str) -> Job | None:
            nonlocal read
            if job_id not in self._known and not read:
                read = True
                self._known = {job.id: job for job in (active or self._ports.store.active()[0])}
            return self._known.get(job_id)

        return views.Viewer(principal, self._platform.current, lang, self._ports.clock.now(), find)


def _parse_cursor(cursor: str | None) -> tuple[float, str] | None:
    if cursor is None:
        return None
    at, _, job_id = cursor.partition("_")
    try:
        since = float(at)
    except ValueError:
        since = math.nan
    if not math.isfinite(since):
        raise CodedError("invalid_request", problem=f"cursor {cursor!r:.100} is not one that this server gave")
    return since, job_id


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _parse_output_cursor(cursor: str | None) -> tuple[int, int]:
    if cursor is None:
        return 1, 0
    found = _OUTPUT_CURSOR.fullmatch(cursor)
    if found is None:
        raise CodedError("invalid_request", problem=f"cursor {cursor!r:.100} is not one that this server gave")
    return max(1, int(found[1])), int(found[2])
