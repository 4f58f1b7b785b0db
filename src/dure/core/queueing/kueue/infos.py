"""A workload as the scheduler sees it: what its pods ask for or hold, and what makes two of them equal.

Derived once, when a workload comes or is taken over. The trap: a field that changes an assignment must be in the shape
(`_shape`), or two different workloads share an answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from dure.core.queueing.kueue.domains import Values
from dure.core.queueing.kueue.objects import Amounts, Gates, PodSet, PodSetAdmission, Workload
from dure.core.queueing.kueue.partial import can_shrink
from dure.core.queueing.kueue.quantity import UNLIMITED, add
from dure.core.queueing.kueue.rewriting import AS_REQUESTED, Rewriting


@dataclass(frozen=True, slots=True)
class Requests:
    """What a pod set asks for, or holds: the sum over its pods. `held` is what it was admitted with."""

    name: str
    count: int
    amounts: Mapping[str, int]
    flavors: Mapping[str, str] = field(default_factory=dict)
    held: PodSetAdmission | None = None

    def scaled(self, count: int) -> Requests:
        """Return the requests of so many pods."""
        if self.count in {0, count} or (self.held is not None and self.held.topology):
            return self
        amounts = {name: min(amount // self.count * count, UNLIMITED) for name, amount in self.amounts.items()}
        return Requests(self.name, count, amounts, self.flavors, self.held)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the flavors were scanned: per pod set and resource the last flavor tried, -1 when all were.

    `unfinished` tells whether there are flavors left to try.
    """

    tried: tuple[Mapping[str, int], ...]
    generation: int
    cycle: int
    shape: object
    unfinished: bool = field(init=False)

    def __post_init__(self) -> None:
        left = any(index != -1 for podset in self.tried for index in podset.values())
        object.__setattr__(self, "unfinished", left)

    def next_flavor(self, podset: int, resource: str) -> int:
        """Return the index of the flavor to try next."""
        if podset >= len(self.tried):
            return 0
        return self.tried[podset].get(resource, -1) + 1


Placed = tuple[str, Values, Mapping[str, int], int]
"""Pods in a topology: the flavor, the domain, what one pod requests, how many there are."""


@dataclass(eq=False, slots=True)
class Info:
    """A workload with what the scheduler derives from it and remembers about it; made by `info_of`."""

    workload: Workload
    queue: str
    requests: tuple[Requests, ...]
    priority: int
    shape: str | None = None
    progress: Progress | None = None
    local_usage: float | None = None
    evaluated_generation: int = 0
    nominated: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    usage: Amounts = field(default_factory=dict)
    evicted: bool = False
    key: str = ""
    order: tuple[int, int, str] | None = None
    reserved_ns: int | None = None
    shrinks: bool = False
    problem: str = ""
    placed: tuple[Placed, ...] = ()

    def uses(self, keys: Iterable[tuple[str, str]]) -> bool:
        """Return whether the workload holds one of these flavors and resources."""
        return not self.usage.keys().isdisjoint(keys)


def _counts(workload: Workload, gates: Gates) -> dict[str, int]:
    counts = {podset.name: podset.count for podset in workload.pod_sets}
    if gates.reclaimable_pods:
        for name, reclaimed in workload.reclaimable.items():
            if name in counts:
                counts[name] -= min(reclaimed, counts[name])
    return counts


def _requests(workload: Workload, gates: Gates, rewriting: Rewriting) -> tuple[Requests, ...]:
    counts = _counts(workload, gates)
    if workload.admission is None:
        return tuple([_scaled(one, counts[one.name], rewriting) for one in workload.pod_sets])
    full = {podset.name: podset.count for podset in workload.pod_sets}
    held = []
    for one in workload.admission.pod_sets:
        count = full.get(one.name, 0) if one.count is None else one.count
        amounts = {name: min(amount, UNLIMITED) for name, amount in one.usage.items()}
        requests = Requests(one.name, count, amounts, one.flavors)
        left = counts.get(one.name, 0)
        requests = requests.scaled(left) if left < count else requests
        held.append(replace(requests, held=one))
    return tuple(held)


def _scaled(one: PodSet, count: int, rewriting: Rewriting) -> Requests:
    counted = one.requests if rewriting is AS_REQUESTED else rewriting.counted(one.requests)
    return Requests(one.name, count, {name: min(amount * count, UNLIMITED) for name, amount in counted.items()})


def usage_of(requests: Iterable[Requests]) -> Amounts:
    """Return what these requests use of each flavor and resource; what has no flavor does not count."""
    usage: Amounts = {}
    for one in requests:
        for resource, amount in one.amounts.items():
            flavor = one.flavors.get(resource)
            if flavor:
                usage[flavor, resource] = add(usage.get((flavor, resource), 0), amount)
        for resource, flavor in one.flavors.items():
            if flavor and resource not in one.amounts:
                usage.setdefault((flavor, resource), 0)
    return usage


def _shape(workload: Workload, requests: tuple[Requests, ...], priority: int, gates: Gates) -> str:
    """Return what makes two workloads equal for scheduling, as a text, whose hash Python keeps."""
    pod_sets = [
        (
            podset.name,
            podset.shape or (podset.node_selector, podset.affinity_terms, podset.tolerations),
            one.count,
            sorted(one.amounts.items()),
            podset.min_count,
            podset.topology,
        )
        for podset, one in zip(workload.pod_sets, requests, strict=False)
    ]
    return repr((pod_sets, priority, workload.allowed_flavors if gates.concurrent_admission else None))


def _problem(workload: Workload) -> str:
    """Return what is wrong with the resources of its pods, for a message; the first kind of problem counts."""
    if not any(podset.problems or podset.misfits for podset in workload.pod_sets):
        return ""
    for told, found in (
        ("resources validation failed", [text for podset in workload.pod_sets for text in podset.problems]),
        (
            "resources didn't satisfy LimitRange constraints",
            [text for podset in workload.pod_sets for text in podset.misfits],
        ),
    ):
        if found:
            return f"{told}: {found[0] if len(found) == 1 else '[' + ', '.join(found) + ']'}"
    return ""


def placed_of(workload: Workload) -> tuple[Placed, ...]:
    """Return where the pods of an admitted workload are, as far as a topology placed them."""
    if workload.admission is None:
        return ()
    single = {podset.name: podset.requests for podset in workload.pod_sets}
    return tuple(
        (flavor, values, single.get(one.name, {}), count)
        for one in workload.admission.pod_sets
        if one.topology
        for flavor in sorted(set(one.flavors.values()))
        for values, count in one.topology
    )


def info_of(workload: Workload, gates: Gates, queue: str | None = None, rewriting: Rewriting = AS_REQUESTED) -> Info:
    """Return the record of a workload; `queue` is its cluster queue when it is not admitted."""
    requests = _requests(workload, gates, rewriting)
    name = queue or ""
    if workload.admission is not None and queue is None:
        name = workload.admission.cluster_queue
    priority = workload.priority + (workload.boost if gates.priority_boost else 0)
    shape = _shape(workload, requests, priority, gates) if gates.scheduling_hash else None
    reserved = workload.condition("QuotaReserved")
    return Info(
        workload=workload,
        queue=name,
        requests=requests,
        priority=priority,
        shape=shape,
        usage=usage_of(requests) if workload.admission is not None else {},
        evicted=workload.has("Evicted"),
        key=workload.key,
        reserved_ns=reserved.at_ns if reserved is not None and reserved.status else None,
        shrinks=can_shrink(workload.pod_sets),
        problem=_problem(workload),
        placed=placed_of(workload) if gates.topology and workload.admission is not None else (),
    )
