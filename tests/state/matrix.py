"""The fidelity matrix: kinds of object as a notebook makes them, and what must hold of them in another process.

A row without a check cannot be saved and must be named. `python -m tests.state.test_matrix` writes
docs/FIDELITY.md from it.
"""
# ruff: noqa: E501 - the source of a cell is one text

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One kind: `source` binds `x`; `check` is evaluated where `x` was restored."""

    section: str
    kind: str
    source: str
    check: str | None
    needs: str = ""  # a library that is not always installed
    reason: str = ""  # how the reason of what is named begins, where nobody may be there to see it


def _rows(section: str, *kinds: tuple[str, str, str | None]) -> list[Row]:
    return [Row(section, *kind) for kind in kinds]


_F = "import functools, itertools, collections, types, typing, abc, enum, dataclasses, weakref\n"
_N = "import numpy as np\n"
_P = "import numpy as np, pandas as pd\n"
_T = "import os, tempfile, threading, io\n"

ROWS = [
    *_rows(
        "Values of Python itself",
        (
            "None, True, Ellipsis, NotImplemented",
            "x = (None, True, ..., NotImplemented)",
            "x[2] is ... and x[3] is NotImplemented",
        ),
        ("int beyond 64 bits", "x = 10 ** 400", "x == 10 ** 400"),
        (
            "float, with nan, infinity and minus zero",
            "x = [float('nan'), float('inf'), -0.0]",
            "x[0] != x[0] and x[1] > 1e300 and str(x[2]) == '-0.0'",
        ),
        ("complex", "x = 1 + 2j", "x == 1 + 2j"),
        ("str with lone surrogates", "x = 'é\\ud800한'", "x == 'é\\ud800한'"),
        ("bytes", "x = bytes(range(256))", "x == bytes(range(256))"),
        ("bytearray under two names", "x = bytearray(b'ab'); y = x", "x is y and x == b'ab'"),
        (
            "memoryview of a bytearray",
            "b = bytearray(b'hello'); x = memoryview(b)[1:3]",
            "b.__setitem__(1, 65) or bytes(x) == b'Al'",
        ),
        ("list that holds itself", "x = []; x.append(x)", "x[0] is x"),
        ("dict that holds itself", "x = {}; x['me'] = x", "x['me'] is x"),
        ("tuple in a cycle", "a = []; x = (a,); a.append(x)", "x[0][0] is x"),
        ("dict keeps its order", "x = {'b': 1, 'a': 2}", "list(x) == ['b', 'a']"),
        (
            "living view of a dict",
            "d = {1: 2}; x = d.keys()",
            "d.update(z=3) or 'z' in x and type(x).__name__ == 'dict_keys'",
        ),
        ("set and frozenset", "x = {1, frozenset({2})}", "frozenset({2}) in x"),
        ("range and slice", "x = [range(1, 9, 2), slice(1, None, 2)]", "x == [range(1, 9, 2), slice(1, None, 2)]"),
        ("one list under two names", "a = [1]; x = [a, a]", "x[0] is x[1] is a"),
        ("builtin function", "x = len", "x is len"),
        ("bound method of a builtin", "a = [1]; x = a.append", "x(2) or a == [1, 2]"),
        ("type", "x = dict", "x is dict"),
        ("generic alias and union", "x = [list[int], int | None]", "x == [list[int], int | None]"),
        ("exception", "x = ValueError('a', 1)", "x.args == ('a', 1)"),
        (
            "exception with notes, cause and attributes",
            "x = KeyError('k'); x.add_note('n'); x.extra = 3",
            "x.__notes__ == ['n'] and x.extra == 3",
        ),
        ("exception group", "x = ExceptionGroup('g', [ValueError(1)])", "x.exceptions[0].args == (1,)"),
        ("object()", "x = object(); y = x", "x is y"),
        ("types.SimpleNamespace", _F + "x = types.SimpleNamespace(a=1)", "x.a == 1"),
        (
            "mapping proxy",
            _F + "x = types.MappingProxyType({'a': 1})",
            "x['a'] == 1 and type(x).__name__ == 'mappingproxy'",
        ),
        ("code object", "x = compile('1 + 1', 'f', 'eval')", "eval(x) == 2"),
    ),
    *_rows(
        "Standard library",
        ("Counter", _F + "x = collections.Counter('aab')", "x['a'] == 2 and x['z'] == 0"),
        (
            "defaultdict with a builtin",
            _F + "x = collections.defaultdict(list, a=[1])",
            "x['b'] == [] and x['a'] == [1]",
        ),
        ("defaultdict with a lambda", _F + "x = collections.defaultdict(lambda: 7)", "x['b'] == 7"),
        ("deque with a bound", _F + "x = collections.deque([1, 2], maxlen=2)", "x.append(3) or list(x) == [2, 3]"),
        ("OrderedDict", _F + "x = collections.OrderedDict(b=1, a=2)", "x.popitem(last=False) == ('b', 1)"),
        (
            "ChainMap on a shared dict",
            _F + "d = {'a': 1}; x = collections.ChainMap({}, d)",
            "d.update(a=5) or x['a'] == 5",
        ),
        ("array.array", "import array; x = array.array('d', [1, 2])", "x.typecode == 'd' and list(x) == [1, 2]"),
        (
            "datetime with a zone",
            "import datetime, zoneinfo; x = datetime.datetime(2024, 1, 2, tzinfo=zoneinfo.ZoneInfo('Asia/Seoul'))",
            "str(x.utcoffset()) == '9:00:00' and x.tzinfo.key == 'Asia/Seoul'",
        ),
        ("datetime with fold", "import datetime; x = datetime.datetime(2024, 1, 2, fold=1)", "x.fold == 1"),
        (
            "date, time, timedelta, timezone",
            "import datetime as d; x = [d.date(2024, 1, 2), d.time(3), d.timedelta(days=-1), d.timezone.utc]",
            "x[2].days == -1 and x[3] is d.timezone.utc",
        ),
        (
            "Decimal and its context",
            "import decimal; x = [decimal.Decimal('1.10'), decimal.Context(prec=5)]",
            "str(x[0]) == '1.10' and x[1].prec == 5",
        ),
        ("Fraction", "import fractions; x = fractions.Fraction(1, 3)", "x * 3 == 1"),
        (
            "pathlib path",
            "import pathlib; x = pathlib.Path('/tmp') / 'a'",
            "x.name == 'a' and isinstance(x, pathlib.Path)",
        ),
        ("compiled regular expression", "import re; x = re.compile('a+', re.I)", "x.match('AA') and x.flags & re.I"),
        ("match of a regular expression", "import re; x = re.match('a', 'abc')", None),
        ("UUID", "import uuid; x = uuid.UUID(int=5)", "x.int == 5"),
        ("IP network", "import ipaddress; x = ipaddress.ip_network('10.0.0.0/8')", "x.num_addresses == 2 ** 24"),
        ("logger", "import logging; x = logging.getLogger('my.log')", "x is logging.getLogger('my.log')"),
        ("random.Random", "import random; x = random.Random(3); x.random(); y = x.getstate()", "x.getstate() == y"),
        ("functools.partial", _F + "x = functools.partial(int, base=2)", "x('11') == 3"),
        (
            "operator getters",
            "import operator; x = [operator.itemgetter(1), operator.attrgetter('real')]",
            "x[0]('ab') == 'b' and x[1](3) == 3",
        ),
        ("itertools.count", _F + "x = itertools.count(5); next(x)", "next(x) == 6"),
        ("itertools.repeat", _F + "x = itertools.repeat('a', 2)", "list(x) == ['a', 'a']"),
        ("StringIO at its position", "import io; x = io.StringIO('text'); x.seek(2)", "x.read() == 'xt'"),
        ("BytesIO at its position", "import io; x = io.BytesIO(b'data'); x.seek(1)", "x.read() == b'ata'"),
        ("sys.stdout", "import sys; x = sys.__stdout__", "x is __import__('sys').__stdout__"),
        ("os.environ is this process's own", "import os; x = os.environ", "x is os.environ"),
        ("struct.Struct", "import struct; x = struct.Struct('<d')", "x.pack(1.0) == struct.pack('<d', 1.0)"),
        (
            "ElementTree element",
            "import xml.etree.ElementTree as E; x = E.fromstring('<a><b k=\"1\"/></a>')",
            "x[0].get('k') == '1'",
        ),
        (
            "ConfigParser",
            "import configparser; x = configparser.ConfigParser(); x.read_string('[a]\\nb=1')",
            "x['a']['b'] == '1'",
        ),
        ("Namespace of argparse", "import argparse; x = argparse.Namespace(a=1)", "x.a == 1"),
        ("string.Template", "import string; x = string.Template('$a')", "x.substitute(a=1) == '1'"),
        ("UserDict", _F + "x = collections.UserDict(a=1)", "x['a'] == 1"),
        (
            "http cookie and urllib result",
            "import urllib.parse; x = urllib.parse.urlparse('http://a/b?c')",
            "x.query == 'c'",
        ),
        ("queue.Queue", "import queue; x = queue.Queue()", None),
        ("hash in progress", "import hashlib; x = hashlib.sha256(b'a')", None),
        ("TypeVar of the notebook", _F + "T = typing.TypeVar('T'); x = typing.List[T]", "x.__args__[0] is T"),
    ),
    *_rows(
        "Functions",
        ("function", "def x(a): return a + 1", "x(1) == 2"),
        (
            "function that reads a global, rebound later",
            "k = 1\ndef x(): return k",
            "globals().update(k=9) or x() == 9",
        ),
        ("function that writes a global", "n = 0\ndef x():\n    global n\n    n += 1", "x() or n == 1"),
        ("lambda", "x = lambda a: a * 2", "x(2) == 4"),
        ("lambdas in a dict", "x = {'sq': lambda a: a * a}", "x['sq'](3) == 9"),
        ("closure", "def f(k): return lambda a: a + k\nx = f(3)", "x(1) == 4"),
        (
            "two closures on one nonlocal cell",
            "def f():\n    n = 0\n    def up():\n        nonlocal n; n += 1\n    return up, lambda: n\nup, x = f()",
            "up() or x() == 1",
        ),
        (
            "closure on itself",
            "def f():\n    def g(n): return 1 if n < 2 else n * g(n - 1)\n    return g\nx = f()",
            "x(5) == 120",
        ),
        (
            "closure with an empty cell",
            "def f():\n    def g(): return later\n    if 0: later = 1\n    return g\nx = f()",
            "len(x.__closure__) == 1",
        ),
        ("recursive function", "def x(n): return 1 if n < 2 else n * x(n - 1)", "x(5) == 120"),
        (
            "functions that call each other",
            "def x(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and x(n - 1)",
            "x(4) and not x(3)",
        ),
        ("mutable default, shared", "s = []\ndef x(a, b=s): b.append(a)", "x(1) or s == [1]"),
        (
            "keyword-only defaults and annotations",
            "def x(*, a: int = 5) -> int: return a",
            "x() == 5 and x.__annotations__['return'] is int",
        ),
        ("attributes of a function", "def x(): pass\nx.calls = [1]", "x.calls == [1]"),
        ("docstring and name", "def x():\n    'doc'", "x.__doc__ == 'doc' and x.__name__ == 'x'"),
        (
            "decorated with functools.wraps",
            _F
            + "def d(f):\n    @functools.wraps(f)\n    def g(*a): return f(*a) + 1\n    return g\n@d\ndef x(a): return a",
            "x(1) == 2 and x.__wrapped__(1) == 1",
        ),
        (
            "functools.lru_cache",
            _F + "@functools.lru_cache(maxsize=4)\ndef x(a): return a",
            "x(3) == 3 and x.cache_info().maxsize == 4",
        ),
        (
            "functools.singledispatch",
            _F + "@functools.singledispatch\ndef x(a): return 'any'\n@x.register\ndef _(a: int): return 'int'",
            "x(1) == 'int' and x('') == 'any'",
        ),
        ("partial of a notebook function", _F + "def f(a, b): return a - b\nx = functools.partial(f, 5)", "x(2) == 3"),
        ("generator function", "def x(n): yield from range(n)", "list(x(2)) == [0, 1]"),
        ("async function", "async def x(): return 3", "__import__('asyncio').run(x()) == 3"),
        ("async generator function", "async def x():\n    yield 1", "__import__('inspect').isasyncgenfunction(x)"),
        (
            "bound method",
            "class A:\n    def f(self): return self.v\na = A(); a.v = 2; x = a.f",
            "x() == 2 and x.__self__ is a",
        ),
        ("method of a class", "class A:\n    def f(self): return 1\nx = A.f", "x is A.f"),
        ("function of an installed module", "import json; x = json.dumps", "x is json.dumps"),
        ("function made by exec", "exec('def x(): return 4')", "x() == 4"),
        (
            "contextmanager function",
            "import contextlib\n@contextlib.contextmanager\ndef x(): yield 5",
            "x().__enter__() == 5",
        ),
    ),
    *_rows(
        "Classes of the notebook",
        ("class and instance", "class A:\n    v = 1\nx = A()", "type(x) is A and x.v == 1"),
        (
            "instance of a class that was defined again",
            "class A:\n    v = 1\nx = A()\nclass A:\n    v = 2",
            "x.v == 1 and type(x) is not A and A.v == 2",
        ),
        (
            "subclass with super()",
            "class A:\n    def f(self): return 1\nclass B(A):\n    def f(self): return super().f() + 1\nx = B()",
            "x.f() == 2 and isinstance(x, A)",
        ),
        ("class inside a function", "def f():\n    class L: v = 3\n    return L\nx = f()()", "x.v == 3"),
        (
            "property, classmethod, staticmethod",
            "class A:\n    @property\n    def p(self): return 1\n    @classmethod\n    def c(cls): return cls\n    @staticmethod\n    def s(): return 3\nx = A()",
            "x.p == 1 and x.c() is A and x.s() == 3",
        ),
        (
            "cached_property",
            _F + "class A:\n    @functools.cached_property\n    def p(self): return [1]\nx = A(); x.p",
            "x.p == [1] and 'p' in vars(x)",
        ),
        ("__slots__", "class A:\n    __slots__ = ('a',)\nx = A(); x.a = 1", "x.a == 1 and not hasattr(x, '__dict__')"),
        (
            "dataclass",
            _F
            + "@dataclasses.dataclass\nclass A:\n    a: int\n    b: list = dataclasses.field(default_factory=list)\nx = A(1)",
            "x == A(1) and dataclasses.replace(x, a=2).a == 2",
        ),
        (
            "frozen dataclass with slots",
            _F + "@dataclasses.dataclass(frozen=True, slots=True)\nclass A:\n    a: int\nx = A(1)",
            "x == A(1) and hash(x) == hash(A(1))",
        ),
        (
            "dataclass with keyword-only fields",
            _F + "@dataclasses.dataclass(kw_only=True)\nclass A:\n    a: int = 4\nx = A()",
            "A(a=4) == x",
        ),
        ("Enum", _F + "class C(enum.Enum):\n    R = 1\nx = C.R", "x is C.R and C(1) is x"),
        ("IntFlag", _F + "class C(enum.IntFlag):\n    R = 1\n    W = 2\nx = C.R | C.W", "x == 3 and C.R in x"),
        ("namedtuple", _F + "P = collections.namedtuple('P', 'a b')\nx = P(1, [2])", "x.b == [2] and type(x) is P"),
        (
            "typing.NamedTuple",
            _F + "class P(typing.NamedTuple):\n    a: int = 3\nx = P()",
            "x.a == 3 and isinstance(x, P)",
        ),
        (
            "TypedDict",
            _F + "class P(typing.TypedDict):\n    a: int\nx = P",
            "x.__annotations__ == {'a': int} and x(a=1) == {'a': 1}",
        ),
        (
            "abstract base class",
            _F
            + "class A(abc.ABC):\n    @abc.abstractmethod\n    def f(self): ...\nclass B(A):\n    def f(self): return 1\nx = B()",
            "x.f() == 1 and A.__abstractmethods__ == {'f'}",
        ),
        (
            "metaclass",
            "class M(type):\n    def hi(cls): return cls.__name__\nclass A(metaclass=M): pass\nx = A()",
            "A.hi() == 'A' and type(A) is M",
        ),
        (
            "Protocol",
            _F
            + "@typing.runtime_checkable\nclass Q(typing.Protocol):\n    def f(self): ...\nclass A:\n    def f(self): pass\nx = A()",
            "isinstance(x, Q) and not isinstance(3, Q)",
        ),
        ("Generic", _F + "T = typing.TypeVar('T')\nclass G(typing.Generic[T]): pass\nx = G[int]", "x.__origin__ is G"),
        (
            "__reduce__",
            "class A:\n    def __init__(self, a): self.a = a\n    def __reduce__(self): return (A, (self.a,))\nx = A(3)",
            "x.a == 3 and type(x) is A",
        ),
        (
            "__getstate__ and __setstate__",
            "class A:\n    def __getstate__(self): return 5\n    def __setstate__(self, s): self.a = s\nx = A()",
            "x.a == 5",
        ),
        (
            "__new__ with arguments",
            "class A(int):\n    def __new__(cls, v): return super().__new__(cls, v + 1)\nx = A(4)",
            "x == 5 and type(x) is A",
        ),
        (
            "subclass of dict with attributes",
            "class A(dict): pass\nx = A(a=1); x.note = [1]",
            "x['a'] == 1 and x.note == [1]",
        ),
        ("subclass of list", "class A(list): pass\nx = A([1])", "type(x) is A and x == [1]"),
        ("descriptor", "class D:\n    def __get__(self, o, t): return 8\nclass A:\n    d = D()\nx = A()", "x.d == 8"),
        ("mutable class attribute, shared", "s = [1]\nclass A:\n    seen = s\nx = A()", "x.seen is s"),
        (
            "exception class",
            "class E(ValueError):\n    code = 3\nx = E('a')",
            "isinstance(x, E) and x.code == 3 and x.args == ('a',)",
        ),
        ("object with __call__", "class A:\n    def __call__(self): return 2\nx = A()", "x() == 2"),
        ("instances in a cycle", "class A: pass\nx = A(); y = A(); x.o = y; y.o = x", "x.o.o is x"),
        ("class with a lock in it", "import threading\nclass A:\n    lock = threading.Lock()\nx = A()", None),
        (
            "instance with a weak reference",
            "import weakref\nclass A: pass\na = A(); x = A(); x.r = weakref.ref(a)",
            None,
        ),
    ),
    *_rows(
        "Modules",
        ("module", "import math; x = math", "x is __import__('math')"),
        ("alias of a submodule", "import os.path as x", "x is __import__('os').path"),
        ("module with its submodules", "import xml.dom.minidom; x = xml", "x.dom.minidom"),
        ("names of a star import", "from math import *\nx = sqrt", "x(4) == 2 and pi > 3"),
        ("module made by hand", "import types; x = types.ModuleType('made'); x.a = 3", "x.a == 3"),
        ("the namespace itself", "x = globals()", "x is globals()"),
    ),
    *_rows(
        "numpy",
        ("array", _N + "x = np.arange(6.0).reshape(2, 3)", "x.shape == (2, 3) and x.sum() == 15 and x.flags.writeable"),
        ("large array", _N + "x = np.arange(600_000.0)", "x[-1] == 599_999 and x.flags.writeable"),
        ("view of half of it", _N + "a = np.zeros(100_000); x = a[:50_000]", "a.__setitem__(3, 7) or x[3] == 7"),
        (
            "view backwards with a step",
            _N + "a = np.arange(9); x = a[::-2]",
            "x.strides == (-16,) and np.shares_memory(a, x)",
        ),
        ("transposed view", _N + "a = np.ones((2, 3)); x = a.T", "np.shares_memory(a, x) and x.shape == (3, 2)"),
        (
            "view with another dtype",
            _N + "a = np.zeros(4); x = a.view('u1')",
            "np.shares_memory(a, x) and x.size == 32",
        ),
        (
            "broadcast view",
            _N + "a = np.ones(3); x = np.broadcast_to(a, (2, 3))",
            "x.strides[0] == 0 and not x.flags.writeable and np.shares_memory(a, x)",
        ),
        (
            "Fortran order",
            _N + "x = np.asfortranarray(np.ones((3, 4)))",
            "x.flags.f_contiguous and not x.flags.c_contiguous",
        ),
        ("axes in another order", _N + "x = np.ones((2, 3, 4)).transpose(1, 0, 2)", "x.shape == (3, 2, 4)"),
        ("0-d", _N + "x = np.array(5.0)", "x.shape == () and type(x) is np.ndarray"),
        ("empty with a shape", _N + "x = np.zeros((0, 3), 'i2')", "x.shape == (0, 3) and x.dtype == 'i2'"),
        (
            "structured",
            _N + "x = np.zeros(2, [('a', 'i4'), ('b', 'f8')]); x['a'] = 3",
            "x.dtype.names == ('a', 'b') and x['a'][1] == 3",
        ),
        (
            "field of a structured array",
            _N + "a = np.zeros(2, [('a', 'i4'), ('b', 'f8')]); x = a['b']",
            "np.shares_memory(a, x)",
        ),
        (
            "recarray",
            _N + "x = np.rec.array([(1, 2.0)], dtype=[('a', 'i4'), ('b', 'f8')])",
            "x.a[0] == 1 and type(x) is np.recarray",
        ),
        ("masked", _N + "x = np.ma.masked_array([1, 2, 3], mask=[0, 1, 0])", "x.sum() == 4 and x.mask[1]"),
        ("matrix", _N + "x = np.ones((2, 2)).view(np.matrix)", "type(x) is np.matrix and (x * x)[0, 0] == 2"),
        ("object array with an alias", _N + "a = [1]; x = np.array([a, None], dtype=object)", "x[0] is a"),
        (
            "datetime64 and timedelta64",
            _N + "x = [np.array(['2024-01-02'], 'M8[D]'), np.array([5], 'm8[s]')]",
            "str(x[0][0]) == '2024-01-02' and x[1].dtype == 'm8[s]'",
        ),
        (
            "fixed-width text and bytes",
            _N + "x = [np.array(['ab', 'c']), np.array([b'ab'])]",
            "x[0][0] == 'ab' and x[1].dtype == 'S2'",
        ),
        (
            "StringDType",
            _N + "x = np.array(['a', 'longer than that'], dtype=np.dtypes.StringDType())",
            "x[1] == 'longer than that'",
        ),
        ("big-endian", _N + "x = np.array([1], '>i4')", "x[0] == 1 and x.dtype.byteorder == '>'"),
        (
            "bool, complex, float16, longdouble",
            _N + "x = [np.ones(2, t) for t in ('?', 'c16', 'f2', 'g')]",
            "[a.dtype.char for a in x] == ['?', 'D', 'e', 'g']",
        ),
        ("read-only", _N + "x = np.ones(3); x.flags.writeable = False", "not x.flags.writeable"),
        ("scalar", _N + "x = np.float32(1.5)", "type(x) is np.float32 and x == 1.5"),
        ("dtype and ufunc", _N + "x = [np.dtype('f4'), np.add]", "x[0] == 'f4' and x[1] is np.add"),
        (
            "Generator at its position",
            _N + "x = np.random.default_rng(5); x.random()",
            "x.random() == (lambda g: (g.random(), g.random())[1])(np.random.default_rng(5))",
        ),
        (
            "RandomState at its position",
            _N + "x = np.random.RandomState(5); x.rand()",
            "x.rand() == (lambda g: (g.rand(), g.rand())[1])(np.random.RandomState(5))",
        ),
        ("poly1d", _N + "x = np.poly1d([1, 2])", "x(3) == 5"),
        (
            "subclass of the notebook",
            _N + "class A(np.ndarray): pass\nx = np.ones(3).view(A); x.note = 1",
            "type(x) is A and x.note == 1",
        ),
        (
            "array on a bytearray",
            _N + "b = bytearray(80); x = np.frombuffer(b, 'f8')",
            "b.__setitem__(slice(0, 8), b'\\0' * 6 + b'\\xf0\\x3f') or x[0] == 1",
        ),
        ("memmap", _N + _T + "x = np.memmap(tempfile.mkstemp()[1], 'f8', 'w+', shape=(4,))", None),
    ),
    *_rows(
        "pandas",
        (
            "DataFrame of mixed columns",
            _P + "x = pd.DataFrame({'a': [1, 2], 'b': ['p', 'q'], 'c': [.5, None]})",
            "list(x.columns) == ['a', 'b', 'c'] and x['b'][1] == 'q' and x['c'].isna()[1]",
        ),
        (
            "text column (str dtype)",
            _P + "x = pd.Series(['a', None], dtype='str')",
            "x[0] == 'a' and x.isna()[1] and x.dtype == 'str'",
        ),
        ("nullable integers", _P + "x = pd.Series([1, None], dtype='Int64')", "x.dtype == 'Int64' and x.isna()[1]"),
        (
            "nullable text and booleans",
            _P + "x = pd.DataFrame({'s': pd.array(['a', None], 'string'), 'b': pd.array([True, None], 'boolean')})",
            "str(x.dtypes['b']) == 'boolean' and x['s'].isna()[1]",
        ),
        (
            "categorical, ordered",
            _P + "x = pd.Series(pd.Categorical(['lo', 'hi'], ['lo', 'hi'], ordered=True))",
            "x.cat.ordered and x.max() == 'hi'",
        ),
        (
            "MultiIndex",
            _P
            + "x = pd.DataFrame({'v': [1, 2]}, index=pd.MultiIndex.from_tuples([('a', 1), ('b', 2)], names=['k', 'n']))",
            "x.loc[('b', 2), 'v'] == 2 and list(x.index.names) == ['k', 'n']",
        ),
        (
            "DatetimeIndex with zone and frequency",
            _P + "x = pd.date_range('2024-01-01', periods=3, freq='D', tz='Asia/Seoul')",
            "x.freqstr == 'D' and str(x.tz) == 'Asia/Seoul'",
        ),
        (
            "Timestamp, Timedelta, Period, NaT, NA",
            _P + "x = [pd.Timestamp('2024'), pd.Timedelta('1D'), pd.Period('2024-01'), pd.NaT, pd.NA]",
            "x[3] is pd.NaT and x[4] is pd.NA and x[2].month == 1",
        ),
        (
            "PeriodIndex and IntervalIndex",
            _P + "x = [pd.period_range('2024-01', periods=2, freq='M'), pd.interval_range(0, 2)]",
            "x[0][1].month == 2 and 1.5 in x[1][1]",
        ),
        ("sparse", _P + "x = pd.Series(pd.arrays.SparseArray([0, 0, 1]))", "x.sparse.density == 1 / 3"),
        (
            "column and its frame copy on write",
            _P + "f = pd.DataFrame({'a': [1, 2]}); x = f['a']",
            "x.__setitem__(0, 9) or f['a'][0] == 1",
        ),
        (
            "one frame under two names",
            _P + "f = pd.DataFrame({'a': [1]}); x = f",
            "x.__setitem__('b', 2) or list(f.columns) == ['a', 'b']",
        ),
        (
            "attributes of a frame",
            _P + "x = pd.DataFrame({'a': [1]}); x.attrs['unit'] = 'm'",
            "x.attrs == {'unit': 'm'}",
        ),
        (
            "flags of a frame",
            _P + "x = pd.DataFrame({'a': [1]}).set_flags(allows_duplicate_labels=False)",
            "not x.flags.allows_duplicate_labels",
        ),
        (
            "duplicate columns",
            _P + "x = pd.DataFrame([[1, 2]], columns=['a', 'a'])",
            "list(x.columns) == ['a', 'a'] and x.iloc[0, 1] == 2",
        ),
        (
            "empty frame with dtypes",
            _P + "x = pd.DataFrame({'a': pd.Series(dtype='f4')})",
            "x.empty and x['a'].dtype == 'f4'",
        ),
        (
            "GroupBy",
            _P + "f = pd.DataFrame({'k': [1, 1, 2], 'v': [1, 2, 3]}); x = f.groupby('k')",
            "x['v'].sum()[1] == 3",
        ),
        ("rolling window", _P + "x = pd.Series([1., 2., 3.]).rolling(2)", "x.sum()[2] == 5"),
        ("Styler", _P + "x = pd.DataFrame({'a': [1]}).style.format('{:.1f}')", "'1.0' in x.to_html()"),
        ("frame of objects that are shared", _P + "a = [1]; x = pd.DataFrame({'o': [a, a]})", "x['o'][0] is a"),
        (
            "subclass of DataFrame",
            _P + "class F(pd.DataFrame):\n    @property\n    def _constructor(self): return F\nx = F({'a': [1]})",
            "type(x) is F and type(x[['a']]) is F",
        ),
    ),
    *_rows(
        "scipy, scikit-learn, matplotlib",
        (
            "sparse CSR matrix",
            "import scipy.sparse as sp; x = sp.random(9, 9, .3, 'csr', random_state=1); s = x.sum()",
            "x.format == 'csr' and x.sum() == s",
        ),
        (
            "sparse COO array",
            "import scipy.sparse as sp; x = sp.coo_array(([1.], ([0], [1])), shape=(2, 2))",
            "x.toarray()[0, 1] == 1",
        ),
        ("frozen distribution", "import scipy.stats as st; x = st.norm(1, 2)", "x.mean() == 1"),
        (
            "interpolator",
            "from scipy.interpolate import CubicSpline; x = CubicSpline([0, 1, 2], [0, 1, 4])",
            "abs(x(1) - 1) < 1e-9",
        ),
        (
            "KD-tree",
            "from scipy.spatial import cKDTree; x = cKDTree([[0., 0.], [1., 1.]])",
            "x.query([.9, .9])[1] == 1",
        ),
        (
            "fitted linear model",
            _N
            + "from sklearn.linear_model import LinearRegression; x = LinearRegression().fit([[0.], [1.]], [0., 2.])",
            "abs(x.predict([[3.]])[0] - 6) < 1e-9",
        ),
        (
            "fitted random forest",
            _N
            + "from sklearn.ensemble import RandomForestClassifier; x = RandomForestClassifier(3, random_state=0).fit([[0.], [1.]] * 5, [0, 1] * 5); p = x.predict_proba([[.2]])",
            "(x.predict_proba([[.2]]) == p).all()",
        ),
        (
            "pipeline with a notebook function",
            _N
            + "from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import FunctionTransformer, StandardScaler\nk = 2\ndef f(a): return a * k\nx = make_pipeline(FunctionTransformer(f), StandardScaler()).fit([[1.], [3.]])",
            "x.transform([[2.]])[0, 0] == 0",
        ),
        (
            "grid search",
            "from sklearn.model_selection import GridSearchCV\nfrom sklearn.tree import DecisionTreeClassifier\nx = GridSearchCV(DecisionTreeClassifier(), {'max_depth': [1, 2]}, cv=2).fit([[0], [1]] * 4, [0, 1] * 4)",
            "x.best_params_['max_depth'] in (1, 2) and x.predict([[1]])[0] == 1",
        ),
        (
            "estimator of the notebook",
            "from sklearn.base import BaseEstimator\nclass E(BaseEstimator):\n    def __init__(self, a=1): self.a = a\nx = E(5)",
            "x.get_params() == {'a': 5}",
        ),
        ("Bunch of a data set", "from sklearn.datasets import load_iris; x = load_iris()", "x.data.shape == (150, 4)"),
        (
            "matplotlib figure",
            "import matplotlib; matplotlib.use('agg')\nfrom matplotlib.figure import Figure\nx = Figure(); x.subplots().plot([1, 2])",
            "list(x.axes[0].lines[0].get_ydata()) == [1, 2]",
        ),
        (
            "pyplot figure and its axes",
            "import matplotlib; matplotlib.use('agg')\nimport matplotlib.pyplot as plt\nx, ax = plt.subplots(); ax.plot([1, 3])",
            "x.axes[0] is ax",
        ),
        ("colour map", "import matplotlib; x = matplotlib.colormaps['viridis']", "x(0.0)[3] == 1"),
    ),
    *_rows(
        "IPython and other libraries",
        ("IPython.display.HTML", "from IPython.display import HTML; x = HTML('<b>')", "x.data == '<b>'"),
        (
            "IPython.display.Image",
            "from IPython.display import Image; x = Image(data=b'\\x89PNG\\r\\n\\x1a\\n', format='png')",
            "x.data[:4] == b'\\x89PNG'",
        ),
        (
            "Pillow image",
            "from PIL import Image; x = Image.new('RGB', (2, 2), 'red')",
            "x.getpixel((1, 1)) == (255, 0, 0)",
        ),
        (
            "pydantic model of the notebook",
            "import pydantic\nclass M(pydantic.BaseModel):\n    a: int = 1\nx = M(a=3)",
            "x.a == 3 and M(a='4').a == 4 and type(x) is M",
        ),
        ("attrs class of the notebook", "import attrs\n@attrs.define\nclass A:\n    a: int\nx = A(3)", "x == A(3)"),
        (
            "sorted containers",
            "from sortedcontainers import SortedDict; x = SortedDict(b=1, a=2)",
            "list(x) == ['a', 'b']",
        ),
        ("requests.Session", "import requests; x = requests.Session(); x.headers['a'] = 'b'", "x.headers['a'] == 'b'"),
        ("tqdm bar", "import io\nfrom tqdm import tqdm; x = tqdm([1], file=io.StringIO())", None),
    ),
    *_rows(
        "What lives in one process only",
        ("generator", "x = (i for i in [1])", None),
        ("iterator of a list", "x = iter([1])", None),
        ("iterator of a dict", "x = iter({1: 2})", None),
        ("zip, map, enumerate", "x = [zip([1], [2])]", None),
        ("itertools.chain", _F + "x = itertools.chain([1], [2])", None),
        ("coroutine", "async def f(): pass\nx = f()", None),
        ("async generator", "async def f():\n    yield 1\nx = f()", None),
        ("open text file", _T + "x = open(tempfile.mkstemp()[1], 'w+')", None),
        ("open binary file", _T + "x = open(tempfile.mkstemp()[1], 'rb')", None),
        ("temporary file", _T + "x = tempfile.NamedTemporaryFile()", None),
        ("csv writer", "import csv, io; x = csv.writer(io.StringIO())", None),
        ("mmap", "import mmap; x = mmap.mmap(-1, 4096)", None),
        ("memoryview of an mmap", "import mmap; m = mmap.mmap(-1, 4096); x = memoryview(m)", None),
        ("zip archive", "import zipfile, io; x = zipfile.ZipFile(io.BytesIO(), 'w')", None),
        ("socket", "import socket; x = socket.socket()", None),
        ("TLS context", "import ssl; x = ssl.create_default_context()", None),
        ("SQLite connection", "import sqlite3; x = sqlite3.connect(':memory:')", None),
        ("SQLite cursor", "import sqlite3; x = sqlite3.connect(':memory:').cursor()", None),
        ("lock", _T + "x = threading.Lock()", None),
        ("re-entrant lock", _T + "x = threading.RLock()", None),
        ("condition, event, semaphore", _T + "x = threading.Event()", None),
        ("thread", _T + "x = threading.Thread(target=print)", None),
        ("thread-local data", _T + "x = threading.local()", None),
        ("thread pool", "from concurrent.futures import ThreadPoolExecutor; x = ThreadPoolExecutor()", None),
        ("future", "from concurrent.futures import Future; x = Future()", None),
        ("process", "import subprocess, sys; x = subprocess.Popen([sys.executable, '-c', '']); x.wait()", None),
        ("multiprocessing queue", "import multiprocessing; x = multiprocessing.Queue()", None),
        ("event loop", "import asyncio; x = asyncio.new_event_loop()", None),
        (
            "asyncio lock and queue of a loop",
            "import asyncio; l = asyncio.new_event_loop(); x = l.create_future()",
            None,
        ),
        ("weak reference", "import weakref\nclass A: pass\na = A(); x = weakref.ref(a)", None),
        ("traceback", "try: 1 / 0\nexcept Exception as e: x = e.__traceback__", None),
        ("frame", "import sys; x = sys._getframe()", None),
        ("context variable", "import contextvars; x = contextvars.ContextVar('v')", None),
        ("context", "import contextvars; x = contextvars.copy_context()", None),
        ("ctypes pointer", "import ctypes; x = ctypes.pointer(ctypes.c_int(3))", None),
        ("ctypes library", "import ctypes; x = ctypes.CDLL(None)", None),
        ("capsule", "import datetime; x = datetime.datetime_CAPI", None),
        ("nested deep inside a value", "x = {'a': [1, (i for i in [1])]}", None),
    ),
    *_rows(
        "What strangers tried",
        (
            "class with a metaclass that counts classes",
            "class M(type):\n    seen = []\n    def __new__(m, n, b, d):\n        m.seen.append(n)\n        return super().__new__(m, n, b, d)\nclass A(metaclass=M): v = 3\nx = A()",
            "type(type(x)) is M and M.seen == ['A'] and x.v == 3",
        ),
        (
            "class whose base hears of it",
            "seen = []\nclass B:\n    def __init_subclass__(cls, tag, **more): seen.append(tag)\nclass C(B, tag='c'): pass\nx = C()",
            "seen == ['c'] and isinstance(x, B)",
        ),
        (
            "class with __setstate__ that reads an import of the notebook",
            "import threading as th\nclass C:\n    def __init__(self): self.a, self.lock = 1, th.Lock()\n    def __getstate__(self): return {'a': self.a}\n    def __setstate__(self, state): self.a, self.lock = state['a'], th.Lock()\nx = C()",
            "x.a == 1 and x.lock.acquire()",
        ),
        (
            "exception that takes other arguments than it keeps",
            "class E(Exception):\n    def __init__(self, a, b): super().__init__(a); self.b = b\nx = E(1, 2)",
            "x.args == (1,) and x.b == 2 and type(x) is E",
        ),
        (
            "proxy that answers for every attribute",
            "class P:\n    def __init__(self, o): self.o = o\n    def __getattr__(self, name): return getattr(self.o, name)\nx = P([1])",
            "x.o == [1] and x.count(1) == 1",
        ),
        (
            "class whose attribute is its own bound method",
            "class C:\n    @classmethod\n    def make(cls): return cls()\nC.maker = C.make\nx = C()",
            "type(C.maker()) is C",
        ),
        (
            "methods on a copy of the namespace, as attrs makes them",
            "space = {**globals(), 'extra': 5}\nexec('def f(): return extra', space)\nx = space['f']; del space",
            "x() == 5",
        ),
        ("NewType", "import typing\nU = typing.NewType('U', int)\nx = U", "x is U and x(3) == 3 and x.__name__ == 'U'"),
        ("ParamSpec", "import typing\nS = typing.ParamSpec('S')\nx = S", "x is S and x.__name__ == 'S'"),
        ("C array", "import ctypes\nx = (ctypes.c_int * 3)(1, 2, 3)", "list(x) == [1, 2, 3]"),
        (
            "C structure of the notebook",
            "import ctypes\nclass P(ctypes.Structure):\n    _fields_ = [('a', ctypes.c_int), ('b', ctypes.c_double)]\nx = P(3, 1.5)",
            "x.a == 3 and x.b == 1.5 and type(x) is P",
        ),
        ("C pointer", "import ctypes\ni = ctypes.c_int(4); x = ctypes.pointer(i)", None),
        ("weak proxy", "import weakref\nclass O: pass\no = O(); x = weakref.proxy(o)", None),
        ("finalizer", "import weakref\nclass O: pass\no = O(); x = weakref.finalize(o, int)", None),
        (
            "temporary folder",
            "import atexit, tempfile\nx = tempfile.TemporaryDirectory(); atexit.register(x.cleanup)",
            None,
        ),
        (
            "shared memory",
            "import atexit\nfrom multiprocessing.shared_memory import SharedMemory\nx = SharedMemory(create=True, size=64); atexit.register(x.unlink)",
            None,
        ),
        (
            "view of an array of texts",
            "import numpy as np\na = np.array(['a', 'longer ' * 9, 'c'], dtype=np.dtypes.StringDType()); x = a[::-2]",
            "x.tolist() == ['c', 'a'] and x.dtype == np.dtypes.StringDType()",
        ),
        ("context variable", "import contextvars\nx = contextvars.ContextVar('v')", None),
        ("compiled template", "import jinja2\nx = jinja2.Template('hi {{ n }}')", None),
    ),
]
