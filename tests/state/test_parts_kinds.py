"""What else is cut: large values wherever they lie, and other kinds of containers and elements."""

import random
from collections import Counter, OrderedDict, defaultdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dure.state import FolderBlobs, capture, changed
from dure.state.cut import weights
from dure.state.memory import layout
from tests.examples import examples
from tests.state import cutting
from tests.state.cutting import check_stories, group_of, loaded, needs_marks, save

needs_layout = pytest.mark.skipif(not layout.INSTANCES, reason="this Python lays out objects otherwise")

CLASSES = """
import collections
from dataclasses import dataclass, field

class Holder:
    pass

@dataclass(slots=True)
class Slotted:
    n: object
    tags: list = field(default_factory=list)

@dataclass(frozen=True, slots=True)
class Frozen:
    n: object
    tags: list

class Plain:
    __slots__ = ("n", "tags", "__weakref__")
    def __init__(self, n, tags):
        self.n, self.tags = n, tags

class Below(Plain):
    __slots__ = ("late",)

Row = collections.namedtuple("Row", "n tags")

class Table(list):
    pass

class Index(dict):
    __slots__ = ()
"""
NAMES = ("Holder", "Slotted", "Frozen", "Plain", "Below", "Row", "Table", "Index")


pytestmark = pytest.mark.usefixtures("small_parts")


def classes():
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(CLASSES, scope)
    return {name: scope[name] for name in NAMES}


def records(count=400):
    return [{"id": n, "tags": [n]} for n in range(count)]


def element(scope, chance):
    """One of all the kinds that are plain."""
    n = chance.choice([chance.randrange(99), chance.random(), f"t{chance.randrange(99)}", None])
    kind = chance.randrange(10)
    if kind < 4:
        return scope[("Slotted", "Frozen", "Plain", "Below")[kind]](n, [n])
    return [
        lambda: scope["Row"](n, [n]),
        lambda: {"n": n, "array": np.arange(chance.randrange(9)) * 1.5},
        lambda: defaultdict(list, {n: [n]}),
        lambda: np.full((chance.randrange(1, 4), 5), chance.randrange(200), chance.choice(["u1", "f4", "i8"])),
        lambda: (n, {n}, bytearray(b"some")),
        lambda: np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    ][kind - 4]()


def container(scope, chance, count=200):
    some = [element(scope, chance) for _ in range(count)]
    return [
        lambda: some,
        lambda: tuple(some + some[:100]),
        lambda: dict(enumerate(some)),
        lambda: defaultdict(list, {f"k{n}": each for n, each in enumerate(some)}),
        lambda: scope["Table"](some),
        lambda: scope["Index"](enumerate(some)),
        lambda: Counter({f"w{n}": n for n in range(count)}),
        lambda: {f"w{n}" for n in range(count * 2)} | {(n, 1) for n in range(count)},
    ][chance.randrange(8)]()


def held(scope, chance):
    """A large container somewhere below another object."""
    large = container(scope, chance)
    holder = scope["Holder"]()
    holder.few, holder.large = [1, [2]], large
    return [
        lambda: large,
        lambda: holder,
        lambda: {"a": 1, "b": large, "c": [holder]},
        lambda: (1, large, large),
        lambda: SimpleNamespace(at=[[large]]),
        lambda: scope["Plain"](1, large),
        lambda: [container(scope, chance, 150), {"x": large}, large],
    ][chance.randrange(7)]()


def shape(scope):
    """What a scope is, with a number for every object that can change, so that aliases show."""
    numbers: dict[int, int] = {}
    own = tuple(scope[name] for name in NAMES if name not in ("Table", "Index", "Row"))

    def walk(each):
        kind = type(each).__name__
        if isinstance(each, (list, dict, set, bytearray, np.ndarray, SimpleNamespace, *own)):
            if id(each) in numbers:
                return ("again", numbers[id(each)])
            numbers[id(each)] = len(numbers)
        if isinstance(each, np.ndarray):
            return (kind, each.dtype.str, each.shape, each.tobytes(), each.flags.writeable, each.flags.f_contiguous)
        if isinstance(each, list | tuple):
            return (kind, [walk(item) for item in each], walk(getattr(each, "__dict__", None)))
        if isinstance(each, dict):
            factory = getattr(each, "default_factory", None)
            return (kind, factory, [(walk(key), walk(item)) for key, item in each.items()])
        if isinstance(each, set):
            return (kind, sorted(map(repr, each)))
        if isinstance(each, (SimpleNamespace, *own)):
            slots = [name for cls in type(each).__mro__ for name in getattr(cls, "__slots__", ()) if name[0] != "_"]
            state = [(name, walk(getattr(each, name, None))) for name in slots]
            return (kind, state, walk(getattr(each, "__dict__", None)))
        return (kind, repr(each))

    return [(name, walk(scope[name])) for name in sorted(scope) if name not in NAMES]


def objects(scope):
    """All that can be changed in the values, each once."""
    found, queue = {}, [value for name, value in scope.items() if name not in NAMES]
    while queue:
        each = queue.pop()
        if id(each) in found or isinstance(each, str | int | float | bytes | type | None):
            continue
        found[id(each)] = each
        if isinstance(each, dict):
            queue += each.values()
        elif isinstance(each, list | tuple):
            queue += each
        elif isinstance(each, scope["Slotted"] | scope["Frozen"] | scope["Plain"]):
            queue += [getattr(each, name, None) for name in ("n", "tags", "late")]
        queue += getattr(each, "__dict__", {}).values()
    return [each for each in found.values() if not isinstance(each, tuple)]


def change(scope, chance):
    one = chance.choice(objects(scope))
    other = chance.choice([chance.random(), f"new {chance.randrange(9)}", element(scope, chance), [1]])
    if chance.random() < 0.15:  # what was there already, in another place
        other = chance.choice(objects(scope))
    if isinstance(one, np.ndarray):
        act = chance.randrange(4)
        if act == 0 and one.size and one.flags.writeable:
            one.reshape(-1, order="A")[chance.randrange(one.size)] = chance.randrange(100)
        elif act == 1 and one.flags.c_contiguous:
            one.shape = (one.size,)
        elif act == 2:
            one.flags.writeable = not one.flags.writeable
        else:
            scope["view"] = one[:1]
    elif isinstance(one, list):
        act = chance.randrange(5)
        if act == 0:
            one.append(other)
        elif act == 1 and one:
            one[chance.randrange(len(one))] = None  # its memory is free for the next
            one[chance.randrange(len(one))] = other
        elif act == 2 and one:
            del one[chance.randrange(len(one))]
        elif act == 3 and one:
            one[0], one[-1] = one[-1], one[0]
        elif isinstance(one, scope["Table"]):
            one.more = [other]
    elif isinstance(one, dict):
        if one and chance.random() < 0.6:
            key = chance.choice(list(one))
            one[key] = one[key] + 1 if isinstance(one, Counter) and type(one[key]) is int else other
        elif one and chance.random() < 0.5:
            del one[chance.choice(list(one))]
        elif isinstance(one, defaultdict) and chance.random() < 0.5:
            one.default_factory = chance.choice([list, int, None])
        else:
            one[f"late {chance.randrange(999)}"] = other
    elif isinstance(one, set):
        one ^= {f"w{chance.randrange(900)}", (chance.randrange(300), 1), f"late {chance.randrange(99)}"}
    elif isinstance(one, bytearray):
        one[0] ^= 1
    elif isinstance(one, scope["Frozen"]):
        one.tags.append(3)
    elif isinstance(one, scope["Slotted"] | scope["Plain"]):
        if isinstance(one, scope["Below"]) and chance.random() < 0.5:
            one.late = other
        else:
            one.n = None
            one.n = other
    elif isinstance(one, SimpleNamespace | scope["Holder"]):
        setattr(one, chance.choice(["few", "x", "large"]), other)


@needs_layout
@settings(max_examples=examples(12))
@given(st.integers(0, 2**32))
def test_no_change_is_missed_and_no_alias_is_lost(tmp_path_factory, seed):
    chance = random.Random(seed)
    blobs = FolderBlobs(tmp_path_factory.mktemp("store"))
    scope: dict[str, Any] = classes()
    scope |= {name: held(scope, chance) for name in "abcd"}

    def act():
        which = chance.randrange(12)
        if which == 0:
            scope[chance.choice("abe")] = held(scope, chance)
        elif which == 1:
            scope["alias"] = chance.choice(objects(scope))
        elif which == 2 and "alias" in scope:
            del scope["alias"]
        elif which == 3:
            some = sorted(chance.sample([name for name in scope if name not in NAMES], 2))
            part = loaded(capture(scope, some, blobs=blobs), blobs)
            mine = {name: scope[name] for name in (*NAMES, *some)}
            assert shape({**mine, **{name: part[name] for name in some}, **kept(part)}) == shape(mine)
        else:
            change(scope, chance)

    def kept(part):
        return {name: part.get(name, scope[name]) for name in NAMES}

    check_stories(scope, chance, blobs, act, lambda of: shape({**of, **kept(of)}))


def holding(scope, large):
    holder = scope["Holder"]()
    holder.data = large
    return holder


@needs_layout
@pytest.mark.parametrize(
    "made",
    [
        holding,
        lambda scope, large: {"a": 1, "b": 2, "c": 3, "d": 4, "e": {"f": [large]}},
        lambda scope, large: (1, large),
        lambda scope, large: SimpleNamespace(data=large),
        lambda scope, large: scope["Plain"](1, large),
        lambda scope, large: [[list(each.items()) for each in records()] for _ in large[:3]],
        lambda scope, large: tuple(large),
        lambda scope, large: defaultdict(list, {each["id"]: each for each in large}),
        lambda scope, large: Counter({f"w{each['id']}": each["id"] for each in large}),
        lambda scope, large: {f"w{each['id']}" for each in large},
        lambda scope, large: scope["Table"](large),
        lambda scope, large: scope["Index"]((each["id"], each) for each in large),
        lambda scope, large: [scope["Row"](each["id"], [1]) for each in large],
        lambda scope, large: [scope["Frozen"](each["id"], [1]) for each in large],
        lambda scope, large: [scope["Below"](each["id"], [1]) for each in large],
        lambda scope, large: [np.arange(each["id"] % 7) for each in large],
        lambda scope, large: lambda: large,
    ],
)
def test_it_is_cut_and_seems_unchanged_when_it_was_restored(blobs, made):
    scope: dict[str, Any] = classes()
    scope["x"] = made(scope, records())
    base = save(scope, save(scope, None, blobs), blobs)
    if isinstance(scope["x"], type(lambda: 0)):
        assert group_of("x", base).parts == ()  # nobody looks into functions
        return
    assert group_of("x", base).parts
    again = loaded(base, blobs)
    assert shape(again) == shape(scope)
    if not isinstance(scope["x"], set):  # of which the order depends on the process
        cutting.forget()
        again = loaded(base, blobs)
        assert changed(again, base, blobs=blobs).changed == ()


@needs_marks
def test_only_what_was_changed_is_written_again(blobs, monkeypatch):
    monkeypatch.setattr(weights, "PART_WEIGHT", 4096)
    scope: dict[str, Any] = classes()
    data = holding(scope, [{"id": n, "image": np.full(300, n)} for n in range(20_000)])
    scope |= {"data": data, "words": {f"word {n}" for n in range(50_000)}, "rows": tuple(records(30_000))}
    scope["by"] = defaultdict(list, {f"key {n}": [n] for n in range(30_000)})
    base = save(scope, save(scope, None, blobs), blobs)
    for act in (
        lambda: scope["data"].data[500]["image"].__setitem__(7, -1),
        lambda: scope["words"].discard("word 77"),
        lambda: scope["rows"][700]["tags"].append(1),
        lambda: scope["by"]["key 5"].append(1),
    ):
        act()
        last, base = base, save(scope, base, blobs)
        assert len(base.references() - last.references()) == 1
    again = loaded(base, blobs)
    assert again["data"].data[500]["image"][7] == -1
    assert (again["words"], again["rows"], again["by"]) == (scope["words"], scope["rows"], scope["by"])


def test_a_view_of_an_array_in_a_part_stays_one(blobs):
    images = [np.arange(20) + n for n in range(500)]
    base = None
    for _ in range(2):
        base = save({"images": images, "view": images[77][3:], "own": [images[300]]}, base, blobs)
        again = loaded(base, blobs)
        again["view"][0] = -5
        assert again["images"][77][3] == -5
        assert again["own"][0] is again["images"][300]
        assert group_of("images", base).parts


@pytest.mark.parametrize(
    "odd",
    [
        lambda: np.arange(9)[2:],
        lambda: np.array([[1], "a"], dtype=object),
        lambda: np.arange(3, dtype=">i4"),
        lambda: np.zeros(3, "M8[s]"),
        lambda: np.ma.array([1, 2], mask=[False, True]),
        lambda: np.frombuffer(b"abcdefgh", "u1"),
        lambda: named(OrderedDict(a=1)),
        lambda: defaultdict(lambda: 3),
        lambda: named(Counter("aab")),
    ],
    ids=["view", "objects", "order", "times", "masked", "bytes", "ordered", "factory", "counter"],
)
def test_what_may_be_altered_is_pickled_whole(blobs, odd):
    scope = {"data": [*records(300), odd()]}
    snapshot = save(scope, None, blobs)
    assert not any(group.parts for group in snapshot.groups)
    assert repr(loaded(snapshot, blobs)["data"][:300]) == repr(scope["data"][:300])


def named(container):
    container.name = "an attribute"
    return container


HASHED = """
class Node:
    def __init__(self, n):
        self.n, self.near = n, set()
    def __hash__(self):
        return hash(self.n)
    def __eq__(self, other):
        return self.n == other.n

class Slotted:
    __slots__ = ("n", "near")
    __init__, __hash__, __eq__ = Node.__init__, Node.__hash__, Node.__eq__
"""


@pytest.mark.parametrize("name", ["Node", "Slotted"])
def test_an_object_that_is_in_a_set_which_it_holds_is_found_there_again(blobs, name):
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(HASHED, scope)
    nodes = [scope[name](n) for n in range(300)]
    for node in nodes:
        node.near.add(node)
    again = loaded(save({"nodes": nodes, "Node": scope["Node"], "Slotted": scope["Slotted"]}, None, blobs), blobs)
    assert all(node in node.near and node.n == n for n, node in enumerate(again["nodes"]))


def test_a_large_tuple_that_its_own_elements_hold_stays_one_object(blobs):
    first: list[Any] = [1]
    data = (first, *records(400))
    first.append(data)
    again = loaded(save({"data": data, "also": {"in": data}}, None, blobs), blobs)
    assert again["data"][0][1] is again["data"]
    assert again["also"]["in"] is again["data"]


def test_a_factory_may_hold_its_own_dictionary(blobs):
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("from collections import defaultdict\ntree = defaultdict(lambda: len(tree))", scope)
    scope["tree"].update({n: [n] for n in range(500)})
    snapshot = save(scope, None, blobs)
    again: dict[str, Any] = loaded(snapshot, blobs)
    assert group_of("tree", snapshot).parts
    assert again["tree"]["new"] == 500


def test_what_is_large_in_two_places_is_one_object_in_both(blobs):
    scope: dict[str, Any] = classes()
    large, words = records(), {f"w{n}" for n in range(500)}
    scope["one"], scope["two"] = holding(scope, large), (words, large)
    scope["deep"] = {"of": [words, {"in": large[300]}]}
    base = None
    for _ in range(2):
        base = save(scope, base, blobs)
        again = loaded(base, blobs)
        assert again["one"].data is again["two"][1]
        assert again["deep"]["of"][0] is again["two"][0]
        assert again["deep"]["of"][1]["in"] is again["one"].data[300]
        assert group_of("one", base).parts


def test_a_secret_below_an_attribute_is_named_with_its_place(blobs):
    scope: dict[str, Any] = classes()
    scope["it"], scope["rest"] = holding(scope, {"train": records()}), 1
    scope["it"].data["train"][300]["password"] = "hunter2"
    snapshot = save(scope, None, blobs)
    assert "it" not in snapshot.names
    assert eval(snapshot.unsaved["it"].split(": a secret")[0], dict(scope)) == "hunter2"


class Lent:
    def __init__(self, array):
        self.__array_interface__ = array.__array_interface__


def test_what_is_on_the_memory_of_an_array_in_a_part_stays_there(blobs):
    images = [np.arange(20.0) + n for n in range(500)]
    also = np.asarray(Lent(images[77]))  # whose base says nothing of the other array
    again = loaded(save({"images": images, "also": also}, None, blobs), blobs)
    again["also"][0] = -5
    assert again["images"][77][0] == -5
