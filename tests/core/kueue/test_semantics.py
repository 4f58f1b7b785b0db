"""Rules of Kueue that no given case shows, each told as a small story; written from what its source means."""

from dataclasses import replace

import pytest

from dure.core.queueing.kueue import status
from dure.core.queueing.kueue.assigner import Assigner
from dure.core.queueing.kueue.assignment import CAN_PREEMPT, NO_FIT
from dure.core.queueing.kueue.engine import Engine
from dure.core.queueing.kueue.entries import ASSUMED, NOMINATED
from dure.core.queueing.kueue.features import gates_from, unknown
from dure.core.queueing.kueue.infos import Requests, info_of
from dure.core.queueing.kueue.matching import affinity_holds, tolerates
from dure.core.queueing.kueue.objects import (
    Admission,
    CheckState,
    ClusterQueue,
    Cohort,
    Condition,
    Flavor,
    Gates,
    LocalQueue,
    PodSet,
    Preemption,
    Settings,
    UsagePolicy,
)
from dure.core.queueing.kueue.pending import NO_CANDIDATES, PENDING_PREEMPTION, PendingQueue
from dure.core.queueing.kueue.pods import Ranges, adjusted, misfits_of, pod_requests, pod_set_of, problems_of
from dure.core.queueing.kueue.quantity import resource_rank
from dure.core.queueing.kueue.shapes import queue_of, workload_of
from dure.core.queueing.kueue.snapshot import build
from dure.core.queueing.kueue.tree import Share
from tests.core.kueue.world import CPU, a_queue, a_snapshot, a_workload, cycle, one_of, running, waiting

GROUPS = Gates(topology=False)


def replace_requests(info, requests):
    info.requests = requests
    return info


def a_pod(**resources):
    return {"containers": [{"name": "c", "resources": resources}]}


def test_a_gate_takes_those_that_need_it_along():
    assert gates_from({"FlavorFungibility": False}) == Gates(flavor_fungibility=False, preserve_scan_progress=False)
    off = gates_from({"TopologyAwareScheduling": False, "TASProfileMixed": True})
    assert (off.topology, off.topology_profile_mixed, off.topology_recompute) == (False, True, False)
    assert unknown({"NoSuchGate": True, "VisibilityOnDemand": False}) == ["NoSuchGate"]


def test_names_images_and_limits_do_not_make_another_shape():
    one = {"containers": [{"name": "a", "image": "x:1", "resources": {"requests": {"cpu": "1000m"}}}]}
    other = {
        "containers": [{"name": "b", "image": "y:2", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}}]
    }
    shapes = [pod_set_of({"count": 1, "template": {"spec": spec}}).shape for spec in (one, other)]
    assert shapes[0] == shapes[1]
    assert pod_set_of({"count": 1, "template": {"spec": {**one, "nodeSelector": {"a": "b"}}}}).shape != shapes[0]


def test_what_waits_gets_defaults_limits_and_overhead_as_requests():
    ranges = Ranges(
        [{"spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": "2"}, "default": {"cpu": "4"}}]}}]
    )
    spec = {**a_pod(limits={"memory": "1Gi"}), "runtimeClassName": "vm"}
    whole = adjusted(spec, ranges, {"vm": {"cpu": "500m"}})
    assert pod_requests(whole) == {"cpu": 2500, "memory": 2**30}
    document = {"metadata": {"name": "w"}, "spec": {"podSets": [{"count": 1, "template": {"spec": spec}}]}}
    assert workload_of(document).pod_sets[0].requests == {}
    assert workload_of(document, queued=True).pod_sets[0].requests == {"memory": 2**30}


def test_only_cpu_memory_and_huge_pages_count_for_the_pod_as_a_whole():
    spec = {**a_pod(requests={"cpu": "1", "gpu": "2"}), "resources": {"requests": {"cpu": "3", "gpu": "5"}}}
    assert pod_requests(spec) == {"cpu": 3000, "gpu": 2}


def test_a_minimum_binds_only_who_asks_for_the_resource():
    ranges = Ranges([{"spec": {"limits": [{"type": "Container", "min": {"cpu": "2", "memory": "1Gi"}}]}}])
    (told,) = misfits_of(a_pod(requests={"cpu": "1"}), 0, ranges)
    assert told.startswith("spec.podSets[0].template.spec.containers[0]: ")
    assert told.endswith('Invalid value: ["cpu"]: requests must not be below the limitRange min')


def test_resources_above_limits_are_listed_as_json():
    over = a_pod(requests={"memory": "2", "cpu": "2"}, limits={"cpu": "1", "memory": "1"})
    (told,) = problems_of(over, 1)
    assert 'spec.podSets[1].template.spec.containers[0]: Invalid value: ["cpu","memory"]: ' in told


def test_a_toleration_may_compare_numbers():
    taint = {"key": "sla", "value": "950", "effect": "NoSchedule"}
    assert tolerates({"key": "sla", "operator": "Gt", "value": "900"}, taint)
    assert not tolerates({"key": "sla", "operator": "Lt", "value": "900"}, taint)
    assert not tolerates({"key": "sla", "operator": "Gt", "value": "many"}, taint)


def test_a_malformed_affinity_is_told_unless_another_term_holds():
    flavor, wrong = Flavor("f", {"a": "b"}), {"matchExpressions": [{"key": "a", "operator": "Is", "values": ["b"]}]}
    fine = {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
    holds, told = affinity_holds(flavor, PodSet("main", 1, affinity_terms=(wrong,)))
    assert not holds
    assert told.startswith('nodeSelectorTerms[0].matchExpressions[0].operator: Unsupported value: "Is"')
    assert affinity_holds(flavor, PodSet("main", 1, affinity_terms=(wrong, fine))) == (True, "")
    snapshot = build([a_queue("q", 10)], flavors=[replace(flavor, name="default")])
    pods = PodSet("main", 1, {"cpu": 1}, affinity_terms=(wrong,))
    info = info_of(replace(a_workload("w", 1), pod_sets=(pods,)), Gates(), "q")
    got = Assigner(info, snapshot.queues["q"], snapshot.flavors, lambda *_: (CAN_PREEMPT, 0)).assign()
    assert got.mode == NO_FIT
    assert got.message == f"failed to assign flavors to pod set main: {told}"


def test_workloads_of_a_stopped_queue_are_not_preempted():
    owner = a_queue("owner", 10, preemption=Preemption(reclaim="Any"))
    guest = a_queue("guest", 0, stop_policy="Hold")
    snapshot = a_snapshot(owner, guest, infos=[running(a_workload("loan", 10), "guest")])
    entry = one_of(cycle(snapshot, waiting(a_workload("w", 10), "owner")), "w")
    assert (entry.preempting, entry.requeue) == ((), NO_CANDIDATES)


def test_a_stopped_queue_does_not_make_its_cohort_higher():
    snapshot = a_snapshot(a_queue("q", 1, cohort="a", stop_policy="Hold"), cohorts=[Cohort("a")])
    assert snapshot.cohorts["a"].height() == 0


def test_quotas_are_computed_once_for_a_queue_and_twice_for_a_cohort_that_comes():
    queues = [a_queue("q1", 1, cohort="a"), a_queue("q2", 1, cohort="a"), a_queue("q3", 1, cohort="b")]
    snapshot = build(queues, [Cohort("a", parent="root"), Cohort("b", parent="root")], [Flavor("default")])
    assert {name: node.generation for name, node in snapshot.queues.items()} == {"q1": 6, "q2": 5, "q3": 3}


def a_slice(name, cpu, *, replaces=None, count=1):
    return replace(a_workload(name, cpu, count=count), replaces=replaces)


def test_a_slice_that_finds_no_victims_does_not_replace_its_old_one():
    queue = a_queue("q", 10, cohort=None, preemption=Preemption("LowerPriority"))
    infos = [running(a_workload("old", 4), "q"), running(a_workload("other", 4, priority=9), "q")]
    entry = one_of(cycle(a_snapshot(queue, infos=infos), waiting(a_slice("new", 8, replaces="ns/old"), "q")), "new")
    assert (entry.targets, entry.requeue) == ([], NO_CANDIDATES)


def test_a_slice_of_another_namespace_is_not_replaced():
    old = running(a_workload("old", 8), "q")
    new = replace(a_slice("new", 8, replaces="ns/old"), namespace="other")
    entry = one_of(cycle(a_snapshot(a_queue("q", 10, cohort=None), infos=[old]), waiting(new, "q")), "new")
    assert entry.status != ASSUMED


def test_a_replaced_slice_leaves_its_quota_to_the_new_one():
    engine = Engine()
    engine.configure(
        flavors=[Flavor("default")],
        cluster_queues=[a_queue("q", 10), a_queue("r", 2)],
        local_queues=[LocalQueue("ns", "lq", "q"), LocalQueue("ns", "r", "r")],
    )
    engine.adopt(running(a_workload("old", 4), "q").workload)
    engine.submit(a_slice("new", 10, replaces="ns/old"))
    engine.submit(a_workload("late", 2, local="r", created_ns=9))
    result = engine.cycle(1)
    assert {one.info.workload.name: one.status for one in result.entries} == {"new": ASSUMED, "late": ASSUMED}
    assert engine.holding("ns/old") is None
    assert engine.node("q").account(CPU).usage == 10


def test_without_granular_reasons_conditions_change_only_with_their_state():
    workload = replace(a_workload("w", 1), checks=(CheckState("check", "Pending"),))
    plain = status.refused(workload, "Pending", "no", 1, granular=False)
    assert [one.type for one in plain.conditions] == ["QuotaReserved"]
    told = status.refused(workload, "WaitingForQuota", "no", 1)
    assert [(one.type, one.reason) for one in told.conditions][1] == ("Admitted", "NoReservation")


def test_an_eviction_ends_the_wait_for_preemption_gates():
    workload = status.gated(a_workload("w", 1), "gated", 1)
    gone = status.evicted(workload, "Preempted", "away", 2)
    assert not gone.has("BlockedOnPreemptionGates")
    assert [one.message for one in gone.conditions if one.type == "BlockedOnPreemptionGates"] == ["away"]


def test_a_check_without_scope_is_for_the_queues_own_flavors():
    queue = replace(a_queue("q", 1), checks=(("check", frozenset()),))
    nothing = status.reserved(a_workload("w", 0), Admission("q", ()), queue, 1)
    assert nothing.has("Admitted")


def test_who_is_held_back_does_not_wait():
    workload = a_workload("w", 1)
    held = replace(workload, conditions=(Condition("QuotaReserved", False, "OnHold", ""),))
    replaced = replace(workload, conditions=(Condition("WaitingForReplacementPods", True, "", ""),))
    assert status.admissible(workload, Gates())
    assert not any(status.admissible(one, Gates()) for one in (held, replaced, replace(workload, gated_by="gate")))
    assert status.admissible(replace(workload, gated_by="gate"), gates_from({"AdmissionGatedBy": False}))


def test_a_long_message_is_cut_with_a_mark():
    told = status.with_condition(a_workload("w", 1), Condition("QuotaReserved", False, "x", "é" * 20000)).conditions[0]
    assert len(told.message.encode()) <= status.CONDITION_LIMIT
    assert told.message.endswith("é ...")


def test_past_use_orders_victims_only_where_the_queue_counts_it():
    settings = Settings(usage_policy=UsagePolicy(10.0, 1.0))
    engine = Engine(settings)
    engine.configure(
        flavors=[Flavor("default")],
        cluster_queues=[a_queue("plain", 10), a_queue("counted", 10, usage_based=True)],
        local_queues=[LocalQueue("ns", "lq", "plain")],
    )
    for queue in ("plain", "counted"):
        engine.adopt(running(a_workload(queue, 1), queue).workload)
    engine.submit(a_workload("w", 1))
    engine.cycle(1)
    assert {info.key: info.local_usage for info in engine.held()} == {"ns/plain": None, "ns/counted": 0, "ns/w": None}


def test_a_strict_queue_knows_its_preemptor_until_that_changes():
    queue = PendingQueue("q", strict=True, settings=Settings())
    info = waiting(replace(a_workload("w", 1), generation=3), "q")
    info.evaluated_generation = 3
    queue.requeue(info, PENDING_PREEMPTION, 1)
    assert queue.is_preemptor(info)
    assert not queue.is_preemptor(waiting(replace(a_workload("w", 1), generation=4), "q"))


def test_a_queue_for_variants_admits_nothing_else():
    settings = Settings(gates=gates_from({"ConcurrentAdmission": True}))
    snapshot = a_snapshot(a_queue("q", 10, migration="TryPreferredFlavors"))
    entry = one_of(cycle(snapshot, waiting(a_workload("w", 1), "q"), settings=settings), "w")
    assert entry.status == NOMINATED
    assert entry.message == "Failed to admit workload: workload ns/w could not be added to the cache"


def test_a_queue_without_flavors_places_everybody_and_so_nobody():
    snapshot = build([ClusterQueue("q")], flavors=[])
    entry = one_of(cycle(snapshot, waiting(replace(a_workload("w", 0), pod_sets=(PodSet("main", 1),)), "q")), "w")
    assert "workload requires Topology, but there is no TAS cache information" in entry.message


def test_fungibility_has_defaults_wherever_it_is_silent():
    spec = {"flavorFungibility": {"whenCanBorrow": "TryNextFlavor"}}
    queue = queue_of({"metadata": {"name": "q"}, "spec": spec}, fill=False)
    assert (queue.fungibility.when_can_borrow, queue.fungibility.when_can_preempt) == ("TryNextFlavor",) * 2


def test_a_small_share_is_written_without_exponent():
    assert Share(ratio=1e-05).text == "0.00001"
    assert Share(ratio=1e22).text == "1" + "0" * 22
    assert Share(ratio=12.5).text == "12.5"


def test_the_resources_of_a_pod_set_are_judged_by_the_hash_of_their_names():
    assert resource_rank("cpu")[0] == 17701673320873923785
    ranked = sorted(("cpu", "memory", "pods", "nvidia.com/gpu"), key=resource_rank)
    assert ranked != sorted(ranked)
    pods = PodSet("main", 1, {"cpu": 9000, "memory": 1})
    info = info_of(replace(a_workload("w", 1), pod_sets=(pods,)), Gates())
    queue = a_snapshot(a_queue("q", 1000)).queues["q"]
    got = Assigner(info, queue, {"default": Flavor("default")}, lambda *_: (CAN_PREEMPT, 0)).assign()
    told = {
        "memory": "resource memory unavailable in ClusterQueue",
        "cpu": "insufficient quota for cpu in flavor default, previously considered podsets requests (0) + current "
        "podset request (9) > maximum capacity (1)",
    }
    first = next(name for name in ranked if name in told)
    assert got.message == f"couldn't assign flavors to pod set main: {told[first]}"


@pytest.mark.parametrize(
    ("text", "boost"), [("5", 5), ("-2", -2), ("+3", 3), ("3000000000", 0), ("1_000", 0), (" 4", 0), ("high", 0)]
)
def test_a_boost_that_is_no_32_bit_number_counts_for_nothing(text, boost):
    metadata = {"name": "w", "annotations": {"kueue.x-k8s.io/priority-boost": text}}
    assert workload_of({"metadata": metadata, "spec": {"podSets": []}}).boost == boost


def test_an_old_slice_that_must_leave_for_its_replacement_is_a_victim_besides():
    queue = a_queue("q", 10, preemption=Preemption(within_queue="LowerPriority"))
    infos = [running(a_workload("old", 4), "q"), running(a_workload("other", 4), "q")]
    new = replace(a_slice("new", 4, replaces="ns/old", count=2), priority=5)
    entry = one_of(cycle(a_snapshot(queue, infos=infos), waiting(new, "q")), "new")
    assert [(one.info.workload.name, one.reason) for one in entry.preempting] == [("old", "InClusterQueue")]
    assert entry.message.endswith("Pending the preemption of 1 workload(s)")


def test_of_a_group_the_old_slice_counts_up_to_the_pod_set_in_another_flavor():
    group = {"podSetGroupName": "g"}
    pods = tuple(PodSet(name, 1, {"cpu": 4000}, topology=group) for name in ("main", "side"))
    info = info_of(replace(a_workload("new", 1), pod_sets=pods), Gates())
    held = (Requests("main", 1, {"cpu": 4000}, {"cpu": "default"}), Requests("side", 1, {"cpu": 4000}))
    old = replace_requests(running(a_workload("old", 4000), "q"), held)
    queue = a_snapshot(a_queue("q", 3000)).queues["q"]
    flavors = {"default": Flavor("default")}
    got = Assigner(info, queue, flavors, lambda *_: (CAN_PREEMPT, 0), Settings(gates=GROUPS), 0, old).assign()
    assert "current podset request (4) > maximum capacity (3)" in got.message
