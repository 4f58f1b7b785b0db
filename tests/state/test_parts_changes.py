"""Random changes of values that are cut into parts: none is missed, and no alias is lost."""

import copy
import gc
import os
import pickle
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dure.state import FolderBlobs, capture, freeze
from dure.state.cut import plain, remembered
from tests.examples import examples
from tests.state import cutting
from tests.state.cutting import loaded, needs_marks, save

pytestmark = pytest.mark.usefixtures("small_parts")


LEAVES = st.one_of(
    st.integers(-5, 5), st.integers(2**40, 2**40 + 3), st.text("ab", max_size=3), st.floats(0, 2), st.none()
)


def value(chance: random.Random, depth=0):
    kind = chance.randrange(8 if depth < 3 else 2)
    if kind < 2:
        return chance.choice([chance.randrange(10), chance.random(), f"t{chance.randrange(99)}", None, (1, [2]), 2**70])
    count = chance.randrange(4)
    if kind < 4:
        return [value(chance, depth + 1) for _ in range(count)]
    if kind < 6:
        return {f"k{n}": value(chance, depth + 1) for n in range(count)}
    if kind == 6:
        return {chance.randrange(20) for _ in range(count)}
    return bytearray(os.urandom(count * 200))


def containers(scope):
    """All that can be changed in the values, each once."""
    found, queue = {}, list(scope.values())
    while queue:
        each = queue.pop()
        if id(each) in found or not isinstance(each, list | dict | set | bytearray | tuple):
            continue
        found[id(each)] = each
        queue += each.values() if isinstance(each, dict) else each if isinstance(each, list | tuple) else ()
    return [each for each in found.values() if not isinstance(each, tuple)]


def mutate(scope, chance: random.Random):
    every = containers(scope)
    one = chance.choice(every)
    other = chance.choice([chance.choice(every), value(chance), value(chance), value(chance)])
    if isinstance(one, list):
        at = chance.randrange(len(one) + 1)
        act = chance.randrange(9)
        if act == 0:
            one.append(other)
        elif act == 1:
            one[at:at] = [other]
        elif act == 2 and one:
            del one[at - 1]
        elif act == 3 and one:
            one[at - 1] = other
        elif act == 4:
            one.reverse()
        elif act == 5 and one:
            last = one.pop()
            one.append(last if chance.random() < 0.5 else value(chance))
        elif act == 6 and len(one) < 50:
            one.clear()
        elif act == 7 and one:
            one[0], one[-1] = one[-1], one[0]
        elif act == 8 and one and type(one[at - 1]) in (int, float):
            one[at - 1] += 1
    elif isinstance(one, dict):
        keys = list(one)
        act = chance.randrange(5)
        if act == 0 or not keys:
            one[f"new {chance.randrange(5)}"] = other
        elif act == 1:
            one[chance.choice(keys)] = other
        elif act == 2:
            del one[chance.choice(keys)]
        elif act == 3:
            one.popitem()
        else:
            one.update({f"k{n}": n for n in range(chance.randrange(30))})
    elif isinstance(one, set):
        one ^= {chance.randrange(20), f"s{chance.randrange(40)}"}
    elif one and chance.random() < 0.7:
        one[chance.randrange(len(one))] ^= 1
    else:
        one += bytes(chance.randrange(600))


def shape(scope):
    """What a scope is: its values with a number for every object that can change, so that aliases show."""
    numbers: dict[int, int] = {}

    def walk(each):
        if isinstance(each, list | dict | set | bytearray):
            if id(each) in numbers:
                return ("again", numbers[id(each)])
            numbers[id(each)] = len(numbers)
        if isinstance(each, list | tuple):
            return (type(each).__name__, [walk(item) for item in each])
        if isinstance(each, dict):
            return ("dict", [(walk(key), walk(item)) for key, item in each.items()])
        if isinstance(each, set):
            return ("set", sorted(map(repr, each)))
        return (type(each).__name__, repr(each))

    return [(name, walk(scope[name])) for name in sorted(scope)]


def large(chance, count):
    if chance.random() < 0.6:
        return [value(chance) for _ in range(count)]
    return {f"key {n}": value(chance) for n in range(count)}


@settings(max_examples=examples(8), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_no_change_is_missed_and_no_alias_is_lost(tmp_path_factory, seed):
    chance = random.Random(seed)
    blobs = FolderBlobs(tmp_path_factory.mktemp("store"))
    cutting.forget()
    scope = {"a": large(chance, 300), "b": large(chance, 200), "box": {"c": large(chance, 150), "d": [1]}, "e": [1, 2]}
    base = None
    believed = 0
    for _ in range(8):
        for _ in range(chance.choice([0, 1, 1, 2, 5, 30])):
            act = chance.randrange(12)
            if act == 0:
                scope[chance.choice("abex")] = large(chance, chance.choice([3, 150]))
            elif act == 1:
                scope["alias"] = chance.choice(containers(scope))
            elif act == 2:
                scope.pop(chance.choice(["alias", "x", "e"]), None)
            elif act == 3:
                gc.collect()
            else:
                mutate(scope, chance)
        if chance.random() < 0.2:  # only some of them, as for a cell
            some = sorted(chance.sample(sorted(scope), 2))
            part = capture(scope, some, base=chance.choice([None, base]), blobs=blobs)
            again = loaded(part, blobs)
            assert shape({name: again[name] for name in some}) == shape({name: scope[name] for name in some})
        with freeze(scope, base=base, blobs=blobs) as frozen:
            believed += sum(len(root.parts) for root in remembered.roots.values())
            said = shape(scope)
            if chance.random() < 0.3:  # the next cell runs before it is saved
                mutate(scope, chance)
            base = frozen.save()
        assert shape(loaded(base, blobs)) == said


@needs_marks
@settings(max_examples=examples(8), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_leaves_that_come_and_go_at_one_address_are_told_apart(tmp_path_factory, data):
    blobs = FolderBlobs(tmp_path_factory.mktemp("store"))
    remembered.roots.clear()
    scope: dict[str, Any] = {"data": [float(n) for n in range(2000)], "dict": {n: float(n) for n in range(2000)}}
    base = None
    for _ in range(6):
        for _ in range(data.draw(st.integers(0, 4))):
            at = data.draw(st.integers(0, 1999))
            new = data.draw(LEAVES)
            scope["data"][at] = None  # its memory is free for the next number
            scope["data"][at] = copy.copy(new) if new is None else new
            scope["dict"][at] = None
            scope["dict"][at] = scope["data"][at]
        base = save(scope, base, blobs)
        assert loaded(base, blobs) == scope


def test_an_array_whose_size_a_thread_changes_meanwhile_is_whole_or_not_plain():
    arrays = [np.arange(3.0) for _ in range(300)]
    with cutting.resized_meanwhile(arrays):
        for _ in range(600):
            try:
                made = plain.dumps((arrays,), located=False)
            except plain.NotPlainError:
                continue
            assert len(pickle.loads(made.stream)[0]) == len(arrays)
