"""What a cell reads is found, through functions and classes; what it binds first is not sent."""

import pytest

from dure.notebook.reading import CellSyntaxError
from dure.notebook.reads import cell_reads, function_reads

SETUP = """
import functools
import math
alpha, beta, gamma = 1, 2, 3
x, data, path, unused = 5, [1], "p", 9
def f(v): return v + alpha
def g(v, scale=f): return scale(v) * beta
def later(): return [math.floor(item) for item in data]
def bump():
    global counter
    counter += 1
counter = 0
def outer():
    def inner(): return gamma
    return inner
inner = outer()
def deco(fn):
    @functools.wraps(fn)
    def wrapped(*args): return fn(*args) + gamma
    return wrapped
@deco
def decorated(v): return v * alpha
@functools.lru_cache
def fact(n): return n * fact(n - 1) if n else alpha
part = functools.partial(f, 2)
class Base:
    def low(self): return beta
class C(Base):
    k = gamma
    def m(self): return f(1)
    @property
    def p(self): return self.low()
    @staticmethod
    def s(): return data
inst = C()
table = {'run': [f]}
def sneaky(name): return eval(name)
def ping(n): return pong(n - 1)
def pong(n): return ping(n - 1) if n else x
"""


@pytest.fixture(scope="module")
def namespace():
    scope = {"__name__": "__main__"}
    exec(SETUP, scope)
    return scope


READS = {
    "x": "x",
    "x = 1\nprint(x)": "",
    "x += 1": "x",
    "del x": "x",
    "x: int = 3\nx": "",
    "x: int\nx": "x",
    "if unused: data = 1\nprint(data)": "data unused",
    "if unused:\n  data = 1\nelse:\n  data = 2\nprint(data)": "unused",
    "for x in data: print(x)": "data",
    "for x in data: pass\nprint(x)": "data x",
    "while x: x = 0": "x",
    "with open(path) as data: x = data.read()\nprint(x)": "path",
    "try:\n  x = 1\nexcept ValueError as data:\n  print(data)\nprint(x)": "x",
    "try:\n  x = 1\nfinally:\n  data = 2\nprint(data)": "",
    "[x for x in data]": "data",
    "[alpha for y in data if y > x]": "alpha data x",
    "{k: v for k, v in data}": "data",
    "(x := 3); print(x)": "",
    "[x := y for y in data]; print(x)": "data x",
    "lambda x: x + alpha": "alpha",
    "def h(x, y=alpha): return x + beta": "alpha beta",
    "def h():\n  x = 1\n  return x": "",
    "def h():\n  global x\n  x = 1": "",
    "class D:\n  x = x\n  y = x": "x",
    "async def h(): return await x": "x",
    "await x": "x",
    "print(f'{x!r:>{alpha}} {data}')": "alpha data x",
    "match x:\n  case [alpha, *beta]: print(alpha, beta)\n  case {'k': data, **gamma}: print(gamma)": "x",
    "match x:\n  case Base(): pass": "Base beta x",
    "x and (data := 1)\nprint(data)": "data x",
    "import math\nmath.pi": "",
    "import math as x\nx.pi": "",
    "x.y.z = 1": "x",
    "data[x] = alpha": "alpha data x",
    "a, (x, *data) = alpha": "alpha",
    "a = x if alpha else beta": "alpha beta x",
    "print(len(data))": "data",
    # through functions and classes
    "f(1)": "alpha f",
    "g(1)": "alpha beta g",
    "later()": "data later math",
    "bump()": "bump counter",
    "inner()": "gamma inner",
    "decorated(1)": "alpha decorated gamma",
    "fact(3)": "alpha fact",
    "part()": "alpha part",
    "ping(1)": "ping pong x",
    "C": "C alpha beta data f",
    "inst.m()": "alpha beta data f inst",
    "table['run'][0](1)": "alpha table",
    "class D(C): pass": "C alpha beta data f",
    "@deco\ndef h(): return x": "deco gamma x",
    # IPython's language
    "!ls {path} $x": "path x",
    "files = !ls {path}\nprint(files)": "path",
    "!echo {data[0]:>{alpha}}": "alpha data",
    "!awk '{print $1}' {path} $HOME": "path",
    "%timeit -n 10 f(x)": "alpha f x",
    "%time y = f(x)\nprint(y)": "alpha f x",
    "%%time\nprint(f(x))": "alpha f x",
    "%%capture out\nprint(x)": "x",
    "%%bash -s {x}\necho $alpha": "x",
    "%matplotlib inline": "",
    "%cd $path": "path",
    "x?": "x",
    "get_ipython().run_line_magic('time', 'f(x)')": "alpha f x",
}


@pytest.mark.parametrize(("code", "names"), READS.items(), ids=READS)
def test_a_cell_reads(namespace, code, names):
    # deco's wrapper is made by functools.wraps, which the notebook imported
    assert set(cell_reads(code, namespace).reads) - {"functools"} == set(names.split())


DYNAMIC = (
    *("globals()['x']", "eval('x')", "exec('x')", "locals()['x']", "from math import *", "%run script.py"),
    *("getattr(x, path)", "sneaky('x')", "%%mine\nx"),
)


@pytest.mark.parametrize("code", DYNAMIC)
def test_what_reading_cannot_see_is_said(namespace, code):
    assert cell_reads(code, namespace).dynamic


@pytest.mark.parametrize("code", ["x", "model.eval()", "getattr(x, 'real')", "vars(x)"])
def test_ordinary_code_is_not_called_dynamic(namespace, code):
    assert not cell_reads(code, namespace).dynamic


def test_writes_are_what_the_cell_may_bind(namespace):
    code = "a = 1\nb += 1\ndel c\nimport d.e\nfrom f import g as h\n"
    code += "def i(): j = 1\nfor k in []: l = 1\n(m := 2)\nn.o = 1"
    assert cell_reads(code, {}).writes == ("a", "b", "c", "d", "h", "i", "k", "l", "m")


def test_a_global_statement_in_the_cells_function_is_a_write():
    assert cell_reads("def h():\n  global z\n  z = 1", {}).writes == ("h", "z")


def test_the_functions_on_the_way_are_told(namespace):
    assert cell_reads("ping(1)", namespace).calls == ("ping", "pong")


@pytest.mark.parametrize(
    ("code", "line"), [("a = 1\nx = (", 2), ("a = 1\nreturn 3", 2), ("for", 1), ("x = 1\n\x00", None), ("break", 1)]
)
def test_a_cell_that_does_not_parse_fails_here(code, line):
    with pytest.raises(CellSyntaxError) as told:
        cell_reads(code, {})
    assert line is None or told.value.lineno == line


def test_a_function_alone_reads_what_it_calls(namespace):
    assert function_reads(namespace["g"], namespace).reads == ("alpha", "beta")


def test_an_empty_cell_reads_nothing():
    assert cell_reads("", {}).reads == ()
    assert cell_reads("# only a comment", {}).reads == ()


def test_no_more_of_a_large_container_is_touched_than_is_looked_at():
    touched = []

    class Watching(list):
        def __iter__(self):
            for item in super().__iter__():
                touched.append(item)
                yield item

    found = cell_reads("many[0]", {"many": Watching(range(100_000))})
    assert found.reads == ("many",)
    assert 0 < len(touched) <= 1000
