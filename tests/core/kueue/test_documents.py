"""Objects written as Kueue's documents: read back they are equal, and Kueue's own schemas accept them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dure.core.queueing.kueue import shapes
from dure.core.queueing.kueue.documents import to_document
from dure.core.queueing.kueue.objects import (
    Admission,
    CheckState,
    ClusterQueue,
    Cohort,
    Condition,
    Flavor,
    Fungibility,
    LocalQueue,
    PodSet,
    PodSetAdmission,
    Preemption,
    PriorityClass,
    Quota,
    ResourceGroup,
    Topology,
    Workload,
)
from dure.core.queueing.kueue.problems import problems_of
from dure.core.queueing.kueue.quantity import UNLIMITED

SCHEMAS = Path(__file__).resolve().parents[4] / "shared" / "data" / "crds" / "kueue"
TAINT = {"key": "spot", "value": "true", "effect": "NoSchedule"}
GPU = "nvidia.com/gpu"
EXAMPLES: dict[str, Any] = {
    "resourceflavors": Flavor("gold", {"gpu": "a100"}, (TAINT,), ({"key": "spot", "operator": "Exists"},), "tree"),
    "clusterqueues": ClusterQueue(
        "vision",
        "lab",
        (ResourceGroup(frozenset({"cpu", GPU}), ("gold", "silver")),),
        {
            ("gold", GPU): Quota(4, 0, 2),
            ("gold", "cpu"): Quota(1500, UNLIMITED),
            ("silver", GPU): Quota(8),
            ("silver", "cpu"): Quota(64_000),
        },
        "StrictFIFO",
        Preemption("LowerPriority", "Any", "LowerPriority", 100),
        Fungibility("TryNextFlavor", "MayStopSearch", "PreemptionOverBorrowing"),
        {"matchLabels": {"team": "vision"}},
        2.5,
        "Hold",
        (("check", frozenset({"gold"})),),
    ),
    "cohorts": Cohort("lab", "company", {("gold", GPU): Quota(2, 3)}, 0.5),
    "localqueues": LocalQueue("vision", "main", "vision", 2.0, "Hold"),
    "workloadpriorityclasses": PriorityClass("high", 1000, "before others"),
    "topologies": Topology("tree", ("block", "kubernetes.io/hostname")),
    "workloads": Workload(
        "vision",
        "train",
        "u-1",
        "main",
        (
            PodSet(
                "main",
                4,
                {"cpu": 500, "memory": 2**30, GPU: 1},
                2,
                {"gpu": "a100"},
                ({"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["a100"]}]},),
                ({"key": "spot", "operator": "Exists"},),
                {"required": "block"},
            ),
        ),
        priority=7,
        created_ns=1_700_000_000 * 10**9,
        generation=2,
        labels={"team": "vision"},
        allowed_flavors=("gold",),
        admission=Admission("vision", (PodSetAdmission("main", {GPU: "gold"}, {GPU: 4}, 4),)),
        conditions=(Condition("QuotaReserved", True, "QuotaReserved", "yes", 1_700_000_001 * 10**9),),
        checks=(CheckState("check", "Ready", "fine"),),
        reclaimable={"main": 1},
    ),
}
READERS: dict[str, Any] = {
    "resourceflavors": shapes.flavor_of,
    "clusterqueues": shapes.queue_of,
    "cohorts": shapes.cohort_of,
    "localqueues": shapes.local_queue_of,
    "workloadpriorityclasses": shapes.priority_class_of,
    "topologies": shapes.topology_of,
    "workloads": shapes.workload_of,
}


def plain(one):
    """Return a workload without what its pods' texts are compared by."""
    if not isinstance(one, Workload):
        return one
    return replace(one, pod_sets=tuple(replace(podset, shape="") for podset in one.pod_sets))


@pytest.mark.parametrize("kind", EXAMPLES)
def test_what_is_written_is_read_back_equal(kind):
    document = yaml.safe_load(yaml.safe_dump(to_document(EXAMPLES[kind])))
    assert plain(READERS[kind](document)) == EXAMPLES[kind]


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason="Kueue's resource definitions are not beside the project")
@pytest.mark.parametrize("kind", EXAMPLES)
def test_kueues_schema_accepts_what_is_written(kind):
    definition = yaml.safe_load((SCHEMAS / f"kueue.x-k8s.io_{kind}.yaml").read_text())
    document = to_document(EXAMPLES[kind])
    version = document["apiVersion"].partition("/")[2]
    schema = next(one["schema"]["openAPIV3Schema"] for one in definition["spec"]["versions"] if one["name"] == version)
    assert [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(document)] == []


AMOUNTS = st.integers(0, 10**6) | st.just(UNLIMITED)
LIMITS = st.none() | AMOUNTS


@given(st.builds(Quota, AMOUNTS, LIMITS, LIMITS), st.sampled_from(["cpu", "memory", GPU]))
def test_a_quota_survives_writing_whatever_it_is(quota, resource):
    group = ResourceGroup(frozenset({resource}), ("gold",))
    queue = ClusterQueue("q", "lab", (group,), {("gold", resource): quota})
    assert shapes.queue_of(to_document(queue)).quotas == {("gold", resource): quota}


def test_what_has_no_document_is_refused():
    with pytest.raises(TypeError, match="Quota has no Kueue document"):
        to_document(Quota(1))


def test_good_objects_have_no_problems():
    queue = replace(EXAMPLES["clusterqueues"], quotas={("gold", GPU): Quota(4)})
    door = LocalQueue("ns", "main", "vision")
    assert problems_of([EXAMPLES["resourceflavors"]], [queue], [Cohort("lab")], [door], {"tree"}) == ()


def test_every_problem_names_its_place_and_what_mends_it():
    group = ResourceGroup(frozenset({GPU}), ("gold", "lead"))
    quotas = {("gold", GPU): Quota(-1, 2, 3), ("lead", GPU): Quota(1)}
    queues = [ClusterQueue("alone", None, (group,), quotas), ClusterQueue("alone", weight=-1)]
    cohorts = [Cohort("a", "b"), Cohort("b", "a")]
    told = [str(one) for one in problems_of([Flavor("gold")], queues, cohorts, [LocalQueue("ns", "lq", "gone")])]
    for part in (
        "ClusterQueue alone: there are 2 of this name; rename all but one",
        "ClusterQueue alone flavor lead: ResourceFlavor lead does not exist",
        "gold/nvidia.com/gpu nominalQuota: -1 is less than 0",
        "borrowingLimit: there is no cohort to borrow from",
        "lendingLimit: lends 3 but owns -1",
        "fairSharing.weight: -1 is less than 0",
        "cohorts are their own parents: a → b → a",
        "LocalQueue ns/lq clusterQueue: ClusterQueue gone does not exist",
    ):
        assert any(part in one for one in told), (part, told)
