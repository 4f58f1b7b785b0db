"""Instances of a person's own classes, in large lists and dictionaries that are cut into parts."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dure.state import FolderBlobs, changed
from dure.state.memory import layout
from tests.examples import examples
from tests.state import cutting
from tests.state.cutting import group_of, loaded, save

pytestmark = pytest.mark.usefixtures("small_parts")


PERSON = """
from dataclasses import dataclass, field

@dataclass
class Person:
    name: str
    age: float
    tags: list = field(default_factory=list)

class Other:
    limit = 7
    def __init__(self, n):
        self.n = n
"""


def people(count=900):
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(PERSON, scope)
    scope["data"] = [scope["Person"](f"p{n}", n / 2, [n]) for n in range(count)]
    scope["more"] = {n: scope["Other"](n) for n in range(count)}
    return {name: scope[name] for name in ("Person", "Other", "data", "more")}


def looks(scope):
    return (
        [(type(each) is scope["Person"], list(vars(each).items())) for each in scope["data"]],
        [(key, type(each) is scope["Other"], list(vars(each).items())) for key, each in scope["more"].items()],
        [n for n, each in enumerate(scope["data"]) if each is scope.get("one")],
    )


@pytest.mark.skipif(not layout.INSTANCES, reason="this Python keeps instances otherwise")
@settings(max_examples=examples(12))
@given(st.integers(0, 2**32))
def test_no_change_of_an_instance_is_missed(tmp_path_factory, seed):
    chance = random.Random(seed)
    scope: dict[str, Any] = people()

    def act():
        one, other = chance.choice(scope["data"]), chance.choice(list(scope["more"].values()))
        which = chance.randrange(9)
        if which == 0:
            one.age = None  # its memory is free for the next number
            one.age = chance.random()
        elif which == 1:
            one.tags.append(chance.randrange(9))
        elif which == 2:
            other.n += 1
        elif which == 3:
            setattr(other, f"late{chance.randrange(4)}", chance.choice([[1], 2.5, "x"]))
        elif which == 4:
            one.__dict__ = {"name": "swapped", "age": chance.random(), "tags": []}
        elif which == 5 and len(vars(other)) > 1:
            vars(other).popitem()
        elif which == 6:
            vars(one)["more"] = chance.random()
        elif which == 7:
            scope["data"][chance.randrange(len(scope["data"]))] = scope["Person"]("new", 1.0)
        else:
            scope["one"] = one

    blobs = FolderBlobs(tmp_path_factory.mktemp("store"))
    base = cutting.check_stories(scope, chance, blobs, act, looks)
    assert group_of("data", base).parts


def test_instances_are_cut_and_come_back_in_another_process(blobs):
    base = save(people(), save(people(), None, blobs), blobs)
    assert group_of("data", base).parts
    assert group_of("more", base).parts
    again = loaded(base, blobs)
    assert isinstance(again["data"][7], again["Person"])
    assert changed(again, base, blobs=blobs).changed == ()
    again["more"][800].n = "other"
    assert changed(again, base, blobs=blobs).changed == ("more",)


@pytest.mark.parametrize(
    "body",
    [
        "def __reduce__(self): return (Odd, ())",
        "def __getstate__(self): return {'n': 0}",
        "def __getattr__(self, name): raise AttributeError(name)",
        "def __del__(self): pass",
        "__slots__ = ('n', '__dict__')",
        "@property\n    def __class__(self): return int",
    ],
)
def test_a_class_with_ways_of_its_own_is_not_cut(blobs, body):
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(f"class Odd:\n    {body}\nmade = [Odd() for _ in range(600)]", scope)
    for each in scope["made"]:
        each.n = 1
    snapshot = save({"made": scope["made"], "Odd": scope["Odd"]}, None, blobs)
    assert not any(group.parts for group in snapshot.groups)


def test_a_secret_of_an_instance_in_a_part_is_named_with_its_place(blobs):
    scope = people()
    scope["data"][400].password = "hunter2"
    snapshot = save(scope, None, blobs)
    assert "data" not in snapshot.names
    assert eval(snapshot.unsaved["data"].split(": a secret")[0], dict(scope)) == "hunter2"
