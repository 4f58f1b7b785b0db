"""What a cell changed comes back, no more than that, and no mutation is missed."""

import copy
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dure.state import FolderBlobs, capture, changed, diff, restore
from dure.state.cut import remembered
from tests.examples import examples

SETUP = """
import dataclasses, enum, numpy as np, pandas as pd
alpha = 1
def f(x): return x + alpha
def make():
    n = [0]
    def up(): n[0] += 1
    return up
up = make()
class Base: pass
class Config(Base):
    rate = 1
    def __init__(self): self.items = ['a', 'b', 'c']
    def text(self): return super().__repr__()
class Colour(enum.Enum):
    RED = 1
@dataclasses.dataclass
class Point:
    x: int = 0
cfg, red, point = Config(), Colour.RED, Point()
names = {'b', 'a', 'zeta', 'omega'}
a = [1, 2]
b = {'a': a}
big = np.zeros(300_000)
half = big[:1000]
small = np.zeros(3)
frame = pd.DataFrame({'x': [1, 2], 't': ['p', 'q'], 'c': pd.Categorical(['u', 'v'])})
mixed = {'k': (1, 'two', None), 'n': {'deep': [small]}}
"""

# cell -> the names that must come back
CELLS = {
    "pass": set(),
    "f(1); len(names); frame.describe(); cfg.text(); sorted(names)": set(),
    "a = a": set(),
    "alpha = 2": {"alpha"},
    "new = 5": {"new"},
    "a.append(3)": {"a", "b"},
    "b['a'] = [1, 2]": {"a", "b"},
    "half[0] = 1": {"big", "half"},
    "big[299_999] = 1": {"big", "half"},
    "np.add(big, 1, out=big)": {"big", "half"},
    "small[0] = 1": {"small", "mixed"},
    "mixed['n']['deep'][0] += 1": {"small", "mixed"},
    "up()": {"up"},
    "cfg.items.append('d')": {"cfg"},
    "Config.rate = 2": {"Base", "Config"},
    "def f(x): return x - alpha": {"f"},
    "f.note = 'x'": {"f"},
    "names.add('new')": {"names"},
    "frame.loc[0, 'x'] = 9": {"frame"},
    "frame['c'] = frame['c'].cat.rename_categories(['w', 'v'])": {"frame"},
    "point.x += 1": {"point"},
    "import math": {"math"},
    "copy = cfg": {"cfg", "copy"},
    "big = big.copy()": {"big", "half"},
    "small.dtype = 'i8'": {"small", "mixed"},
    "small.flags.writeable = False": {"small", "mixed"},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    blobs = FolderBlobs(tmp_path_factory.mktemp("store"))
    scope = {"__name__": "__main__"}
    exec(SETUP, scope)
    return capture(scope, blobs=blobs), blobs


@pytest.mark.filterwarnings("ignore:Setting the dtype on a NumPy array:DeprecationWarning")
@pytest.mark.parametrize(("cell", "names"), CELLS.items(), ids=CELLS)
def test_exactly_what_changed_comes_back(saved, cell, names):
    base, blobs = saved
    worker: dict[str, Any] = {"__name__": "__main__"}
    assert restore(base, blobs, into=worker).failed == {}
    rate = worker["Config"].rate
    exec(cell, worker)
    found = changed(worker, base, blobs=blobs)
    worker["Config"].rate = rate  # the class is this process's own, and outlives the case
    assert set(found.changed) == names
    assert found.deleted == ()
    if names:
        assert found.snapshot is not None
        assert set(found.snapshot.names) == names


UNTOUCHED = """
import sys
from dure.state import FolderBlobs, Snapshot, changed, restore
blobs = FolderBlobs(sys.argv[1])
base = Snapshot.load(sys.argv[2], blobs)
scope = {'__name__': '__main__'}
report = restore(base, blobs, into=scope)
assert not report.failed, report.failed
exec(sys.argv[3], scope)
print(*changed(scope, base, blobs=blobs).changed)
"""


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("pass", ""),
        ("f(1); frame.describe(); cfg.text()", ""),
        ("Config.rate = 2", "Base Config"),
        ("point.x = 3", "point"),
    ],
)
def test_in_a_fresh_process_only_what_changed_is_seen(saved, cell, names):
    # strings are interned and sets ordered otherwise there, which must not look like changes
    base, blobs = saved
    done = subprocess.run(
        [sys.executable, "-c", UNTOUCHED, str(blobs.root), base.store(blobs), cell],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == names


def test_what_came_back_is_what_the_worker_had(saved):
    base, blobs = saved
    kernel: dict[str, Any] = {"__name__": "__main__"}
    worker: dict[str, Any] = {"__name__": "__main__"}
    restore(base, blobs, into=kernel)
    restore(base, blobs, into=worker)
    exec("half[1] = 4; a.append(7); cfg.items.pop(); extra = Config()\ndel alpha", worker)
    found = changed(worker, base, blobs=blobs)
    assert found.deleted == ("alpha",)
    assert found.snapshot is not None
    restore(found.snapshot, blobs, into=kernel)
    assert kernel["big"][1] == 4
    assert kernel["b"]["a"] is kernel["a"]
    assert kernel["a"] == [1, 2, 7]
    assert kernel["cfg"].items == ["a", "b"]
    assert type(kernel["extra"]) is kernel["Config"]


def test_names_that_were_there_before_do_not_count(tmp_path):
    blobs = FolderBlobs(tmp_path)
    worker = {"__name__": "__main__", "preloaded": [1], "x": 1}
    base = capture(worker, ["x"], blobs=blobs)
    found = changed(worker, base, blobs=blobs, ignore={"preloaded"})
    assert found.changed == ()
    assert changed({"new": 1}, None, blobs=blobs).changed == ("new",)


def test_what_cannot_come_back_is_named_and_the_rest_comes(tmp_path):
    blobs = FolderBlobs(tmp_path)
    found = changed({"g": (number for number in range(3)), "x": 1}, None, blobs=blobs)
    assert found.changed == ("x",)
    assert found.unsaved["g"].startswith("g: a generator")


def test_one_changed_chunk_writes_one_chunk(tmp_path):
    blobs = FolderBlobs(tmp_path)
    scope = {"big": np.arange(4_000_000.0)}
    base = capture(scope, blobs=blobs)
    before = {path for path in (tmp_path / "blobs").rglob("*") if path.is_file()}
    scope["big"][1_000_000] = -1
    found = changed(scope, base, blobs=blobs)
    written = {path for path in (tmp_path / "blobs").rglob("*") if path.is_file()} - before
    assert found.changed == ("big",)
    assert sum(path.stat().st_size for path in written) <= 8 * 1024 * 1024


def test_provided_later_becomes_part_of_the_base(tmp_path):
    blobs = FolderBlobs(tmp_path)
    kernel = {"x": [1], "late": [2]}
    base = capture(kernel, ["x"], blobs=blobs)
    worker: dict[str, Any] = {}
    restore(base, blobs, into=worker)
    extra = capture(kernel, ["late"], blobs=blobs)
    restore(extra, blobs, into=worker)
    base = base.merged(extra)
    assert changed(worker, base, blobs=blobs).changed == ()
    worker["late"].append(3)
    assert changed(worker, base, blobs=blobs).changed == ("late",)


# --- any graph of objects, any mutation

leaves = st.one_of(
    st.integers(-3, 3), st.text("ab", max_size=3), st.none(), st.floats(allow_nan=False), st.binary(max_size=3)
)


@st.composite
def graphs(draw):
    """A namespace whose values share lists, dicts, sets, arrays and views at random, cycles included."""
    base = np.arange(4.0)
    pool: list[Any] = [base, {1, "x"}, base[1:3]]
    for _ in range(draw(st.integers(1, 8))):
        items = [draw(st.one_of(leaves, st.sampled_from(pool))) for _ in range(draw(st.integers(0, 3)))]
        kind = draw(st.sampled_from(["list", "dict", "tuple", "box"]))
        if kind == "list":
            pool.append(items)
        elif kind == "dict":
            pool.append({f"k{index}": item for index, item in enumerate(items)})
        elif kind == "tuple":
            pool.append((*items,))
        else:
            pool.append(pd.Series(items, dtype=object))
    lists = [item for item in pool if type(item) is list]
    if lists and draw(st.booleans()):
        draw(st.sampled_from(lists)).append(draw(st.sampled_from(pool)))
    return {f"v{index}": draw(st.sampled_from(pool)) for index in range(draw(st.integers(1, 5)))}


def picture(scope):
    """Draw the graph so that two graphs of equal shape, values and sharing give equal pictures."""
    numbers: dict[int, int] = {}
    lines: list[str] = []

    def see(value):
        if value is None or isinstance(value, int | float | str | bytes):
            return repr(value)
        if id(value) in numbers:
            return f"#{numbers[id(value)]}"
        if isinstance(value, tuple):
            return f"({','.join(see(item) for item in value)})"  # a tuple cannot change: being the same one is no fact
        number = numbers[id(value)] = len(numbers)
        if isinstance(value, dict):
            inner = [f"{key}:{see(item)}" for key, item in value.items()]
        elif isinstance(value, list):
            inner = [see(item) for item in value]
        elif isinstance(value, set):
            inner = sorted(repr(item) for item in value)
        elif isinstance(value, pd.Series):
            inner = [see(item) for item in value]
        else:
            owner = value
            while isinstance(owner.base, np.ndarray):
                owner = owner.base
            inner = [repr(value.tolist()), see(owner) if owner is not value else "owner"]
        lines.append(f"{number}={type(value).__name__}({','.join(inner)})")
        return f"#{number}"

    roots = [f"{name}->{see(scope[name])}" for name in sorted(scope)]
    return roots + lines


relaxed = settings(max_examples=examples(60))


@relaxed
@given(graphs())
def test_any_graph_comes_back_with_its_sharing(tmp_path_factory, scope):
    blobs = FolderBlobs(tmp_path_factory.mktemp("graph"))
    snapshot = capture(scope, blobs=blobs)
    assert snapshot.unsaved == {}
    back: dict[str, Any] = {}
    assert restore(snapshot, blobs, into=back).failed == {}
    assert picture(back) == picture(scope)
    assert changed(back, snapshot, blobs=blobs).changed == ()


@pytest.mark.parametrize("small", [["a", 2, "c"], {"k": 1.5, "l": 2}])
def test_a_small_value_at_the_address_of_a_large_one_that_is_gone_is_unchanged(tmp_path, small):
    blobs = FolderBlobs(tmp_path)
    base = capture({"small": small}, blobs=blobs)
    remembered.register(small, [1, 1])  # what is remembered of the large one
    assert changed({"small": small}, base, blobs=blobs).changed == ()


def mutable(scope):
    found, queue = {}, list(scope.values())
    while queue:
        value = queue.pop()
        if id(value) in found or not isinstance(value, list | dict | tuple | set | np.ndarray):
            continue
        found[id(value)] = value
        queue += value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return [value for value in found.values() if not isinstance(value, tuple)]


@relaxed
@given(graphs(), st.data())
def test_no_mutation_is_missed(tmp_path_factory, scope, data):
    blobs = FolderBlobs(tmp_path_factory.mktemp("graph"))
    base = capture(scope, blobs=blobs)
    worker: dict[str, Any] = {}
    kernel: dict[str, Any] = {}
    restore(base, blobs, into=worker)
    restore(base, blobs, into=kernel)
    targets = mutable(worker)
    if not targets:
        return
    target = targets[data.draw(st.integers(0, len(targets) - 1))]
    if isinstance(target, list):
        target.append(data.draw(st.one_of(leaves, st.sampled_from(targets))))
    elif isinstance(target, dict):
        target["fresh"] = data.draw(st.one_of(leaves, st.sampled_from(targets)))
    elif isinstance(target, set):
        target.add("fresh")
    else:
        target[0] = 99.5
    found = changed(worker, base, blobs=blobs)
    touched = [name for name in scope if picture({"v": worker[name]}) != picture({"v": kernel[name]})]
    assert set(touched) <= set(found.changed)
    if found.snapshot is not None:
        restore(found.snapshot, blobs, into=kernel)
    assert picture(kernel) == picture(worker)
    assert copy.copy(found) == found


def test_padding_inside_records_is_no_change(tmp_path):
    blobs = FolderBlobs(tmp_path)
    records = np.zeros(50, np.dtype([("a", "i1"), ("b", "f8")], align=True))
    records.view("u1")[:] = 7  # the padding too
    base = capture({"records": records}, blobs=blobs)
    worker: dict[str, Any] = {}
    restore(base, blobs, into=worker)
    assert changed(worker, base, blobs=blobs).changed == ()


def test_a_figure_that_nobody_touched_is_no_change(tmp_path):
    pytest.importorskip("matplotlib").use("agg")
    from matplotlib.figure import Figure

    blobs = FolderBlobs(tmp_path)
    figure = Figure()
    figure.subplots().plot([1, 2])
    base = capture({"figure": figure}, blobs=blobs)
    assert changed({"figure": figure}, base, blobs=blobs).changed == ()
    figure.axes[0].plot([3, 4])
    assert changed({"figure": figure}, base, blobs=blobs).changed == ("figure",)


def test_a_frame_is_the_same_when_another_name_of_its_labels_is_gone(tmp_path):
    blobs = FolderBlobs(tmp_path)
    scope: dict[str, Any] = {"__name__": "__main__", "df": pd.DataFrame({"a": [1, 2]}, index=["x", "y"])}
    other = scope["df"].index[:]
    before = capture(scope, blobs=blobs)
    del other
    assert diff(before, capture(scope, base=before, blobs=blobs)).changed == ()
