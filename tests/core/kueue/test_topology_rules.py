"""Rules of placement that only some gates or events bring: preferred nodes, balance, failed nodes, growing slices."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dure.core.queueing.kueue.domains import HOSTNAME, Ask
from dure.core.queueing.kueue.objects import Flavor, Gates, Machine, Topology
from dure.core.queueing.kueue.topology import Places, Unplaced

TREE = Topology("tree", ("block", "rack", HOSTNAME))
BALANCED, PREFERRED = Gates(balanced_placement=True), Gates(preferred_affinity=True)
ELASTIC = Gates(elastic_slices_topology=True)


def machines(*gpus, zone="z", used=0):
    found = []
    for index, count in enumerate(gpus):
        labels = {
            "block": f"b{index // 4}",
            "rack": f"r{index // 2}",
            HOSTNAME: f"h{index}",
            "zone": f"{zone}{index % 2}",
        }
        found.append(Machine(f"h{index}", labels, {"gpu": count, "pods": 50}, used={"gpu": used} if used else {}))
    return found


def places(*gpus, **fields):
    return Places(Flavor("tas"), TREE, machines(*gpus, **fields))


def ask(count, **request):
    return Ask("main", count, {"gpu": 1}, request)


def on(**hosts):
    return tuple(((name,), count) for name, count in sorted(hosts.items()))


def placed(found):
    assert not isinstance(found, Unplaced), found
    return {values[-1]: count for values, count in found["main"]}


def test_balance_gives_every_host_the_same():
    where = places(6, 6, 0, 0)
    assert placed(where.place([ask(8, preferred="rack")])) == {"h0": 6, "h1": 2}
    assert placed(where.place([ask(8, preferred="rack")], gates=BALANCED)) == {"h0": 4, "h1": 4}


def test_balance_does_not_bind_what_is_required():
    assert placed(places(6, 6).place([ask(8, required="rack")], gates=BALANCED)) == {"h0": 6, "h1": 2}


@given(
    gpus=st.lists(st.integers(0, 6), min_size=8, max_size=8), count=st.integers(1, 30), slices=st.sampled_from([1, 2])
)
def test_balance_places_what_can_be_placed_within_what_there_is(gpus, count, slices):
    where = places(*gpus)
    wanted = ask(count * slices, preferred="rack")
    if slices > 1:
        wanted = replace(
            wanted, request={**wanted.request, "podSetSliceRequiredTopology": HOSTNAME, "podSetSliceSize": 2}
        )
    plain, even = where.place([wanted]), where.place([wanted], gates=BALANCED)
    assert isinstance(plain, Unplaced) == isinstance(even, Unplaced)
    if not isinstance(even, Unplaced):
        got = placed(even)
        assert sum(got.values()) == count * slices
        assert all(pods <= gpus[int(name[1:])] and pods % slices == 0 for name, pods in got.items())


def test_preferred_nodes_come_first_where_the_gate_says_so():
    term = {"weight": 5, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["z1"]}]}}
    wanted = replace(ask(2, required=HOSTNAME), preferred=(term,))
    assert placed(places(2, 4).place([wanted])) == {"h0": 2}
    assert placed(places(2, 4).place([wanted], gates=PREFERRED)) == {"h1": 2}


def test_a_node_is_chosen_by_its_name_and_never_by_a_term_without_rules():
    by_name = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["h1"]}]}
    wanted = replace(ask(2, unconstrained=True), affinity=(by_name,))
    assert placed(places(4, 4).place([wanted])) == {"h1": 2}
    found = places(4, 4).place([replace(wanted, affinity=({},))])
    assert isinstance(found, Unplaced)
    assert "affinity: 2" in found.reason


def test_what_other_pods_take_of_a_node_is_not_there():
    assert placed(places(4, 4, used=3).place([ask(2, preferred="rack")])) == {"h0": 1, "h1": 1}


def failed(count, node, held, **request):
    return replace(ask(count, **request), held=held, failed=node)


def test_only_the_pods_of_a_failed_node_move():
    where = places(4, 4, 4, 4)
    where.take(("h0",), {"gpu": 1}, 2)
    where.take(("h2",), {"gpu": 1}, 2)
    found = where.place([failed(4, "h2", on(h0=2, h2=2), preferred="rack")])
    assert placed(found) == {"h0": 4}


def test_what_required_a_rack_stays_in_its_rack():
    where = places(4, 0, 4, 4)
    where.take(("h0",), {"gpu": 1}, 4)
    assert placed(where.place([failed(6, "h1", on(h0=4, h1=2), required="block")])) == {"h0": 4, "h2": 2}
    found = where.place([failed(7, "h1", on(h0=4, h1=3), required="rack")])
    assert isinstance(found, Unplaced)
    assert "topologyDomain: 2" in found.reason


def test_pods_of_a_broken_slice_return_to_its_rack():
    where = places(1, 4, 4, 4)
    for host, count in (("h0", 1), ("h2", 2)):
        where.take((host,), {"gpu": 1}, count)
    request = {"preferred": "block", "podSetSliceRequiredTopology": "rack", "podSetSliceSize": 2}
    found = where.place([failed(4, "h5", on(h0=1, h2=2, h5=1), **request)])
    assert placed(found) == {"h0": 1, "h1": 1, "h2": 2}


def test_a_placement_on_a_node_that_is_gone_cannot_be_mended():
    found = places(4, 4).place([failed(4, "h1", on(h1=2, h9=2), preferred="rack")])
    assert isinstance(found, Unplaced)
    assert found.reason.endswith("as it contains the stale domain h9")


def test_a_pod_that_owns_its_workload_stays_where_it_is():
    wanted = replace(failed(1, "h1", on(h1=1), preferred="rack"), pinned=True)
    assert placed(places(4, 4).place([wanted])) == {"h1": 1}
    assert placed(places(4, 0).place([wanted], gates=Gates(pod_owned_stay=False))) == {"h0": 1}


def test_a_larger_slice_keeps_the_places_of_the_smaller_one():
    wanted = replace(ask(5, unconstrained=True), previous=on(h1=3))
    assert placed(places(4, 4).place([wanted], gates=ELASTIC)) == {"h0": 2, "h1": 3}
    assert placed(places(5, 4).place([wanted])) == {"h0": 5}


def test_a_smaller_slice_gives_up_the_last_places():
    wanted = replace(ask(2, unconstrained=True), previous=on(h0=1, h1=3))
    assert placed(places(4, 4).place([wanted], gates=ELASTIC)) == {"h0": 1, "h1": 1}
