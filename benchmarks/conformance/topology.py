"""Cases whose pods are placed in a topology: where the scan of flavors stops, and whether it goes on in later cycles.

The tables' code makes the nodes and queues; the cases only carry what varies. The trap: a flavor counts as tried when
quota accepts it, even if its nodes then do not.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.conformance.flavors import oracle_of
from benchmarks.conformance.reading import Case, Document, amounts_of, gates_of, queue_of, quota_document, same, word
from dure.core.queueing.kueue.assigner import Assigner
from dure.core.queueing.kueue.assignment import MODE_NAMES
from dure.core.queueing.kueue.engine import Engine
from dure.core.queueing.kueue.infos import info_of
from dure.core.queueing.kueue.objects import Flavor, Machine, Settings, Topology
from dure.core.queueing.kueue.shapes import flavor_of, local_queue_of, workload_of
from dure.core.queueing.kueue.snapshot import build

HOST = "kubernetes.io/hostname"
CYCLES = 4


def _machine(name: str, label: tuple[str, str], cpu: int, pods: int) -> Machine:
    return Machine(name, {HOST: name, label[0]: label[1]}, {"cpu": cpu * 1000, "pods": pods})


def _pods(name: str, cpu: str, **spec: object) -> Document:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    template = {"spec": {"containers": [container], **spec}}
    return {"name": name, "count": 1, "template": template, "topologyRequest": {"required": HOST}}


def scan_progress(case: Case) -> None:
    """TestFlavorScanRecordsLastTriedFlavorIdx: two flavors with a node of 4 cpu each, and a sibling that lends."""
    case.known(
        "cohortSpare",
        "fungibility",
        "nominalPerFlavor",
        "request",
        "wantMode",
        "wantPlan",
        "wantTriedFlavorIdx",
        "clusterQueueUsage",
        "simulationResult",
        "nodeUsage",
    )
    tc, names = case.tc, ("flavor-1", "flavor-2")
    flavors = [
        Flavor(name, {"flavor": label}, topology=name.replace("flavor", "topology"))
        for name, label in zip(names, ("one", "two"), strict=True)
    ]
    own = quota_document("cq", [(name, {"cpu": tc["nominalPerFlavor"]}) for name in names], cohortName="cohort")
    own["spec"]["flavorFungibility"] = tc.get("fungibility") or {}
    sibling = quota_document("sibling", [(name, {"cpu": tc["cohortSpare"]}) for name in names], cohortName="cohort")
    snapshot = build(
        [queue_of(own), queue_of(sibling)],
        (),
        flavors,
        topologies=[Topology(f"topology-{number}", (HOST,)) for number in (1, 2)],
        machines=[_machine("node-1", ("flavor", "one"), 4, 32), _machine("node-2", ("flavor", "two"), 4, 32)],
    )
    queue = snapshot.queues["cq"]
    queue.take(amounts_of(tc.get("clusterQueueUsage")))
    for flavor, used in (tc.get("nodeUsage") or {}).items():
        for one in used:
            requests = {entry["name"]: entry["value"] for entry in one.get("SinglePodRequests") or ()}
            snapshot.settle_places([(flavor, tuple(one["Values"]), requests, one["Count"])])
    settings = Settings(gates=gates_of(tc))
    document = {"metadata": {"name": "wl", "namespace": "default"}, "spec": {"podSets": [_pods("main", tc["request"])]}}
    info = info_of(workload_of(document), settings.gates, "cq")
    got = Assigner(info, queue, snapshot.flavors, oracle_of(tc.get("simulationResult")), settings, 7).assign()
    same("mode", word(tc.get("wantMode")) or "NoFit", MODE_NAMES[got.mode])
    tried = got.progress.tried[0].get("cpu") if got.progress is not None and got.progress.tried else None
    same("flavor tried last", tc.get("wantTriedFlavorIdx", 0), tried)
    same("placed", tc.get("wantPlan", False), bool(got.pod_sets[0].topology))


def scan_cycles(case: Case) -> None:
    """TestScheduleForPreserveFlavorScanProgress: a workload that quota sends to a full node, over several cycles."""
    case.known("gateEnabled", "noChurn", "wantPendingFlavor")
    tc = case.tc
    gates = gates_of(tc, preserve_scan_progress=bool(tc.get("gateEnabled")))
    engine = Engine(Settings(gates=gates, fair_sharing=True))
    machines = [_machine(f"node-{name}", ("tas-flavor", name), 2, 10) for name in ("f1", "f2")]

    def configure(second: str) -> None:
        preemption = {"withinClusterQueue": "LowerPriority", "reclaimWithinCohort": "Any"}
        quotas = [("tas-flavor-1", {"cpu": "4"}), ("tas-flavor-2", {"cpu": second})]
        engine.configure(
            flavors=[flavor_of(one) for one in case.shared["resourceFlavors"]],
            cluster_queues=[queue_of(quota_document("tas-cq", quotas, preemption=preemption))],
            local_queues=[local_queue_of(one) for one in case.shared["queues"]],
            topologies=[Topology("tas-single-level", (HOST,))],
            machines=machines,
        )

    configure("4")
    for at, (name, spec) in enumerate((("blocker", {"nodeSelector": {"tas-flavor": "f1"}}), ("pending", {}))):
        metadata = {"name": name, "namespace": "default", "creationTimestamp": f"2026-01-01T00:0{at}:00Z", "uid": name}
        pods = [_pods("one", "2", **spec)]
        engine.submit(
            workload_of({"metadata": metadata, "spec": {"queueName": "tas-lq", "priority": 10, "podSets": pods}})
        )
    for number in range(CYCLES):
        engine.cycle(1 + number)
        if not tc.get("noChurn"):
            configure("5" if number % 2 == 0 else "4")
        engine.wake()
    same("flavor of pending", tc.get("wantPendingFlavor", ""), _flavor(engine, "default/pending"))
    same("flavor of blocker", "tas-flavor-1", _flavor(engine, "default/blocker"))


def _flavor(engine: Engine, key: str) -> str:
    info = engine.holding(key)
    return "" if info is None else next(flavor for one in info.requests for flavor in one.flavors.values())


TOPOLOGY: dict[str, Callable[[Case], None]] = {
    "TestFlavorScanRecordsLastTriedFlavorIdx": scan_progress,
    "TestScheduleForPreserveFlavorScanProgress": scan_cycles,
}
