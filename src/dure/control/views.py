"""Turns the truth into what a person may see of it: core objects to wire models, in the person's language.

The trap: a verdict names other jobs. What belongs to a team that the viewer is not in is reduced to the team's name
here, before any sentence is made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dure.control import access
from dure.core import sentences, spoken_forecasts, spoken_limits
from dure.core.events import Event
from dure.core.forecast.record import Accuracy
from dure.core.forecast.starts import Eta
from dure.core.isolation import isolation
from dure.core.lifecycle import until
from dure.core.model import (
    WHOLE_GPU_MILLI,
    BudgetMode,
    Cluster,
    ClusterKind,
    Job,
    Lease,
    Node,
    Phase,
    Platform,
)
from dure.core.queueing.explain import visible
from dure.core.reasons import Verdict
from dure.core.reservations import Kept, Reservation, lacking_now
from dure.core.spoken_isolation import shared
from dure.core.wording import Told
from dure.ports import Principal
from dure.wire.messages import Artifact, EtaView, EventView, GpuView, JobView, LeaseView, NodeShareView, VerdictView
from dure.wire.platform_told import platform_told
from dure.wire.retold import retold

FindJob = Callable[[str], Job | None]
_PRIVATE = frozenset({"evalue", "error"})


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks, when, at which platform, in "en" or "ko"; `find` returns whose a job is, by its id."""

    principal: Principal
    platform: Platform
    lang: str
    now: float
    find: FindJob


def job_view(
    viewer: Viewer, job: Job, verdict: Verdict | None = None, eta: EtaView | None = None, *, last: bool = False
) -> JobView:
    """Return the job as the viewer may see it, its sums counted to now.

    Result and artifacts are only for its owner and administrators. `last`: it is served after all other teams',
    for its own has used up a soft budget.
    """
    waits = job.phase is Phase.QUEUED
    job = until(job, viewer.now)
    owner = access.acts_for(viewer.principal, job.user)
    platform = viewer.platform
    result = dict(job.result) if job.result and owner else None
    artifacts = [Artifact(**a) for a in (result or {}).get("artifacts", ())]
    shares = isolation(platform, job.request, job.lease)
    apart = shared(shares, viewer.lang) if shares else None
    return JobView(
        id=job.id,
        name=job.name,
        kind=job.kind.value,
        user=job.user,
        team=job.team,
        phase=job.phase.value,
        goal=job.goal.value,
        attempt=job.attempt,
        tier=job.lease.tier if job.lease else job.request.tier,
        gpus=job.request.node_milli / WHOLE_GPU_MILLI,
        nodes=job.request.nodes,
        required_topology=job.request.required_topology,
        preferred_topology=job.request.preferred_topology,
        priority=job.priority,
        environment=job.environment,
        budget=_budget(job),
        burst=job.burstable,
        data=job.data_class,
        deadline_at=job.deadline_at,
        timeout_s=job.timeout_s,
        submitted_at=job.submitted_at,
        admitted_at=job.admitted_at,
        began_at=job.began_at,
        ended_at=job.ended_at,
        kept_since=job.kept_since,
        checkpointed_at=job.checkpointed_at,
        waited_s=job.waited_s,
        ran_s=job.ran_s,
        cost=job.cost,
        currency=platform.currency,
        reason=job.reason,
        reason_sentence=_reason(job, viewer.lang, platform.currency, owner=owner),
        lease=lease_view(job.lease, platform) if job.lease else None,
        isolation=apart,
        verdict=verdict_view(viewer, verdict, apart, last=last) if verdict and waits else None,
        eta=eta if waits else None,
        over_budget=last and waits,
        predicted_s=job.predicted_s,
        result=result,
        artifacts=artifacts,
    )


def verdict_view(viewer: Viewer, verdict: Verdict, apart: str | None = None, *, last: bool = False) -> VerdictView:
    """Return the verdict with only those blockers that the viewer may know.

    `apart` says what a part of a GPU is; `last` that the job's team has used up a soft budget.
    """

    def may_know(job_id: str) -> bool:
        if viewer.principal.admin:
            return True
        job = viewer.find(job_id)
        return job is not None and access.may_see(viewer.principal, job)

    shown = visible(verdict, may_know)
    lang, currency = viewer.lang, viewer.platform.currency
    return VerdictView(
        code=shown.code.value,
        position=shown.position,
        sentence=" ".join(
            filter(
                None,
                [sentences.verdict_sentence(shown, lang, currency), spoken_limits.last(lang) if last else "", apart],
            )
        ),
        helps=[sentences.help_sentence(h, lang, currency) for h in shown.helps],
        blockers=list(shown.blockers),
        data=dict(shown.data),
    )


def eta_view(eta: Eta, accuracy: Accuracy, now: float, lang: str) -> EtaView:
    """Return an estimate as it is told at `now`; what should have begun already begins at any moment."""
    p50_at = None if eta.p50_s is None else max(now, eta.issued_at + eta.p50_s)
    p90_at = None if eta.p90_s is None else max(now, eta.issued_at + eta.p90_s)
    p50_s = None if p50_at is None else p50_at - now
    p90_s = None if p90_at is None else p90_at - now
    return EtaView(
        issued_at=eta.issued_at,
        p50_at=p50_at,
        p90_at=p90_at,
        chances=dict(eta.chances),
        record_count=accuracy.count,
        record_within_p90=accuracy.within_p90,
        record_median_error_s=accuracy.median_error_s,
        short=spoken_forecasts.short(p50_s, p90_s, lang, start=True),
        sentence=spoken_forecasts.starts(p50_s, p90_s, accuracy, lang),
    )


def lease_view(lease: Lease, platform: Platform) -> LeaseView:
    """Return where a job runs, with whether that GPU is simulated."""
    cluster = next((c for c in platform.clusters if c.name == lease.cluster), None)
    names = {share.node for share in lease.shares}
    nodes = [node for node in cluster.nodes if node.name in names] if cluster else []
    node = next((node for node in nodes if node.name == lease.node), None)
    return LeaseView(
        cluster=lease.cluster,
        cluster_kind=cluster.kind.value if cluster else ClusterKind.PRIVATE.value,
        node=lease.node,
        tier=lease.tier,
        gpus=[gpu.index for gpu in lease.gpus],
        share=lease.gpus_milli / WHOLE_GPU_MILLI,
        price_per_gpu_hour=lease.price_per_gpu_hour,
        simulated=any(node.simulated for node in nodes),
        sharing=node.sharing.value if node and lease.gpus_milli < WHOLE_GPU_MILLI else None,
        others=[NodeShareView(node=share.node, gpus=[gpu.index for gpu in share.gpus]) for share in lease.others],
    )


def event_view(viewer: Viewer, event: Event) -> EventView:
    """Return an entry of the log with its sentence; what an exception or the platform file said is not for all."""
    principal = viewer.principal
    if not principal.admin and event.data.get("user") != principal.name:
        event = replace(event, data={name: value for name, value in event.data.items() if name not in _PRIVATE})
    retell: dict[str, Callable[[str, str], str]] = {"evalue": retold, "error": platform_told}
    told = {name: say(str(event.data[name]), viewer.lang) for name, say in retell.items() if name in event.data}
    said = replace(event, data={**event.data, **told}) if told else event
    return EventView(
        seq=event.seq,
        at=event.at,
        actor=event.actor,
        subject=event.subject,
        kind=event.kind,
        data=dict(event.data),
        sentence=sentences.event_sentence(said, viewer.lang, viewer.platform.currency),
    )


def gpu_views(principal: Principal, platform: Platform, jobs: tuple[Job, ...]) -> list[GpuView]:
    """Return every GPU of the platform with who holds which part of it."""
    holders: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    used: dict[tuple[str, str, int], int] = {}
    for job in jobs:
        if job.lease is None:
            continue
        for share in job.lease.shares:
            for gpu in share.gpus:
                key = (job.lease.cluster, share.node, gpu.index)
                used[key] = used.get(key, 0) + gpu.share_milli
                holders.setdefault(key, []).append(_held(principal, job, gpu.share_milli))
    return [
        _gpu_view(cluster, node, index, price_of(platform, cluster, node.tier), used, holders)
        for cluster in platform.clusters
        for node in cluster.nodes
        for index in range(node.gpus)
    ]


def kept(
    platform: Platform, tier: str, reservations: Iterable[Reservation], active: Iterable[Job], now: float
) -> list[Kept]:
    """Return what reservations that are on keep of a tier beyond what their owners hold."""
    private = {cluster.name for cluster in platform.clusters if cluster.kind is ClusterKind.PRIVATE}
    held = ((job, job.lease) for job in active if job.lease is not None and job.phase.holds_gpus)
    return lacking_now(reservations, tier, held, private, now)


def kept_sentence(principal: Principal, found: Kept, lang: str) -> str:
    """Return what one reservation keeps now; for whom of a team it is only that team and administrators are told."""
    one = found.reservation
    told = {
        "reserved_milli": found.reserved_milli,
        "tier": one.tier,
        "for_team": one.team,
        "for_user": one.user if access.is_inside(principal, one.team) else None,
        "until": one.ends_at,
    }
    return f"{spoken_limits.reserved(Told(told), lang)}."


def price_of(platform: Platform, cluster: Cluster, tier: str) -> float:
    """Return the price of one GPU-hour of a tier on a cluster, in the platform's currency."""
    internal = next((t.price_per_gpu_hour for t in platform.tiers if t.name == tier), 0.0)
    return float(cluster.prices.get(tier, internal))


def _gpu_view(  # noqa: PLR0917 -- one GPU's place, price and use
    cluster: Cluster,
    node: Node,
    index: int,
    price_per_gpu_hour: float,
    used: Mapping[tuple[str, str, int], int],
    holders: Mapping[tuple[str, str, int], list[dict[str, Any]]],
) -> GpuView:
    key = (cluster.name, node.name, index)
    return GpuView(
        cluster=cluster.name,
        cluster_kind=cluster.kind.value,
        node=node.name,
        index=index,
        tier=node.tier,
        model=node.model,
        simulated=node.simulated,
        price_per_gpu_hour=price_per_gpu_hour,
        free=max(0, WHOLE_GPU_MILLI - used.get(key, 0)) / WHOLE_GPU_MILLI,
        holders=holders.get(key, []),
    )


def _held(principal: Principal, job: Job, share_milli: int) -> dict[str, Any]:
    held: dict[str, Any] = {"team": job.team, "share": share_milli / WHOLE_GPU_MILLI, "since": job.admitted_at}
    if access.may_see(principal, job):
        held |= {"job": job.id, "user": job.user, "name": job.name, "phase": job.phase.value}
    return held


def _budget(job: Job) -> Any:
    return job.budget.limit if job.budget.mode is BudgetMode.AMOUNT else job.budget.mode.value


def _reason(job: Job, lang: str, currency: str, *, owner: bool) -> str | None:
    if job.reason is None or not (job.phase.terminal or job.phase is Phase.ADMITTED):
        return None
    data = {
        "ename": job.failure.get("ename"),
        "evalue": retold(str(job.failure.get("evalue") or ""), lang) if owner else None,
        "exit_code": job.failure.get("exit_code"),
        "rank": job.failure.get("rank"),
        "nodes": [share.node for share in job.lease.shares] if job.lease else None,
        "timeout_s": job.timeout_s,
        "memory_bytes": job.request.memory_bytes,
        "job": job.id,
    }
    return sentences.ended_sentence(job.reason, {k: v for k, v in data.items() if v is not None}, lang, currency)
