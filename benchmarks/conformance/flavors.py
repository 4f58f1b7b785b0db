"""Cases of flavor assignment and of partial admission's search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.conformance.reading import (
    Case,
    Document,
    MismatchError,
    amounts_of,
    gates_of,
    parsed,
    queue_of,
    quota_document,
    same,
    with_all_flavors,
    word,
)
from dure.core.queueing.kueue.assigner import Assigner, is_preferred
from dure.core.queueing.kueue.assignment import (
    CAN_PREEMPT,
    FIT,
    MODE_NAMES,
    POSSIBILITY_NAMES,
    Assignment,
    Attempt,
    PodSetResult,
)
from dure.core.queueing.kueue.infos import Info, Requests, info_of
from dure.core.queueing.kueue.objects import Flavor, FlavorResource, Gates, Settings, Topology
from dure.core.queueing.kueue.partial import search
from dure.core.queueing.kueue.pods import pod_set_of
from dure.core.queueing.kueue.shapes import cohort_of, flavor_of, fungibility_of, machines_of, topology_of, workload_of
from dure.core.queueing.kueue.snapshot import QueueNode, build

Oracle = Callable[[QueueNode, Info, FlavorResource, int], tuple[int, int]]


def oracle_of(results: Mapping[str, Any] | None) -> Oracle:
    """Return an oracle that answers as the case says: by default that preemption within the queue would do."""
    known = {}
    for text, one in (results or {}).items():
        possibility = POSSIBILITY_NAMES.index(word(one.get("preemptionPossiblity")) or "NoCandidates")
        known[next(iter(amounts_of({text: {}})))] = (possibility, one.get("borrowingAfterSimulation", 0))
    return lambda _queue, _info, key, _amount: known.get(key, (CAN_PREEMPT, 0))


def _old_slice(document: Document | None, gates: Gates) -> Info | None:
    if not document:
        return None
    info = info_of(workload_of(document.get("Obj") or {}), gates)
    requests = tuple(
        Requests(
            one.get("Name", ""),
            one.get("Count", 0),
            {entry["name"]: entry["value"] for entry in one.get("Requests") or ()},
            one.get("Flavors") or {},
        )
        for one in document.get("TotalRequests") or ()
    )
    info.requests = requests
    return info


def _info(pods: list[Document], gates: Gates, **metadata: Any) -> Info:
    workload = workload_of({"metadata": {"name": "wl", **metadata}, "spec": {"podSets": pods}})
    return info_of(workload, gates)


def assign_flavors(case: Case) -> None:
    """TestAssignFlavors and TestDeletedFlavors."""
    case.known(
        "clusterQueue",
        "clusterQueueUsage",
        "secondaryClusterQueue",
        "secondaryClusterQueueUsage",
        "wlPods",
        "wlReclaimablePods",
        "wantAssignment",
        "wantRepMode",
        "enableFairSharing",
        "simulationResult",
        "preemptWorkloadSlice",
        "topologies",
        "nodes",
        "quotaCheckStrategy",
    )
    tc = case.tc
    gates = gates_of(tc)
    queues = [tc["clusterQueue"], *([tc["secondaryClusterQueue"]] if tc.get("secondaryClusterQueue") else [])]
    if case.shared:
        flavors = {name: flavor_of(one) for name, one in case.shared["resourceFlavors"].items()}
    else:
        flavors = {"flavor": Flavor("flavor")}
    machines = machines_of(tc.get("nodes") or ())
    specs = [queue_of(one) for one in queues]
    there = with_all_flavors(specs, flavors.values())
    snapshot = build(specs, (), there, topologies=_topologies(tc), machines=machines)
    queue = snapshot.queues[tc["clusterQueue"]["metadata"]["name"]]
    queue.take(amounts_of(tc.get("clusterQueueUsage")))
    if tc.get("secondaryClusterQueue"):
        other = snapshot.queues[tc["secondaryClusterQueue"]["metadata"]["name"]]
        other.take(amounts_of(tc.get("secondaryClusterQueueUsage")))
    document = {"metadata": {"name": "wl"}, "spec": {"podSets": tc.get("wlPods")}}
    document["status"] = {"reclaimablePods": tc.get("wlReclaimablePods")}
    info = info_of(workload_of(document), gates)
    ignores = tc.get("quotaCheckStrategy") == "IgnoreUndeclared"
    settings = Settings(gates=gates, fair_sharing=bool(tc.get("enableFairSharing")), ignore_undeclared=ignores)
    oracle = oracle_of(tc.get("simulationResult"))
    replaced = _old_slice(tc.get("preemptWorkloadSlice"), gates)
    got = Assigner(info, queue, flavors, oracle, settings, 0, replaced).assign()
    same("mode", word(tc.get("wantRepMode")) or "NoFit", MODE_NAMES[got.mode])
    _same_assignment(tc.get("wantAssignment") or {}, got)


def _topologies(tc: Document) -> list[Topology]:
    return [topology_of(one) for one in tc.get("topologies") or ()]


def _same_assignment(wanted: Document, got: Assignment) -> None:
    usage = wanted.get("Usage", {}).get("Quota", {}).get("Assigned")
    same("usage", amounts_of(usage), got.usage)
    same("borrowing", wanted.get("Borrowing", 0), got.borrowing)
    same("reason", wanted.get("NoFitReason", ""), got.no_fit_reason)
    pod_sets = wanted.get("PodSets") or []
    same("pod sets", [one["Name"] for one in pod_sets], [one.name for one in got.pod_sets])
    for one, result in zip(pod_sets, got.pod_sets, strict=True):
        flavors = {
            resource: (choice.get("Name", ""), word(choice.get("Mode")) or "NoFit", choice.get("TriedFlavorIdx", 0))
            for resource, choice in (one.get("Flavors") or {}).items()
        }
        same(
            f"flavors of {one['Name']}",
            flavors,
            {res: (choice.flavor, MODE_NAMES[choice.mode], choice.tried) for res, choice in result.flavors.items()},
        )
        status = one.get("Status") or {}
        same(f"error of {one['Name']}", status.get("err") or "", result.error)
        same(f"reasons of {one['Name']}", sorted(status.get("reasons") or ()), sorted(result.reasons))
        same(f"count of {one['Name']}", one.get("Count", 0), result.count)
        same(f"requests of {one['Name']}", parsed(one.get("Requests")), dict(result.requests))
        _same_attempts(one, result)


def _same_attempts(wanted: Document, result: PodSetResult) -> None:
    if not wanted.get("FlavorAssignmentAttempts"):
        return
    by_flavor = {one["Flavor"]: one for one in wanted["FlavorAssignmentAttempts"]}
    got = {one.flavor: one for one in result.attempts}
    fits = any(one.mode == FIT for one in got.values())
    for flavor in got if fits else by_flavor:
        if flavor not in by_flavor or flavor not in got:
            raise MismatchError(
                f"attempts of {wanted['Name']}: {flavor} is in only one of {set(by_flavor)}, {set(got)}"
            )
        expected = by_flavor[flavor]
        if fits and got[flavor].mode == FIT and _only_not_provided(expected):
            continue
        same(f"attempt of {flavor}", _attempt(expected), _shown(got[flavor]))


def _only_not_provided(one: Document) -> bool:
    reasons = one.get("Reasons") or []
    no_fit = (word(one.get("Mode")) or "NoFit") == "NoFit"
    return no_fit and bool(reasons) and all("does not provide resource" in text for text in reasons)


def _attempt(one: Document) -> tuple[object, ...]:
    possibility = word(one.get("PreemptionPossibility")) or None
    reasons = tuple(one.get("Reasons") or ())
    mode = word(one.get("Mode")) or "NoFit"
    return mode, one.get("Borrow", 0), possibility, reasons, one.get("NoFitReason", "")


def _shown(one: Attempt) -> tuple[object, ...]:
    possibility = None if one.possibility is None else POSSIBILITY_NAMES[one.possibility]
    return MODE_NAMES[one.mode], one.borrow, possibility, one.reasons, one.no_fit_reason


def allowed_flavors(case: Case) -> None:
    """TestAssignFlavorsWithAllowedFlavors: variants of a workload that may use certain flavors only."""
    case.known("allowedFlavors", "wantFlavor", "wantRepMode")
    gates = gates_of(case.tc, concurrent_admission=True)
    document = quota_document("cq", [("f1", {"cpu": "10"}), ("f2", {"cpu": "10"}), ("occupied", {"cpu": "1"})])
    queue = build([queue_of(document)]).queues["cq"]
    flavors = {name: Flavor(name) for name in ("f1", "f2", "occupied")}
    metadata: Document = {}
    if "allowedFlavors" in case.tc:
        key = "kueue.x-k8s.io/workload-allowed-resource-flavors"
        metadata["annotations"] = {key: ",".join(case.tc["allowedFlavors"] or ())}
    info = _info([_pods({"cpu": "2"})], gates, **metadata)
    got = Assigner(info, queue, flavors, oracle_of(None), Settings(gates=gates)).assign()
    same("mode", word(case.tc.get("wantRepMode")) or "NoFit", MODE_NAMES[got.mode])
    if got.mode == FIT:
        same("flavor", case.tc.get("wantFlavor", ""), got.pod_sets[0].flavors["cpu"].flavor)


def _pods(requests: Mapping[str, str]) -> Document:
    spec = {"containers": [{"name": "c", "resources": {"requests": dict(requests)}}]}
    return {"name": "main", "count": 1, "template": {"spec": spec}}


def _same_choice(case: Case, got: Assignment) -> None:
    same("mode", word(case.tc.get("wantMode")) or "NoFit", MODE_NAMES[got.mode])
    chosen = {resource: choice.flavor for resource, choice in got.pod_sets[0].flavors.items()}
    same("flavors", case.tc.get("wantAssigment") or {}, chosen)


def reclaim_first(case: Case) -> None:
    """TestReclaimBeforePriorityPreemption."""
    case.known(
        "flavorFungibility",
        "otherClusterQueueUsage",
        "simulationResult",
        "testClusterQueueUsage",
        "wantAssigment",
        "wantMode",
        "workloadRequests",
    )
    names = ("uno", "due", "tre")
    own = quota_document(
        "test-clusterqueue",
        [(name, {"compute": "10", "gpu": "10"}) for name in names],
        cohortName="cohort",
        preemption={"withinClusterQueue": "LowerPriority", "reclaimWithinCohort": "LowerPriority"},
        flavorFungibility=case.tc.get("flavorFungibility") or {"whenCanPreempt": "TryNextFlavor"},
    )
    other = quota_document(
        "other-clusterqueue", [(name, {"compute": "0", "gpu": "0"}) for name in names], cohortName="cohort"
    )
    _same_choice(case, _assigned(case, [own, other], [], names))


def _assigned(case: Case, queues: list[Document], cohorts: list[Document], names: tuple[str, ...]) -> Assignment:
    gates = gates_of(case.tc)
    specs = [queue_of(one) for one in queues]
    snapshot = build(specs, [cohort_of(one) for one in cohorts], with_all_flavors(specs))
    snapshot.queues["other-clusterqueue"].take(amounts_of(case.tc.get("otherClusterQueueUsage")))
    queue = snapshot.queues["test-clusterqueue"]
    queue.take(amounts_of(case.tc.get("testClusterQueueUsage")))
    info = _info([case.tc["workloadRequests"]["PodSet"]], gates)
    oracle = oracle_of(case.tc.get("simulationResult"))
    flavors = {name: Flavor(name) for name in names}
    return Assigner(info, queue, flavors, oracle, Settings(gates=gates)).assign()


def hierarchical(case: Case) -> None:
    """TestHierarchical: flavors that are owned at different heights of a chain of cohorts."""
    case.known(
        "flavorFungibility",
        "otherClusterQueueUsage",
        "simulationResult",
        "testClusterQueueFlavors",
        "testClusterQueueUsage",
        "wantAssigment",
        "wantMode",
        "workloadRequests",
    )
    names = ("one", "two", "three")
    cohorts = []
    for name, parent in (("three", None), ("two", "three"), ("one", "two")):
        spec = dict(quota_document(name, [(name, {"cpu": "4"})])["spec"], parentName=parent)
        cohorts.append({"metadata": {"name": name}, "spec": spec})
    own = quota_document(
        "test-clusterqueue",
        [],
        cohortName="one",
        preemption={"withinClusterQueue": "LowerPriority", "reclaimWithinCohort": "LowerPriority"},
        flavorFungibility=case.tc.get("flavorFungibility") or {"whenCanPreempt": "TryNextFlavor"},
        groups=[{"coveredResources": ["cpu"], "flavors": case.tc["testClusterQueueFlavors"]}],
    )
    other = quota_document("other-clusterqueue", [(name, {"cpu": "0"}) for name in names], cohortName="two")
    _same_choice(case, _assigned(case, [own, other], cohorts, names))


def preferred(case: Case) -> None:
    """TestIsPreferred: which of two grades is better."""
    case.known("a", "b", "config", "wantPreferred")

    def grade(name: str) -> tuple[int, int]:
        one = case.tc.get(name) or {}
        return one.get("preemptionMode", 0), one.get("borrowingLevel", 0)

    fungibility = fungibility_of(case.tc.get("config") or {})
    same("preferred", case.tc.get("wantPreferred", False), is_preferred(grade("a"), grade("b"), fungibility))


def no_fit_reasons(case: Case) -> None:
    """TestIsNoFitDueToCapacityAndLimits: why nothing fits, per flavor and in all."""
    case.known(
        "podSet",
        "resourceFlavors",
        "wantFlavorAttempts",
        "wantNoFitReason",
        "replaceWl",
        "cq",
        "cqUsage",
        "topologies",
        "siblingCQs",
        "siblingCQUsage",
        "simulationResult",
        "allowedFlavors",
    )
    tc = case.tc
    gates = gates_of(tc)
    default = quota_document(
        "cq",
        [(name, {"cpu": {"nominalQuota": "2", "borrowingLimit": "4"}}) for name in ("flavor-a", "flavor-b")],
    )
    own = tc.get("cq") or default
    documents = tc.get("resourceFlavors") or case.shared["resourceFlavors"]
    flavors = {name: flavor_of(one) for name, one in documents.items()}
    specs = [queue_of(one) for one in (own, *(tc.get("siblingCQs") or ()))]
    snapshot = build(specs, (), with_all_flavors(specs, flavors.values()), topologies=_topologies(tc))
    queue = snapshot.queues[own["metadata"]["name"]]
    queue.take(amounts_of(tc.get("cqUsage")))
    for name, usage in (tc.get("siblingCQUsage") or {}).items():
        snapshot.queues[name].take(amounts_of(usage))
    metadata: Document = {}
    if tc.get("allowedFlavors"):
        metadata["annotations"] = {"kueue.x-k8s.io/workload-allowed-resource-flavors": ",".join(tc["allowedFlavors"])}
    info = _info([tc["podSet"]], gates, **metadata)
    oracle = oracle_of(tc.get("simulationResult"))
    replaced = _old_slice(tc.get("replaceWl"), gates)
    got = Assigner(info, queue, flavors, oracle, Settings(gates=gates), 0, replaced).assign()
    same("reason", tc.get("wantNoFitReason", ""), got.no_fit_reason)
    wanted = tc.get("wantFlavorAttempts") or {}
    for attempt in got.pod_sets[0].attempts:
        if attempt.flavor in wanted:
            same(f"reason of {attempt.flavor}", wanted[attempt.flavor], attempt.no_fit_reason)


def partial_search(case: Case) -> None:
    """TestSearch: the largest counts that are accepted."""
    case.known("podSets", "countLimit", "wantCount", "wantFound")
    limit = case.tc.get("countLimit", 0)
    pod_sets = [pod_set_of(one) for one in case.tc.get("podSets") or ()]
    found = search(pod_sets, lambda counts: sum(counts) if sum(counts) <= limit else None)
    same("found", case.tc.get("wantFound", False), found is not None)
    same("count", case.tc.get("wantCount", 0), found or 0)


FLAVORS: dict[str, Callable[[Case], None]] = {
    "TestAssignFlavors": assign_flavors,
    "TestDeletedFlavors": assign_flavors,
    "TestAssignFlavorsWithAllowedFlavors": allowed_flavors,
    "TestReclaimBeforePriorityPreemption": reclaim_first,
    "TestHierarchical": hierarchical,
    "TestIsPreferred": preferred,
    "TestIsNoFitDueToCapacityAndLimits": no_fit_reasons,
    "TestSearch": partial_search,
}
