"""Where requests go on nodes: fractions packed, whole nodes kept for gangs."""

from dure.core.model import GpuShare, Request
from dure.core.packing import Ask
from dure.core.placement import NodeState, Pool, has_room


def node(name: str, *free: int) -> NodeState:
    return NodeState("lab", name, "gold", 0.0, list(free))


def chosen(nodes, gpus_milli):
    found = Pool(nodes).choose(Ask.of(gpus_milli))
    return None if found is None else (found[0][0].name, [(gpu.index, gpu.share_milli) for gpu in found[0][1]])


def test_a_fraction_goes_to_the_shared_gpu_with_the_least_room_that_suffices():
    nodes = [node("a", 1000, 700), node("b", 400, 500)]
    assert chosen(nodes, 400) == ("b", [(0, 400)])
    assert chosen(nodes, 450) == ("b", [(1, 450)])
    assert chosen(nodes, 600) == ("a", [(1, 600)])


def test_a_fraction_opens_a_new_gpu_on_the_node_with_the_fewest_free_ones():
    assert chosen([node("a", 1000, 1000), node("b", 1000, 0)], 500) == ("b", [(0, 500)])


def test_whole_gpus_go_to_the_tightest_node_and_never_to_shared_gpus():
    nodes = [node("a", 1000, 1000, 1000), node("b", 1000, 999, 1000)]
    assert chosen(nodes, 2000) == ("b", [(0, 1000), (2, 1000)])
    assert chosen(nodes, 3000) == ("a", [(0, 1000), (1, 1000), (2, 1000)])
    assert chosen(nodes, 4000) is None


def test_a_gang_is_never_split_over_nodes():
    assert chosen([node("a", 1000), node("b", 1000)], 2000) is None


def test_a_fraction_needs_one_gpu_with_room_not_crumbs():
    assert chosen([node("a", 400, 400)], 500) is None


def test_a_lease_on_a_gpu_that_the_node_no_longer_has_is_ignored():
    state = node("a", 1000)
    state.take([GpuShare(0, 300), GpuShare(7, 1000)])
    assert state.free_milli == [700]


def near(nodes, gpus_milli, **held):
    found = Pool(nodes).choose(Ask.of(gpus_milli), near=lambda node: held.get(node.name, 0))
    return None if found is None else found[0][0].name


def test_the_place_with_most_of_the_inputs_is_taken():
    nodes = [node("a", *[1000] * 7, 0), node("b", *[1000] * 6, 0, 0), node("c", *[1000] * 5, 0, 0, 0)]
    assert near(nodes, 1000) == "c", "without inputs anywhere: the tightest"
    assert near(nodes, 1000, a=1) == "a"
    assert near(nodes, 1000, a=1, b=2) == "b"
    assert near(nodes, 1000, a=2, b=2) == "b", "of equal bytes the tightest"


def test_inputs_break_no_untouched_node_and_open_no_whole_gpu_for_a_part():
    eight = [node("used", 1000, 0, 0, 0, 0, 0, 0, 0), node("empty", *[1000] * 8)]
    assert near(eight, 1000, empty=10**12) == "used"
    odd = [node("used", *[1000] * 6, 0, 0), node("empty", *[1000] * 7)]
    assert near(odd, 1000, empty=10**12) == "used", "an odd node wastes as little, but is whole"
    assert near([node("part", 500), node("whole", 1000)], 500, whole=10**12) == "part"


def test_inputs_come_before_waste_and_without_any_waste_decides():
    nodes = [node("last", 1000, 0, 0, 0), node("pair", 1000, 1000, 0, 0)]
    assert near(nodes, 1000, pair=1) == "pair"
    assert near(nodes, 1000) == "last", "the pair stays together for who asks for two"


def gang(nodes, gpus_milli, count):
    request = Request(gpus_milli, nodes=count)
    found = Pool(nodes).place(request)
    assert has_room(nodes, request) == (found is not None)
    return None if found is None else [(each.name, len(gpus)) for each, gpus in found]


def test_a_gang_over_nodes_takes_the_tightest_that_suffice_and_whole_ones_when_it_needs_whole_ones():
    nodes = [node("a", *[1000] * 4), node("b", *[1000] * 2, 0, 0), node("c", *[1000] * 4)]
    assert gang(nodes, 4000, 2) == [("b", 2), ("a", 2)]
    assert gang(nodes, 8000, 2) == [("a", 4), ("c", 4)]


def test_a_gang_over_nodes_comes_whole_or_not_at_all():
    assert gang([node("a", 1000, 1000), node("b", 1000, 0)], 4000, 2) is None
    assert gang([node("a", 1000, 1000)], 3000, 2) is None, "three GPUs cannot be split evenly over two nodes"


def test_only_nodes_that_are_able_are_taken():
    pool = Pool([node("a", 1000, 0), node("b", 1000, 1000)])
    assert [each.name for each, _ in pool.choose(Ask.of(1000), able=lambda node: node.name == "b") or ()] == ["b"]
    assert pool.choose(Ask.of(1000), 2, able=lambda node: node.name == "b") is None


def test_a_gang_with_inputs_takes_near_places_one_after_the_other():
    nodes = [node(name, *[1000] * 7, 0) for name in "abc"]
    held = {"b": 1, "c": 2}
    found = Pool(nodes).choose(Ask.of(1000), 2, near=lambda node: held.get(node.name, 0))
    assert [each.name for each, _ in found or ()] == ["c", "b"]
