"""What a placement wastes, and that a pool which remembers finds what a new one finds."""

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dure.core.model import GpuShare, Request
from dure.core.packing import USUAL, Ask, Mix
from dure.core.placement import NodeState, Pool, has_room
from tests.examples import examples


def choose(nodes, gpus_milli, mix=USUAL):
    found = Pool(nodes, mix).choose(Ask.of(gpus_milli))
    return None if found is None else found[0]


def named(names, each):
    return each.name in names


HALVES = Mix({Ask(500): 1.0})
GANGS = Mix({Ask(1000, 4): 1.0})


def node(name, *free, spare=()):
    return NodeState("lab", name, "gold", 0.0, list(free), spare=list(spare))


def test_what_no_ask_can_use_is_wasted():
    assert HALVES.waste([400, 1000], ()) == 400
    assert HALVES.waste([400, 300], ()) == 700
    assert HALVES.waste([], ()) == 0


def test_a_gang_wastes_all_of_a_node_that_cannot_take_it():
    assert GANGS.waste([1000, 1000, 1000, 0], ()) == 3000
    assert GANGS.waste([1000, 1000, 1000, 1000], ()) == 0


def test_gpus_whose_node_has_no_cpu_left_are_wasted():
    mix = Mix({Ask(1000, 1, (8,)): 1.0})
    assert mix.waste([1000, 1000], (16,)) == 0
    assert mix.waste([1000, 1000], (8,)) > 0, "one of the two has nothing to run with"
    assert mix.waste([1000], (4,)) > mix.waste([1000], (8,))


def test_a_part_leaves_the_node_that_a_gang_could_use_alone():
    nodes = [node("gang", 1000, 1000, 1000, 1000), node("odd", 1000, 1000, 1000, 0)]
    found = choose(nodes, 500, GANGS)
    assert found is not None
    assert found[0].name == "odd"


def test_one_gpu_leaves_the_node_that_a_gang_could_use_alone():
    nodes = [node("gang", 1000, 1000, 1000, 1000), node("odd", *[1000] * 6)]
    found = choose(nodes, 1000, GANGS)
    assert found is not None
    assert found[0].name == "odd", "best fit would have taken the node with four"


FREE = st.lists(st.sampled_from([0, 100, 250, 500, 750, 1000]), min_size=1, max_size=4)
ASKS = st.sampled_from([Ask(100), Ask(250), Ask(500), Ask(750), Ask(), Ask(1000, 2), Ask(1000, 4)])


@given(st.lists(FREE, min_size=1, max_size=5), st.sampled_from([100, 250, 500, 750]))
def test_a_part_never_opens_a_whole_gpu_while_a_shared_one_has_room(frees, share_milli):
    nodes = [node(f"n{order}", *free) for order, free in enumerate(frees)]
    found = choose(nodes, share_milli)
    shared = any(share_milli <= milli < 1000 for free in frees for milli in free)
    if found is None:
        assert not any(milli >= share_milli for free in frees for milli in free)
    else:
        chosen, (gpu,) = found
        assert chosen.free_milli[gpu.index] >= share_milli
        assert not shared or chosen.free_milli[gpu.index] < 1000


@settings(max_examples=examples(60))
@given(
    st.lists(FREE, min_size=1, max_size=5),
    st.lists(st.tuples(ASKS, st.integers(1, 3), st.sets(st.integers(0, 4)), st.booleans()), max_size=40),
)
def test_a_pool_that_remembers_finds_what_a_new_one_finds(frees, asked):
    nodes = [node(f"n{order}", *free) for order, free in enumerate(frees)]
    pool = Pool(nodes)
    held: list[tuple[NodeState, tuple[GpuShare, ...]]] = []
    for ask, count, kept, first_gives in asked:
        if first_gives and held:
            pool.give(*held.pop(0))
        able = [each for order, each in enumerate(nodes) if order not in kept]
        names = {each.name for each in able}
        found = pool.choose(ask, count, functools.partial(named, names))
        assert found == Pool(able).choose(ask, count)
        if count == 1 or ask.share_milli == 1000:
            assert (found is not None) == has_room(able, Request(ask.gpus_milli * count, nodes=count))
        for each in found or ():
            pool.take(*each)
            held.append(each)
        assert all(0 <= milli <= 1000 for each in nodes for milli in each.free_milli)
    for each in held:
        pool.give(*each)
    assert [each.free_milli for each in nodes] == [list(free) for free in frees]


def test_other_resources_are_counted():
    only = node("a", 1000, 1000, spare=[8, 100])
    pool = Pool([only], Mix({Ask(1000, 1, (4,)): 1.0}))
    ask = Ask(1000, 1, (6, 10))
    found = pool.choose(ask)
    assert found is not None
    pool.take(*found[0], ask.needs)
    assert only.spare == [2, 90]
    assert pool.choose(ask) is None
    pool.give(*found[0], ask.needs)
    assert only.spare == [8, 100]


@pytest.mark.parametrize(("gpus_milli", "ask"), [(300, Ask(300)), (1000, Ask(1000, 1)), (4000, Ask(1000, 4))])
def test_a_request_is_an_ask_for_parts_of_one_or_for_whole_gpus(gpus_milli, ask):
    assert Ask.of(gpus_milli) == ask
    assert ask.gpus_milli == gpus_milli
