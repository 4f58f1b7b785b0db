"""The platform's queueing as Kueue's own documents, for a cluster that runs Kueue.

The trap: Kueue counts whole GPUs, so parts of one in a quota are left out; never is more promised than here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dure.core.model import WHOLE_GPU_MILLI, Job, Platform
from dure.core.queueing.compile import RESOURCE, TIER_LABEL, compiled
from dure.core.queueing.kueue.documents import to_document
from dure.core.queueing.kueue.domains import HOSTNAME
from dure.core.queueing.kueue.objects import FlavorResource, PodSet, PriorityClass, Quota, Topology, Workload
from dure.core.queueing.kueue.quantity import UNLIMITED

TOPOLOGY = "dure"


def kueue_documents(platform: Platform) -> list[dict[str, Any]]:
    """Return topology, flavors, cohorts, queues and priority classes as documents, in the order of their need."""
    objects = compiled(platform)
    past_use = platform.queueing.fair_sharing and platform.queueing.half_life_s > 0
    found: list[object] = [*objects.flavors, *objects.public]
    if platform.topology and platform.kueue is None:
        levels = tuple(level for level in platform.topology if level != HOSTNAME)
        private = (replace(flavor, topology=TOPOLOGY) for flavor in objects.flavors)
        found = [Topology(TOPOLOGY, (*levels, HOSTNAME)), *private, *objects.public]
    found += [replace(cohort, quotas=_whole(cohort.quotas)) for cohort in objects.cohorts]
    for queue in objects.queues:
        usage_based = past_use if platform.kueue is None else queue.usage_based
        found.append(replace(queue, quotas=_whole(queue.quotas), usage_based=usage_based))
    found += objects.local_queues
    found += [PriorityClass(one.name, one.value) for one in objects.priorities]
    return [to_document(one) for one in found]


def kueue_workload(platform: Platform, job: Job) -> dict[str, Any] | None:
    """Return a waiting job as a Workload document: a pod for each node; None for a part of a GPU."""
    request = job.request
    if request.node_milli % WHOLE_GPU_MILLI:
        return None
    levels = {"required": request.required_topology, "preferred": request.preferred_topology}
    topology: dict[str, Any] = {kind: level for kind, level in levels.items() if level is not None}
    if request.nodes > 1 and platform.topology and not topology:
        topology = {"unconstrained": True}
    pods = PodSet(
        "main",
        request.nodes,
        {RESOURCE: request.node_milli // WHOLE_GPU_MILLI},
        node_selector={} if request.tier is None else {TIER_LABEL: request.tier},
        topology=topology or None,
    )
    queue = next((queue.name for queue in platform.queues if queue.team == job.team), job.team)
    return to_document(Workload(job.team, job.id, queue=queue, pod_sets=(pods,), priority=job.priority_value))


def _whole(quotas: Mapping[FlavorResource, Quota]) -> dict[FlavorResource, Quota]:
    return {
        key: Quota(_gpus(quota.nominal), _limit(quota.borrowing_limit), _limit(quota.lending_limit))
        for key, quota in quotas.items()
    }


def _gpus(milli: int) -> int:
    return milli if milli == UNLIMITED else milli // WHOLE_GPU_MILLI


def _limit(milli: int | None) -> int | None:
    return None if milli is None else _gpus(milli)
