"""Whether the words of a part's containers tell each change, and nothing else, however addresses are used again."""

import datetime as dt
import gc
import math
import pickle
import random
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dure.state.cut import plain, same
from dure.state.memory import layout, written
from dure.state.objects import nans
from tests.examples import examples

pytestmark = pytest.mark.skipif(not same.WORKS, reason="this Python keeps objects otherwise")

Pair = namedtuple("Pair", "a b")  # noqa: PYI024


@dataclass
class Person:
    name: str
    age: float
    tags: list = field(default_factory=list)


@dataclass(slots=True)
class Point:
    x: Any
    y: Any = None


class Late:
    def __init__(self, n):
        self.n = n


def leaf(chance):
    n = chance.randrange(40)
    return chance.choice(
        [
            *(n, n / 7, -n * 2**40, 2 ** (3 * n), float("nan"), None, True, f"t{n}", "é" * n, "\U0001f600" * (n % 5)),
            *(
                "k" * 300 + str(n),
                bytes([n]) * n,
                complex(n, 1),
                dt.date(2026, 1, 1 + n % 28),
                np.float64(n),
                np.int32(n),
            ),
            *(
                dt.datetime.fromordinal(700_000 + n),
                dt.timedelta(n),
                (n, str(n)),
                (n, [n]),
                Pair(n, [n]),
                ((n,), None),
            ),
        ]
    )


def value(chance, depth=0):
    few = range(chance.randrange(5))

    def below():
        return value(chance, depth + 1)

    makers = [
        lambda: leaf(chance),
        lambda: {f"k{n}": below() for n in few},
        lambda: {chance.choice([n, str(n), (n,)]): below() for n in few},
        lambda: set(map(str, few)) | {chance.randrange(99), (1, chance.randrange(9))},
        lambda: Person(f"p{chance.randrange(99)}", chance.random(), [below()]),
        lambda: Point(below(), below()),
        lambda: Late(below()),
        lambda: np.arange(chance.randrange(1, 9) * 1.0),
        lambda: bytearray(b"x" * len(few) * 9),
        lambda: defaultdict(list, {n: [n] for n in few}),
        lambda: OrderedDict((n, below()) for n in few),
        lambda: Counter({f"k{n}": chance.randrange(9) for n in few}),
        lambda: deque([below() for _ in few], chance.choice([None, 5, 70])),
        lambda: deque(range(chance.randrange(300))),
        lambda: [below() for _ in few],
    ]
    return leaf(chance) if depth >= 3 or chance.random() < 0.25 else chance.choice(makers)()


def inside(start):
    """All that can be changed in it, each once."""
    found, queue = {}, [start]
    while queue:
        each = queue.pop()
        if id(each) in found or not isinstance(
            each, list | dict | set | tuple | deque | bytearray | np.ndarray | Person | Late | Point
        ):
            continue
        found[id(each)] = each
        if isinstance(each, Person | Late):
            queue += vars(each).values()
        elif isinstance(each, Point):
            queue += [each.x, each.y]
        elif isinstance(each, dict):
            queue += each.values()
        elif isinstance(each, list | tuple | deque):
            queue += each
    return [each for each in found.values() if not isinstance(each, tuple)]


def act(start, chance):
    one = chance.choice(inside(start))
    other = value(chance)
    if isinstance(one, Person | Late):
        names = list(vars(one))
        which = chance.randrange(5)
        if which == 0:
            setattr(one, f"late{chance.randrange(40)}", other)
        elif which == 1 and len(names) > 1:
            delattr(one, chance.choice(names))
        elif which == 2:
            one.__dict__ = {chance.choice(["n", "name"]): other}
        elif names:
            name = chance.choice(names)
            setattr(one, name, None)  # its memory is free for what comes
            setattr(one, name, value(chance))
    elif isinstance(one, Point):
        one.x = None
        one.x = value(chance)
    elif isinstance(one, deque):
        which = chance.randrange(5)
        if which == 0 or not one:
            one.append(other)
        elif which == 1:
            one.popleft()
        elif which == 2:
            one.rotate(chance.randrange(-3, 70))
        elif which == 3:
            one.appendleft(one.pop())
        else:
            at = chance.randrange(len(one))
            one[at] = None
            one[at] = value(chance)
    elif isinstance(one, OrderedDict) and one and chance.random() < 0.4:
        one.move_to_end(chance.choice(list(one)), last=chance.random() < 0.5)
    elif isinstance(one, dict):
        if one and chance.random() < 0.5:
            one[chance.choice(list(one))] = other
        elif one and chance.random() < 0.5:
            one.popitem()
        else:
            one[chance.randrange(9)] = other
    elif isinstance(one, set):
        one ^= {chance.randrange(20), f"s{chance.randrange(40)}"}
    elif isinstance(one, list):
        at = chance.randrange(len(one) + 1)
        if at < len(one) and chance.random() < 0.7:
            one[at] = None
            one[at] = value(chance)
        elif one is not start:
            one[at:at] = [other]
    elif len(one):
        one[chance.randrange(len(one))] = chance.randrange(9)


def told(start):
    """What it is: the values, with a number for each object that can change."""
    numbers: dict[int, int] = {}

    def walk(each):
        if isinstance(each, list | dict | set | deque | bytearray | np.ndarray | Person | Late | Point):
            if id(each) in numbers:
                return "again", numbers[id(each)]
            numbers[id(each)] = len(numbers)
        if isinstance(each, Person | Late):
            return type(each), [(name, walk(item)) for name, item in vars(each).items()]
        if isinstance(each, Point):
            return Point, walk(each.x), walk(each.y)
        if isinstance(each, dict):
            return type(each), [(walk(key), walk(item)) for key, item in each.items()]
        if isinstance(each, deque):
            return each.maxlen, [walk(item) for item in each]
        if isinstance(each, list | tuple):
            return type(each), [walk(item) for item in each]
        if isinstance(each, set):
            return set, sorted(map(repr, each))
        return type(each), pickle.dumps(each)

    return walk(start)


def noted(data):
    table = layout.table_of(data, type(data))
    assert table is not None
    made = plain.dumps((data,) if type(data) is list else (list(data), list(data.values())))
    slots = table, 0, table.slots
    pages, found = made.pages_with(slots, made.pages_with(slots, None)[0])
    return table, pages, found


def is_same(data, before):
    table, pages, found = before
    return layout.table_of(data, type(data)) == table and same.still([all_of(pages, found)]) == [True]


def all_of(pages, found) -> same.Asked:
    asked = same.Asked.of(found, pages, np.arange(len(pages)))
    assert asked is not None
    return asked


@settings(max_examples=examples(60))
@given(st.integers(0, 2**32))
def test_each_change_is_told_and_nothing_else(seed):
    chance = random.Random(seed)
    data = [value(chance) for _ in range(60)]
    before, was = noted(data), told(data)
    assert before[2] is not None
    for _ in range(chance.randrange(4)):
        if chance.random() < 0.3:
            assert is_same(data, before)
            told(data)  # counts references, finds hashes
            gc.collect()
            noted([value(chance) for _ in range(30)])
            assert is_same(data, before)
        for _ in range(chance.choice((0, 1, 1, 5))):
            act(data, chance)
        is_told = told(data) == was
        assert not is_same(data, before) or is_told
        if not is_told or not is_same(data, before):
            before, was = noted(data), told(data)
    assert is_same(data, before)


def test_of_pages_that_were_written_it_is_known_what_was_there_and_of_no_others():
    data = [[number, f"text {number}"] for number in range(20_000)]
    table = layout.table_of(data, list)
    assert table is not None
    made = plain.dumps((data,))
    slots = table, 0, table.slots
    pages, _ = made.pages_with(slots, None)
    items = [layout.word_at(id(each) + layout.LIST_ITEMS_AT) // layout.PAGE_BYTES for each in data]
    at = layout.distinct(np.searchsorted(pages, [items[0], items[7000], items[-1]]))
    pages, found = made.pages_with(slots, pages[at])
    assert found is not None
    assert set(at) <= set(found.at)
    assert len(found.at) < 20
    asked = same.Asked.of(found, pages, at)
    assert asked is not None
    assert same.still([asked]) == [True]
    others = np.setdiff1d(np.arange(len(pages)), found.at)
    assert same.Asked.of(found, pages, np.sort(np.append(at, others[0]))) is None
    next(each for each, page in zip(data, items, strict=True) if page not in pages[found.at])[0] = object()
    assert same.still([asked]) == [True]
    data[7000][0] = -1
    assert same.still([asked]) == [False]


def test_what_lies_in_two_areas_of_memory_is_found():
    watch, _ = written.current() or pytest.skip("this system watches nothing")
    data = [[f"{n}" * 20_000] for n in range(9)]
    before = noted(data)
    for [text] in data:
        page = id(text) // layout.PAGE_BYTES + 2
        assert not watch.watch_pages(np.array([page], "u8")).any()
    assert is_same(data, before)


NEW = (
    *(
        float,
        Point,
        lambda n: n + 2**40,
        lambda n: f"text {n:05}",
        lambda n: f"t\u00e9xt {n:05}",
        lambda n: b"%05d" % n,
    ),
    *(lambda n: [n], lambda n: {"n": n}, lambda n: {n}, lambda n: (n, f"{n:05}"), lambda n: Pair(n, n)),
    *(lambda n: Person("p", n), lambda n: dt.date(2000 + n, 1, 1), lambda n: np.full(3, n)),
    *(lambda n: bytearray(b"%05d" % n), lambda n: defaultdict(list, {n: [n]})),
    *(lambda n: OrderedDict({f"k{n:05}": n}), lambda n: Counter([f"k{n:05}"]), lambda n: deque([f"{n:05}"])),
)


def test_another_object_at_the_same_address_is_told_from_what_was_there():
    again = 0
    for new in NEW:
        data = [[new(n)] for n in range(50)]
        before = noted(data)
        for at in range(50):
            address = id(data[at][0])
            data[at][0] = None
            data[at][0] = new(at + 1000)
            again += id(data[at][0]) == address
            assert not is_same(data, before)
            data[at][0] = None
            data[at][0] = new(at)
    assert again > 200


def test_another_nan_at_the_same_address_is_told_from_what_was_there():
    data = [[float("nan")] for _ in range(50)]
    data.append([math.nan, np.nan, data[0][0]])
    before = noted(data)
    assert is_same(data, before)
    known = nans._known.pop(nans._tokens.pop(id(data[7][0])))  # as when nobody else holds it, and others need room
    assert not is_same(data, before)
    nans.token_of(known)
    assert not is_same(data, before)


@pytest.mark.parametrize(
    "odd", [complex("nan"), np.float32("nan"), Decimal("1.5"), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), range(3)]
)
def test_what_cannot_be_compared_is_not(odd):
    assert noted([[odd], [1]])[2] is None


def test_a_class_that_is_gone_and_memory_that_is_gone_are_no_longer_the_same():
    def made():
        class Some:
            def __init__(self):
                self.n = [1]

        Some.__module__ = "__main__"
        return [Some() for _ in range(20)]

    data = made()
    before = noted(data)
    assert is_same(data, before)
    data[:] = [None] * 20
    gc.collect()
    assert not is_same(data, before)

    data = [dict.fromkeys(range(2000), "x" * 100) for _ in range(300)]  # tables of many pages, which are given back
    _, pages, found = noted(data[:])
    data.clear()
    gc.collect()
    assert same.still([all_of(pages, found)]) == [False]


HEAP = """
import ctypes, functools
import numpy as np
from dure.state.cut import same; from dure.state.memory import mappings
sbrk = ctypes.pythonapi.sbrk
sbrk.restype, sbrk.argtypes = ctypes.c_size_t, (ctypes.c_ssize_t,)
low = (sbrk(1 << 20) + 4095) & -4096
memory = same.Memory(mappings.readable)
page = np.array([low >> 12], "u8")
reads = [lambda: memory.pages(page), lambda: memory.at(page << 12), lambda: memory.words(page << 12, (page << 12) + 64)]
for read in reads:
    read()
assert sbrk(0) < low + (1 << 20) + 4096, "others use the heap's end"
ask = memory._ask
def ask_and_give_back(*runs):
    ask(*runs)
    sbrk(low - sbrk(0))  # as malloc does when what a read makes is freed
memory._ask = ask_and_give_back
for read in reads:
    try:
        read()
    except same._UnknownError:
        print("told")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the heap of Linux")
def test_what_malloc_gives_back_while_it_is_looked_at_is_not_read():
    done = subprocess.run([sys.executable, "-c", HEAP], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["told"] * 3, "")


MAPPED = """
import mmap
import numpy as np
from dure.state.cut import same; from dure.state.memory import mappings
size = 1 << 20
held = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
held[:] = bytes(size)
page = np.frombuffer(held, "u1").__array_interface__["data"][0] >> 12
pages = np.arange(page, page + size // 4096, dtype="u8")
memory = same.Memory(mappings.readable)
memory.pages(pages)
held.close()
try:
    memory.at(pages[100:101] << 12)
except same._UnknownError:
    print("told")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the mappings of Linux")
def test_what_was_given_back_since_memory_was_asked_for_is_not_read():
    done = subprocess.run([sys.executable, "-c", MAPPED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "told\n", "")
