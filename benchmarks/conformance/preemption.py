"""Cases of preemption: candidates and their order, classical and fair targets."""

from __future__ import annotations

from collections.abc import Callable
from functools import cmp_to_key

from benchmarks.conformance.reading import (
    Case,
    Document,
    amounts_of,
    gates_of,
    named,
    nonzero,
    queue_of,
    same,
    with_all_flavors,
    word,
)
from dure.core.queueing.kueue.assignment import MODE_NAMES, Assignment, FlavorChoice, PodSetResult
from dure.core.queueing.kueue.candidates import Target, compare, satisfies
from dure.core.queueing.kueue.fair import QueueOrder
from dure.core.queueing.kueue.infos import info_of
from dure.core.queueing.kueue.objects import Gates, Settings
from dure.core.queueing.kueue.preemption import Preemptor, path_text, preemption_message
from dure.core.queueing.kueue.shapes import cohort_of, flavor_of, workload_of
from dure.core.queueing.kueue.snapshot import Snapshot, build
from dure.core.queueing.kueue.status import holds, preempted

NOW_NS = 2 * 10**18


def policy(case: Case) -> None:
    """TestSatisfiesPreemptionPolicy."""
    case.known("candidate", "policy", "preemptor", "want")
    gates = gates_of(case.tc)
    preemptor, candidate = (info_of(workload_of(case.tc.get(name) or {}), gates) for name in ("preemptor", "candidate"))
    got = satisfies(case.tc.get("policy", ""), preemptor, candidate, Settings(gates=gates))
    same("satisfied", case.tc.get("want", False), got)


def candidates_order(case: Case) -> None:
    """TestCandidatesOrdering."""
    case.known("candidates", "wantCandidates")
    gates = gates_of(case.tc)
    infos = []
    for one in case.tc.get("candidates") or ():
        info = info_of(workload_of(one["Obj"]), gates, one.get("ClusterQueue", ""))
        info.local_usage = one.get("LocalQueueFSUsage")
        infos.append(info)
    by_usage = gates.admission_fair_sharing
    infos.sort(key=cmp_to_key(lambda a, b: compare(a, b, "preemptor", NOW_NS, by_usage=by_usage)))
    same("order", case.tc.get("wantCandidates") or [], [info.workload.name for info in infos])


def _snapshot(case: Case, gates: Gates, *, name_as_uid: bool = False) -> Snapshot:
    infos = []
    for document in case.tc.get("admitted") or ():
        if name_as_uid:
            document["metadata"]["uid"] = document["metadata"]["name"]
        workload = workload_of(document)
        if holds(workload):
            infos.append(info_of(workload, gates))
    flavors = case.tc.get("flavors") or case.shared.get("flavors") or ()
    specs = [queue_of(one) for one in case.tc["clusterQueues"]]
    cohorts = [cohort_of(one) for one in case.tc.get("cohorts") or ()]
    return build(specs, cohorts, with_all_flavors(specs, map(flavor_of, flavors)), infos)


def _state(snapshot: Snapshot) -> object:
    return (
        {name: (nonzero(node.usage), set(node.workloads)) for name, node in snapshot.queues.items()},
        {name: nonzero(node.usage) for name, node in snapshot.cohorts.items()},
    )


def queue_order(case: Case) -> None:
    """TestMakeClusterQueueOrdering."""
    case.known("admitted", "candidateCQs", "clusterQueues", "cohorts", "preemptorCQ", "wantOrder", "actions")
    snapshot = _snapshot(case, gates_of(case.tc))
    wanted = set(case.tc.get("candidateCQs") or ())
    infos = [info for node in snapshot.queues.values() for info in node.workloads.values() if node.name in wanted]
    actions = case.tc.get("actions") or []
    order = QueueOrder(named("queue", snapshot.queues, case.tc["preemptorCQ"]), infos, NOW_NS)
    got: list[str] = []
    for queue in order:
        if len(actions) > len(got) and actions[len(got)] == "drop":
            order.drop(queue)
        else:
            order.pop(queue)
        got.append(queue.name)
    same("order", case.tc.get("wantOrder") or [], got)


def _assignment(document: Document) -> Assignment:
    pod_sets = [
        PodSetResult(
            one["Name"],
            one.get("Count", 0),
            {},
            {
                res: FlavorChoice(choice["Name"], MODE_NAMES.index(word(choice.get("Mode")) or "NoFit"))
                for res, choice in (one.get("Flavors") or {}).items()
            },
            reasons=("given",),
        )
        for one in document.get("PodSets") or ()
    ]
    usage = document.get("Usage", {}).get("Quota", {}).get("Assigned")
    return Assignment(pod_sets, amounts_of(usage))


def _targets(case: Case, snapshot: Snapshot, assignment: Assignment, settings: Settings) -> list[Target]:
    before = _state(snapshot)
    named("queue", snapshot.queues, case.tc["targetCQ"])
    incoming = info_of(workload_of(case.tc["incoming"]), settings.gates, case.tc["targetCQ"])
    targets = Preemptor(snapshot, settings, NOW_NS).targets(incoming, assignment)
    same("snapshot afterwards", before, _state(snapshot))
    return targets


def classical(case: Case) -> None:
    """TestPreemption and TestHierarchicalPreemptions: targets, and what they are told."""
    case.known(
        "admitted", "assignment", "clusterQueues", "cohorts", "incoming", "targetCQ", "wantPreempted", "wantWorkloads"
    )
    settings = Settings(gates=gates_of(case.tc))
    snapshot = _snapshot(case, settings.gates)
    targets = _targets(case, snapshot, _assignment(case.tc.get("assignment") or {}), settings)
    same("number preempted", case.tc.get("wantPreempted", 0), len(targets))
    incoming = workload_of(case.tc["incoming"])
    workloads = {one.key: one for one in map(workload_of, case.tc.get("admitted") or ())}
    own = path_text(snapshot.queues[case.tc["targetCQ"]])
    for target in targets:
        if target.info.evicted:
            continue
        told = preemption_message(incoming, target.reason, own, path_text(snapshot.queues[target.info.queue]))
        workloads[target.info.key] = preempted(workloads[target.info.key], target.reason, told, NOW_NS)
    wanted = {one.key: one for one in map(workload_of, case.tc.get("wantWorkloads") or ())}
    same("workloads", set(wanted), set(workloads))
    for key, one in wanted.items():
        same(f"conditions of {key}", _conditions(one), _conditions(workloads[key]))
        same(f"admission of {key}", one.admission, workloads[key].admission)
        same(f"checks of {key}", one.checks, workloads[key].checks)


def _conditions(workload: object) -> list[tuple[str, bool, str, str]]:
    found = getattr(workload, "conditions", ())
    return sorted((one.type, one.status, one.reason, one.message) for one in found)


def fair(case: Case) -> None:
    """TestFairPreemptions."""
    case.known(
        "admitted",
        "clusterQueues",
        "cohorts",
        "incoming",
        "targetCQ",
        "wantPreempted",
        "strategies",
        "flavors",
        "assignmentFlavor",
    )
    strategies = tuple(case.tc.get("strategies") or Settings().strategies)
    settings = Settings(gates=gates_of(case.tc), fair_sharing=True, strategies=strategies)
    snapshot = _snapshot(case, settings.gates, name_as_uid=True)
    choice = FlavorChoice(case.tc.get("assignmentFlavor") or "default", MODE_NAMES.index("Preempt"))
    assignment = Assignment([PodSetResult("main", 1, {}, {"cpu": choice}, reasons=("given",))])
    targets = _targets(case, snapshot, assignment, settings)
    wanted = case.tc.get("wantPreempted") or []
    same("preempted", sorted(wanted), sorted(f"{target.info.key}:{target.reason}" for target in targets))


PREEMPTION: dict[str, Callable[[Case], None]] = {
    "TestSatisfiesPreemptionPolicy": policy,
    "TestCandidatesOrdering": candidates_order,
    "TestMakeClusterQueueOrdering": queue_order,
    "TestPreemption": classical,
    "TestHierarchicalPreemptions": classical,
    "TestFairPreemptions": fair,
}
