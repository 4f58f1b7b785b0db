"""What is nested too deeply for pickle comes back whole: lists, graphs and trees of the notebook's own nodes."""

import random
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dure.state import FolderBlobs, capture, changed, restore

MANY = 5_000


class Node:
    def __init__(self, value):
        self.value = value
        self.near = []
        self.next = None


class Slotted:
    __slots__ = ("next", "value")


@dataclass
class Tree:
    value: int
    up: "Tree | None" = None
    below: "list[Tree]" = field(default_factory=list)


class Hashed:
    """An object whose hash pickle must be able to ask for as soon as it is in a set."""

    def __init__(self, number, held):
        self.number = number
        self.held = held

    def __hash__(self):
        return hash(self.number)

    def __eq__(self, other):
        return self.number == other.number


def chain(kind, length):
    nodes = [kind.__new__(kind) for _ in range(length)]
    for number, node in enumerate(nodes):
        node.value = number
        node.next = nodes[number + 1] if number + 1 < length else None
    return nodes[0]


def values_of(node):
    found = []
    while node is not None:
        found.append(node.value)
        node = node.next
    return found


def again(scope, folder):
    blobs = FolderBlobs(folder)
    base = capture(scope, blobs=blobs)
    assert not base.unsaved
    here: dict = {}
    assert not restore(base, blobs, into=here).failed
    return base, blobs, here


def test_linked_lists_come_back_and_a_change_at_their_end_is_seen(tmp_path):
    scope = {"first": chain(Node, MANY), "slim": chain(Slotted, MANY)}
    base, blobs, here = again(scope, tmp_path)
    assert values_of(here["first"]) == values_of(here["slim"]) == list(range(MANY))
    assert changed(scope, base, blobs=blobs).changed == ()
    assert changed(here, base, blobs=blobs).changed == ()
    last = scope["first"]
    while last.next is not None:
        last = last.next
    last.value = -1
    assert changed(scope, base, blobs=blobs).changed == ("first",)


@given(length=st.integers(800, 1_500), seed=st.integers(0, 10_000))
def test_a_graph_comes_back_with_its_sharing(tmp_path_factory, length, seed):
    chance = random.Random(seed)
    nodes = [Node(np.arange(2) + number if number % 50 == 0 else number) for number in range(length)]
    for number, node in enumerate(nodes):
        node.next = nodes[(number + 1) % length]
        node.near = chance.choices(nodes, k=2)
    seen = {chance.choice(nodes): "key", "view": nodes[0].value[1:]}
    _, _, here = again({"first": nodes[0], "seen": seen, "nan": float("nan")}, tmp_path_factory.mktemp("blobs"))
    found = [here["first"]]
    while found[-1].next is not found[0]:
        found.append(found[-1].next)
    place, there = ({id(node): number for number, node in enumerate(each)} for each in (nodes, found))
    assert len(found) == length
    assert [[place[id(near)] for near in node.near] for node in nodes] == [
        [there[id(near)] for near in node.near] for node in found
    ]
    assert there[id(next(iter(here["seen"])))] == place[id(next(iter(seen)))]
    assert here["seen"]["view"].base is found[0].value


def test_a_tree_with_ways_up_comes_back(tmp_path):
    root = lowest = Tree(0)
    for number in range(1, MANY):
        below = Tree(number, lowest)
        lowest.below.append(below)
        lowest = below
    _, _, here = again({"root": root, "lowest": lowest}, tmp_path)
    ways = 0
    found = here["lowest"]
    while found.up is not None:
        assert found.up.below[0] is found
        found = found.up
        ways += 1
    assert found is here["root"]
    assert ways == MANY - 1


def test_what_has_a_hash_of_its_own_is_whole_when_it_is_put_into_a_set(tmp_path):
    first = chain(Node, MANY)
    held = {Hashed(number, first) for number in range(5)}
    first.near = held
    _, _, here = again({"first": first, "held": held}, tmp_path)
    assert here["first"].near is here["held"]
    assert all(each in here["held"] and each.held is here["first"] for each in here["held"])


def test_what_has_a_hash_of_what_is_put_off_is_named(tmp_path):
    class HashedByOthers(Hashed):
        def __hash__(self):
            return hash(getattr(self.held, "value", None))

    first = chain(Node, MANY)
    first.near = {HashedByOthers(1, first)}
    snapshot = capture({"first": first, "whole": 1}, blobs=FolderBlobs(tmp_path))
    assert "nested too deeply" in snapshot.unsaved["first"]
    assert snapshot.names == ("whole",)
