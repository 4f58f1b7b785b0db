"""Requests that a configuration leaves out, or counts as other resources."""

from dure.core.queueing.kueue.engine import Engine
from dure.core.queueing.kueue.objects import ClusterQueue, Flavor, LocalQueue, PodSet, Quota, ResourceGroup, Settings
from dure.core.queueing.kueue.objects import Workload as Job
from dure.core.queueing.kueue.rewriting import Rewriting, rewriting_of

SLICES = {
    "excludeResourcePrefixes": ["networking.example.com/"],
    "transformations": [
        {"input": "nvidia.com/mig-1g.5gb", "strategy": "Replace", "outputs": {"credits": "1500m", "memory": "5Gi"}},
        {"input": "nvidia.com/mig-2g.10gb", "strategy": "Replace", "outputs": {"credits": "2", "memory": "10Gi"}},
    ],
}


def test_resources_are_left_out_by_their_prefix():
    assert rewriting_of(SLICES).counted({"cpu": 1, "networking.example.com/vpc": 2}) == {"cpu": 1}


def test_outputs_of_several_resources_add_up_and_are_rounded_once():
    requests = {"nvidia.com/mig-1g.5gb": 3, "nvidia.com/mig-2g.10gb": 1, "memory": 7}
    assert rewriting_of(SLICES).counted(requests) == {"memory": 25 * 2**30 + 7, "credits": 7}


def test_a_retained_resource_stays_and_may_be_multiplied_by_another():
    one = {"input": "cpu", "multiplyBy": "gpu", "outputs": {"credits": "2"}}
    rewriting = rewriting_of({"transformations": [one]})
    assert rewriting.counted({"cpu": 1500, "gpu": 2}) == {"cpu": 1500, "gpu": 2, "credits": 6}
    assert rewriting.counted({"cpu": 1500}) == {"cpu": 1500, "credits": 3}


def test_an_allowance_never_lessens_what_was_requested():
    one = {"input": "gpu", "strategy": "Retain", "outputs": {"cpu": "-4", "memory": "-1"}}
    assert rewriting_of({"transformations": [one]}).counted({"gpu": 1, "cpu": 500}) == {
        "gpu": 1,
        "cpu": 500,
        "memory": 0,
    }


def test_the_engine_counts_what_is_rewritten():
    quotas = {("default", "credits"): Quota(3)}
    queue = ClusterQueue("q", None, (ResourceGroup(frozenset({"credits"}), ("default",)),), quotas)
    only = {"input": "mig", "strategy": "Replace", "outputs": {"credits": "1500m"}}
    engine = Engine(Settings(rewriting=rewriting_of({"transformations": [only]})))
    engine.configure(flavors=[Flavor("default")], cluster_queues=[queue], local_queues=[LocalQueue("ns", "lq", "q")])
    for name in "abc":
        engine.submit(Job("ns", name, name, "lq", (PodSet("main", 1, {"mig": 1}),)))
    for at in range(3):
        engine.cycle(at + 1)
    assert sum(engine.holding(f"ns/{name}") is not None for name in "abc") == 1
    assert engine.node("q").account(("default", "credits")).usage == 2


def test_nothing_is_rewritten_without_a_configuration():
    assert rewriting_of({}) == Rewriting()
    assert Rewriting().counted({"cpu": 1}) == {"cpu": 1}
