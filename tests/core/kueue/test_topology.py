"""Where pods go in a topology of blocks, racks and hosts; and what a workload is told that fits by quota only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dure.core.queueing.kueue.domains import HOSTNAME, Ask
from dure.core.queueing.kueue.engine import Engine
from dure.core.queueing.kueue.objects import (
    ClusterQueue,
    Flavor,
    LocalQueue,
    Machine,
    PodSet,
    Preemption,
    Quota,
    ResourceGroup,
    Topology,
    Workload,
)
from dure.core.queueing.kueue.topology import Places, Unplaced

TREE = Topology("tree", ("block", "rack", HOSTNAME))
GPU = ("tas", "gpu")


def machines(*gpus):
    """Two hosts a rack, two racks a block, with these GPUs each."""
    found = []
    for index, count in enumerate(gpus):
        name = f"h{index}"
        labels = {"block": f"b{index // 4}", "rack": f"r{index // 2}", HOSTNAME: name}
        found.append(Machine(name, labels, {"gpu": count, "pods": 50}))
    return found


def places(*gpus):
    return Places(Flavor("tas"), TREE, machines(*gpus))


def ask(count, gpus=1, **request):
    return Ask("main", count, {"gpu": gpus}, request)


def spread(found):
    return {values[-1]: count for values, count in found["main"]}


def test_required_goes_into_the_tightest_domain_that_holds_all():
    assert spread(places(4, 4, 3, 2).place([ask(5, required="rack")])) == {"h2": 3, "h3": 2}


def test_preferred_goes_up_when_no_domain_of_its_level_holds_all():
    assert spread(places(4, 4, 3, 2).place([ask(10, preferred="rack")])) == {"h0": 4, "h1": 4, "h3": 2}


def test_required_that_no_domain_holds_says_how_many_would_fit():
    found = places(4, 4, 3, 2).place([ask(9, required="rack")])
    assert found == Unplaced("main", 'topology "tree" allows to fit only 8 out of 9 pod(s)')


def test_unconstrained_fills_the_fullest_hosts_first():
    assert spread(places(4, 1, 2).place([ask(1, unconstrained=True)])) == {"h1": 1}


def test_slices_stay_whole():
    request = {"preferred": "block", "podSetSliceRequiredTopology": "rack", "podSetSliceSize": 4}
    found = spread(places(3, 3, 3, 3).place([ask(8, **request)]))
    assert found["h0"] + found["h1"] == found["h2"] + found["h3"] == 4


def test_a_leader_finds_room_beside_its_workers():
    leader = Ask("leader", 1, {"gpu": 2}, {"required": "rack", "podSetGroupName": "g"})
    workers = Ask("workers", 3, {"gpu": 2}, {"required": "rack", "podSetGroupName": "g"})
    found = places(4, 4, 2, 2).place([workers, leader])
    assert {values[-1] for name in ("leader", "workers") for values, _ in found[name]} == {"h0", "h1"}


def test_a_taint_and_a_host_that_is_not_ready_keep_pods_away():
    taint = {"key": "dedicated", "value": "x", "effect": "NoSchedule"}
    hosts = machines(4, 4)
    tainted = Machine("h0", hosts[0].labels, hosts[0].allocatable, (taint,))
    lost = Machine("h1", hosts[1].labels, hosts[1].allocatable, ready=False)
    found = Places(Flavor("tas"), TREE, [tainted, lost]).place([ask(1, required=HOSTNAME)])
    assert isinstance(found, Unplaced)
    assert found.reason.endswith('. Total nodes: 1; excluded: taint "dedicated=x:NoSchedule": 1')


@given(
    gpus=st.lists(st.integers(0, 4), min_size=1, max_size=9),
    count=st.integers(1, 12),
    each=st.integers(1, 3),
    level=st.sampled_from(["block", "rack", HOSTNAME]),
    kind=st.sampled_from(["required", "preferred", "unconstrained"]),
)
def test_what_is_placed_fits_where_it_is_and_what_is_not_has_no_room(gpus, count, each, level, kind):
    where = places(*gpus)
    found = where.place([ask(count, each, **{kind: True if kind == "unconstrained" else level})])
    hosts = {machine.name: machine for machine in machines(*gpus)}
    room: dict[str, int] = {}
    for host in hosts.values():
        domain = host.labels[level] if kind == "required" else ""
        room[domain] = room.get(domain, 0) + host.allocatable["gpu"] // each
    if isinstance(found, Unplaced):
        assert max(room.values()) < count
        return
    given_pods = spread(found)
    assert sum(given_pods.values()) == count
    assert all(pods * each <= hosts[name].allocatable["gpu"] for name, pods in given_pods.items())
    if kind == "required":
        assert len({hosts[name].labels[level] for name in given_pods}) == 1


def an_engine(*gpus, nominal=100, preemption=None):
    engine = Engine()
    engine.configure(
        flavors=[Flavor("tas", topology="tree")],
        cluster_queues=[
            ClusterQueue(
                "q",
                groups=(ResourceGroup(frozenset({"gpu"}), ("tas",)),),
                quotas={GPU: Quota(nominal)},
                preemption=preemption or Preemption(),
            )
        ],
        local_queues=[LocalQueue("ns", "lq", "q")],
        topologies=[TREE],
        machines=machines(*gpus),
    )
    return engine


def submit(engine, name, count, gpus, **fields):
    pods = PodSet("main", count, {"gpu": gpus}, topology={"required": "rack"})
    engine.submit(Workload("ns", name, name, "lq", (pods,), **fields))


def where(engine, name):
    info = engine.holding(f"ns/{name}")
    return None if info is None else {values[-1]: count for _, values, _, count in info.placed}


def test_a_workload_takes_its_nodes_and_gives_them_back():
    engine = an_engine(4, 4)
    submit(engine, "first", 2, 3)
    submit(engine, "second", 2, 3, created_ns=1)
    engine.cycle(1)
    engine.cycle(1)
    assert (where(engine, "first"), where(engine, "second")) == ({"h0": 1, "h1": 1}, None)
    engine.finish("ns/first")
    engine.cycle(2)
    assert where(engine, "second") == {"h0": 1, "h1": 1}


def test_quota_without_nodes_is_a_failed_placement():
    engine = an_engine(2, 2, 2, 2)
    submit(engine, "w", 3, 2)
    engine.cycle(1)
    why = engine.explain("ns/w")
    assert why.reason == "TopologyPlacementFailed"
    assert "allows to fit only 2 out of 3 pod(s)" in why.message


def test_nodes_are_preempted_for_even_where_quota_is_left():
    engine = an_engine(2, 2, preemption=Preemption("LowerPriority"))
    submit(engine, "low", 2, 2)
    engine.cycle(1)
    submit(engine, "high", 1, 2, priority=5, created_ns=1)
    result = engine.cycle(2)
    assert [target.info.key for entry in result.entries for target in entry.preempting] == ["ns/low"]
    engine.release("ns/low", 3)
    engine.cycle(3)
    assert where(engine, "high") is not None


@pytest.mark.parametrize("size", [0, 3])
def test_slices_that_cannot_be_are_named(size):
    request = {"required": "rack", "podSetSliceRequiredTopology": "block" if size else "rack", "podSetSliceSize": size}
    found = places(4).place([ask(3, **request)])
    told = "podset slice topology block is above the podset topology rack" if size else "slice size not provided"
    assert told in found.reason


def test_flavors_on_the_same_nodes_know_of_each_other_from_the_next_cycle_as_in_kueue():
    """Each flavor's picture of a node is made when a cycle begins; until its end only its own workloads count there."""
    engine = Engine()
    engine.configure(
        flavors=[Flavor("tas", topology="tree"), Flavor("other", topology="tree")],
        cluster_queues=[
            ClusterQueue(
                queue,
                groups=(ResourceGroup(frozenset({"gpu"}), (flavor,)),),
                quotas={(flavor, "gpu"): Quota(100)},
                cohort="team",
            )
            for queue, flavor in (("q", "tas"), ("o", "other"))
        ],
        local_queues=[LocalQueue("ns", "lq", "q"), LocalQueue("ns", "lo", "o")],
        topologies=[TREE],
        machines=machines(4),
    )

    def ask_for(name, local, created_ns):
        pods = PodSet("main", 1, {"gpu": 3}, topology={"required": "rack"})
        engine.submit(Workload("ns", name, name, local, (pods,), created_ns=created_ns))

    ask_for("a", "lq", 0)
    ask_for("b", "lo", 1)
    ask_for("c", "lo", 2)
    engine.cycle(1)
    assert (where(engine, "a"), where(engine, "b")) == ({"h0": 1}, {"h0": 1}), "both in one cycle"
    engine.finish("ns/a")
    engine.cycle(2)
    assert where(engine, "c") is None, "b is there"
    engine.finish("ns/b")
    ask_for("d", "lq", 3)
    engine.cycle(3)
    assert (where(engine, "c"), where(engine, "d")) == ({"h0": 1}, {"h0": 1})
    ask_for("e", "lo", 4)
    engine.finish("ns/c")
    engine.cycle(4)
    assert where(engine, "e") is None, "d is there, and is known in the cycle after its own"
    engine.finish("ns/d")
    engine.cycle(5)
    assert where(engine, "e") == {"h0": 1}
