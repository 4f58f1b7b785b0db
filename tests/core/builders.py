"""Builders for stories about the core: a small platform and jobs whose every field has a harmless default."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from dure.core.model import (
    Budget,
    BudgetMode,
    BurstPolicy,
    Cluster,
    ClusterKind,
    DataClass,
    Environment,
    GpuShare,
    Job,
    Kind,
    Lease,
    Node,
    Phase,
    Platform,
    PriorityClass,
    Queue,
    Request,
    Team,
    Tier,
)
from dure.core.queueing.plan import Plan, Snapshot

NOW = 1_000_000.0
FLEX = Budget(BudgetMode.FLEX)
STRICT = Budget(BudgetMode.STRICT)


def amount(limit: float) -> Budget:
    return Budget(BudgetMode.AMOUNT, limit)


def a_node(name: str, tier: str, gpus: int = 1) -> Node:
    return Node(name, tier, gpus, simulated=True)


def a_lab(*nodes: Node, name: str = "lab") -> Cluster:
    usual = (a_node("n1", "bronze", 2), a_node("n2", "silver"), a_node("n3", "gold"))
    return Cluster(name, ClusterKind.PRIVATE, nodes or usual)


def a_cloud(gpus: int = 2, price: float = 3600.0, name: str = "cloud", tier: str = "gold") -> Cluster:
    return Cluster(name, ClusterKind.PUBLIC, (a_node("c1", tier, gpus),), provision_s=3.0, prices={tier: price})


def a_team(
    name: str = "vision", quota: Mapping[str, int] | None = None, budget: float | None = None, members: Any = ("*",)
) -> Team:
    """`quota` is the most that the team may have, in thousandths of a GPU; it guarantees nothing."""
    return Team(name, tuple(members), borrowing_milli=dict(quota or {}), budget_per_month=budget)


def a_platform(
    *clusters: Cluster, teams: Iterable[Team] = (), burst: BurstPolicy | None = None, **changes: Any
) -> Platform:
    teams = tuple(teams) or (a_team("vision"), a_team("speech"))
    platform = Platform(
        name="test",
        clusters=clusters or (a_lab(), a_cloud()),
        tiers=(Tier("bronze", 100.0), Tier("silver", 200.0), Tier("gold", 400.0)),
        teams=teams,
        queues=tuple(Queue(team.name, team.name) for team in teams),
        priorities=(PriorityClass("high", 100), PriorityClass("normal", 0), PriorityClass("low", -100)),
        data_classes=(DataClass("open", may_leave=True), DataClass("private", may_leave=False)),
        environments=(Environment("default", "python3"),),
        burst=burst or BurstPolicy(rule="fixed", wait_s=60.0),
    )
    return replace(platform, **changes)


def a_job(job_id: str = "j-1", *, gpus: float = 1, tier: str | None = "gold", at: float = NOW, **changes: Any) -> Job:
    """A queued job, submitted `at`; `gpus` counts GPUs."""
    job = Job(
        id=job_id,
        name=job_id,
        kind=Kind.CELL,
        user="alice",
        team="vision",
        request=Request(round(gpus * 1000), tier),
        submitted_at=at,
        queued_at=at,
    )
    return replace(job, **changes)


def running(
    job: Job, cluster: str, node: str, *indexes: int, share_milli: int | None = None, price: float = 0.0
) -> Job:
    """The job, running on GPUs `indexes` of a node since NOW - 10 s."""
    share = share_milli or min(job.request.gpus_milli, 1000)
    lease = Lease(cluster, node, job.request.tier or "", tuple(GpuShare(i, share) for i in indexes), price)
    started = NOW - 10
    return replace(
        job, phase=Phase.RUNNING, lease=lease, attempt=1, submitted_at=started, queued_at=started, admitted_at=started,
        began_at=started,
    )  # fmt: skip


def a_snapshot(*jobs: Job, platform: Platform | None = None, now: float = NOW, **changes: Any) -> Snapshot:
    return Snapshot(now, platform or a_platform(), jobs, **changes)


def placed(plan: Plan) -> dict[str, tuple[str, str, tuple[int, ...]]]:
    """What was admitted: job -> (cluster, node, GPU indexes)."""
    return {
        admission.job_id: (
            admission.lease.cluster,
            admission.lease.node,
            tuple(gpu.index for gpu in admission.lease.gpus),
        )
        for admission in plan.admissions
    }
