"""What is wrong with a set of Kueue's objects, each problem with its place and what mends it.

Objects with problems still work as Kueue works with them (a queue with an unknown flavor is inactive); this names what
a person should mend first. The trap: some problems only show between objects, so all are given at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dure.core.queueing.kueue.objects import ClusterQueue, Cohort, Flavor, FlavorResource, LocalQueue, Quota


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: the object and field, what is wrong there, and what mends it."""

    place: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}; {self.remedy}"


def problems_of(
    flavors: Sequence[Flavor],
    queues: Sequence[ClusterQueue],
    cohorts: Sequence[Cohort] = (),
    local_queues: Sequence[LocalQueue] = (),
    topologies: Collection[str] | None = None,
) -> tuple[Problem, ...]:
    """Return the problems of these objects; topologies are checked when their names are given."""
    found: list[Problem] = []
    for kind, names in (
        ("ResourceFlavor", [one.name for one in flavors]),
        ("ClusterQueue", [one.name for one in queues]),
        ("Cohort", [one.name for one in cohorts]),
        ("LocalQueue", [one.key for one in local_queues]),
    ):
        found += _twice(kind, names)
    known = {flavor.name for flavor in flavors}
    for flavor in flavors:
        if topologies is not None and flavor.topology is not None and flavor.topology not in topologies:
            told = f"Topology {flavor.topology} does not exist"
            found.append(Problem(f"ResourceFlavor {flavor.name} topologyName", told, "create it or drop the field"))
    for queue in queues:
        found += _of_queue(queue, known)
    for cohort in cohorts:
        place = f"Cohort {cohort.name}"
        found += _of_quotas(place, cohort.quotas, known, alone=cohort.parent is None)
        found += _of_weight(place, cohort.weight)
    found += _cycles(cohorts)
    targets = {queue.name for queue in queues}
    for door in local_queues:
        if door.cluster_queue not in targets:
            told = f"ClusterQueue {door.cluster_queue} does not exist"
            found.append(Problem(f"LocalQueue {door.key} clusterQueue", told, "name one that does"))
        found += _of_weight(f"LocalQueue {door.key}", door.weight)
    return tuple(found)


def _twice(kind: str, names: Iterable[str]) -> Iterator[Problem]:
    for name, count in Counter(names).items():
        if count > 1:
            yield Problem(f"{kind} {name}", f"there are {count} of this name", "rename all but one")


def _of_queue(queue: ClusterQueue, flavors: Collection[str]) -> Iterator[Problem]:
    place = f"ClusterQueue {queue.name}"
    resources = Counter(name for group in queue.groups for name in group.covered)
    for name, count in resources.items():
        if count > 1:
            told = f"resource {name} is covered by {count} resource groups"
            yield Problem(f"{place} resourceGroups", told, "cover it in one")
    for name, count in Counter(name for group in queue.groups for name in group.flavors).items():
        if count > 1:
            told = f"flavor {name} is in {count} resource groups"
            yield Problem(f"{place} resourceGroups", told, "list it in one")
    yield from _of_quotas(place, queue.quotas, flavors, alone=queue.cohort is None)
    yield from _of_weight(place, queue.weight)
    if queue.preemption.reclaim == "Never" and queue.preemption.borrow_policy not in {None, "", "Never"}:
        told = "borrowWithinCohort is set while reclaimWithinCohort is Never"
        yield Problem(f"{place} preemption", told, "set reclaimWithinCohort, or drop borrowWithinCohort")


def _of_quotas(
    place: str, quotas: Mapping[FlavorResource, Quota], flavors: Collection[str], *, alone: bool
) -> Iterator[Problem]:
    for name in dict.fromkeys(flavor for flavor, _ in quotas):
        if name not in flavors:
            told = f"ResourceFlavor {name} does not exist"
            yield Problem(f"{place} flavor {name}", told, "create it, or take it out of the queue")
    for (flavor, resource), quota in quotas.items():
        at = f"{place} {flavor}/{resource}"
        for field, amount in (
            ("nominalQuota", quota.nominal),
            ("borrowingLimit", quota.borrowing_limit),
            ("lendingLimit", quota.lending_limit),
        ):
            if amount is not None and amount < 0:
                yield Problem(f"{at} {field}", f"{amount} is less than 0", "write 0 or more")
        if alone and quota.borrowing_limit is not None:
            yield Problem(
                f"{at} borrowingLimit", "there is no cohort to borrow from", "name a cohort, or drop the limit"
            )
        if alone and quota.lending_limit is not None:
            yield Problem(f"{at} lendingLimit", "there is no cohort to lend to", "name a cohort, or drop the limit")
        if quota.lending_limit is not None and quota.lending_limit > quota.nominal and place.startswith("ClusterQueue"):
            told = f"lends {quota.lending_limit} but owns {quota.nominal}"
            yield Problem(f"{at} lendingLimit", told, "lend at most the nominal quota")


def _of_weight(place: str, weight: float) -> Iterator[Problem]:
    if weight < 0:
        yield Problem(f"{place} fairSharing.weight", f"{weight:g} is less than 0", "write 0 or more")


def _cycles(cohorts: Sequence[Cohort]) -> Iterator[Problem]:
    parents = {cohort.name: cohort.parent for cohort in cohorts}
    told: set[str] = set()
    for name in parents:
        path: list[str] = []
        at: str | None = name
        while at is not None and at not in path and at not in told:
            path.append(at)
            at = parents.get(at)
        if at is not None and at in path:
            ring = [*path[path.index(at) :], at]
            text = " → ".join(ring)
            yield Problem(
                f"Cohort {at} parentName", f"cohorts are their own parents: {text}", "take one parentName out"
            )
        told.update(path)
