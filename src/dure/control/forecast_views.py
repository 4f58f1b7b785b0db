"""Turns plans and what-ifs into what a person may see of them, in the person's language.

The trap: whose end makes room may be another team's job, of which only the team is told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dure.control import access, views
from dure.control.planning import Row, Sooner
from dure.core import sentences, spoken_forecasts
from dure.core.forecast.record import Accuracy
from dure.core.forecast.runtimes import Errors, Likelihood
from dure.core.model import WHOLE_GPU_MILLI, Job
from dure.core.queueing.whatif import Change, Option
from dure.core.reasons import Verdict, Waiting
from dure.wire.messages import AheadView, DeficitView, EtaView, SoonerView, WhyView
from dure.wire.plans import PlanRow, PlanView, RuntimeErrors

_HELPS = 3  # told beside a job's line; `why` tells all


def plan_view(  # noqa: PLR0917 -- the parts of one answer
    viewer: views.Viewer, job: Job, rows: Sequence[Row], likelihood: Likelihood, accuracy: Accuracy, errors: Errors
) -> PlanView:
    """Return the plan of a job that was not submitted, the tiers it asks for first."""
    now, lang = job.submitted_at, viewer.lang
    shown = [_row(row, job, accuracy, now, lang) for row in rows]
    shown.sort(key=lambda row: not row.asked)
    runs = likelihood.done
    return PlanView(
        name=job.name,
        team=job.team,
        gpus=job.request.node_milli / WHOLE_GPU_MILLI,
        nodes=job.request.nodes,
        currency=viewer.platform.currency,
        deadline_at=job.deadline_at,
        rows=shown,
        runtime=spoken_forecasts.runs(runs.quantile(0.5), runs.quantile(0.9), likelihood.basis, lang),
        errors=RuntimeErrors(
            count=errors.count,
            ours=_factor(errors.ours),
            last_two=_factor(errors.last_two),
            limit=_factor(errors.limit),
            global_median=_factor(errors.global_median),
        ),
        record=spoken_forecasts.record(accuracy, lang),
        now=now,
    )


def deficits(job: Job, verdict: Verdict | None) -> list[DeficitView]:
    """Return what is missing of each tier that the job could take, by its verdict."""
    if verdict is None:
        return []
    told = verdict.data.get("tiers") or [verdict.data]
    return [_deficit(job, reason) for reason in told if reason.get("tier") and "free_milli" in reason]


def helped(verdict: Verdict, found: Sequence[Option]) -> Verdict:
    """Return the verdict with what was found to start the job sooner in the place of what it helps with at once.

    When it leaves for a public cluster, and the most that it could ever ask for, are no guesses and stay.
    """
    tried = {option.data.get("gpus_milli") for option in found if option.change is Change.FEWER_GPUS}
    most = [told for told in verdict.helps if told.get("now") is False and told.get("gpus_milli") not in tried]
    sure = [*(told for told in verdict.helps if "due_at" in told), *most]
    helps = (*(option.told() for option in found[:_HELPS]), *sure)
    waits = verdict.code in {Waiting.WAITING_FOR_QUOTA, Waiting.TOPOLOGY_PLACEMENT_FAILED}
    return replace(verdict, helps=helps or (({"code": "wait"},) if waits else ()))


def add_found(story: WhyView, viewer: views.Viewer, job: Job, found: Sooner) -> None:
    """Add to a waiting job's story what stands before it, what would start it sooner, and whether it ends in time.

    Where it would never start as things are, nothing is said of those before it.
    """
    lang, currency = viewer.lang, viewer.platform.currency
    if found.eta.p50_s is not None:
        story.ahead = ahead_view(viewer, found)
    story.sooner = [sooner_view(viewer, option) for option in found.options]
    if story.job.verdict is not None and found.options:  # what was found is told there, with what it would be instead
        tried = {sentences.help_sentence(option.told(), lang, currency) for option in found.options}
        story.job.verdict.helps = [told for told in story.job.verdict.helps if told not in tried]
    if job.deadline_at is not None and found.in_time is not None:
        story.deadline_chance = found.in_time
        story.deadline = spoken_forecasts.deadline(job.deadline_at, found.at, found.in_time, lang)


def ahead_view(viewer: views.Viewer, found: Sooner) -> AheadView:
    """Return what stands before a waiting job."""
    likeliest = next(iter(found.ahead.after), None)
    return AheadView(
        held_gpu_hours=found.ahead.held_gpu_hours,
        waiting_gpu_hours=found.ahead.waiting_gpu_hours,
        waiting_jobs=found.ahead.waiting_jobs,
        sentence=spoken_forecasts.stands_before(found.ahead, _named(viewer, likeliest), viewer.lang),
    )


def sooner_view(viewer: views.Viewer, option: Option) -> SoonerView:
    """Return one change that would start the job sooner."""
    return SoonerView(
        change=option.change.value,
        in_s=option.in_s,
        instead_s=option.instead_s,
        cost=option.cost,
        cluster=option.lease.cluster,
        tier=option.lease.tier,
        data=dict(option.data),
        option=spoken_forecasts.flag(option),
        sentence=spoken_forecasts.sooner(option, viewer.platform.currency, viewer.lang),
    )


def _row(row: Row, job: Job, accuracy: Accuracy, now: float, lang: str) -> PlanRow:
    run50_s, run90_s = row.runs.quantile(0.5), row.runs.quantile(0.9)
    eta: EtaView | None = None
    finish50 = finish90 = None
    if row.eta is not None and row.eta.p50_s is not None:
        eta = views.eta_view(row.eta, accuracy, now, lang)
        finish50 = now + row.eta.p50_s + run50_s
        # both late at once is rare: the later of a late start and a long run
        late_s = row.eta.p50_s if row.eta.p90_s is None else row.eta.p90_s
        finish90 = now + max(late_s + run50_s, row.eta.p50_s + run90_s)
    note = ""
    if row.burst is not None:
        note = spoken_forecasts.not_there(row.burst.failing, row.burst.due_at - now, lang)
    return PlanRow(
        tier=row.tier,
        cluster=row.cluster,
        cluster_kind=row.kind.value,
        simulated=row.simulated,
        asked=job.request.tier in {None, row.tier},
        chance=row.chance,
        eta=eta,
        run_p50_s=run50_s,
        run_p90_s=run90_s,
        runs=spoken_forecasts.short(run50_s, run90_s, lang),
        cost_p50=row.cost_p50,
        cost_p90=row.cost_p90,
        finish_p50_at=finish50,
        finish_p90_at=finish90,
        deadline_chance=row.deadline_chance,
        note=note,
    )


def _deficit(job: Job, reason: Mapping[str, Any]) -> DeficitView:
    need, free = job.request.gpus_milli, float(reason["free_milli"])
    within = float(reason.get("largest_milli", free))
    more = max(0.0, need - min(free, within))
    quota, used = reason.get("quota_milli"), reason.get("used_milli")
    if quota is not None and used is not None:
        more = max(more if free < need else 0.0, used + need - quota)
    return DeficitView(
        tier=str(reason["tier"]),
        asked=need / WHOLE_GPU_MILLI,
        free=free / WHOLE_GPU_MILLI,
        more=max(0.0, more) / WHOLE_GPU_MILLI,
        quota=None if quota is None else quota / WHOLE_GPU_MILLI,
        used=None if used is None else used / WHOLE_GPU_MILLI,
    )


def _named(viewer: views.Viewer, job_id: str | None) -> str | None:
    job = None if job_id is None else viewer.find(job_id)
    if job is None:
        return None
    korean = viewer.lang.startswith("ko")
    if access.may_see(viewer.principal, job):
        return f"{job.user}님의 {job.id}" if korean else f"{job.user}'s {job.id}"
    return f"{job.team} 팀의 작업" if korean else f"a job of team {job.team}"


def _factor(error: float | None) -> float | None:
    return None if error is None else math.exp(error)
