"""The platform's queueing as Kueue's own documents, for a cluster that runs Kueue.

The trap: Kueue counts whole GPUs, so parts of one in a quota are left out; never is more promised than here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dure.core.model import WHOLE_GPU_MILLI, Platform
from dure.core.queueing.compile import compiled
from dure.core.queueing.kueue.documents import to_document
from dure.core.queueing.kueue.objects import FlavorResource, PriorityClass, Quota
from dure.core.queueing.kueue.quantity import UNLIMITED


def kueue_documents(platform: Platform) -> list[dict[str, Any]]:
    """Return flavors, cohorts, queues and priority classes as documents, in the order in which they need each other."""
    objects = compiled(platform)
    past_use = platform.queueing.fair_sharing and platform.queueing.half_life_s > 0
    found: list[object] = [*objects.flavors, *objects.public]
    found += [replace(cohort, quotas=_whole(cohort.quotas)) for cohort in objects.cohorts]
    for queue in objects.queues:
        usage_based = past_use if platform.kueue is None else queue.usage_based
        found.append(replace(queue, quotas=_whole(queue.quotas), usage_based=usage_based))
    found += objects.local_queues
    found += [PriorityClass(one.name, one.value) for one in objects.priorities]
    return [to_document(one) for one in found]


def _whole(quotas: Mapping[FlavorResource, Quota]) -> dict[FlavorResource, Quota]:
    return {
        key: Quota(_gpus(quota.nominal), _limit(quota.borrowing_limit), _limit(quota.lending_limit))
        for key, quota in quotas.items()
    }


def _gpus(milli: int) -> int:
    return milli if milli == UNLIMITED else milli // WHOLE_GPU_MILLI


def _limit(milli: int | None) -> int | None:
    return None if milli is None else _gpus(milli)
