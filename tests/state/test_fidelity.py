"""What a namespace holds survives a save and a restore in a fresh process, or is named with its reason.

The awkward namespace is the one of the published comparison: every existing tool loses or alters a part of it.
"""

import importlib
import json
import pickle
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from dure.state import FolderBlobs, Snapshot, capture, restore

AWKWARD = """
import collections, dataclasses, enum, functools, io, itertools, math, os, queue, random, re, sqlite3, tempfile
import threading, datetime, decimal
import numpy as np, pandas as pd
import os.path as osp
from math import sqrt

alpha = 3
def add_alpha(x): return x + alpha
def fact(n): return 1 if n <= 1 else n * fact(n - 1)
def make_counter():
    count = 0
    def up():
        nonlocal count
        count += 1
        return count
    def now(): return count
    return up, now
up, now = make_counter()
up()
square = lambda x: x * x
def outer(k):
    class Local:
        def __init__(self): self.k = k
        def twice(self): return 2 * self.k
    return Local
Local = outer(21)
local = Local()
class Config:
    rate = 0.1
    seen = []
    def __init__(self, name): self.name = name
    def hello(self): return f'{self.name}{alpha}'
    @property
    def loud(self): return self.name.upper()
    @classmethod
    def default(cls): return cls('default')
    @staticmethod
    def two(): return 2
class Deep(Config):
    def hello(self): return 'deep ' + super().hello()
cfg = Config('cfg')
deep = Deep('deep')
bound = cfg.hello
@dataclasses.dataclass
class Point:
    x: int
    y: list = dataclasses.field(default_factory=list)
point = Point(1, [2])
Pair = collections.namedtuple('Pair', 'left right')
pair = Pair(1, [2])
class Colour(enum.Enum):
    RED = 1
    BLUE = 2
red = Colour.RED
alias_a = [1, 2]
alias_b = alias_a
nested = {'inner': alias_a}
loop = []
loop.append(loop)
big = np.arange(200_000.0)
half = big[:100_000]
reverse = big[::-3]
column = np.asfortranarray(np.ones((300, 400)))[:, 7]
zero_d = np.array(5.0)
when = np.array(['2024-01-01', '2024-02-02'], dtype='datetime64[D]')
objects = np.array([alias_a, None, 'x'], dtype=object)
masked = np.ma.masked_array([1, 2, 3], mask=[0, 1, 0])
frame = pd.DataFrame({'n': range(5), 't': list('abcde'), 'c': pd.Categorical(list('aabba')), 'f': np.arange(5.0)})
series = frame['n']
view = memoryview(bytearray(b'hello'))[1:3]
partial = functools.partial(add_alpha, 4)
@functools.lru_cache(maxsize=8)
def cached(n): return n + alpha
counts = collections.Counter('hello')
default = collections.defaultdict(list, a=[1])
text_io = io.StringIO('text'); text_io.seek(2)
rng = np.random.default_rng(5); rng.random()
pattern = re.compile('a+')
money = decimal.Decimal('1.10')
clock = datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone.utc)
ids = itertools.count(7); next(ids)
rounds = itertools.cycle([1, 2, 3]); next(rounds); turns = itertools.cycle(itertools.count(7)); next(turns)
gen = (i for i in range(3))
it = iter([1, 2, 3])
folder = tempfile.mkdtemp()
fh = open(os.path.join(folder, 'file.txt'), 'w+'); fh.write('hello'); fh.flush()
conn = sqlite3.connect(':memory:')
lock = threading.Lock()
held = [{'a': 1}, {'handle': fh}]
mapped = np.memmap(os.path.join(folder, 'm.npy'), dtype='f8', mode='w+', shape=(4,))
namespace_itself = globals()
"""

UNSAVED = {"gen", "it", "fh", "conn", "lock", "held", "mapped"}

CHECKS = [
    "add_alpha(1) == 4",
    "globals().__setitem__('alpha', 10) or add_alpha(1) == 11",  # later rebinding is seen
    "partial() == 14 and cached(1) == 11 and cached.cache_info().maxsize == 8",
    "globals().__setitem__('alpha', 3) or fact(5) == 120",
    "now() == 1 and up() == 2 and now() == 2",  # two closures, one cell
    "square(3) == 9",
    "local.twice() == 42 and type(local) is Local",
    "isinstance(cfg, Config) and isinstance(deep, Config) and type(deep) is Deep",
    "cfg.hello() == 'cfg3' and deep.hello() == 'deep deep3' and cfg.loud == 'CFG' and Config.two() == 2",
    "type(Config.default()) is Config and Config.seen == [] and Config.rate == 0.1",
    "bound() == 'cfg3' and bound.__self__ is cfg",
    "point == Point(1, [2]) and Point(3).y == [] and dataclasses.replace(point, x=5).x == 5",
    "pair.right == [2] and type(pair) is Pair and Pair(1, 2).left == 1",
    "red is Colour.RED and Colour(2).name == 'BLUE' and type(red) is Colour",
    "alias_a is alias_b and nested['inner'] is alias_a and objects[0] is alias_a",
    "loop[0] is loop",
    "np.shares_memory(big, half) and np.shares_memory(big, reverse)",
    "big.__setitem__(0, 77.0) or half[0] == 77.0 and reverse[-1] == big[1] or reverse.strides == (-24,)",
    "column.shape == (300,) and not column.flags.owndata and column.sum() == 300",
    "zero_d.shape == () and zero_d == 5 and when.dtype == 'datetime64[D]' and str(when[1]) == '2024-02-02'",
    "masked.sum() == 4 and masked.mask[1] and type(masked) is np.ma.MaskedArray",
    "list(frame.columns) == list('ntcf') and frame['c'].dtype == 'category' and frame['t'][0] == 'a'",
    "series.name == 'n' and series.sum() == 10",
    # copy-on-write between frame and column still copies
    "series.__setitem__(0, 99) or (frame['n'][0] == 0 and series[0] == 99)",
    "frame.__setitem__('f', 1.0) or frame.loc.__setitem__((1, 'n'), 55) or series[1] == 1",
    "bytes(view) == b'el' and type(view) is memoryview and type(view.obj) is bytearray",
    "counts['l'] == 2 and default['new'] == [] and default['a'] == [1]",
    "text_io.read() == 'xt' and pattern.match('aa') and money == decimal.Decimal('1.10') and clock.year == 2024",
    "rng.random() == (lambda g: (g.random(), g.random())[1])(np.random.default_rng(5))",
    "next(ids) == 8",
    "[next(rounds) for _ in range(4)] == [2, 3, 1, 2] and next(turns) == 8",
    "osp is os.path and sqrt(4) == 2.0 and math.pi > 3",
    "namespace_itself is globals()",
]

RESTORE = """
import json, sys
from dure.state import FolderBlobs, Snapshot, restore
blobs = FolderBlobs(sys.argv[1])
scope = {'__name__': '__main__'}
report = restore(Snapshot.load(sys.argv[2], blobs), blobs, into=scope)
answers = []
for check in json.load(open(sys.argv[3])):
    try:
        answers.append(bool(eval(check, scope)))
    except Exception as error:
        answers.append(repr(error))
print(json.dumps({'failed': report.failed, 'answers': answers, 'restored': report.restored}))
"""


@pytest.fixture(scope="module")
def awkward(tmp_path_factory):
    """The awkward namespace, saved here and checked in a process that shares nothing with this one."""
    folder = tmp_path_factory.mktemp("awkward")
    blobs = FolderBlobs(folder / "store")
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(AWKWARD, "<cell>", "exec"), scope)
    snapshot = capture(scope, blobs=blobs)
    (folder / "checks.json").write_text(json.dumps(CHECKS))
    done = subprocess.run(
        [sys.executable, "-c", RESTORE, str(folder / "store"), snapshot.store(blobs), str(folder / "checks.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("fh", "conn"):
        scope[name].close()
    yield snapshot, json.loads(done.stdout), scope
    shutil.rmtree(scope["folder"])


def test_everything_is_restored_or_named(awkward):
    snapshot, answer, scope = awkward
    assert set(snapshot.unsaved) == UNSAVED
    assert answer["failed"] == {}
    user = {name for name in scope if not name.startswith("__")}
    assert set(answer["restored"]) | UNSAVED == user


def test_every_check_holds_in_a_fresh_process(awkward):
    _, answer, _ = awkward
    wrong = [(check, said) for check, said in zip(CHECKS, answer["answers"], strict=True) if said is not True]
    assert wrong == []


def test_the_path_inside_the_value_is_named(awkward):
    snapshot, _, _ = awkward
    assert snapshot.unsaved["held"].startswith("held[1]['handle']: an open file")
    assert snapshot.unsaved["gen"].startswith("gen: a generator")
    assert "lock" in snapshot.unsaved["lock"]
    assert "memory-mapped" in snapshot.unsaved["mapped"]


def test_the_file_on_disk_is_left_alone(awkward):
    _, _, scope = awkward
    assert Path(scope["fh"].name).read_text() == "hello"


def run(code, scope=None):
    scope = {"__name__": "__main__"} if scope is None else scope
    exec(compile(textwrap.dedent(code), "<cell>", "exec"), scope)
    return scope


def test_a_class_that_lives_here_keeps_its_identity(tmp_path):
    blobs = FolderBlobs(tmp_path)
    scope = run("class A:\n    n = 1\na = A()")
    snapshot = capture(scope, ["a"], blobs=blobs)
    report = restore(snapshot, blobs, into=scope)
    assert report.restored == ("a",)
    assert type(scope["a"]) is scope["A"]


def test_a_class_of_equal_definition_is_reused_and_another_is_not(tmp_path):
    blobs = FolderBlobs(tmp_path)
    code = "class A:\n    n = {}\n    def f(self): return self.n\n"
    source = run(code.format(1) + "a = A()")
    snapshot = Snapshot.from_json(capture(source, ["a"], blobs=blobs).to_json())
    del source
    import gc

    gc.collect()
    same, other = run(code.format(1)), run(code.format(2))
    restore(snapshot, blobs, into=same)
    assert type(same["a"]) is same["A"]
    gc.collect()
    del same
    gc.collect()
    restore(snapshot, blobs, into=other)
    assert type(other["a"]) is not other["A"]
    assert other["a"].f() == 1


def test_loading_changes_a_living_class_only_at_commit(tmp_path):
    blobs = FolderBlobs(tmp_path)
    scope = run("class A:\n    n = 1\na = A()")
    snapshot = capture(scope, ["A", "a"], blobs=blobs)
    scope["A"].n = 2
    report = restore(snapshot, blobs, into=scope, commit=False)
    assert scope["A"].n == 2
    report.commit()
    assert scope["A"].n == 1


def test_nothing_is_set_before_commit_and_all_of_it_after(tmp_path):
    blobs = FolderBlobs(tmp_path)
    snapshot = capture({"x": 1, "y": [2]}, blobs=blobs)
    scope: dict[str, Any] = {"x": "old"}
    report = restore(snapshot, blobs, into=scope, commit=False)
    assert scope == {"x": "old"}
    report.commit()
    assert (scope["x"], scope["y"]) == (1, [2])


def test_a_group_that_does_not_load_is_named_and_leaves_the_old_value(tmp_path):
    blobs = FolderBlobs(tmp_path)
    scope = run(
        """
        class Grumpy:
            def __setstate__(self, state): raise ValueError('not today')
        bad = Grumpy(); bad.x = 1
        good = 5
        """
    )
    snapshot = capture(scope, ["bad", "good"], blobs=blobs)
    into: dict[str, Any] = {"bad": "old", "__name__": "__main__"}
    report = restore(snapshot, blobs, into=into)
    assert into["bad"] == "old"
    assert into["good"] == 5
    assert report.failed == {"bad": "ValueError: not today"}


def test_a_function_inside_a_value_brings_the_globals_that_it_reads(tmp_path):
    blobs = FolderBlobs(tmp_path)
    scope = run("scale = 3\ndef times(x): return x * scale\nsteps = {'first': [times]}\nunused = 1")
    snapshot = capture(scope, ["steps"], blobs=blobs)
    assert set(snapshot.names) == {"steps", "scale"}


def test_a_big_global_is_not_dragged_into_a_function(tmp_path):
    np = pytest.importorskip("numpy")
    blobs = FolderBlobs(tmp_path)
    scope = run("def first(): return big[0]")
    scope["big"] = np.zeros(1_000_000)
    snapshot = capture(scope, blobs=blobs)
    assert snapshot.variables["first"].size_bytes < 10_000
    assert snapshot.size_bytes < 8_100_000


def test_asked_for_an_alias_the_other_names_come_along(tmp_path):
    np = pytest.importorskip("numpy")
    blobs = FolderBlobs(tmp_path)
    scope = run("a = [1]\nb = a\nc = [1]")
    scope["big"] = np.zeros(10)
    scope["half"] = scope["big"][:5]
    assert set(capture(scope, ["a"], blobs=blobs).names) == {"a", "b"}
    assert set(capture(scope, ["half"], blobs=blobs).names) == {"big", "half"}


def test_names_that_are_not_there_are_told_apart(tmp_path):
    snapshot = capture({"x": 1}, ["x", "y"], blobs=FolderBlobs(tmp_path))
    assert snapshot.absent == ("y",)
    assert snapshot.names == ("x",)


def test_secrets_are_left_out_of_a_whole_capture_and_sent_when_read(tmp_path):
    blobs = FolderBlobs(tmp_path)
    scope = {
        "api_key": "abc",
        "DB_PASSWORD": "hunter2",
        "note": "AKIA" + "A" * 16,
        "tokens": ["a", "b"],
        "token": 5,
        "x": 1,
    }
    snapshot = capture(scope, blobs=blobs)
    assert set(snapshot.unsaved) == {"api_key", "DB_PASSWORD", "note"}
    assert set(snapshot.names) == {"tokens", "token", "x"}
    assert b"hunter2" not in snapshot.to_json()
    assert capture(scope, ["api_key"], blobs=blobs).names == ("api_key",)


def test_a_class_that_cannot_be_saved_names_what_needs_it(tmp_path):
    scope = run("import threading\nclass A:\n    guard = threading.Lock()\na = A()\nother = 1")
    snapshot = capture(scope, blobs=FolderBlobs(tmp_path))
    assert set(snapshot.unsaved) == {"A", "a"}
    assert "class A cannot be saved" in snapshot.unsaved["a"]
    assert "other" in snapshot.names


def test_a_stream_says_that_plain_pickle_is_the_wrong_reader(tmp_path):
    import base64

    scope = run("def f(): return 1")
    snapshot = capture(scope, ["f"], blobs=FolderBlobs(tmp_path))
    with pytest.raises(RuntimeError, match=r"dure\.state\.restore"):
        pickle.loads(base64.b64decode(snapshot.groups[0].stream.inline or ""))


def test_deep_nesting_is_named_not_fatal(tmp_path):
    deep: list[Any] = []
    for _ in range(200_000):
        deep = [deep]
    scope = {"deep": deep, "x": 1}
    snapshot = capture(scope, blobs=FolderBlobs(tmp_path))
    assert "nested too deeply" in snapshot.unsaved["deep"]
    assert snapshot.names == ("x",)
    while deep:
        deep = deep[0]


def test_standard_output_is_a_reference_not_a_file(tmp_path):
    blobs = FolderBlobs(tmp_path)
    snapshot = capture({"out": sys.__stdout__}, ["out"], blobs=blobs)
    scope: dict[str, Any] = {}
    restore(snapshot, blobs, into=scope)
    assert scope["out"] in (sys.__stdout__, sys.stdout)


def test_an_object_of_a_library_that_answers_for_every_attribute(tmp_path, monkeypatch):
    (tmp_path / "answering.py").write_text(
        "class A:\n    def __init__(self, told): self.told = told\n"
        "    def __getattr__(self, name): return self.told[name]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    answering = importlib.import_module("answering")
    blobs = FolderBlobs(tmp_path / "store")
    found: dict[str, Any] = {"__name__": "__main__"}
    restore(capture({"x": answering.A({"colour": "red"})}, blobs=blobs), blobs, into=found)
    assert found["x"].colour == "red"
    monkeypatch.delitem(sys.modules, "answering")


@pytest.mark.parametrize("held", ["odd", "[odd]", "{'a': (odd,)}"])
def test_an_object_that_raises_when_asked_for_its_class_costs_no_other_variable(tmp_path, held):
    scope = run(
        "class Proxy:\n"
        "    @property\n"
        "    def __class__(self): raise RuntimeError('outside its context')\n"
        "odd = Proxy(); x = [1, 2]"
    )
    scope["held"] = eval(held, {"odd": scope.pop("odd")})
    snapshot = capture(scope, ["held", "x"], blobs=FolderBlobs(tmp_path))
    assert snapshot.names == ("x",)
    assert "outside its context" in snapshot.unsaved["held"]
