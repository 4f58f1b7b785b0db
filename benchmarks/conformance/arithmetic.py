"""Cases of quota arithmetic, shares and snapshots."""

from __future__ import annotations

from typing import Any

from benchmarks.conformance.reading import (
    Case,
    Document,
    UnsupportedError,
    amounts_of,
    gates_of,
    key_of,
    named,
    nonzero,
    queue_of,
    quota_document,
    same,
    with_all_flavors,
)
from dure.core.queueing.kueue.infos import info_of
from dure.core.queueing.kueue.objects import Gates, Quota
from dure.core.queueing.kueue.quantity import parse_float
from dure.core.queueing.kueue.shapes import cohort_of, flavor_of, machine_of, topology_of, workload_of
from dure.core.queueing.kueue.snapshot import Snapshot, build
from dure.core.queueing.kueue.status import holds
from dure.core.queueing.kueue.tree import Group, Node, Share


def available(case: Case) -> None:
    """TestAvailable: what queues may take before, during and after usage."""
    case.known("clusterQueues", "cohorts", "wantAvailable", "wantPotentiallyAvailable", "usage")
    tc = case.tc
    specs = [queue_of(one) for one in tc["clusterQueues"]]
    snapshot = build(
        specs, [cohort_of(one) for one in tc.get("cohorts") or ()], with_all_flavors(specs), (), frozenset()
    )
    now = {name: amounts_of(one) for name, one in (tc.get("wantAvailable") or {}).items()}
    most = {name: amounts_of(one) for name, one in (tc.get("wantPotentiallyAvailable") or {}).items()}
    _same_available(snapshot, most, most, "before")
    for name, usage in (tc.get("usage") or {}).items():
        snapshot.queues[name].take(amounts_of(usage))
    _same_available(snapshot, now, most, "with usage")
    for name, usage in (tc.get("usage") or {}).items():
        snapshot.queues[name].give(amounts_of(usage))
    _same_available(snapshot, most, most, "after")


def _same_available(snapshot: Snapshot, now: Document, most: Document, when: str) -> None:
    active = {name: node for name, node in snapshot.queues.items() if node.active}
    got = {name: {key: node.available(key) for key in node.quotas} for name, node in active.items()}
    same(f"available {when}", now, got)
    got = {name: {key: node.potential(key) for key in node.quotas} for name, node in active.items()}
    same(f"potentially available {when}", most, got)


def dominant_share(case: Case) -> None:
    """TestDominantResourceShare: the share of every queue and cohort."""
    case.known("clusterQueue", "lendingClusterQueue", "cohorts", "usage", "flvResQ", "want")
    tc = case.tc
    queues = [tc["clusterQueue"], *([tc["lendingClusterQueue"]] if tc.get("lendingClusterQueue") else [])]
    specs = [queue_of(one) for one in queues]
    snapshot = build(
        specs, [cohort_of(one) for one in tc.get("cohorts") or ()], with_all_flavors(specs), (), frozenset()
    )
    named("queue", snapshot.queues, "cq").take(amounts_of(tc.get("usage")))
    more = amounts_of(tc.get("flvResQ"))
    got = set()
    nodes: list[tuple[Node, bool]] = [(node, False) for node in snapshot.queues.values() if node.active]
    nodes += [(node, True) for node in snapshot.cohorts.values()]
    for node, is_cohort in nodes:
        share = node.share(more)
        got.add((node.name, is_cohort, share.rounded, share.resource, share.borrowing))
    wanted = {
        (
            one.get("Name", ""),
            bool(one.get("NodeType", False)),
            one.get("DrValue", 0),
            one.get("DrName", ""),
            one.get("Borrowing", False),
        )
        for one in tc.get("want") or ()
    }
    same("shares", wanted, got)


def share_text(case: Case) -> None:
    """TestPreciseWeightedShareSerialized: how a share is written."""
    case.known("drs", "want")
    drs = case.tc.get("drs") or {}
    share = Share(weight=drs.get("fairWeight", 0), ratio=drs.get("unweightedRatio", 0))
    same("text", case.tc.get("want", ""), share.text)


def borrowing_on(case: Case) -> None:
    """TestIsBorrowingOn: whether what is borrowed is what is requested."""
    case.known("usage", "requestedFRs", "wantBorrowing", "wantBorrowingOnRequested")
    own = quota_document("cq", [("default", {"cpu": "2", "example.com/gpu": "5"})], cohortName="cohort")
    lender = quota_document("lending-cq", [("default", {"cpu": "8", "example.com/gpu": "5"})], cohortName="cohort")
    snapshot = build([queue_of(own), queue_of(lender)])
    queue = snapshot.queues["cq"]
    queue.take(amounts_of(case.tc.get("usage")))
    share = queue.share()
    same("borrowing", case.tc.get("wantBorrowing", False), share.borrowing)
    asked = amounts_of(case.tc.get("requestedFRs"))
    same("borrowing what is requested", case.tc.get("wantBorrowingOnRequested", False), share.borrows_any_of(asked))


def snapshots(case: Case) -> None:
    """TestSnapshot: the state that is built from objects."""
    tc = case.tc
    case.known(
        "cqs",
        "cohorts",
        "rfs",
        "wls",
        "wantSnapshot",
        "topologies",
        "nodes",
        "tasFlavorUsage",
        "relabeledFlavors",
        "wantTASUsage",
    )
    gates = gates_of(tc)
    documents = [*(tc.get("rfs") or ()), *(tc.get("relabeledFlavors") or ())]
    flavors = {one.name: one for one in map(flavor_of, documents)}
    snapshot = build(
        [queue_of(one) for one in tc.get("cqs") or ()],
        [cohort_of(one) for one in tc.get("cohorts") or ()],
        flavors.values(),
        [info_of(one, gates) for one in map(workload_of, tc.get("wls") or ()) if holds(one)],
        known_checks=frozenset(),
        topologies=[topology_of(one) for one in tc.get("topologies") or ()],
        machines=[machine_of(one) for one in tc.get("nodes") or ()],
        overlapping=gates.topology_overlapping,
    )
    if "wantTASUsage" in tc:
        _same_places(tc, snapshot)
        return
    wanted = tc.get("wantSnapshot") or {}
    same("inactive queues", set(wanted.get("InactiveClusterQueueSets") or ()), set(snapshot.inactive))
    same("flavors", set(wanted.get("ResourceFlavors") or ()), set(snapshot.flavors))
    _same_state(wanted, snapshot, full=True)


def _same_places(tc: Document, snapshot: Snapshot) -> None:
    for flavor, used in (tc.get("tasFlavorUsage") or {}).items():
        for one in used:
            requests = {entry["name"]: entry["value"] for entry in one.get("SinglePodRequests") or ()}
            snapshot.settle_places([(flavor, tuple(one["Values"]), requests, one["Count"])])
    snapshot.share_places()
    wanted = {
        flavor: {domain: {entry["name"]: entry["value"] for entry in amounts} for domain, amounts in domains.items()}
        for flavor, domains in tc["wantTASUsage"].items()
    }
    got = {
        flavor: {",".join(values): places.used[values] for values in places.leaves if places.used.get(values)}
        for flavor, places in snapshot.places.items()
        if flavor in wanted
    }
    same("use of places", wanted, got)


def changed_snapshots(case: Case) -> None:
    """TestSnapshotAddRemoveWorkload*: workloads leave the snapshot and return."""
    case.known("add", "remove", "want")
    if "clusterQueues" not in case.shared or not _workloads_of(case):
        raise UnsupportedError("the case does not carry the workloads that the table's code creates")
    queues = [queue_of(one) for one in case.shared["clusterQueues"]]
    flavors = [flavor_of(one) for one in case.shared["flavors"]]
    infos = {one["key"]: info_of(workload_of(one["object"]), Gates()) for one in _workloads_of(case)}
    snapshot = build(queues, (), flavors, infos.values())
    for name in case.tc.get("remove") or ():
        info = named("workload", infos, name)
        snapshot.queues[info.queue].workloads.pop(info.key, None)
        snapshot.give_all([info])
    for name in case.tc.get("add") or ():
        snapshot.insert(named("workload", infos, name))
    _same_state(case.tc["want"], snapshot, full=False)


def _fixture(name: str, queue: str, flavor: str, resource: str, amount: str) -> Document:
    pods: Document = {"name": "main", "count": 1, "template": {"spec": {}}}
    held = {"name": "main", "count": 1, "flavors": {resource: flavor}, "resourceUsage": {resource: amount}}
    status = {"admission": {"clusterQueue": queue, "podSetAssignments": [held]}}
    return {"key": f"/{name}", "object": {"metadata": {"name": name}, "spec": {"podSets": [pods]}, "status": status}}


# The admitted workloads of the two tables, which their code makes and the cases only name.
_PLAIN = [
    _fixture("c1-cpu", "c1", "default", "cpu", "1"),
    _fixture("c1-memory-alpha", "c1", "alpha", "memory", "1Gi"),
    _fixture("c1-memory-beta", "c1", "beta", "memory", "1Gi"),
    _fixture("c2-cpu-1", "c2", "default", "cpu", "1"),
    _fixture("c2-cpu-2", "c2", "default", "cpu", "1"),
]
_LENDING = [
    _fixture("lend-a-1", "lend-a", "default", "cpu", "1"),
    _fixture("lend-a-2", "lend-a", "default", "cpu", "9"),
    _fixture("lend-a-3", "lend-a", "default", "cpu", "6"),
    _fixture("lend-b-1", "lend-b", "default", "cpu", "4"),
]


def _workloads_of(case: Case) -> list[Document]:
    names = {one["metadata"]["name"] for one in case.shared["clusterQueues"]}
    if names == {"c1", "c2"}:
        return _PLAIN
    return _LENDING if names == {"lend-a", "lend-b"} else []


def _same_state(wanted: Document, snapshot: Snapshot, *, full: bool) -> None:
    queues = wanted.get("Manager", {}).get("clusterQueues") or {}
    same("queues", set(queues), set(snapshot.queues) - set(snapshot.inactive))
    for name, one in queues.items():
        node = snapshot.queues[name]
        _same_node(f"queue {name}", one, node)
        if full:
            same(f"workloads of {name}", set(one.get("Workloads") or ()), set(node.workloads))
            same(f"generation of {name}", one.get("AllocatableResourceGeneration", 0), node.generation)
            same(f"policies of {name}", one["Preemption"], _policies(node.spec.preemption))
            groups = [(set(g["CoveredResources"]), g["Flavors"]) for g in one.get("ResourceGroups") or ()]
            same(f"groups of {name}", groups, [(set(g.covered), list(g.flavors)) for g in node.spec.groups])
            _same_requests(one.get("Workloads") or {}, node)
    cohorts = wanted.get("Manager", {}).get("cohorts") or {}
    same("cohorts", set(cohorts), set(snapshot.cohorts))
    for name, one in cohorts.items():
        _same_node(f"cohort {name}", one, snapshot.cohorts[name])


def _same_requests(workloads: Document, node: Any) -> None:
    for key, one in workloads.items():
        wanted = [
            (
                entry["Name"],
                entry.get("Count", 0),
                dict(entry.get("Flavors") or {}),
                {amount["name"]: amount["value"] for amount in entry.get("Requests") or ()},
            )
            for entry in one["TotalRequests"] or ()
        ]
        got = [(r.name, r.count, dict(r.flavors), dict(r.amounts)) for r in node.workloads[key].requests]
        same(f"requests of {key}", wanted, got)


def _policies(preemption: Any) -> Document:
    policies: Document = {"withinClusterQueue": preemption.within_queue, "reclaimWithinCohort": preemption.reclaim}
    if preemption.borrow_policy is not None:
        policies["borrowWithinCohort"] = {"policy": preemption.borrow_policy}
        if preemption.borrow_max_priority is not None:
            policies["borrowWithinCohort"]["maxPriorityThreshold"] = preemption.borrow_max_priority
    return policies


def _quota(one: Document) -> Quota:
    return Quota(
        one.get("Nominal", {}).get("value", 0),
        one["BorrowingLimit"].get("value", 0) if one.get("BorrowingLimit") is not None else None,
        one["LendingLimit"].get("value", 0) if one.get("LendingLimit") is not None else None,
    )


def _same_node(what: str, wanted: Document, node: Node | Group) -> None:
    if "FairWeight" in wanted:
        same(f"weight of {what}", parse_float(str(wanted["FairWeight"])), node.weight)
    resources = wanted.get("ResourceNode") or {}
    same(f"usage of {what}", nonzero(amounts_of(resources.get("Usage"))), nonzero(node.usage))
    same(f"quota of {what}", nonzero(amounts_of(resources.get("SubtreeQuota"))), nonzero(node.subtree))
    if resources.get("Quotas"):
        own = {key_of(text): _quota(one) for text, one in resources["Quotas"].items()}
        same(f"quotas of {what}", own, dict(node.quotas))


ARITHMETIC = {
    "TestAvailable": available,
    "TestDominantResourceShare": dominant_share,
    "TestPreciseWeightedShareSerialized": share_text,
    "TestIsBorrowingOn": borrowing_on,
    "TestSnapshot": snapshots,
    "TestSnapshotAddRemoveWorkload": changed_snapshots,
    "TestSnapshotAddRemoveWorkloadWithLendingLimit": changed_snapshots,
}
