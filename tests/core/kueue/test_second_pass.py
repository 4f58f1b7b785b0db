"""Workloads that hold quota look for places once more: after a node failed, and after a check that delayed them."""

from dataclasses import replace
from typing import Any

from dure.core.queueing.kueue import status
from dure.core.queueing.kueue.cycle import Cycle
from dure.core.queueing.kueue.documents import to_document
from dure.core.queueing.kueue.domains import HOSTNAME
from dure.core.queueing.kueue.engine import Engine
from dure.core.queueing.kueue.entries import ASSUMED
from dure.core.queueing.kueue.infos import info_of
from dure.core.queueing.kueue.objects import (
    Admission,
    CheckState,
    ClusterQueue,
    Condition,
    Flavor,
    LocalQueue,
    Machine,
    PodSet,
    PodSetAdmission,
    Quota,
    ResourceGroup,
    Settings,
    Topology,
    Workload,
)
from dure.core.queueing.kueue.shapes import machines_of, workload_of
from dure.core.queueing.kueue.snapshot import MULTI_KUEUE, PROVISIONING, build, inactive_reasons
from dure.core.queueing.kueue.spreads import packed, unpacked

GPU = ("tas", "gpu")
QUEUE = ClusterQueue("q", None, (ResourceGroup(frozenset({"gpu"}), ("tas",)),), {GPU: Quota(20)})
FLAVOR, TREE = Flavor("tas", topology="tree"), Topology("tree", ("rack", HOSTNAME))


def hosts(*gpus):
    return [
        Machine(f"h{at}", {"rack": f"r{at // 2}", HOSTNAME: f"h{at}"}, {"gpu": count, "pods": 9})
        for at, count in enumerate(gpus)
        if count
    ]


def a_workload(name, count, **request):
    pods = PodSet("main", count, {"gpu": 1}, topology=request)
    return Workload("ns", name, name, "lq", (pods,))


def an_engine(*gpus):
    engine = Engine(Settings())
    configured(engine, *gpus)
    return engine


def configured(engine, *gpus):
    engine.configure(
        flavors=[FLAVOR],
        cluster_queues=[QUEUE],
        local_queues=[LocalQueue("ns", "lq", "q")],
        topologies=[TREE],
        machines=hosts(*gpus),
    )


def where(engine, name="ns/w"):
    info = engine.holding(name)
    return {values[-1]: count for _, values, _, count in info.placed}


def test_the_pods_of_a_failed_node_get_another_one():
    engine = an_engine(2, 2, 2)
    engine.submit(a_workload("w", 4, preferred="rack"))
    engine.cycle(1)
    assert where(engine) == {"h0": 2, "h1": 2}
    configured(engine, 2, 0, 2)
    assert engine.lose("h1", 2) == ["ns/w"]
    engine.cycle(3)
    assert where(engine) == {"h0": 2, "h2": 2}
    assert engine.node("q").account(GPU).usage == 4
    assert engine.holding("ns/w").workload.unhealthy == ()


def test_pods_that_stood_nowhere_are_not_placed_when_a_node_fails():
    pods = (PodSet("main", 1, {"gpu": 1}, topology={"unconstrained": True}), PodSet("loose", 9, {"gpu": 1}))
    workload = replace(a_workload("w", 1), pod_sets=pods, unhealthy=("h0",))
    held = (
        PodSetAdmission("main", {"gpu": "tas"}, {"gpu": 1}, 1, ((("h0",), 1),), (HOSTNAME,)),
        PodSetAdmission("loose", {"gpu": "tas"}, {"gpu": 9}, 9),
    )
    conditions = tuple(Condition(kind, True, kind, "", 0) for kind in ("QuotaReserved", "Admitted"))
    info = info_of(replace(workload, admission=Admission("q", held), conditions=conditions), Settings().gates)
    snapshot = build([QUEUE], (), [FLAVOR], [info], topologies=[TREE], machines=hosts(0, 2))
    (entry,) = Cycle(snapshot, Settings(), 1).run([(info, False)]).entries
    assert entry.status == ASSUMED
    assert [one.topology for one in entry.assignment.pod_sets] == [((("h1",), 1),), ()]


def test_a_workload_without_another_node_is_evicted():
    engine = an_engine(2, 2)
    engine.submit(a_workload("w", 4, required="rack"))
    engine.cycle(1)
    configured(engine, 2, 0)
    engine.lose("h1", 2)
    engine.cycle(3)
    info = engine.holding("ns/w")
    assert info.evicted
    told = info.workload.condition("Evicted")
    assert (told.reason, told.message) == (
        "NodeFailures",
        "Workload was evicted as there was no replacement for unhealthy node(s): h1",
    )


def test_a_trial_leaves_places_and_failed_nodes_as_they_were():
    engine = an_engine(2, 2, 2)
    engine.submit(a_workload("w", 4, preferred="rack"))
    engine.cycle(1)
    with engine.trial():
        engine.lose("h1", 2)
        engine.finish("ns/w")
        engine.submit(a_workload("other", 6, preferred="rack"))
        engine.cycle(3)
        assert engine.holding("ns/other") is not None
    assert where(engine) == {"h0": 2, "h1": 2}
    assert engine.holding("ns/w").workload.unhealthy == ()
    engine.submit(a_workload("late", 3, preferred="rack"))
    engine.cycle(4)
    assert engine.holding("ns/late") is None


def delayed(controller):
    queue = replace(QUEUE, checks=(("check", frozenset()),))
    checks = frozenset({"check"})
    fields = {
        "known_checks": checks,
        "topologies": [TREE],
        "machines": hosts(4, 4),
        "controllers": {"check": controller},
    }
    return queue, build([queue], (), [FLAVOR], (), **fields), fields


def test_nodes_that_a_check_makes_are_chosen_after_it():
    queue, snapshot, fields = delayed(PROVISIONING)
    workload = replace(a_workload("w", 4, required="rack"), checks=(CheckState("check", "Pending"),))
    (entry,) = Cycle(snapshot, Settings(), 1).run([(info_of(workload, Settings().gates, "q"), False)]).entries
    assert entry.status == ASSUMED
    (held,) = entry.node.workloads.values()
    assert held.workload.admission is not None
    assert (held.workload.admission.pod_sets[0].delayed, held.placed) == ("Pending", ())
    only_h1 = {"name": "main", "nodeSelector": {HOSTNAME: "h1"}}
    ready = replace(workload, checks=(CheckState("check", "Ready", updates=(only_h1,)),))
    ready = status.reserved(ready, held.workload.admission, queue, 2)
    assert "PendingDelayedTopologyRequests" in {one.reason for one in ready.conditions}
    info = info_of(ready, Settings().gates)
    snapshot = build([queue], (), [FLAVOR], [info], **fields)
    (entry,) = Cycle(snapshot, Settings(), 3).run([(info, False)]).entries
    (held,) = snapshot.queues["q"].workloads.values()
    admission = held.workload.admission
    assert admission is not None
    assert (admission.pod_sets[0].delayed, admission.pod_sets[0].topology) == ("Ready", ((("h1",), 4),))
    assert snapshot.queues["q"].account(GPU).usage == 4
    assert status.reserved(ready, admission, queue, 4).has("Admitted")


def test_pods_for_other_clusters_get_their_places_there():
    _, snapshot, _ = delayed(MULTI_KUEUE)
    Cycle(snapshot, Settings(), 1).run([(info_of(a_workload("w", 4, required="rack"), Settings().gates, "q"), False)])
    (held,) = snapshot.queues["q"].workloads.values()
    assert [one.held.delayed for one in held.requests if one.held is not None] == ["Pending"]


def test_other_clusters_are_for_a_whole_queue_and_without_provisioning():
    queue = replace(QUEUE, checks=(("a", frozenset({"other"})), ("b", frozenset())))
    told = inactive_reasons(queue, {"tas": FLAVOR}, controllers={"a": MULTI_KUEUE, "b": PROVISIONING})
    assert told == ("MultiKueueAdmissionCheckAppliedPerFlavor", "MultiKueueWithProvisioningRequest")


def test_a_placement_is_packed_and_unpacked():
    spread = ((("r0", "node-1-x"), 2), (("r0", "node-22-x"), 2), (("r0", "node-3-x"), 1))
    document = packed(("rack", HOSTNAME), spread)
    (one,) = document["slices"]
    assert one["valuesPerLevel"] == [
        {"universal": "r0"},
        {"individual": {"prefix": "node-", "suffix": "-x", "roots": ["1", "22", "3"]}},
    ]
    assert one["podCounts"] == {"individual": [2, 2, 1]}
    assert unpacked(document) == (("rack", HOSTNAME), spread)
    listed = {"levels": ["rack"], "domains": [{"values": ["a"], "count": 2}]}
    assert unpacked(listed) == (("rack",), ((("a",), 2),))


def test_overlapping_prefix_and_suffix_are_packed_once():
    spread = ((("ababa",), 1), (("aba",), 1))
    assert unpacked(packed(("rack",), spread))[1] == spread


def test_a_placed_workload_is_read_back_as_it_was_written():
    engine = an_engine(2, 2)
    engine.submit(a_workload("w", 4, preferred="rack"))
    engine.cycle(1)
    workload = replace(engine.holding("ns/w").workload, unhealthy=("h1",), elastic=True, gated_by="x")
    again = workload_of(to_document(workload))
    assert again.admission == workload.admission
    assert (again.unhealthy, again.elastic, again.gated_by) == (("h1",), True, "x")


def test_pods_that_no_topology_placed_take_from_their_nodes():
    node = {"metadata": {"name": "h0"}, "status": {"allocatable": {"cpu": "4", "pods": "10"}}}
    spec = {"nodeName": "h0", "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}
    placed = {"annotations": {"kueue.x-k8s.io/podset-required-topology": "rack"}}
    pods: list[dict[str, Any]] = [{"spec": spec}, {"spec": spec, "status": {"phase": "Failed"}}]
    pods.append({"spec": spec, "metadata": placed})
    (machine,) = machines_of([node], pods)
    assert machine.free == {"cpu": 3000, "pods": 9}
