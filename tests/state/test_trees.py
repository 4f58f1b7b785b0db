"""Trees that are cut by branches: none of their changes is missed, no alias is lost, and what is as it was stays."""

import gc
import random
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dure.state import FolderBlobs, capture, changed
from dure.state.cut import parts, remembered, weights
from tests.examples import examples
from tests.state import cutting
from tests.state.cutting import group_of, loaded, needs_marks, save

pytestmark = pytest.mark.usefixtures("small_parts")


class Node:
    def __init__(self, value, parent=None):
        self.value, self.parent, self.children = value, parent, []


class Slotted:
    __slots__ = ("children", "parent", "value")

    def __init__(self, value, parent=None):
        self.value, self.parent, self.children = value, parent, []


def nested(chance, depth):
    if not depth:
        return {"id": chance.randrange(2000), "name": f"n{chance.randrange(9999)}", "tags": ["a", chance.random()]}
    held = [nested(chance, depth - 1) for _ in range(chance.randrange(1, 5))]
    return {"kids": held, "depth": depth} if chance.random() < 0.6 else (held, depth) if chance.random() < 0.2 else held


def nodes(chance, depth, kind, parent=None):
    made = kind(f"v{chance.randrange(9999)}", parent)
    made.children = [nodes(chance, depth - 1, kind, made) for _ in range(chance.randrange(1, 5) if depth else 0)]
    return made


def mixed(chance):
    held = [nested(chance, 2) for _ in range(20)]
    return chance.choice(
        [
            deque(held, chance.choice([None, 25])),
            OrderedDict((f"k{number}", each) for number, each in enumerate(held)),
            [Counter(f"t{chance.randrange(99)}") for _ in range(60)],
        ]
    )


def trees(chance):
    kind = chance.choice([Node, Slotted])
    parents = chance.random() < 0.7
    found = nodes(chance, 5, kind)
    if not parents:
        for each in held_in(found):
            if isinstance(each, kind):
                each.parent = None
    return chance.choice([found, nested(chance, 5), mixed(chance), {"tree": found, "config": nested(chance, 4)}])


def children(each) -> list[Any]:
    if isinstance(each, Node | Slotted):
        return [each.value, each.parent, each.children]
    if isinstance(each, dict):
        return [*each.keys(), *each.values()]
    return list(each) if isinstance(each, list | tuple | deque) else []


def held_in(*values):
    """All that is held and is no leaf, each once."""
    found, queue = {}, list(values)
    while queue:
        each = queue.pop()
        if id(each) not in found and isinstance(each, Node | Slotted | dict | list | tuple | deque):
            found[id(each)] = each
            queue += children(each)
    return list(found.values())


def shape(scope):
    """What a scope holds, with a number for each object that can change, so that aliases show."""
    numbers: dict[int, int] = {}
    told = []
    queue = [scope[name] for name in sorted(scope)]
    for each in queue:
        if not isinstance(each, Node | Slotted | dict | list | tuple | deque):
            told.append(repr(each))
        elif id(each) in numbers and not isinstance(each, tuple):
            told.append(f"again {numbers[id(each)]}")
        else:
            numbers[id(each)] = len(numbers)
            told.append(f"{type(each).__name__} {len(children(each))}")
            queue += children(each)
    return told


def mutate(scope, chance):
    every = [each for each in held_in(*scope.values()) if not isinstance(each, tuple)]
    one = chance.choice(every)
    other = chance.choice(
        [chance.choice(every), nested(chance, chance.randrange(4)), chance.random(), f"t{chance.randrange(9)}"]
        if chance.random() < 0.2
        else [nested(chance, chance.randrange(3)), chance.random(), f"t{chance.randrange(9)}"]
    )
    if isinstance(one, Node | Slotted):
        act = chance.randrange(4)
        if act == 0:
            one.value = other
        elif act == 1:
            one.children.append(type(one)(other, one))
        elif act == 2 and one.children:
            one.children.pop(chance.randrange(len(one.children)))
        elif act == 3 and one.children:
            moved = one.children.pop()
            goal = chance.choice([each for each in every if type(each) is type(one)])
            goal.children.append(moved)
            if isinstance(moved, Node | Slotted):
                moved.parent = goal
    elif isinstance(one, OrderedDict) and one and chance.random() < 0.5:
        one.move_to_end(next(iter(one)))
    elif isinstance(one, deque):
        one.rotate(chance.randrange(3))
        one.append(other)
        if chance.random() < 0.7:
            one.popleft()
        one[chance.randrange(len(one))] = chance.random()
    elif isinstance(one, Counter):
        one[f"k{chance.randrange(5)}"] += 1
    elif isinstance(one, list):
        act = chance.randrange(4)
        if act == 0 or not one:
            one.append(other)
        elif act == 1:
            one[chance.randrange(len(one))] = other
        elif act == 2:
            one.pop(chance.randrange(len(one)))
        else:
            one.reverse()
    else:
        act = chance.randrange(3)
        if act == 0 or not one:
            one[f"new {chance.randrange(5)}"] = other
        elif act == 1:
            one[chance.choice(list(one))] = other
        else:
            one.popitem()


@pytest.mark.parametrize("dear_bytes", [2 * 1024 * 1024, 64])
@settings(max_examples=examples(7), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
@example(300825)  # what two variables share was uncut before a third one was looked at
def test_no_change_is_missed_and_no_alias_is_lost(tmp_path_factory, monkeypatch, dear_bytes, seed):
    monkeypatch.setattr(parts, "_DEAR_BYTES", dear_bytes)
    chance = random.Random(seed)
    blobs = FolderBlobs(tmp_path_factory.mktemp("store"))
    scope: dict[str, Any] = {"a": trees(chance), "b": trees(chance), "n": 1}

    def act():
        step = chance.randrange(14)
        if step == 0:
            scope["alias"] = chance.choice(held_in(scope["a"], scope["b"]))
        elif step == 1:
            scope.pop("alias", None)
        elif step == 2:
            scope[chance.choice("ab")] = trees(chance)
        elif step == 3:
            gc.collect()
        else:
            mutate(scope, chance)
        if chance.random() < 0.1:
            some = sorted(chance.sample(sorted(scope), 2))
            again = loaded(capture(scope, some, blobs=blobs), blobs)
            assert shape({name: again[name] for name in some}) == shape({name: scope[name] for name in some})

    cutting.check_stories(scope, chance, blobs, act, shape)


KINDS: dict[str, Any] = {
    "ordered": lambda: OrderedDict((f"k{number}", [number]) for number in range(300)),
    "queue": lambda: deque(({"n": number}, number) for number in range(300)),
    "counts": lambda: [Counter({"a": number, "b": 1}) for number in range(300)],
    "nested": lambda: {"kids": [nested(random.Random(seed), 4) for seed in range(12)]},
    "nodes with parents": lambda: nodes(random.Random(2), 6, Node),
    "slots with parents": lambda: nodes(random.Random(3), 6, Slotted),
    "a graph": lambda: shared_edges(random.Random(4)),
    "a small list": lambda: [{"a": number} for number in range(60)],
}


def shared_edges(chance):
    found: dict = {number: {} for number in range(50)}
    for _ in range(200):
        one, other = chance.randrange(50), chance.randrange(50)
        found[one][other] = found[other][one] = {"weight": 1}
    return found


@needs_marks
@pytest.mark.parametrize("kind", KINDS)
def test_a_tree_that_is_as_it_was_is_not_written_again(tmp_path, kind):
    blobs = FolderBlobs(tmp_path)
    scope = {"tree": KINDS[kind](), "n": 0}
    base = None
    for number in range(4):
        scope["n"] = number
        before, base = base, save(scope, base, blobs)
    made = group_of("tree", base)
    assert made.parts
    assert made.key() == group_of("tree", before).key()
    every = [part for root in remembered.every() for part in root.parts.values()]
    assert every
    assert all(part.stream is None for part in every)
    assert shape(loaded(base, blobs)) == shape(scope)


@needs_marks
@pytest.mark.parametrize("kind", ["nested", "nodes with parents", "slots with parents"])
def test_only_the_branch_that_changed_is_written(tmp_path, kind):
    blobs = FolderBlobs(tmp_path)
    scope = {"tree": KINDS[kind]()}
    base = save(scope, None, blobs)
    leaf = held_in(scope["tree"])[-1]
    while isinstance(leaf, tuple | list):
        leaf = next(each for each in held_in(scope["tree"])[::-1] if not isinstance(each, tuple | list))
    if isinstance(leaf, dict):
        leaf["id"] = -1
    else:
        leaf.value = "other"
    now = save(scope, base, blobs)
    before = {part.digest for part in group_of("tree", base).parts}
    after = {part.digest for part in group_of("tree", now).parts}
    assert len(before) > 3
    assert len(after - before) == 1
    assert shape(loaded(now, blobs)) == shape(scope)


def test_a_restored_tree_is_cut_where_it_was(tmp_path):
    blobs = FolderBlobs(tmp_path)
    scope = {"tree": nested(random.Random(5), 6), "with_parents": nodes(random.Random(6), 6, Node)}
    base = save(scope, None, blobs)
    again = loaded(base, blobs)
    assert [group.key() for group in save(again, base, blobs).groups] == [group.key() for group in base.groups]


def test_a_secret_in_a_branch_is_named(tmp_path):
    scope = {"tree": nested(random.Random(7), 6), "more": nodes(random.Random(8), 6, Node)}
    held = [each for each in held_in(scope["tree"]) if isinstance(each, dict)]
    held[-1]["password"] = "hunter2-hunter2"
    found = capture(scope, blobs=FolderBlobs(tmp_path))
    assert "password" in found.unsaved["tree"]
    assert found.unsaved["tree"].startswith("tree[") or found.unsaved["tree"].startswith("tree:")
    assert "more" in found.variables


def test_what_branches_share_stays_one(tmp_path):
    blobs = FolderBlobs(tmp_path)
    shared = {"unit": ["cm"]}
    scope: dict = {"tree": nested(random.Random(9), 6), "counts": defaultdict(list, a=[1])}
    for each in [each for each in held_in(scope["tree"]) if isinstance(each, dict)][::7]:
        each["shared"] = shared
    scope["top"] = {"shared": shared}
    for _ in range(3):
        base = save(scope, None, blobs)
        assert shape(loaded(base, blobs)) == shape(scope)


@pytest.mark.parametrize("kind", KINDS)
def test_where_it_was_restored_only_what_changed_is_told(tmp_path, kind):
    blobs = FolderBlobs(tmp_path)
    base = capture({"tree": KINDS[kind](), "n": 0}, blobs=blobs)
    again = loaded(base, blobs)
    assert changed(again, base, blobs=blobs).changed == ()
    again["n"] = 1
    for each in held_in(again["tree"]):  # looks at all, and changes nothing
        children(each)
    assert changed(again, base, blobs=blobs).changed == ("n",)
    last = [each for each in held_in(again["tree"]) if isinstance(each, dict | Node | Slotted)][-1]
    if isinstance(last, dict):
        last["changed"] = 1
    else:
        last.value = "changed"
    found = changed(again, base, blobs=blobs)
    assert found.changed == ("n", "tree")
    assert found.snapshot is not None
    assert shape(loaded(found.snapshot, blobs)) == shape(again)


@needs_marks
def test_a_deque_of_several_chunks_is_not_pickled_again_while_it_is_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "PART_WEIGHT", 32_768)
    monkeypatch.setattr(weights, "LARGE_WEIGHT", 65_536)
    blobs = FolderBlobs(tmp_path)
    scope: dict[str, Any] = {"queue": deque({"n": n, "text": f"{n:0100}"} for n in range(50_000)), "n": 0}
    base = None
    for number in range(4):
        scope["n"] = number
        before, base = base, save(scope, base, blobs)
    (part,) = group_of("queue", base).parts
    assert len(part.chunks) == 2
    assert part == group_of("queue", before).parts[0]
    assert [each.saved for root in remembered.every() for each in root.parts.values()] == [part]
    scope["queue"][30_000]["n"] = -1
    scope["queue"].rotate(1)
    now = save(scope, base, blobs)
    assert loaded(now, blobs) == scope
    again = loaded(save(scope, now, blobs), blobs)
    assert again == scope
    assert changed(again, now, blobs=blobs).changed == ()
    again["queue"][7]["text"] = "other"
    assert changed(again, now, blobs=blobs).changed == ("queue",)
