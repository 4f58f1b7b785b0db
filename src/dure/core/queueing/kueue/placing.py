"""Puts the pods of an assignment into their topology, and says where quota would do but nodes do not.

Works on an assignment after its flavors are chosen. The trap: a workload that fits by quota but not in the topology is
asked about again as if no workload used anything; only if that fails too does it not fit at all, else it may preempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dure.core.queueing.kueue.assignment import FIT, NO_FIT, PREEMPT, Assignment, PodSetResult
from dure.core.queueing.kueue.domains import Ask, Spread, Used
from dure.core.queueing.kueue.infos import Info, Placed
from dure.core.queueing.kueue.objects import Admission, PodSet, Settings
from dure.core.queueing.kueue.second import PENDING, READY
from dure.core.queueing.kueue.snapshot import QueueNode
from dure.core.queueing.kueue.topology import Unplaced

_EXPLICIT = ("required", "preferred", "unconstrained", "podSetSliceRequiredTopology", "podSetSliceSize")

Asks = dict[str, list[Ask]]


def asks_topology(podset: PodSet) -> bool:
    """Return whether a pod set itself asks for a place in a topology."""
    asked = podset.topology or {}
    return any(asked.get(key) is not None for key in _EXPLICIT) or bool(
        asked.get("podsetSliceRequiredTopologyConstraints")
    )


def asks_of(
    assignment: Assignment, info: Info, queue: QueueNode, settings: Settings, replaced: Info | None = None
) -> Asks:
    """Return by flavor the pod sets that want a place; one that cannot even ask gets its error.

    One that has its place already does not ask, unless a node of it failed. `replaced` is the slice before.
    """
    asks: Asks = {}
    for podset, one in zip(info.workload.pod_sets, assignment.pod_sets, strict=False):
        wants = asks_topology(podset) or queue.topology_only
        placed = one.topology and not _on_failed(one.topology, info)
        if not wants or placed or one.error or one.count == 0:
            continue
        elastic = info.workload.elastic and settings.gates.elastic_slices and settings.gates.elastic_slices_topology
        flavors = sorted({choice.flavor for choice in one.flavors.values()} & queue.places.keys())
        one.error = _refusal(podset, flavors, queue, elastic=elastic)
        if one.error:
            continue
        if queue.remote or (info.reserved_ns is None and flavors[0] in queue.provisioned):
            one.delayed = PENDING
            continue
        if info.workload.unhealthy and not one.topology:
            continue  # after a node failed only what stood on it is placed, whatever else asks
        before = replaced.workload.admission if replaced is not None and elastic else None
        asks.setdefault(flavors[0], []).append(_ask(podset, one, info, before))
    return asks


def _refusal(podset: PodSet, flavors: list[str], queue: QueueNode, *, elastic: bool) -> str:
    """Return why a pod set cannot even ask for a place; empty when it can."""
    for kind in ("required", "preferred") if elastic else ():
        if (podset.topology or {}).get(kind) is not None:
            return f"{kind} topology is not supported with ElasticJobsViaWorkloadSlices"
    if len(flavors) == 1:
        return ""
    return f"more than one TAS flavor assigned: {', '.join(flavors)}" if flavors else _none(queue)


def _ask(podset: PodSet, one: PodSetResult, info: Info, before: Admission | None) -> Ask:
    tolerations, selector = _updated(podset, info)
    previous = () if before is None else [old.topology for old in before.pod_sets if old.name == podset.name]
    return Ask(
        name=podset.name,
        count=one.count,
        requests=podset.requests,
        request=podset.topology or {},
        implied=not asks_topology(podset),
        tolerations=tolerations,
        selector=selector,
        affinity=podset.affinity_terms,
        preferred=podset.preferred_terms,
        held=one.topology or None,
        failed=info.workload.unhealthy[0] if one.topology else "",
        pinned=info.workload.owned_by_pod,
        previous=(previous[0] or None) if previous else None,
    )


def _on_failed(spread: Spread, info: Info) -> bool:
    return any(values[-1] in info.workload.unhealthy for values, _ in spread)


def _updated(podset: PodSet, info: Info) -> tuple[tuple[Mapping[str, Any], ...], dict[str, str]]:
    """Return what the pods tolerate and which nodes they select, with what ready admission checks add."""
    tolerations, selector = list(podset.tolerations), dict(podset.node_selector)
    for check in info.workload.checks:
        for update in check.updates if check.state == READY else ():
            if update.get("name") == podset.name:
                selector |= update.get("nodeSelector") or {}
                tolerations += [one for one in update.get("tolerations") or () if one not in tolerations]
    return tuple(tolerations), selector


def _none(queue: QueueNode) -> str:
    return (
        "no TAS flavor assigned"
        if queue.places
        else "workload requires Topology, but there is no TAS cache information"
    )


def find(queue: QueueNode, asks: Asks, settings: Settings, *, empty: bool = False) -> dict[str, Spread] | Unplaced:
    """Return where all pods go, or the first pod set that finds no place."""
    shared: Used = {}
    found: dict[str, Spread] = {}
    for flavor in sorted(asks):
        places = queue.places[flavor]
        assumed = shared if places.by_node and settings.gates.topology_overlapping else {}
        result = places.place(asks[flavor], empty=empty, gates=settings.gates, assumed=assumed)
        if isinstance(result, Unplaced):
            return result
        found.update(result)
    return found


def place(
    assignment: Assignment, info: Info, queue: QueueNode, settings: Settings, replaced: Info | None = None
) -> None:
    """Give the pods of a fresh assignment their places, or lower its mode where there are none."""
    asks = asks_of(assignment, info, queue, settings, replaced)
    assignment.settle()
    if assignment.mode == FIT:
        found = find(queue, asks, settings)
        if not isinstance(found, Unplaced):
            settle(assignment, found)
            return
        one = _of(assignment, found.name)
        one.reasons = (*one.reasons, found.reason)
        assignment.force_for([one], PREEMPT)
    if assignment.mode == PREEMPT and not info.workload.unhealthy:
        found = find(queue, asks, settings, empty=True)
        if isinstance(found, Unplaced):
            one = _of(assignment, found.name)
            flavors = {choice.flavor for choice in one.flavors.values()} & queue.places.keys()
            for attempt in one.attempts:
                if attempt.flavor in flavors and settings.gates.observability:
                    attempt.mode, attempt.no_fit_reason = NO_FIT, "TopologyPlacementFailed"
            assignment.force_for([one], NO_FIT)
        else:
            names = {ask.name for members in asks.values() for ask in members}
            assignment.force_for([one for one in assignment.pod_sets if one.name in names], PREEMPT)


def place_after(assignment: Assignment, info: Info, queue: QueueNode, settings: Settings, *, leaving: bool) -> None:
    """Give a workload that preempts, or waits for somebody to preempt, the places that it reserves.

    The caller has taken the victims' usage out of the snapshot when some are `leaving`; else the nodes count as empty.
    """
    found = find(queue, asks_of(assignment, info, queue, settings), settings, empty=not leaving)
    if not isinstance(found, Unplaced):
        settle(assignment, found)


def settle(assignment: Assignment, found: dict[str, Spread]) -> None:
    """Keep where the pods go."""
    for one in assignment.pod_sets:
        one.topology = found.get(one.name, one.topology)
        if one.delayed is not None and found.get(one.name):
            one.delayed = READY


def placed_in(assignment: Assignment, info: Info, queue: QueueNode) -> tuple[Placed, ...]:
    """Return what an assignment takes of the topologies' domains, beside what the workload has there already."""
    single = {podset.name: podset.requests for podset in info.workload.pod_sets}
    held = info.workload.admission
    there = {one.name: dict(one.topology) for one in held.pod_sets} if held is not None else {}
    return tuple(
        (flavor, values, single.get(one.name, {}), count - there.get(one.name, {}).get(values, 0))
        for one in assignment.pod_sets
        for flavor in _flavors_of(one, queue)
        for values, count in one.topology
        if count > there.get(one.name, {}).get(values, 0)
    )


def levels_of(one: PodSetResult, queue: QueueNode) -> tuple[str, ...]:
    """Return the levels by which the domains of a placed pod set are named."""
    where = next((queue.places[flavor] for flavor in _flavors_of(one, queue)), None)
    if not one.topology or where is None:
        return ()
    return where.levels[-1:] if where.by_node else where.levels


def _flavors_of(one: PodSetResult, queue: QueueNode) -> Iterable[str]:
    return sorted({choice.flavor for choice in one.flavors.values()} & queue.places.keys())


def _of(assignment: Assignment, name: str) -> PodSetResult:
    return next(one for one in assignment.pod_sets if one.name == name)
