"""Puts the pods of an assignment into their topology, and says where quota would do but nodes do not.

Works on an assignment after its flavors are chosen. The trap: a workload that fits by quota but not in the topology is
asked about again as if no workload used anything; only if that fails too does it not fit at all, else it may preempt.
"""

from __future__ import annotations

from collections.abc import Iterable

from dure.core.queueing.kueue.assignment import FIT, NO_FIT, PREEMPT, Assignment, PodSetResult
from dure.core.queueing.kueue.domains import Ask, Spread, Used
from dure.core.queueing.kueue.objects import PodSet, Settings
from dure.core.queueing.kueue.snapshot import Info, Placed, QueueNode
from dure.core.queueing.kueue.topology import Unplaced

_EXPLICIT = ("required", "preferred", "unconstrained", "podSetSliceRequiredTopology", "podSetSliceSize")

Asks = dict[str, list[Ask]]


def asks_topology(podset: PodSet) -> bool:
    """Return whether a pod set itself asks for a place in a topology."""
    asked = podset.topology or {}
    return any(asked.get(key) is not None for key in _EXPLICIT) or bool(
        asked.get("podsetSliceRequiredTopologyConstraints")
    )


def asks_of(assignment: Assignment, info: Info, queue: QueueNode) -> Asks:
    """Return by flavor the pod sets that want a place; one that cannot even ask gets its error."""
    implied = queue.topology_only
    asks: Asks = {}
    for podset, one in zip(info.workload.pod_sets, assignment.pod_sets, strict=False):
        explicit = asks_topology(podset)
        if not (explicit or implied) or one.error or one.count == 0:
            continue
        flavors = sorted({choice.flavor for choice in one.flavors.values()} & queue.places.keys())
        if len(flavors) != 1:
            one.error = f"more than one TAS flavor assigned: {', '.join(flavors)}" if flavors else _none(queue)
            continue
        request = podset.topology or {}
        asks.setdefault(flavors[0], []).append(
            Ask(
                podset.name,
                one.count,
                podset.requests,
                request,
                not explicit,
                podset.tolerations,
                podset.node_selector,
                podset.affinity_terms,
            )
        )
    return asks


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


def place(assignment: Assignment, info: Info, queue: QueueNode, settings: Settings) -> None:
    """Give the pods of a fresh assignment their places, or lower its mode where there are none."""
    asks = asks_of(assignment, info, queue)
    assignment.settle()
    if assignment.mode == FIT:
        found = find(queue, asks, settings)
        if not isinstance(found, Unplaced):
            settle(assignment, found)
            return
        one = _of(assignment, found.name)
        one.reasons = (*one.reasons, found.reason)
        assignment.force_for([one], PREEMPT)
    if assignment.mode == PREEMPT:
        found = find(queue, asks, settings, empty=True)
        if isinstance(found, Unplaced):
            one = _of(assignment, found.name)
            flavors = {choice.flavor for choice in one.flavors.values()} & queue.places.keys()
            for attempt in one.attempts:
                if attempt.flavor in flavors:
                    attempt.mode, attempt.no_fit_reason = NO_FIT, "TopologyPlacementFailed"
            assignment.force_for([one], NO_FIT)
        else:
            names = {ask.name for members in asks.values() for ask in members}
            assignment.force_for([one for one in assignment.pod_sets if one.name in names], PREEMPT)


def place_after(assignment: Assignment, info: Info, queue: QueueNode, settings: Settings, *, leaving: bool) -> None:
    """Give a workload that preempts, or waits for somebody to preempt, the places that it reserves.

    The caller has taken the victims' usage out of the snapshot when some are `leaving`; else the nodes count as empty.
    """
    found = find(queue, asks_of(assignment, info, queue), settings, empty=not leaving)
    if not isinstance(found, Unplaced):
        settle(assignment, found)


def settle(assignment: Assignment, found: dict[str, Spread]) -> None:
    """Keep where the pods go."""
    for one in assignment.pod_sets:
        one.topology = found.get(one.name, one.topology)


def placed_in(assignment: Assignment, info: Info, queue: QueueNode) -> tuple[Placed, ...]:
    """Return what an assignment takes of the topologies' domains."""
    single = {podset.name: podset.requests for podset in info.workload.pod_sets}
    return tuple(
        (flavor, values, single.get(one.name, {}), count)
        for one in assignment.pod_sets
        for flavor in _flavors_of(one, queue)
        for values, count in one.topology
    )


def _flavors_of(one: PodSetResult, queue: QueueNode) -> Iterable[str]:
    return sorted({choice.flavor for choice in one.flavors.values()} & queue.places.keys())


def _of(assignment: Assignment, name: str) -> PodSetResult:
    return next(one for one in assignment.pod_sets if one.name == name)
